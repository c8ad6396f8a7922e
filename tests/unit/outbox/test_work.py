"""Work of one kind is done together: in order, with as many statements as for one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from dialplan_sms.outbox import leases
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.leases import Ended, Lease
from dialplan_sms.outbox.retry import Verdict
from dialplan_sms.outbox.schema import State, attempt, message
from dialplan_sms.outbox.store import New, insert
from dialplan_sms.outbox.work import Together, Work, do
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from tests.unit.stored import NUMBERS, Store, locked, row

A, B, C = NUMBERS
SUCCESS = Outcome(Status.SUCCESS)


@contextmanager
def counted(store: Store) -> Iterator[list[str]]:
    """The statements that are run meanwhile."""
    said: list[str] = []

    def note(*arguments: object) -> None:
        said.append(str(arguments[2]))

    engine = store.writer.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def test_the_like_goes_with_the_first_of_its_kind_and_the_rest_in_order() -> None:
    said: list[object] = []

    def alone(what: str) -> Work[str]:
        return lambda _: said.append(what) or what  # type: ignore[func-returns-value]

    def many(_: sa.Connection, items: Sequence[int]) -> list[int]:
        said.append(items)
        return [-each for each in items]

    works: list[Work[object]] = [
        alone("a"),
        Together(many, 1),
        alone("b"),
        Together(many, 2),
        alone("c"),
    ]
    with sa.create_engine("sqlite://").connect() as connection:
        assert do(connection, works) == ["a", -1, "b", -2, "c"]
    assert said == ["a", [1, 2], "b", "c"]


def test_one_that_is_bad_takes_none_of_its_kind_along(store: Store, database: str) -> None:
    store.add()
    good = [New(row(), (A,), State.PENDING) for _ in range(3)]
    bad = New(row(call=None), (A,), State.PENDING)
    with locked(database):  # all get into one transaction
        futures = [store.writer.submit(Together(insert, each)) for each in (*good, bad)]
    assert len({each.result(20) for each in futures[:3]}) == 3
    with pytest.raises(OutboxError, match=r"sms_message\.call|null value"):
        futures[3].result(20)


def test_what_is_stored_already_is_not_stored_twice(store: Store) -> None:
    first, second = (New(row(), (A, B), State.PENDING) for _ in range(2))
    (id_,) = store.do(lambda c: insert(c, [first]))
    assert store.do(lambda c: insert(c, [second, first]))[1] == id_
    assert len(store.claim()) == 2


def _store(store: Store, leased: Sequence[Lease]) -> None:
    store.do(lambda c: insert(c, [New(row(), (A,), State.PENDING) for _ in leased]))


def _begin(store: Store, leased: Sequence[Lease]) -> None:
    assert store.do(lambda c: leases.begin_sending(c, leased)) == [True] * len(leased)


def _end(store: Store, leased: Sequence[Lease]) -> None:
    ends = [Ended(each, SUCCESS, Verdict(sent=each.sms.numbers), 0.5) for each in leased]
    assert store.do(lambda c: leases.finish(c, ends)) == [(State.SENT, 0)] * len(leased)


@pytest.mark.parametrize("step", [_store, _begin, _end])
def test_many_take_as_many_statements_as_one(
    store: Store, step: Callable[[Store, Sequence[Lease]], None]
) -> None:
    counts = []
    for many in (1, 10):
        for _ in range(many):
            store.add(A, B)
        leased = store.claim(most=many)
        assert len(leased) == many
        with counted(store) as said:
            step(store, leased)
        counts.append(len(said))
    assert counts[0] == counts[1] > 1


def test_each_of_several_ends_as_it_did(store: Store) -> None:
    ids = [store.add(A, B) for _ in range(4)]
    leased = {each.id: each for each in store.claim()}
    _begin(store, [*leased.values()])
    refused = error(Cause.NOT_QUEUED, "no")
    ends = [
        Ended(leased[ids[0]], SUCCESS, Verdict(sent=(A, B)), 0.5),
        Ended(leased[ids[1]], refused, Verdict(sent=(A,), again=(B,)), 0.5),
        Ended(replace(leased[ids[2]], until=1.0), SUCCESS, Verdict(sent=(A, B)), 0.5),
        Ended(leased[ids[3]], refused, Verdict(failed=(A, B)), 0.5),
        Ended(leased[ids[0]], SUCCESS, Verdict(sent=(A, B)), 0.5),  # as if run again
    ]
    states = store.do(lambda c: leases.finish(c, ends))
    assert [state for state, _ in states] == ["sent", "pending", None, "failed", "sent"]
    assert [store.states(id_) for id_ in ids] == [
        {A: "sent", B: "sent"}, {A: "sent", B: "pending"}, {A: "sending", B: "sending"},
        {A: "failed", B: "failed"},
    ]  # fmt: skip
    assert [store.row(id_).text for id_ in ids] == [None, "hello", "hello", "hello"]
    assert [store.row(id_).reason for id_ in ids] == ["", "no", "", "no"]
    tries = sa.select(attempt.c.message_id).order_by(attempt.c.message_id)
    assert store.do(lambda c: list(c.scalars(tries))) == [ids[0], ids[1], ids[3]]


def test_old_ones_expire_once_for_all_that_find_the_pbx_away(store: Store) -> None:
    ids = [store.add() for _ in range(3)]
    store.change(message, created=message.c.created - 3600)
    away, verdict = error(Cause.UNREACHABLE, "no route"), Verdict(again=(A,), stops="UNREACHABLE")
    ends = [Ended(each, away, verdict, 0.5, max_age=60.0) for each in store.claim(most=2)]
    assert store.do(lambda c: leases.finish(c, ends)) == [("pending", 0), ("pending", 3)]
    assert {store.row(id_).state for id_ in ids} == {"expired"}
