"""What on_failure is told, once each, on both databases."""

import sqlite3
from typing import Any

import pytest
import sqlalchemy as sa

from dialplan_sms.outbox import lease_owner, leases, transitions
from dialplan_sms.outbox.history import reports, retention
from dialplan_sms.outbox.leases import Ended
from dialplan_sms.outbox.retry import decide, ended
from dialplan_sms.outbox.schema import State, message, now
from dialplan_sms.outbox.transitions import Try
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from tests.unit.stored import NUMBERS, Store, another

SENDERS = ["101"]
REJECTED = error(Cause.REJECTED, "it is blocked")


def claim(store: Store, senders: list[str] = SENDERS) -> list[int]:
    """The ids of what is to be told, which is being told from now on."""
    return [row.id for row, _ in store.do(lambda c: reports.claim(c, senders, 30.0))[1]]


def fail(store: Store, outcome: Outcome = REJECTED, over: bool = False, **columns: Any) -> int:
    """Store an SMS, and have its request end so."""
    id_ = store.add(**columns)
    (lease,) = store.claim()
    store.begin(lease)
    verdict = decide(outcome, lease.sms.numbers, "at-most-once", over)
    store.do(lambda c: leases.finish(c, [Ended(lease, outcome, verdict, 0.5)]))
    return id_


def time_passes(store: Store) -> None:
    """The time in which a program was to be told is over."""
    store.change(message, message.c.lease_until.is_not(None), lease_until=1.0)


def test_what_was_not_sent_is_told_with_the_state_of_each_number(store: Store) -> None:
    failed = fail(store)
    unknown = fail(store, error(Cause.NO_ANSWER, "no answer"))
    expired = fail(store, error(Cause.UNREACHABLE, "no connection"), over=True)
    _, found = store.do(lambda c: reports.claim(c, SENDERS, 30.0))
    assert [(row.id, row.state, row.cause, numbers) for row, numbers in found] == [
        (failed, "failed", "REJECTED", ((NUMBERS[0], "failed"),)),
        (unknown, "unknown", "NO_ANSWER", ((NUMBERS[0], "unknown"),)),
        (expired, "expired", "UNREACHABLE", ((NUMBERS[0], "expired"),)),
    ]
    row, _ = found[0]
    assert (row.sender, row.reason, row.text) == ("101", "it is blocked", "hello")
    assert row.created <= row.ended


def test_those_that_expire_without_a_try_of_their_own_are_told(store: Store) -> None:
    id_ = store.add(created=0.0)
    store.change(message, created=1.0)
    store.do(lambda c: transitions.expire(c, "101", 60.0))
    assert claim(store) == [id_]


def test_one_whose_worker_is_gone_is_told_if_it_is_not_tried_again(store: Store) -> None:
    id_ = store.add()
    (lease,) = store.claim()
    store.begin(lease)
    gone = error(Cause.NO_ANSWER, "gone")
    assert store.do(lambda c: lease_owner.take_back(c, id_, gone, False)) is State.UNKNOWN
    assert claim(store) == [id_]


def test_what_was_sent_waits_or_was_cancelled_is_not_told(store: Store) -> None:
    fail(store, Outcome(Status.SUCCESS))
    fail(store, error(Cause.UNREACHABLE, "no connection"))  # is tried again
    cancelled = store.add()
    store.do(lambda c: transitions.cancel(c, cancelled, ["101"]))
    assert claim(store) == []


def test_what_a_call_was_told_itself_is_not_told(store: Store) -> None:
    for mode, cause in (("wait", Cause.REJECTED), ("fallback", Cause.NO_ANSWER)):
        id_ = store.add(state=State.SENDING, mode=mode, text=None)
        outcome = error(cause, "no")
        verdict = ended(outcome, NUMBERS[:1])
        store.do(lambda c, t=(id_, outcome, verdict): transitions.end_tries(c, [Try(*t)]))  # type: ignore[misc]
        assert store.row(id_).state in (State.FAILED, State.UNKNOWN)
    assert claim(store) == []


def test_of_a_call_that_died_it_is_told_after_it_was_given_up(store: Store) -> None:
    id_ = store.add(state=State.SENDING, mode="wait", text=None)
    store.do(lambda c: transitions.give_up_calls(c, 600.0))
    assert claim(store) == []
    store.change(message, created=1.0, due=1.0)  # also if no service ran for days
    store.do(lambda c: transitions.give_up_calls(c, 600.0))
    until, found = store.do(lambda c: reports.claim(c, SENDERS, 30.0))
    assert [(row.id, row.state, row.text, numbers) for row, numbers in found] == [
        (id_, "unknown", None, ((NUMBERS[0], "unknown"),))
    ]
    store.do(lambda c: reports.told(c, [id_], until))
    time_passes(store)
    assert claim(store) == []


