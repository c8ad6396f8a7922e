"""Killed at random, with a PBX that fails in every way: what was QUEUED arrives."""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from dialplan_sms.outbox.database import open_engine
from dialplan_sms.outbox.schema import message
from dialplan_sms.sandbox import Fault, Sandbox
from tests.asterisk.fetch import fetch
from tests.asterisk.pbx import Pbx
from tests.asterisk.serving import Service
from tests.asterisk.site import QUEUE
from tests.postgres import temporary
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    # A stand-in that stops in the middle of requests leaves sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
MESSAGES = 2000
KILLS = 50
WORKERS = 4
SENDERS = ("101", "102")
"""101 delivers at least once, 102 at most once."""


@contextmanager
def database(kind: str, folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A database's URL, and what upsets it while it is used."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/outbox.sqlite", lambda: None
        return
    with temporary() as server:
        yield server.create_database("outbox"), server.restart_immediately


@pytest.mark.parametrize(("major", "kind"), [(22, "postgresql"), (16, "sqlite")])
def test_every_queued_message_arrives(major: int, kind: str, tmp_path: Path) -> None:
    dice = random.Random(major)
    with (
        database(kind, tmp_path) as (url, upset),
        Sandbox(tls=False, users=dict.fromkeys(SENDERS, "sms101api")) as sandbox,
    ):
        second = f"pace = 0\n[102]\nurl = {sandbox.url}\npassword = sms101api\npace = 0\n"
        second += "delivery = at-most-once\n"
        general = f"outbox = {url}\ncall_timeout = 2\nworkers = {WORKERS}\ndefault_sender = 101"
        service = Service(tmp_path, sandbox, general, second)
        dialplan = f"[test]\nexten => 1,1,AGI({service.url})\n"
        with service, Pbx(fetch(major), dialplan) as asterisk:
            queued = storm(asterisk, service, sandbox, upset, dice)
            sandbox.fault = None
            settle(url, service)
        found = Counter(each.text for each in sandbox.messages)
        states = dict(look(url))
    twice = {text for text, count in found.items() if count > 1}
    print(
        f"\n{kind}: {len(queued)} QUEUED, {len(found)} arrived, {len(twice)} doubled,"
        f" {Counter(states[id_] for id_ in queued.values())}"
    )
    for text, id_ in queued.items():
        if text.startswith("102"):
            assert found[text] <= 1, text  # never doubled
            assert states[id_] in ("sent", "unknown"), (text, states[id_])
            assert found[text] == 1 or states[id_] == "unknown", text
        else:
            assert found[text] >= 1, (text, states[id_])  # never lost
            assert states[id_] == "sent"
    # Doubled is at most what was in flight at a kill.
    assert len(twice) <= (KILLS + 1) * WORKERS


def storm(
    asterisk: Pbx, service: Service, sandbox: Sandbox, upset: Callable[[], None],
    dice: random.Random,
) -> dict[str, int]:  # fmt: skip
    """Queue MESSAGES while the service is killed KILLS times; the ids by text."""
    queued: dict[str, int] = {}
    enough, count = threading.Event(), itertools.count()

    def callers() -> None:
        while not enough.is_set():
            n = next(count)
            text = f"{SENDERS[n % 2]} n{n}"
            more = {"SMS_MESSAGE": text, "SMS_SENDER": SENDERS[n % 2]}
            seen = asterisk.call("1", variables=QUEUE | more, timeout=60).variables
            if seen["SMS_STATUS"] == "QUEUED":
                queued[text] = int(seen["SMS_ID"])
            else:
                time.sleep(0.1)

    def trouble() -> None:
        faults = [Fault.HANG, Fault.RESET, Fault.SERVER_ERROR, None]
        while not enough.is_set():
            sandbox.fault = dice.choice(faults)
            enough.wait(0.4)
            if dice.random() < 0.3:
                sandbox.stop()
                enough.wait(0.4)
                sandbox.start()
        sandbox.start()

    with ThreadPoolExecutor(7) as pool:
        work = [pool.submit(callers) for _ in range(6)] + [pool.submit(trouble)]
        try:
            for kill in range(KILLS):
                time.sleep(dice.uniform(0.1, 1.0))
                if kill % 10 == 5:
                    upset()
                service.kill()
                service.start()
            while len(queued) < MESSAGES:
                assert not any(each.done() for each in work)
                time.sleep(0.1)
        finally:
            enough.set()
        for each in work:
            each.result(60)
    return queued


def settle(url: str, service: Service) -> None:
    """Wait until all has ended; what waits for its next try is made due."""
    engine = open_engine(url)

    def open_() -> int:
        with engine.begin() as connection:
            waiting = sa.select(message.c.id).where(message.c.state == "pending")
            ids = connection.scalars(waiting.with_for_update(skip_locked=True)).all()
            mine = message.c.id.in_(ids[:500])
            connection.execute(message.update().where(mine).values(due=0.0))
            all_ = sa.select(sa.func.count()).select_from(message)
            queued = all_.where(message.c.ended.is_(None), message.c.mode == "queue")
            return connection.scalar(queued) or 0

    def ended() -> bool:
        time.sleep(1)  # the workers need the database
        return not open_()

    until(ended, lambda: (open_(), service.log[-2000:]), 300.0)
    engine.dispose()


def look(url: str) -> list[tuple[int, str]]:
    """The state of each id."""
    engine = open_engine(url)
    with engine.begin() as connection:
        rows = connection.execute(sa.select(message.c.id, message.c.state)).all()
    engine.dispose()
    return list(rows)
