"""The worker against a route that answers to order, in one process, on both databases."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dialplan_sms.config import curl
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.parser import Place
from dialplan_sms.outbox import attempt, leases
from dialplan_sms.outbox import database as database_module
from dialplan_sms.outbox import worker as worker_module
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.leases import Ended
from dialplan_sms.outbox.retry import decide
from dialplan_sms.outbox.schema import gateway, message, number
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.worker import Worker
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.sms import Handled, Sms
from tests.waiting import until

FIRST, SECOND = "+39333123456", "+39333123457"
UNREACHABLE = error(Cause.UNREACHABLE, "no connection")
NO_ANSWER = error(Cause.NO_ANSWER, "no answer")


class Pbx:
    """A route: answers with the next of *outcomes*, the last one for ever, after *seconds*."""

    def __init__(self, *outcomes: Outcome, seconds: float = 0.0) -> None:
        self.outcomes = list(outcomes) or [Outcome(Status.SUCCESS)]
        self.seconds = seconds
        self.sent: list[Sms] = []

    def send(self, sms: Sms, going_out: Callable[[], None], until: float) -> Outcome:
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if outcome.cause is not Cause.UNREACHABLE:
            going_out()
            self.sent.append(sms)
            time.sleep(self.seconds)
        return outcome


class Site:
    """An outbox with its worker, or several."""

    def __init__(self, url: str, **fields: object) -> None:
        self.url = url
        values: dict[str, object] = {"url": "https://192.0.2.1", "password": "x", "pace": 0.0}
        self.sender = Sender(name="101", **(values | fields))  # type: ignore[arg-type]
        self.config = Config(Path("/x"), {"101": self.sender}, "101", outbox=url)
        self.outbox = Outbox(url)
        self.notes: list[str] = []
        self.lines: list[Handled] = []
        self.counts: list[tuple[str, int]] = []

    def load(self) -> Config:
        return self.config

    def route(self, _: Sender) -> Pbx:
        return self.pbx

    def note(self, line: str) -> None:
        self.notes.append(line)

    def worked(self, state: str, count: int = 1, handled: Handled | None = None) -> None:
        self.counts.append((state, count))
        if handled is not None:
            self.lines.append(handled)

    def queue(self, *numbers: str, text: str = "Hello") -> int:
        outcome = self.outbox.accept(Sms(numbers or (FIRST,), text), self.sender)
        assert outcome.status is Status.QUEUED, outcome
        return int(outcome.id)

    @contextmanager
    def working(self, pbx: Pbx, outbox: Outbox | None = None, threads: int = 4) -> Iterator[Worker]:
        self.pbx = pbx
        worker = Worker(outbox or self.outbox, self, threads)
        worker.start()
        try:
            yield worker
        finally:
            worker.stop(5)

    def state(self, id_: int) -> str:
        with self.outbox.writer.engine.begin() as connection:
            found = connection.scalar(sa.select(message.c.state).where(message.c.id == id_))
        return str(found)

    def numbers(self, id_: int) -> dict[str, str]:
        with self.outbox.writer.engine.begin() as connection:
            rows = connection.execute(
                sa.select(number.c.number, number.c.state).where(number.c.message_id == id_)
            ).all()
        return {row.number: row.state for row in rows}

    def change(self, statement: sa.Update) -> None:
        with self.outbox.writer.engine.begin() as connection:
            connection.execute(statement)

    def hurry(self) -> None:
        """Time passes: what waits is due, and nobody is held."""
        self.change(message.update().where(message.c.state == "pending").values(due=0.0))
        self.change(gateway.update().values(free_at=0.0))

    def wait(self, id_: int, state: str, seconds: float = 20.0, hurry: bool = False) -> None:
        """Until it is in this state; with *hurry* its next try is due at once."""

        def there() -> bool:
            if hurry and self.state(id_) == "pending":
                self.hurry()
            return self.state(id_) == state

        until(there, lambda: (self.state(id_), self.notes), seconds)


Sites = Callable[..., Site]


@pytest.fixture
def sites() -> Iterator[Sites]:
    """Makes a Site, which is closed with the test."""
    with ExitStack() as closing:

        def make(url: str, **fields: object) -> Site:
            site = Site(url, **fields)
            closing.callback(site.outbox.close)
            return site

        yield make


@pytest.fixture
def site(database: str, sites: Sites) -> Site:
    return sites(database)


def test_what_is_stored_is_sent(site: Site) -> None:
    pbx = Pbx()
    with site.working(pbx):
        site.wait(site.queue(text="Hello, world"), "sent")
    assert [(sms.numbers, sms.text) for sms in pbx.sent] == [((FIRST,), "Hello, world")]
    assert site.lines[0].outcome.id == "1"
    assert site.counts == [("sent", 1)]


def test_a_list_goes_in_batches_and_only_the_refused_number_again(
    database: str, sites: Sites
) -> None:
    site = sites(database, batch=2)
    warning = Outcome(Status.WARNING, Cause.NOT_QUEUED, "full", (SECOND.lstrip("+"),))
    success = Outcome(Status.SUCCESS)
    pbx = Pbx(warning, success)
    third = "+39333123458"
    with site.working(pbx, threads=1):
        id_ = site.queue(FIRST, SECOND, third)
        until(lambda: pbx.sent)
        site.wait(id_, "sent", hurry=True)
    assert pbx.sent[0].numbers == (FIRST, SECOND)
    again = [each for sms in pbx.sent[1:] for each in sms.numbers]
    assert sorted(again) == [SECOND, third]
    assert set(site.numbers(id_).values()) == {"sent"}


def test_an_outage_ends_with_the_first_success(site: Site) -> None:
    pbx = Pbx(UNREACHABLE)
    with site.working(pbx):
        ids = [site.queue() for _ in range(20)]
        time.sleep(1.2)
        assert {site.state(id_) for id_ in ids} == {"pending"}
        assert pbx.sent == []
        pbx.outcomes = [Outcome(Status.SUCCESS)]
        site.change(gateway.update().values(free_at=0.0))
        for id_ in ids:
            site.wait(id_, "sent")
    assert len(pbx.sent) == 20


def test_a_wrong_password_holds_all_and_is_loud(site: Site) -> None:
    with site.working(Pbx(error(Cause.UNAUTHORIZED, "no"))):
        first, second = site.queue(), site.queue()
        until(lambda: site.notes)
    assert "sender 101 is held, UNAUTHORIZED" in site.notes[0]
    assert {site.state(first), site.state(second)} == {"pending"}


@pytest.mark.parametrize(("delivery", "state"), [("at-least-once", "sent"), ("at-most-once", "unknown")])  # fmt: skip
def test_where_nobody_knows_delivery_decides(
    database: str, sites: Sites, delivery: str, state: str
) -> None:
    site = sites(database, delivery=delivery)
    pbx = Pbx(NO_ANSWER, Outcome(Status.SUCCESS))
    with site.working(pbx):
        site.wait(site.queue(), state, hurry=True)
    assert len(pbx.sent) == (2 if state == "sent" else 1)


def test_too_old_is_expired_only_after_one_more_try(database: str, sites: Sites) -> None:
    site = sites(database, max_age=60.0)
    id_ = site.queue()
    site.change(message.update().values(created=message.c.created - 3600))
    with site.working(Pbx(UNREACHABLE)):
        site.wait(id_, "expired")
    other = site.queue()
    site.change(message.update().where(message.c.id == other).values(created=0.0))
    site.hurry()
    with site.working(Pbx()):
        site.wait(other, "sent")


def test_what_expires_with_another_is_counted(database: str, sites: Sites) -> None:
    site = sites(database, max_age=60.0)
    ids = [site.queue() for _ in range(3)]
    site.change(message.update().values(created=message.c.created - 3600))
    with site.working(Pbx(UNREACHABLE), threads=1):
        for id_ in ids:
            site.wait(id_, "expired")
    assert sum(count for state, count in site.counts if state == "expired") == 3


def test_it_does_not_look_at_each_commit_where_nothing_can_go(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    claim = leases.claim

    def counted(*arguments: Any) -> Any:
        looks.append(time.monotonic())
        return claim(*arguments)

    monkeypatch.setattr(leases, "claim", counted)
    site.sender = replace(site.sender, pace=60.0)
    site.config = replace(site.config, senders={"101": site.sender})
    with site.working(Pbx()) as worker:
        site.wait(site.queue(), "sent")
        site.outbox._stored = worker.wake
        began = len(looks), time.monotonic()
        for _ in range(100):
            site.queue()
        took = time.monotonic() - began[1]
    assert len(looks) - began[0] <= took / 0.02 + 3


def test_two_workers_share_the_work_and_send_each_once(site: Site) -> None:
    pbx, other = Pbx(), Outbox(site.url)
    ids = [site.queue(text=f"n{n}") for n in range(100)]
    with site.working(pbx), site.working(pbx, other):
        for id_ in ids:
            site.wait(id_, "sent", seconds=30)
    assert sorted(sms.text for sms in pbx.sent) == sorted(f"n{n}" for n in range(100))
    other.close()


class Clock:
    """SQLite's clock, which is its host's, set to another time."""

    def __init__(self) -> None:
        self.ahead = 0.0  # seconds

    def fake(self, outbox: Outbox) -> None:
        @sa.event.listens_for(outbox.writer.engine, "connect")
        def connect(connection: object, _: object) -> None:
            connection.create_function("julianday", 1, self.days)  # type: ignore[attr-defined]

    def days(self, _: str) -> float:
        return (time.time() + self.ahead) / 86400.0 + 2440587.5


@pytest.mark.parametrize("jump", [7 * 86400.0, -7 * 86400.0], ids=["ahead", "back"])
class TestTheHostsClockJumps:
    def test_nothing_is_lost(self, sites: Sites, tmp_path: Path, jump: float) -> None:
        site, clock = sites(f"sqlite:///{tmp_path}/o.sqlite"), Clock()
        clock.fake(site.outbox)
        with site.working(Pbx(UNREACHABLE)):
            ids = [site.queue() for _ in range(3)]
            time.sleep(0.6)
        clock.ahead = jump
        pbx = Pbx()
        with site.working(pbx):
            ids.append(site.queue())
            for id_ in ids:
                site.wait(id_, "sent", seconds=20)
        assert len(pbx.sent) == 4

    def test_nothing_under_way_is_sent_twice(
        self, sites: Sites, tmp_path: Path, jump: float
    ) -> None:
        site, clock = sites(f"sqlite:///{tmp_path}/o.sqlite"), Clock()
        other = Outbox(site.url)
        clock.fake(site.outbox)
        clock.fake(other)
        pbx = Pbx(seconds=2.0)
        with site.working(pbx):
            id_ = site.queue()
            site.wait(id_, "sending")
            clock.ahead = jump
            with site.working(pbx, other):
                time.sleep(1.0)
                site.wait(id_, "sent")
        assert len(pbx.sent) == 1
        other.close()


def test_a_gateway_that_a_restored_file_does_not_know_is_found_again(site: Site) -> None:
    with site.working(Pbx()):
        site.wait(site.queue(), "sent")
        with site.outbox.writer.engine.begin() as connection:
            connection.execute(gateway.delete())
        site.wait(site.queue(), "sent")


def test_a_section_that_is_gone_holds_its_messages_however_old(site: Site) -> None:
    id_ = site.queue()
    site.change(message.update().values(created=message.c.created - 7 * 86400))
    site.config = Config(Path("/x"), {"102": site.sender}, "102", outbox=site.url)
    with site.working(Pbx()):
        until(lambda: site.notes)
    assert "UNKNOWN_SENDER" in site.notes[0]
    assert site.state(id_) == "pending"


@pytest.mark.parametrize(("delivery", "state"), [("at-least-once", "sent"), ("at-most-once", "unknown")])  # fmt: skip
@pytest.mark.parametrize("how", ["moved", "overwritten"])
def test_a_restored_file_is_noticed_and_leaves_nothing_sending(
    sites: Sites,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    delivery: str,
    state: str,
    how: str,
) -> None:
    """An older copy, in which this very process has an SMS under way."""
    monkeypatch.setattr(worker_module, "_RECOVER", 0.2)
    file, copy = tmp_path / "o.sqlite", tmp_path / "copy"
    site, pbx = sites(f"sqlite:///{file}", delivery=delivery), Pbx(seconds=1.0)
    with site.working(pbx):
        id_ = site.queue()
        site.wait(id_, "sending")
        shutil.copy(file, copy)
        site.wait(id_, "sent")
        site.outbox.writer.engine.dispose()
        if how == "moved":
            file.rename(tmp_path / "away")
            copy.rename(file)
        else:
            with sqlite3.connect(file) as now, sqlite3.connect(copy) as before:
                before.backup(now)
        site.wait(id_, state, hurry=True)  # after a pause, as after a crash
    assert f"SMS {id_} was sending by a worker that is gone" in site.notes[0]
    assert len(pbx.sent) == (2 if state == "sent" else 1)


class TestALockedFile:
    """Another process, such as a backup, has locked the SQLite file."""

    @pytest.fixture
    def locked(self, sites: Sites, tmp_path: Path) -> Iterator[tuple[Site, sqlite3.Connection]]:
        site = sites(f"sqlite:///{tmp_path}/o.sqlite")
        site.queue()
        other = sqlite3.connect(tmp_path / "o.sqlite", isolation_level=None, timeout=10)
        other.execute("BEGIN IMMEDIATE")
        yield site, other
        other.close()

    def test_a_stop_does_not_wait_for_it(self, locked: tuple[Site, sqlite3.Connection]) -> None:
        site, _ = locked
        with site.working(Pbx()) as worker:
            time.sleep(0.5)
            began = time.monotonic()
            worker.stop(2.0)
            site.outbox.close()
            assert time.monotonic() - began < 20

    def test_a_settlement_is_tried_until_it_is_done(
        self, sites: Sites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database_module, "LOCK_TIME", 0.2)
        site = sites(f"sqlite:///{tmp_path}/s.sqlite")
        token = site.outbox.reserve(Sms((FIRST,), "x"), site.sender)
        assert isinstance(token, str)
        other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None, timeout=10)
        other.execute("BEGIN IMMEDIATE")
        site.outbox.settle(token, Sms((FIRST,), "x"), Outcome(Status.SUCCESS))
        time.sleep(2.0)
        other.execute("ROLLBACK")
        other.close()
        site.wait(1, "sent")


def test_a_new_configuration_lets_what_is_held_be_tried(site: Site) -> None:
    pbx = Pbx(error(Cause.UNAUTHORIZED, "no"))
    with site.working(pbx):
        id_ = site.queue()
        until(lambda: site.notes)
        pbx.outcomes = [Outcome(Status.SUCCESS)]
        site.config = Config(Path("/x"), {"101": site.sender}, "101", outbox=site.url)
        site.wait(id_, "sent")


def test_an_sms_whose_going_out_cannot_be_noted_does_not_go_out(
    database: str, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = sites(database, delivery="at-most-once")

    def fails(*_: object) -> bool:
        raise OutboxError("the outbox is locked")

    monkeypatch.setattr(leases, "begin_sending", fails)
    pbx = Pbx()
    with site.working(pbx):
        id_ = site.queue()
        until(lambda: site.lines)
        monkeypatch.undo()
        assert (site.lines[0].outcome.cause, pbx.sent) == (Cause.INTERNAL, [])
        assert site.lines[0].outcome.reason == "the outbox is locked"
        site.hurry()
        site.wait(id_, "sent")
    assert len(pbx.sent) == 1


def test_an_end_that_cannot_be_noted_takes_no_other_along(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    noting = leases.finish

    def fails(connection: sa.Connection, ends: Sequence[Ended]) -> Any:
        if any(each.lease.id == bad for each in ends):
            raise OutboxError("this one breaks")
        return noting(connection, ends)

    bad = 1
    monkeypatch.setattr(leases, "finish", fails)
    with site.working(Pbx()):
        ids = [site.queue() for _ in range(6)]
        for id_ in ids[1:]:
            site.wait(id_, "sent")
        assert site.state(bad) == "sending"
        assert site.notes == ["stored SMS wait: this one breaks"]
        monkeypatch.undo()
        site.wait(bad, "sent")
        until(lambda: "the outbox works again" in site.notes)
    assert len(site.pbx.sent) == 6


def test_a_worker_that_breaks_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise ValueError("what nobody expects")

    monkeypatch.setattr(attempt, "decide", breaks)
    monkeypatch.setattr(worker_module, "_RECOVER", 0.2)
    with site.working(Pbx()):
        first = site.queue()
        until(lambda: site.notes)
        assert "the worker broke, ValueError" in site.notes[0]
        monkeypatch.setattr(attempt, "decide", decide)
        site.wait(site.queue(), "sent")
        site.wait(first, "sent", hurry=True)


def test_no_more_wait_for_a_thread_than_have_ended(site: Site) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    class Hanging(Pbx):
        def send(self, sms: Sms, going_out: Callable[[], None], until: float) -> Outcome:
            if hangs.is_set():
                goes_on.wait(20)
            return super().send(sms, going_out, until)

    hangs.set()
    with site.working(Hanging(), threads=2):
        ids = [site.queue() for _ in range(9)]
        until(lambda: [site.state(id_) for id_ in ids].count("sending") == 2)
        time.sleep(1.2)  # two looks
        assert [site.state(id_) for id_ in ids].count("sending") == 2
        hangs.clear()
        goes_on.set()
        for id_ in ids:
            site.wait(id_, "sent")


def test_a_missing_folder_is_told_once(sites: Sites, tmp_path: Path) -> None:
    site = sites(f"sqlite:///{tmp_path}/none/o.sqlite")
    with site.working(Pbx()):
        time.sleep(3)
    assert len(site.notes) == 1
    assert "its folder is missing" in site.notes[0]


LINE = "curl http://192.0.2.1/ -d to={TO_NUMBER} -d text={MESSAGE}"


def test_each_number_by_curl_is_recorded_before_the_next(database: str) -> None:
    line = curl.read(LINE, Place(Path("/x"), 1))
    site = Site(database, curl=line, success="OK", batch=1, password="")
    seen: list[dict[str, str]] = []
    numbers = (FIRST, SECOND, "+39333123458")

    class Gateway(Pbx):
        def send(self, sms: Sms, going_out: Callable[[], None], until: float) -> Outcome:
            (to,) = sms.numbers
            seen.append(site.numbers(id_))
            going_out()
            self.sent.append(sms)
            return NO_ANSWER if to == FIRST else Outcome(Status.SUCCESS)

    id_ = site.queue(*numbers)
    gateway = Gateway()

    def tried_often() -> bool:
        site.hurry()
        return len(gateway.sent) > 5

    with site.working(gateway):
        until(tried_often, lambda: "it is not tried again")
    tried = [sms.numbers[0] for sms in gateway.sent]
    # One that fails again and again lets the others go, and is tried again by itself.
    assert sorted(tried[:4])[:1] == [FIRST]
    assert set(tried[:4]) == {*numbers}
    assert tried[5:] == [FIRST] * len(tried[5:])
    assert tried.count(SECOND) == tried.count(numbers[2]) == 1
    for place, to in enumerate(tried):
        before = [each for each in tried[:place] if each != FIRST]
        assert all(seen[place][each] == "sent" for each in before)
        assert seen[place][to] == "sending"
    assert len({sms.key for sms in gateway.sent}) == 1
