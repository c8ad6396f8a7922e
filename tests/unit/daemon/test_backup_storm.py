"""A primary that comes and goes, its backup, and a service that is killed: nothing is lost."""

import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from dialplan_sms.outbox.schema import attempt
from dialplan_sms.sandbox import Fault, Sandbox, Trouble
from dialplan_sms.sms.outcome import NOBODY_KNOWS
from tests.asterisk.serving import Service
from tests.asterisk.test_never_lost import settle
from tests.unit.caller import Call
from tests.unit.stored import another, rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # A stand-in that stops in the middle of requests leaves sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
MESSAGES, CHANGES, KILLS, WORKERS, CALLERS = 2000, 50, 20, 4, 4
TROUBLES = (
    None, None, Trouble(Fault.HANG), Trouble(Fault.HANG, taken=True), Trouble(Fault.REJECT),
    Trouble(Fault.SERVER_ERROR, taken=True), Trouble(Fault.RESET),
)  # fmt: skip
"""Of the primary while it is up. Not UNAUTHORIZED, for which it is held through the test."""


def test_what_is_queued_arrives_by_one_or_the_other(database: str, tmp_path: Path) -> None:
    dice = random.Random(2)
    users = {"101": "sms101api", "102": "sms102api"}
    with Sandbox(tls=False, users=users) as first, Sandbox(tls=False, users=users) as second:
        service = Service(
            tmp_path, first,
            f"outbox = {database}\ncall_timeout = 1\nworkers = {WORKERS}\n"
            "default_sender = 101\npace = 0",
            "backup = 102\nbackup_after = 1s\n"
            f"[102]\nurl = {second.url}\npassword = sms102api\n",
        )  # fmt: skip
        with service:
            queued = storm(service, first, dice)
            first.fault = None
            service.signal(signal.SIGHUP)  # what is held is tried now
            settle(database, service)
        by = [Counter(each.text for each in pbx.messages) for pbx in (first, second)]
    states, doubted = look(database)
    found = by[0] + by[1]
    twice = {text for text, count in found.items() if count > 1}
    # The primary may reject what it did not answer before: that is not for the backup.
    failed = {id_ for id_ in queued.values() if states[id_] == "failed"}
    print(
        f"\n{len(queued)} QUEUED, {by[0].total()} by the primary, {by[1].total()} by the backup,"
        f" {len(twice)} twice, {len(doubted)} in doubt, {len(failed)} of these rejected"
    )
    assert failed <= doubted
    assert {text for text, id_ in queued.items() if id_ not in failed} <= set(found)  # none is lost
    assert {states[id_] for id_ in queued.values()} <= {"sent", "failed"}
    # What went twice was in flight at a kill, or a PBX did not say what became of it.
    assert {queued[text] for text in twice if text in queued} <= doubted
    assert min(by[0].total(), by[1].total()) > 50  # each had its part
    assert "Traceback" not in service.log
    assert "please report" not in service.log


def storm(service: Service, primary: Sandbox, dice: random.Random) -> dict[str, int]:
    """Queue MESSAGES while the primary changes and the service is killed; the ids by text."""
    queued: dict[str, int] = {}
    enough = threading.Event()
    changed = 0

    def reach(part: float) -> None:
        """Wait until so much of the changes is done, 0 to 1."""
        while changed < part * CHANGES and not enough.wait(0.02):
            pass

    def callers(which: int) -> None:
        for n in range(MESSAGES // CALLERS):
            reach(n * CALLERS / MESSAGES)
            text = f"n{which}-{n}"
            while not enough.is_set():
                with suppress(OSError):  # while the service is away
                    left = Call(service.port, SMS_MODE="queue", SMS_MESSAGE=text).end()
                    if left.get("SMS_STATUS") == "QUEUED":
                        queued[text] = int(left["SMS_ID"])
                        break
                time.sleep(0.1)
                text += "+"  # the one before may be stored: then it is none of these

    def trouble() -> None:
        nonlocal changed
        for n in range(CHANGES):
            while len(queued) < 0.9 * MESSAGES * n / CHANGES and not enough.wait(0.02):
                pass  # a service may take long to start
            primary.fault = dice.choice(TROUBLES)
            enough.wait(dice.uniform(0.1, 0.6))
            if dice.random() < 0.3:
                primary.stop()
                enough.wait(dice.uniform(0.1, 1.5))
                primary.start()
            changed += 1

    with ThreadPoolExecutor(CALLERS + 1) as pool:
        work = [pool.submit(callers, n) for n in range(CALLERS)] + [pool.submit(trouble)]
        try:
            for kill in range(KILLS):
                reach(kill / KILLS)
                service.kill()
                service.start()
            for each in work:
                each.result(300)
        finally:
            enough.set()
    return queued


def look(url: str) -> tuple[dict[int, str], set[int]]:
    """The state of each SMS, and those of which any try may have been sent."""
    doubted = sa.select(attempt.c.message_id).where(attempt.c.cause.in_(NOBODY_KNOWS))
    with another(url) as connection, connection.begin():
        tries = set(connection.scalars(doubted))
    return {row.id: row.state for row in rows(url)}, tries