def test_only_the_senders_that_have_a_program(store: Store) -> None:
    fail(store)
    mine = fail(store, sender="102")
    assert claim(store, ["102", "103"]) == [mine]


def test_each_is_told_once(store: Store) -> None:
    first = fail(store)
    until, found = store.do(lambda c: reports.claim(c, SENDERS, 30.0))
    assert [row.id for row, _ in found] == [first]
    fail(store)
    assert claim(store) == []  # one program at a time, also on other hosts
    store.do(lambda c: reports.told(c, [first], until))
    store.do(lambda c: reports.told(c, [first], until))  # its commit was cut off
    assert claim(store) == [first + 1]
    time_passes(store)
    assert claim(store) == [first + 1]


def test_what_nobody_says_was_told_goes_again_with_what_came_meanwhile(store: Store) -> None:
    ids = [fail(store)]
    assert claim(store) == ids
    ids.append(fail(store))
    assert claim(store) == []
    time_passes(store)
    assert claim(store) == ids


def test_at_once_if_somebody_asks(store: Store) -> None:
    ids = [fail(store)]
    assert claim(store) == ids
    ids.append(fail(store))
    _, found = store.do(lambda c: reports.claim(c, SENDERS, 30.0, at_once=True))
    assert [row.id for row, _ in found] == ids


@pytest.mark.parametrize(("hours", "pause"), [(0, 30), (0.5, 480), (20, 900)])
def test_the_pauses_grow(store: Store, hours: float, pause: float) -> None:
    id_ = fail(store)
    store.change(message, ended=message.c.ended - hours * 3600)
    claim(store)
    left = store.row(id_).lease_until - store.do(lambda c: c.scalar(sa.select(now().label("now"))))
    assert pause - 20 < left < pause + 20


def test_after_a_day_nobody_is_told(store: Store) -> None:
    fail(store)
    store.change(message, ended=message.c.ended - 86401)
    assert claim(store) == []


def test_a_clock_that_is_set_back_keeps_nothing(store: Store) -> None:
    id_ = fail(store)
    claim(store)
    store.change(message, lease_until=message.c.lease_until + 7200)
    assert claim(store) == [id_]


class TestWhatHappensMeanwhile:
    """While the program runs."""

    def test_a_retry_withdraws_it(self, store: Store) -> None:
        id_ = fail(store)
        until, _ = store.do(lambda c: reports.claim(c, SENDERS, 30.0))
        assert store.do(lambda c: transitions.retry(c, id_)) == ""
        assert claim(store) == []
        store.do(lambda c: reports.told(c, [id_], until))
        (lease,) = store.claim()  # it is any worker's
        store.begin(lease)
        store.do(lambda c: reports.told(c, [id_], until))
        again = Ended(lease, REJECTED, decide(REJECTED, NUMBERS[:1], "at-most-once", False), 0.5)
        assert store.do(lambda c: leases.finish(c, [again])) == [(State.FAILED, 0)]
        assert claim(store) == [id_]  # it has failed again, of which nobody was told

    def test_a_purge_takes_it_along(self, store: Store) -> None:
        id_ = fail(store)
        until, _ = store.do(lambda c: reports.claim(c, SENDERS, 30.0))
        assert store.do(lambda c: retention.purge(c, 0.0)) == 1
        store.do(lambda c: reports.told(c, [id_], until))
        assert claim(store) == []


def test_a_look_does_not_read_the_history(sqlite: str) -> None:
    """Indexes lead to what has a text, and to what is unknown, however many SMS there are."""
    with another(sqlite) as connection, connection.begin():
        message.create(connection)
        plans = []
        for each in reports._UNTOLD:
            query = each.params(senders=["101"]).compile(
                connection.engine, compile_kwargs={"literal_binds": True}
            )
            plans.append(str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()))
    assert "sms_message_text (sender=? AND ended>?)" in plans[0], (sqlite3.sqlite_version, plans)
    assert "sms_message_state (state=? AND due>?)" in plans[1], (sqlite3.sqlite_version, plans)
