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
from dialplan_sms.outbox.schema import gateway, message
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.worker import Worker
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.sms import Handled, Sms
from tests.unit.stored import Store, T, locked
from tests.waiting import until

FIRST, SECOND, THIRD = "+39333123456", "+39333123457", "+39333123458"
SUCCESS = Outcome(Status.SUCCESS)
UNREACHABLE = error(Cause.UNREACHABLE, "no connection")
UNAUTHORIZED = error(Cause.UNAUTHORIZED, "no")
NO_ANSWER = error(Cause.NO_ANSWER, "no answer")
by_delivery = pytest.mark.parametrize(
    ("delivery", "state"), [("at-least-once", "sent"), ("at-most-once", "unknown")]
)
"""What becomes of an SMS of which nobody knows whether it was sent."""


class Pbx:
    """A route: answers with the next of *outcomes*, the last one for ever, after *seconds*."""

    def __init__(self, *outcomes: Outcome, seconds: float = 0.0) -> None:
        self.outcomes = list(outcomes) or [SUCCESS]
        self.seconds = seconds
        self.asked: list[Sms] = []
        self.sent: list[Sms] = []

    def send(self, sms: Sms, going_out: Callable[[], None], until: float) -> Outcome:
        self.asked.append(sms)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if outcome.cause is not Cause.UNREACHABLE:
            going_out()
            self.sent.append(sms)
            time.sleep(self.seconds)
        return outcome


class Site(Store):
    """An outbox with its worker, or several."""

    def __init__(self, url: str, **fields: object) -> None:
        self.url = url
        values: dict[str, object] = {"url": "https://192.0.2.1", "password": "x", "pace": 0.0}
        self.sender = Sender(name="101", **(values | fields))  # type: ignore[arg-type]
        self.config = Config(Path("/x"), {"101": self.sender}, "101", outbox=url)
        self.outbox = Outbox(url)
        super().__init__(self.outbox.writer)
        self.notes: list[str] = []
        self.lines: list[Handled] = []
        self.counts: list[tuple[str, int]] = []

    def do(self, work: Callable[[sa.Connection], T]) -> T:
        """In a connection of its own: the writer's may be held up."""
        with self.writer.engine.begin() as connection:
            return work(connection)

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

    def hurry(self) -> None:
        """Time passes: what waits is due, and nobody is held."""
        self.change(message, message.c.state == "pending", due=0.0)
        self.change(gateway, free_at=0.0)

    def wait(
        self, ids: int | list[int], state: str, seconds: float = 20.0, hurry: bool = False
    ) -> None:
        """Until all are in this state; with *hurry* their next try is due at once."""

        def states() -> set[str]:
            return {self.state(id_) for id_ in ([ids] if isinstance(ids, int) else ids)}

        def there() -> bool:
            if hurry and "pending" in states():
                self.hurry()
            return states() == {state}

        until(there, lambda: (states(), self.notes), seconds)


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


def test_a_wrong_password_holds_all_and_is_loud_until_there_is_a_new_configuration(
    site: Site,
) -> None:
    pbx = Pbx(UNAUTHORIZED)
    with site.working(pbx):
        first, second = site.queue(), site.queue()
        until(lambda: site.notes)
        assert "sender 101 is held, UNAUTHORIZED" in site.notes[0]
        until(lambda: [site.state(first), site.state(second)] == ["pending", "pending"])
        pbx.outcomes = [SUCCESS]
        site.config = replace(site.config)
        site.wait([first, second], "sent")


@by_delivery
def test_where_nobody_knows_delivery_decides(
    database: str, sites: Sites, delivery: str, state: str
) -> None:
    site = sites(database, delivery=delivery)
    pbx = Pbx(NO_ANSWER, SUCCESS)
    with site.working(pbx):
        site.wait(site.queue(), state, hurry=True)
    assert len(pbx.sent) == (2 if state == "sent" else 1)


def test_too_old_is_expired_only_after_one_more_try(database: str, sites: Sites) -> None:
    """With which the others of its sender expire, and all are counted."""
    site = sites(database, max_age=60.0)
    ids = [site.queue() for _ in range(3)]
    site.change(message, created=message.c.created - 3600)
    with site.working(Pbx(UNREACHABLE), threads=1):
        site.wait(ids, "expired")
    assert sum(count for state, count in site.counts if state == "expired") == 3
    other = site.queue()
    site.change(message, message.c.id == other, created=0.0)
    site.hurry()
    with site.working(Pbx()):
        site.wait(other, "sent")


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
        site.wait(ids, "sent", seconds=30)
    assert sorted(sms.text for sms in pbx.sent) == sorted(f"n{n}" for n in range(100))
    other.close()


class Clock:
    """SQLite's clock, which is its host's, set to another time."""

    def __init__(self, *outboxes: Outbox) -> None:
        self.ahead = 0.0  # seconds
        for outbox in outboxes:
            sa.event.listen(outbox.writer.engine, "connect", self.fake)

    def fake(self, connection: sqlite3.Connection, _: object) -> None:
        connection.create_function("julianday", 1, self.days)

    def days(self, _: str) -> float:
        return (time.time() + self.ahead) / 86400.0 + 2440587.5


