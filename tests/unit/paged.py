"""An outbox, and the page over it, as the sandbox and a service have it."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.routing import Route

from dialplan_sms.outbox import leases, transitions
from dialplan_sms.outbox.retry import decide
from dialplan_sms.outbox.schema import State, attempt, message, number
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.transitions import Try
from dialplan_sms.sandbox.faults import TROUBLES
from dialplan_sms.sandbox.page import SandboxPage
from dialplan_sms.sandbox.pbx import Pbx
from dialplan_sms.sandbox.spool import Gateway
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.sms import Sms
from dialplan_sms.web.board import Board
from dialplan_sms.web.login import Login
from dialplan_sms.web.page import Page
from dialplan_sms.web.server import Address, WebServer, listen
from tests.unit.stored import SENDER

ROME, MILAN, TURIN = "+390612345601", "+390212345602", "+390112345603"
GATEWAY = "9c7514330001"
REJECTED = error(Cause.REJECTED, "No credit on the SIM")
UNREACHABLE = error(Cause.UNREACHABLE, "the PBX does not answer")


def store(
    outbox: Outbox, text: str = "Hello", *numbers: str, sender: str = "101", gsm: str = GATEWAY
) -> int:
    """Store an SMS as a call does; its id."""
    sms = Sms(numbers or (ROME,), text, gsm, mode="queue", call="1700000000.7", caller="200")
    outcome = outbox.accept(sms, replace(SENDER, name=sender))
    assert outcome.status is Status.QUEUED, outcome
    return int(outcome.id)


def end(outbox: Outbox, id_: int, outcome: Outcome, keep_text: bool = False) -> None:
    """Have a worker send a stored SMS, which ends as *outcome*."""

    def work(connection: sa.Connection) -> None:
        claimed = {each.id: each for each in leases.claim(connection, "w", 60.0, 500, {})}
        others = message.c.state == State.LEASED, message.c.id != id_
        connection.execute(
            message.update().where(*others).values(state=State.PENDING, lease_by=None)
        )
        verdict = decide(outcome, claimed[id_].sms.numbers, "", over=True)
        transitions.end_tries(connection, [Try(id_, outcome, verdict, keep_text=keep_text)])

    outbox.writer.do(work, 10.0)


def fill(outbox: Outbox, count: int, seed: int = 1) -> None:
    """Store *count* SMS of the last three days, most of them sent."""
    chance, now = random.Random(seed), time.time()
    states = [State.SENT] * 92 + [State.FAILED] * 3 + [State.EXPIRED, State.UNKNOWN]
    states += [State.CANCELLED] + [State.PENDING] * 2
    causes = {
        State.FAILED: ("REJECTED", "NOT_QUEUED"), State.EXPIRED: ("UNREACHABLE",),
        State.UNKNOWN: ("NO_ANSWER", "BAD_ANSWER"),
    }  # fmt: skip
    messages, numbers, attempts = [], [], []
    for each in range(count):
        id_, at = each + 1, now - 3 * 86400 * (1 - each / count)
        state = chance.choice(states)
        ended = None if state is State.PENDING else at + 2
        text = None if state is State.SENT else "Alarm in room 12 è ¡ " * chance.randint(1, 8)
        cause = chance.choice(causes.get(state, ("",)))
        messages.append(
            {"id": id_, "created": at, "due": at + 1, "ended": ended, "state": state,
             "mode": "queue", "sender": chance.choice(("101", "102", "alarms")),
             "gsm": GATEWAY, "text": text, "chars": 40, "token": f"{id_:032}", "attempts": 1,
             "cause": cause, "call": f"17.{id_}", "caller": "200", "reason": "", "priority": 0}
        )  # fmt: skip
        to = {f"+3906{chance.randint(10_000_000, 10_050_000)}" for _ in range(1 + (each % 9 == 0))}
        numbers += [{"message_id": id_, "number": one, "state": state, "created": at} for one in to]
        if ended:
            status = "SUCCESS" if state is State.SENT else "ERROR"
            attempts.append(
                {"message_id": id_, "at": ended, "numbers": 1, "status": status, "cause": cause,
                 "reason": ""}
            )  # fmt: skip
    outbox.writer.do(lambda _: None, 10.0)
    with outbox.writer.engine.begin() as connection:
        for table, rows in ((message, messages), (number, numbers), (attempt, attempts)):
            connection.execute(table.insert(), rows)


def variety(outbox: Outbox) -> int:
    """Some of everything; the id of the SMS whose text is hostile."""
    sent = Outcome(Status.SUCCESS)
    fill(outbox, 400)
    end(outbox, store(outbox, "Door open: cold room 2"), sent, keep_text=True)
    long = (
        "Temperature 9.5 °C in cold room 2: please check the door, then call the night desk on"
        " extension 100.\nCold room 2, sensor B"
    )
    end(outbox, store(outbox, long), sent, keep_text=True)
    hostile = "<script>alert(1)</script> \u202egnp.exe\u202c \u200fשלום"
    id_ = store(outbox, hostile, MILAN, TURIN, ROME)
    end(outbox, id_, REJECTED)
    end(outbox, store(outbox, "مرحبا، الباب مفتوح", sender="alarms"), sent, keep_text=True)
    end(outbox, store(outbox, "Your code is 481 920", TURIN), UNREACHABLE)
    store(outbox, "Backup finished", MILAN, gsm="")
    return id_


class Playground:
    """The sandbox's page over any outbox, and its own spool: two SMS wait for a gateway offline."""

    def __init__(self) -> None:
        self.gateways = {mac: Gateway(mac) for mac in (GATEWAY, "9c7514330002")}
        self.pbx = Pbx(gateways=tuple(self.gateways))

    def waiting(self) -> Mapping[str, int]:
        return {mac: 0 if gateway.online else 2 for mac, gateway in self.gateways.items()}

    def set_online(self, mac: str, online: bool) -> None:
        self.gateways[mac].online = online

    @property
    def fault(self) -> str | None:
        trouble = self.pbx.faults.current
        return str(trouble) if trouble else None

    def set_fault(self, name: str | None) -> None:
        self.pbx.faults.set(TROUBLES[name] if name else None)

    def routes(self, board: Board) -> list[Route]:
        self.board = board
        spool: Any = self
        return SandboxPage(self.pbx, spool, Address("testserver", 80)).routes()


def routes(board: Board, login: Login | None = None) -> list[Route]:
    """The page as a service has it."""
    return Page(board, login).routes()


@contextmanager
def served(outbox: Outbox, routes: Callable[[Board], list[Route]]) -> Iterator[str]:
    """The URL of the page over *outbox* with such *routes*, while it is served."""
    board = Board(outbox)
    listener = listen(Address("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = WebServer(Starlette(routes=routes(board)), [listener])
    server.start()
    try:
        yield url
    finally:
        server.stop()
        board.close()
