import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from dialplan_sms.outbox import leases, transitions
from dialplan_sms.outbox.database import open_engine
from dialplan_sms.outbox.history.retention import forget_texts, purge
from dialplan_sms.outbox.history.search import Place, listing
from dialplan_sms.outbox.history.statistics import overview
from dialplan_sms.outbox.history.stored import Filters, Stored, show
from dialplan_sms.outbox.leases import Ended, Lease
from dialplan_sms.outbox.limits import used
from dialplan_sms.outbox.retry import Verdict
from dialplan_sms.outbox.schema import State, attempt, gateway, message, number, prepare
from dialplan_sms.outbox.transitions import Try, cancel, retry
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from tests.unit.stored import SENDER, insert

ROME, MILAN = "+39069999001", "+39029999002"
DAY = 86400.0


class Box:
    """An outbox, and what its doors and workers do to it."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.names = itertools.count()

    @contextmanager
    def __call__(self) -> Iterator[sa.Connection]:
        with self.engine.begin() as connection:
            yield connection

    def store(
        self, *numbers: str, state: State = State.PENDING, sender: str = "101", age: float = 0.0,
        text: str | None = "Hello", planned: float | None = None, caller: str = "",
        postpone: datetime | None = None,
    ) -> int:  # fmt: skip
        with self() as connection:
            id_ = insert(
                connection, *(numbers or (ROME,)), state=state, sender=sender, text=text,
                planned=planned, caller=caller, postpone=postpone,
            )  # fmt: skip
        if age:
            self.set(id_, created=time.time() - age, due=time.time() - age)
            if state is not State.PENDING:
                self.set(id_, ended=time.time() - age)
        return id_

    def set(self, id_: int, **values: object) -> None:
        with self() as connection:
            connection.execute(message.update().where(message.c.id == id_).values(**values))

    def show(self, id_: int) -> Stored:
        with self() as connection:
            found = show(connection, id_)
        assert found is not None
        return found

    def claim(self) -> list[Lease]:
        with self() as connection:
            return leases.claim(connection, "worker", 60.0, 10, {})

    def list(self, most: int = 50, **filters: object) -> Sequence[int]:
        with self() as connection:
            page = listing(connection, Filters(**filters), most)  # type: ignore[arg-type]
        return [sms.id for sms in page.found]


@pytest.fixture
def box(database: str) -> Iterator[Box]:
    engine = open_engine(database)
    with engine.begin() as connection:
        prepare(connection)
    yield Box(engine)
    engine.dispose()


def test_overview_counts_what_is_not_ended_and_how_long_nobody_takes_it(box: Box) -> None:
    with box() as connection:
        nothing = overview(connection)
    assert (dict(nothing.counts), nothing.waits, dict(nothing.held)) == (
        {"pending": 0, "leased": 0, "sending": 0}, 0.0, {},
    )  # fmt: skip
    box.store(age=90)
    box.store(planned=time.time() + 900)
    box.store(state=State.SENT, age=5000)
    box.store(sender="102", age=5000)
    with box() as connection:  # whose sender waits for its PBX is no matter of the worker's
        held = gateway.update().where(gateway.c.sender == "102")
        connection.execute(held.values(free_at=time.time() + 100, held="UNAUTHORIZED"))
    with box() as connection:
        found = overview(connection)
    assert dict(found.counts) == {"pending": 3, "leased": 0, "sending": 0}
    assert dict(found.held) == {"102": "UNAUTHORIZED"}
    assert 89 < found.waits < 100
    with box() as connection:  # may be tried by now
        connection.execute(held.values(free_at=time.time() - 1, held="UNAUTHORIZED"))
    with box() as connection:
        assert dict(overview(connection).held) == {}


def test_what_waited_for_a_gateway_has_waited_for_a_worker_only_since(box: Box) -> None:
    box.store(age=3600)
    with box() as connection:
        connection.execute(gateway.update().values(free_at=time.time() - 4))
    with box() as connection:
        assert 3 < overview(connection).waits < 30


def test_overview_says_what_is_due_how_old_it_is_and_when_the_next_try_is(box: Box) -> None:
    with box() as connection:
        nothing = overview(connection)
    assert (nothing.due, nothing.oldest, nothing.next_try) == (0, None, None)
    later = box.store(planned=time.time() + 900)
    with box() as connection:
        found = overview(connection)
    assert (found.due, found.oldest) == (0, None)
    assert found.next_try is not None
    assert 880 < found.next_try < 901  # SQLite's clock has whole milliseconds
    # one that was tried and waits, and one whose sender is held
    again = box.store(age=600)
    box.set(again, due=time.time() + 30)
    box.store(sender="102", age=60)
    with box() as connection:
        held = gateway.update().where(gateway.c.sender == "102")
        connection.execute(held.values(free_at=time.time() + 100, held="UNAUTHORIZED"))
    with box() as connection:
        found = overview(connection)
    assert found.due == 1
    assert found.oldest is not None
    assert found.next_try is not None
    assert 59 < found.oldest < 70
    assert 20 < found.next_try < 31
    assert 90 < found.held_for["102"] < 101
    with box() as connection:
        for each in (later, again):
            cancel(connection, each)
        found = overview(connection)
    assert found.next_try is not None
    assert 90 < found.next_try < 101
    with box() as connection:
        connection.execute(gateway.update().values(free_at=0.0))
        assert overview(connection).next_try == 0.0


def test_listing_is_newest_first_and_filters(box: Box) -> None:
    first = box.store(ROME, age=7200)
    second = box.store(MILAN, ROME, state=State.SENT, sender="102")
    third = box.store("12345", state=State.FAILED)
    assert box.list() == [third, second, first]
    assert box.list(most=2) == [third, second]
    assert box.list(states=(State.SENT, State.PENDING)) == [second, first]
    assert box.list(sender="101") == [third, first]
    assert box.list(number="99002") == [second]
    assert box.list(number="3906") == [second, first]
    assert box.list(number="%") == []
    assert box.list(since=3600.0) == [third, second]
    with box() as connection:
        (sms,) = listing(connection, Filters(sender="102"), 50).found
    assert sms.numbers == ((MILAN, "sent"), (ROME, "sent"))


def test_listing_goes_on_where_it_stopped(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [box.store() for _ in range(7)]
    monkeypatch.setattr("dialplan_sms.outbox.history.search.SPAN", 3)
    found: list[int] = []
    place: Place | None = None
    for _ in range(20):
        with box() as connection:
            page = listing(connection, Filters(), 2, place)
        found += [sms.id for sms in page.found]
        place = page.place
        if place is None:
            break
    assert found == ids[::-1]


def test_show_has_numbers_tries_and_text_and_a_repr_without_it(box: Box) -> None:
    id_ = box.store(ROME, MILAN, text="secret")
    (claimed,) = box.claim()
    refused = error(Cause.UNREACHABLE, "no route")
    with box() as connection:
        verdict = Verdict(sent=(ROME,), again=(MILAN,))
        leases.finish(connection, [Ended(claimed, refused, verdict, 0.5, True)])
    sms = box.show(id_)
    assert sms.numbers == ((MILAN, "pending"), (ROME, "sent"))
    (only,) = sms.tries
    assert (only.numbers, only.status, only.cause, only.reason) == (
        2, "ERROR", "UNREACHABLE", "no route",
    )  # fmt: skip
    assert sms.text == "secret"
    assert "secret" not in repr(sms)
    with box() as connection:
        assert show(connection, id_ + 1) is None


@pytest.mark.parametrize("state", [State.FAILED, State.EXPIRED, State.UNKNOWN, State.CANCELLED])
def test_retry_sends_again_to_those_who_did_not_get_it(box: Box, state: State) -> None:
    id_ = box.store(ROME, MILAN, state=state, age=30 * DAY)
    with box() as connection:
        got = (number.c.message_id == id_) & (number.c.number == ROME)
        connection.execute(number.update().where(got).values(state=State.SENT))
    box.set(id_, attempts=7, cause="REJECTED", reason="no")
    with box() as connection:
        assert retry(connection, id_) == ""
    sms = box.show(id_)
    assert (sms.state, sms.attempts, sms.cause, sms.ended) == ("pending", 0, "", None)
    with box() as connection:  # the next try is as good as the first: its max_age begins now
        assert transitions.expire(connection, "101", DAY) == 0
    (claimed,) = box.claim()
    assert claimed.sms.numbers == (MILAN,)
    assert claimed.age < 60


def test_retry_says_why_not(box: Box) -> None:
    sent = box.store(state=State.SENT)
    waits = box.store()
    gone = box.store(state=State.FAILED, text=None)
    with box() as connection:
        why = {id_: retry(connection, id_) for id_ in (sent, waits, gone, 999)}
    assert "is sent" in why[sent]
    assert "is pending already" in why[waits]
    assert "keep_text" in why[gone]
    assert "no such" in why[999]
    assert (box.show(sent).state, box.show(gone).state) == ("sent", "failed")


@pytest.mark.parametrize(("ahead", "kept"), [(-1, False), (1, True)])
def test_retry_does_not_tell_the_pbx_to_wait_for_the_past(box: Box, ahead: int, kept: bool) -> None:
    when = datetime.now() + timedelta(days=ahead)
    id_ = box.store(state=State.FAILED, postpone=when)
    with box() as connection:
        retry(connection, id_)
    assert box.show(id_).postpone == (f"{when:{api.POSTPONE_FORMAT}}" if kept else None)


def test_cancel_takes_what_waits_and_nothing_else(box: Box) -> None:
    going = box.store()
    box.claim()
    waits = box.store(ROME, MILAN)
    later = box.store(planned=time.time() + DAY)
    done = box.store(state=State.SENT)
    with box() as connection:
        why = {id_: cancel(connection, id_) for id_ in (going, waits, later, done, 999)}
    assert (why[waits], why[later]) == ("", "")
    assert "going out" in why[going]
    assert "is sent already" in why[done]
    assert "no such" in why[999]
    assert {state for _, state in box.show(waits).numbers} == {"cancelled"}
    assert [box.show(id_).state for id_ in (going, waits, later, done)] == [
        "leased", "cancelled", "cancelled", "sent",
    ]  # fmt: skip
    assert box.claim() == []


def test_cancel_drops_the_text_unless_the_sender_keeps_it(box: Box) -> None:
    dropped, kept = box.store(), box.store(sender="102")
    with box() as connection:
        for each in (dropped, kept):
            cancel(connection, each, keeping=["102"])
    assert (box.show(dropped).text, box.show(kept).text) == (None, "Hello")


@pytest.mark.parametrize("change", [cancel, retry])
def test_an_admin_and_a_worker_at_once_have_one_winner(box: Box, change: object) -> None:
    # The worker's transaction is open while the admin's begins: on SQLite one waits for the
    # other, on PostgreSQL the second sees what the first has committed.
    from concurrent.futures import ThreadPoolExecutor

    id_ = box.store()

    def admin() -> str:
        with box() as connection:
            return cancel(connection, id_) if change is cancel else retry(connection, id_)

    with ThreadPoolExecutor(1) as pool:
        with box() as connection:
            (claimed,) = leases.claim(connection, "worker", 60.0, 10, {})
            waiting = pool.submit(admin)
            time.sleep(0.3)
        assert waiting.result(10) != ""
    with box() as connection:
        assert leases.begin_sending(connection, [claimed]) == [True]


def test_purge_deletes_what_ended_long_ago_in_portions(box: Box) -> None:
    old = [box.store(ROME, MILAN, state=state, age=100 * DAY) for state in
           (State.SENT, State.FAILED, State.EXPIRED, State.CANCELLED, State.UNKNOWN)]  # fmt: skip
    recent = box.store(state=State.SENT, age=100 * DAY)
    box.set(recent, ended=time.time() - 80 * DAY)
    waits = box.store(age=100 * DAY)
    with box() as connection:
        sent = Try(old[0], Outcome(Status.SUCCESS), Verdict(sent=(ROME,)))
        transitions.end_tries(connection, [sent])
    box.set(old[0], ended=time.time() - 100 * DAY)
    counts = []
    for _ in range(4):
        with box() as connection:
            counts.append(purge(connection, 90 * DAY, most=2))
    assert counts == [2, 2, 1, 0]
    assert box.list() == [waits, recent]
    with box() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(number)) == 2
        assert connection.scalar(sa.select(sa.func.count()).select_from(attempt)) == 0


def test_what_was_cancelled_before_it_was_due_is_purged(box: Box) -> None:
    id_ = box.store(planned=time.time() + 300 * DAY)
    with box() as connection:
        cancel(connection, id_)
    time.sleep(0.05)
    with box() as connection:
        assert purge(connection, 0.0) == 1


def test_texts_are_forgotten_once_they_are_old(box: Box) -> None:
    old = box.store(state=State.FAILED, age=8 * DAY)
    recent = box.store(state=State.FAILED, age=6 * DAY)
    waits = box.store(age=8 * DAY)
    others = box.store(state=State.FAILED, age=8 * DAY, sender="102")
    with box() as connection:
        assert forget_texts(connection, "101", 7 * DAY) == 1
        assert forget_texts(connection, "101", 7 * DAY) == 0
    assert [box.show(id_).text for id_ in (old, recent, waits, others)] == [
        None, "Hello", "Hello", "Hello",
    ]  # fmt: skip


def test_a_text_that_was_not_sent_stays_for_a_day(box: Box) -> None:
    sent, failed, old = (
        box.store(state=state, age=age)
        for state, age in ((State.SENT, 60), (State.FAILED, 60), (State.UNKNOWN, 2 * DAY))
    )
    with box() as connection:
        assert forget_texts(connection, "101", 0.0) == 2
    assert [box.show(id_).text for id_ in (sent, failed, old)] == [None, "Hello", None]


def test_used_counts_as_the_limits_do(box: Box) -> None:
    hour = 3600.0
    sender = replace(SENDER, per_number=(2, hour), per_sender=(9, hour), per_caller=(3, hour))
    box.store(ROME, MILAN, caller="201")
    box.store(ROME, caller="202", age=60)
    box.store(ROME, caller="201", age=7200)
    box.store(MILAN, sender="102")
    mistaken = box.store(caller="201")
    with box() as connection:
        cancel(connection, mistaken)
    with box() as connection:
        found = [(use.rule, use.whose, use.used) for use, _ in used(connection, sender)]
        none = [(use.rule, use.used) for use, _ in used(connection, replace(sender, name="103"))]
    assert found == [
        ("per_sender", "101", 3),
        ("per_number", ROME, 2),
        ("per_number", MILAN, 1),
        ("per_caller", "201", 2),
        ("per_caller", "202", 1),
    ]
    assert none == [("per_sender", 0), ("per_number", 0), ("per_caller", 0)]