@pytest.mark.parametrize("jump", [7 * 86400.0, -7 * 86400.0], ids=["ahead", "back"])
class TestTheHostsClockJumps:
    def test_nothing_is_lost(self, sites: Sites, sqlite: str, jump: float) -> None:
        site = sites(sqlite)
        clock = Clock(site.outbox)
        with site.working(Pbx(UNREACHABLE)):
            ids = [site.queue() for _ in range(3)]
            time.sleep(0.6)
        clock.ahead = jump
        pbx = Pbx()
        with site.working(pbx):
            ids.append(site.queue())
            site.wait(ids, "sent", seconds=20)
        assert len(pbx.sent) == 4

    def test_nothing_under_way_is_sent_twice(self, sites: Sites, sqlite: str, jump: float) -> None:
        site, other, pbx = sites(sqlite), Outbox(sqlite), Pbx(seconds=2.0)
        clock = Clock(site.outbox, other)
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
        site.do(lambda c: c.execute(gateway.delete()) and None)
        site.wait(site.queue(), "sent")


def test_a_section_that_is_gone_holds_its_messages_however_old(site: Site) -> None:
    id_ = site.queue()
    site.change(message, created=message.c.created - 7 * 86400)
    site.config = replace(site.config, senders={"102": site.sender}, default_sender="102")
    with site.working(Pbx()):
        until(lambda: site.notes)
    assert "UNKNOWN_SENDER" in site.notes[0]
    assert site.state(id_) == "pending"


@pytest.fixture
def recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It soon looks for what was left."""
    monkeypatch.setattr(worker_module, "_RECOVER", 0.2)


@by_delivery
@pytest.mark.parametrize("how", ["moved", "overwritten"])
@pytest.mark.usefixtures("recovers")
def test_a_restored_file_is_noticed_and_leaves_nothing_sending(
    sites: Sites, sqlite: str, tmp_path: Path, delivery: str, state: str, how: str
) -> None:
    """An older copy, in which this very process has an SMS under way."""
    file, copy = tmp_path / "outbox.sqlite", tmp_path / "copy"
    site, pbx = sites(sqlite, delivery=delivery), Pbx(seconds=1.0)
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


def test_a_stop_does_not_wait_for_a_locked_file(sites: Sites, sqlite: str) -> None:
    """Such as by a backup."""
    site = sites(sqlite)
    site.queue()
    with locked(sqlite), site.working(Pbx()) as worker:
        time.sleep(0.5)
        began = time.monotonic()
        worker.stop(2.0)
        site.outbox.close()
        assert time.monotonic() - began < 20


def test_a_settlement_is_tried_until_it_is_done(
    sites: Sites, sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "LOCK_TIME", 0.2)
    site, sms = sites(sqlite), Sms((FIRST,), "x")
    token = site.outbox.reserve(sms, site.sender)
    assert isinstance(token, str)
    with locked(sqlite):
        site.outbox.settle(token, sms, SUCCESS)
        time.sleep(2.0)
    site.wait(1, "sent")


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
        site.wait(ids[1:], "sent")
        assert site.state(bad) == "sending"
        assert site.notes == ["stored SMS wait: this one breaks"]
        monkeypatch.undo()
        site.wait(bad, "sent")
        until(lambda: "the outbox works again" in site.notes)
    assert len(site.pbx.sent) == 6


@pytest.mark.usefixtures("recovers")
def test_a_worker_that_breaks_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise ValueError("what nobody expects")

    monkeypatch.setattr(attempt, "decide", breaks)
    with site.working(Pbx()):
        first = site.queue()
        until(lambda: site.notes)
        assert "the worker broke, ValueError" in site.notes[0]
        monkeypatch.setattr(attempt, "decide", decide)
        site.wait(site.queue(), "sent")
        site.wait(first, "sent", hurry=True)


def test_no_more_wait_for_a_thread_than_have_ended(site: Site) -> None:
    goes_on = threading.Event()

    class Hanging(Pbx):
        def send(self, sms: Sms, going_out: Callable[[], None], until: float) -> Outcome:
            goes_on.wait(20)
            return super().send(sms, going_out, until)

    with site.working(Hanging(), threads=2):
        ids = [site.queue() for _ in range(9)]
        until(lambda: [site.state(id_) for id_ in ids].count("sending") == 2)
        time.sleep(1.2)  # two looks
        assert [site.state(id_) for id_ in ids].count("sending") == 2
        goes_on.set()
        site.wait(ids, "sent")


LINE = "curl http://192.0.2.1/ -d to={TO_NUMBER} -d text={MESSAGE}"
BY_CURL = curl.read(LINE, Place(Path("/x"), 1))


def test_each_number_by_curl_is_recorded_before_the_next(database: str, sites: Sites) -> None:
    site = sites(database, curl=BY_CURL, success="OK", batch=1, password="")
    seen: list[dict[str, str]] = []

    class Gateway(Pbx):
        def send(self, sms: Sms, going_out: Callable[[], None], until: float) -> Outcome:
            (to,) = sms.numbers
            seen.append(site.states(id_))
            self.outcomes = [NO_ANSWER if to == FIRST else SUCCESS]
            return super().send(sms, going_out, until)

    id_ = site.queue(FIRST, SECOND, THIRD)
    gateway = Gateway()

    def tried_often() -> bool:
        site.hurry()
        return len(gateway.sent) > 5

    with site.working(gateway):
        until(tried_often, lambda: "it is not tried again")
    tried = [sms.numbers[0] for sms in gateway.sent]
    # One that fails again and again lets the others go, and is tried again by itself.
    assert sorted(tried[:4])[:1] == [FIRST]
    assert set(tried[:4]) == {FIRST, SECOND, THIRD}
    assert tried[5:] == [FIRST] * len(tried[5:])
    assert tried.count(SECOND) == tried.count(THIRD) == 1
    for place, to in enumerate(tried):
        before = [each for each in tried[:place] if each != FIRST]
        assert all(seen[place][each] == "sent" for each in before)
        assert seen[place][to] == "sending"
    assert len({sms.key for sms in gateway.sent}) == 1
