"""What the outbox costs, as ratios within one run."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox import leases
from dialplan_sms.outbox.schema import gateway, message, number
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.sandbox import Fault, Sandbox
from dialplan_sms.sms.outcome import Status
from dialplan_sms.sms.sms import Sms
from tests.asterisk.fetch import fetch
from tests.asterisk.pbx import Pbx
from tests.asterisk.serving import Service
from tests.asterisk.site import NUMBER
from tests.bench.measure import fsync

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SENDER = Sender(name="101", url="https://192.0.2.1", password="x")
SMS = Sms((NUMBER,), "Missed call at 15:00")
SLOW_DISK = 0.008
"""Seconds that a commit takes on a disk that turns."""


def fill(outbox: Outbox, count: int, start: int = 0, state: str = "pending") -> None:
    """Store *count* messages at once, due an hour ago and later."""
    size = 50_000
    for first in range(start, start + count, size):
        rows = range(first, min(first + size, start + count))
        at = time.time() - 3600

        def work(connection: sa.Connection, rows: range = rows, at: float = at) -> None:
            connection.execute(
                message.insert(),
                [
                    {"id": n + 1, "created": at + n * 1e-4, "due": at + n * 1e-4, "state": state,
                     "mode": "queue", "priority": 0, "sender": "101", "gsm": "", "text": "x",
                     "chars": 1, "call": "", "caller": "", "token": f"{n:032}", "attempts": 0,
                     "cause": "", "reason": "", "fingerprint": ""}
                    for n in rows
                ],
            )  # fmt: skip
            connection.execute(
                number.insert(),
                [
                    {"message_id": n + 1, "number": NUMBER, "state": state, "created": at}
                    for n in rows
                ],
            )

        outbox.writer.do(work, 120, 120)


def test_a_heap_takes_one_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Accepted a second by 64 at once, against a commit a message, on a disk that turns."""

    def per_second(callers: int, messages: int, seconds: float) -> float:
        outbox = Outbox(f"sqlite:///{tmp_path}/{callers}-{seconds}.sqlite")
        outbox.accept(SMS, SENDER)
        sa.event.listen(outbox.writer.engine, "commit", lambda _: time.sleep(seconds))
        began = time.monotonic()
        with ThreadPoolExecutor(callers) as pool:
            outcomes = list(pool.map(lambda _: outbox.accept(SMS, SENDER), range(messages)))
        took = time.monotonic() - began
        outbox.close()
        assert {each.status for each in outcomes} == {Status.QUEUED}
        return messages / took

    one, many = per_second(1, 100, SLOW_DISK), per_second(64, 3000, SLOW_DISK)
    here_one, here_many = per_second(1, 500, 0), per_second(64, 3000, 0)
    with capsys.disabled():
        print(
            f"\naccepted a second, one by one and by 64: {one:.0f}, {many:.0f} where a commit takes"
            f" 8 ms more; {here_one:.0f}, {here_many:.0f} on this disk, whose fsync takes"
            f" {fsync(tmp_path):.2f} ms"
        )
    assert many >= 6 * one


def test_a_claim_does_not_cost_more_with_a_million_rows(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outbox = Outbox(database)

    def analyze() -> None:
        with outbox.writer.engine.connect() as connection:
            if connection.dialect.name == "postgresql":  # the server may be analyzing by itself
                connection.exec_driver_sql("SET lock_timeout = 0")
            connection.exec_driver_sql("ANALYZE")
            connection.commit()

    def claim() -> float:
        took = []
        for n in range(40):
            began = time.perf_counter()
            taken = outbox.writer.do(
                lambda c, n=n: leases.claim(c, f"me{n}", 60.0, 4, {}), 60  # type: ignore[misc]
            )  # fmt: skip
            took.append(time.perf_counter() - began)
            assert len(taken) == 4
        return statistics.median(took) * 1000

    outbox.writer.do(
        lambda c: c.execute(gateway.insert().values(sender="101", gsm="", free_at=0.0)), 10
    )
    fill(outbox, 1000)
    analyze()
    few = claim()
    fill(outbox, 999_000, 1000)
    analyze()
    many = claim()
    outbox.close()
    with capsys.disabled():
        print(f"\na claim of 4 with its commit: {few:.1f} ms of 1,000, {many:.1f} ms of 1,000,000")
    assert many <= 3 * few


def test_a_backlog_and_an_api_that_hangs_do_not_slow_the_dialplan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dialplan = "[test]\nexten => 1,1,AGI({url})\n"
    queue = {"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "x", "SMS_MODE": "queue"}
    url = f"sqlite:///{tmp_path}/outbox.sqlite"
    with Sandbox(tls=False) as sandbox:
        service = Service(tmp_path, sandbox, f"outbox = {url}\ncall_timeout = 60", "pace = 0")
        with service, Pbx(fetch(22), dialplan.format(url=service.url)) as asterisk:

            def median() -> float:
                calls = []
                for _ in range(15):
                    several = [asterisk.start_call("1", variables=queue) for _ in range(8)]
                    calls += [call.wait() for call in several]
                assert {call.variables["SMS_STATUS"] for call in calls} == {"QUEUED"}
                return statistics.median(call.duration for call in calls) * 1000

            median()
            idle = median()
            service.kill()
            sandbox.fault = Fault.HANG
            outbox = Outbox(url)
            fill(outbox, 100_000, 10_000)
            outbox.close()
            service.start()
            median()
            busy = median()
    with capsys.disabled():
        print(
            f"\na call in mode queue, 8 at a time: {idle:.1f} ms, with 100,000 pending and an API"
            f" that hangs {busy:.1f} ms"
        )
    assert busy <= 3 * idle + 50
