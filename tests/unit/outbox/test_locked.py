"""An outbox that another program keeps locked: how long a call waits, and a list."""

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.history.reader import HistoryReader
from dialplan_sms.outbox.schema import message
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.service import Service
from dialplan_sms.sms.sms import Draft, Sms
from tests.unit.cli.test_outbox_command import Host
from tests.unit.fakes import FakeRoute
from tests.unit.process import Asterisk
from tests.unit.stored import NUMBERS, SENDER, another, locked, opened, rows

LONGEST = 7.0
"""Seconds: the 5 that are promised, and what a busy machine adds."""
LIMITED = replace(SENDER, per_sender=(99, 60.0))
WRITES, READS = "BEGIN IMMEDIATE", "BEGIN;SELECT count(*) FROM sms_message"
ALONE = "BEGIN EXCLUSIVE"
HELLO = Sms(NUMBERS[:1], "hello")
COUNT = sa.select(sa.func.count()).select_from(message)


@contextmanager
def holding(file: Path, statement: str) -> Iterator[None]:
    """Another program is in the middle of a transaction that began with *statement*."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=10)) as other:
        for each in statement.split(";"):
            other.execute(each).fetchall()
        yield


@contextmanager
def in_time() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LONGEST


def store(outbox: Outbox, sender: Sender = SENDER) -> Outcome:
    return outbox.accept(HELLO, sender, left=30.0)


def refuses(outbox: Outbox, sender: Sender = SENDER) -> None:
    outcome = store(outbox, sender)
    assert (outcome.status, outcome.cause) == (Status.ERROR, Cause.OUTBOX)
    assert "locked" in outcome.reason


class TestACall:
    @pytest.mark.parametrize("statement", [WRITES, READS, ALONE])
    @pytest.mark.parametrize("fresh", [False, True])
    def test_has_its_answer_in_time_and_for_certain(
        self, sqlite: str, tmp_path: Path, statement: str, fresh: bool
    ) -> None:
        """And so has a process that ends after it (fresh: a script)."""
        outbox = Outbox(sqlite)
        assert store(outbox).status is Status.QUEUED
        if fresh:
            outbox.close()
            outbox = Outbox(sqlite)
        with holding(tmp_path / "outbox.sqlite", statement), in_time():
            refuses(outbox)
            if fresh:
                outbox.close()
        if not fresh:
            assert store(outbox).status is Status.QUEUED
            outbox.close()
        assert len(rows(sqlite)) == (1 if fresh else 2)

    def test_waits_for_a_reader_that_is_soon_done(self, sqlite: str, tmp_path: Path) -> None:
        outbox = Outbox(sqlite)
        assert store(outbox).status is Status.QUEUED
        with holding(tmp_path / "outbox.sqlite", READS):
            future = outbox.writer.submit(
                lambda c: c.execute(message.update().values(chars=7)), 4.0
            )
            time.sleep(1.5)  # longer than one look, shorter than its patience
            assert not future.done()
        future.result(5.0)
        outbox.close()

    def test_in_fallback_waits_twice_and_in_all_no_longer(self) -> None:
        """To note that it sends, and to store what it could not send."""
        clock, left = [100.0], list[float]()

        class Slow:
            def reserve(self, *call: object) -> str:
                clock[0] += 3.0
                return "token"

            def accept(self, *call: Any) -> Outcome:
                left.append(call[2])
                return Outcome(Status.QUEUED, id="1")

            def settle(self, *call: object) -> None: ...

            def record(self, *call: object) -> None: ...

        route = FakeRoute(error(Cause.UNREACHABLE, "no connection"))
        config = Config(Path("/x"), {"101": LIMITED}, "101", outbox="sqlite:////x")
        service = Service(
            lambda: config, lambda _: route, clock=lambda: clock[0], store=lambda _: Slow()
        )
        handled = service.handle(Draft(NUMBERS[0], "hello", mode="fallback"))
        assert (handled.outcome.status, left) == (Status.QUEUED, [2.0])

    def test_by_a_process_of_its_own_waits_in_all_no_longer(
        self, sqlite: str, tmp_path: Path
    ) -> None:
        """It notes that it sends, the database is locked then, and so is its end."""
        outbox = Outbox(sqlite)
        with in_time():
            token = outbox.reserve(HELLO, SENDER)
            assert isinstance(token, str)
            with holding(tmp_path / "outbox.sqlite", WRITES):
                outbox.settle(token, HELLO, Outcome(Status.SUCCESS))
                outbox.close()

    @pytest.mark.slow
    @pytest.mark.parametrize("sender", [SENDER, LIMITED])
    def test_is_no_longer_kept_on_a_server(self, postgresql: str, sender: Sender) -> None:
        """Neither by a lock on the table nor by one that another host counts under."""
        outbox = Outbox(postgresql)
        assert store(outbox, sender).status is Status.QUEUED
        with another(postgresql) as other, other.begin():
            if sender is LIMITED:
                other.exec_driver_sql("SELECT pg_advisory_xact_lock(4574)")
            else:
                other.exec_driver_sql("LOCK TABLE sms_message IN ACCESS EXCLUSIVE MODE")
            with in_time():
                refuses(outbox, sender)
        assert store(outbox, sender).status is Status.QUEUED
        outbox.close()
        assert len(rows(postgresql)) == 2

    def test_by_script_ends_in_time(
        self, tmp_path: Path, sqlite: str, sms_conf: Callable[[str], Path]
    ) -> None:
        sender = "[101]\nurl = http://127.0.0.1:9\npassword = x\n"
        sms_conf(f"[general]\noutbox = {sqlite}\nmode = queue\n{sender}")
        with opened(sqlite) as here:
            here.add()
        script = Path(sys.prefix) / "bin/sms.agi"
        began = time.monotonic()
        Asterisk(script, tmp_path).serve().close()
        with holding(tmp_path / "outbox.sqlite", WRITES):
            locked = time.monotonic()
            asterisk = Asterisk(script, tmp_path).serve()
            asterisk.close()
        # Beyond what it takes anyway, its imports for the most part.
        assert time.monotonic() - locked < locked - began + LONGEST + 1
        assert asterisk.variables["SMS_CAUSE"] == "OUTBOX"


class TestAList:
    @pytest.fixture
    def host(self, tmp_path: Path) -> Host:
        host = Host(tmp_path)
        host.store()
        host.engine.dispose()
        return host

    @pytest.mark.parametrize("command", [(), ("show", 1), ("limits",), ("--json",)])
    def test_does_not_wait_for_who_writes(self, host: Host, command: tuple[object, ...]) -> None:
        with holding(host.file, WRITES), in_time():
            result = host.run(*command)
        assert result.exit_code == 0, result.output

    def test_says_so_where_nobody_can_read(self, host: Host) -> None:
        with holding(host.file, ALONE), in_time():
            result = host.run()
        assert result.exit_code == 1
        assert result.output == (
            f"Error: the outbox {host.file} cannot be used, database is locked: another program"
            " holds it, try again once that has ended\n"
        )

    def test_finds_a_file_that_was_restored(self, host: Host, tmp_path: Path) -> None:
        with closing(HistoryReader(host.engine.url)) as reading:
            assert reading.do(lambda c: c.scalar(COUNT)) == 1
            (tmp_path / "new").mkdir()
            other = Host(tmp_path / "new")
            other.engine.dispose()
            other.file.rename(host.file)
            assert reading.do(lambda c: c.scalar(COUNT)) == 0
            host.file.unlink()
            with pytest.raises(OutboxError, match="unable to open"):
                reading.do(lambda c: c.scalar(COUNT))


@pytest.mark.slow
def test_a_list_on_a_server_that_is_locked_ends(postgresql: str) -> None:
    with opened(postgresql) as here:
        here.add()
    reading, says = HistoryReader(sa.make_url(postgresql)), "another host or program has it locked"
    with closing(reading), locked(postgresql), in_time(), pytest.raises(OutboxError, match=says):
        reading.do(lambda c: c.scalar(COUNT))
