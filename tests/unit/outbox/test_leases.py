"""From a stored SMS to its end, on the statements alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dialplan_sms.outbox import gateways, lease_owner, leases, transitions
from dialplan_sms.outbox.lease_owner import LeaseOwner
from dialplan_sms.outbox.leases import Ended, Lease
from dialplan_sms.outbox.retry import AT_LEAST_ONCE, Verdict
from dialplan_sms.outbox.schema import State, attempt, gateway, message, now, number
from dialplan_sms.outbox.store import insert
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.sms import Sms
from tests.unit.stored import NUMBERS, SENDER, Store, new, opened

A, B, C = NUMBERS
SUCCESS = Outcome(Status.SUCCESS)
UNREACHABLE = error(Cause.UNREACHABLE, "no route")
GONE = error(Cause.NO_ANSWER, "the worker is gone")


def _finish(
    store: Store, lease: Lease, verdict: Verdict, outcome: Outcome = SUCCESS,
    keep_text: bool = False,
) -> str | None:  # fmt: skip
    ended = Ended(lease, outcome, verdict, 0.5, keep_text)
    return store.do(lambda c: leases.finish(c, [ended]))[0][0]


def _in(store: Store, column: "sa.ColumnElement[float]", *where: Any) -> float:
    """Seconds from now until the time in *column*."""
    return float(store.do(lambda c: c.scalar(sa.select(column - now()).where(*where))) or 0.0)


def test_a_claimed_request_holds_what_it_needs(store: Store) -> None:
    when = datetime(2014, 7, 14, 15, 35)
    id_ = store.add(B, A, gsm="9c7514330001", postpone="14/07/2014 15:35", call="1.7")
    (claimed,) = store.claim()
    assert (claimed.id, claimed.owner, claimed.sender, claimed.attempts) == (id_, "a", "101", 0)
    key = store.row(id_).token
    assert claimed.sms == Sms((A, B), "hello", "9c7514330001", when, call="1.7", key=key)
    assert 0 <= claimed.age < 5
    assert store.state(id_) == "leased"
    assert store.claim("b") == []


@pytest.mark.slow  # needs PostgreSQL
def test_a_plan_that_is_kept_goes_by_an_index(postgresql: str) -> None:
    """Also one that was made when the tables were small: they grow while the connection lasts."""

    def turn(connection: sa.Connection) -> None:
        insert(connection, [new(A), new(A)])
        connection.exec_driver_sql("ANALYZE")
        taken = leases.claim(connection, "a", 60.0, 10, {"101": replace(SENDER, pace=0.0)})
        assert len(taken) == 2
        ends = [Ended(each, SUCCESS, Verdict(sent=(A,)), 0.5) for each in taken]
        leases.finish(connection, ends)

    def plans(connection: sa.Connection) -> list[str]:
        kept = "SELECT name, cardinality(parameter_types) FROM pg_prepared_statements"
        return [
            "\n".join(connection.exec_driver_sql(
                f"EXPLAIN EXECUTE {name}({', '.join(['NULL'] * count)})"
            ).scalars())
            for name, count in connection.exec_driver_sql(kept).all()
        ]  # fmt: skip

    with opened(postgresql) as store:
        for _ in range(8):
            store.do(turn)
        found = store.do(plans)
    assert len(found) == 7  # what is run for many rows, the insert into sms_meta with it
    assert not [plan for plan in found if "Seq Scan" in plan]


@pytest.mark.parametrize(
    ("verdict", "state", "states"),
    [
        (Verdict(sent=(A, B)), "sent", ("sent", "sent")),
        (Verdict(failed=(A, B)), "failed", ("failed", "failed")),
        (Verdict(sent=(A,), failed=(B,)), "failed", ("sent", "failed")),
        (Verdict(expired=(A, B)), "expired", ("expired", "expired")),
        (Verdict(unknown=(A, B)), "unknown", ("unknown", "unknown")),
        (Verdict(again=(A, B)), "pending", ("pending", "pending")),
        (Verdict(sent=(A,), again=(B,)), "pending", ("sent", "pending")),
        (Verdict(again=(A, B), stops="UNREACHABLE"), "pending", ("pending", "pending")),
        (Verdict(again=(A, B), stops="UNAUTHORIZED"), "pending", ("pending", "pending")),
        (Verdict(expired=(A, B), stops="UNREACHABLE"), "expired", ("expired", "expired")),
    ],
)
def test_a_request_ends(
    store: Store, verdict: Verdict, state: str, states: tuple[str, str]
) -> None:
    id_ = store.add(A, B)
    (claimed,) = store.claim()
    assert store.begin(claimed)
    assert store.state(id_) == "sending"

    assert _finish(store, claimed, verdict, error(Cause.REJECTED, "why")) == state

    row = store.row(id_)
    assert (row.state, row.attempts, row.cause, row.reason) == (state, 1, "REJECTED", "why")
    assert (row.ended is None) == (state == "pending")
    assert row.text == (None if state == "sent" else "hello")  # another try needs it
    assert (row.lease_by, row.lease_until) == (None, None)
    assert tuple(store.states(id_).values()) == states
    notes = store.do(lambda c: c.execute(sa.select(attempt.c.numbers, attempt.c.cause)).all())
    assert [tuple(each) for each in notes] == [(2, "REJECTED")]


def test_a_second_finish_changes_nothing_and_the_text_is_kept_where_it_is_wanted(
    store: Store,
) -> None:
    id_ = store.add()
    (claimed,) = store.claim()
    assert store.begin(claimed)
    assert store.begin(claimed)  # as after a commit whose answer was lost
    assert _finish(store, claimed, Verdict(sent=(A,)), keep_text=True) == "sent"
    assert _finish(store, claimed, Verdict(failed=(A,))) is None
    row = store.row(id_)
    assert (row.state, row.attempts, row.text) == ("sent", 1, "hello")


def test_a_list_goes_in_batches_of_which_only_what_failed_goes_again(store: Store) -> None:
    id_ = store.add(A, B, C)
    (first,) = store.claim(batch=2)
    assert first.sms.numbers == (A, B)
    assert _finish(store, first, Verdict(sent=(A,), again=(B,))) == "pending"
    assert 3 < _in(store, message.c.due, message.c.id == id_) < 6
    assert store.claim(batch=2) == []

    store.change(message, due=0.0)
    (second,) = store.claim(batch=2)
    assert (second.sms.numbers, second.attempts) == ((B, C), 1)
    assert _finish(store, second, Verdict(sent=(B, C))) == "sent"


def test_a_lease_that_is_anothers_by_now_counts_no_more(store: Store) -> None:
    id_ = store.add()
    (old,) = store.claim(lease=-1.0)
    for row in store.do(lambda c: lease_owner.lost(c, "b", (), None)):
        store.do(lambda c, row=row: lease_owner.take_back(c, row.id, GONE, True))  # type: ignore[misc]
    (new,) = store.claim()  # even by the same owner
    assert not store.begin(old)
    assert _finish(store, old, Verdict(sent=(A,))) is None
    assert store.begin(new)
    assert store.state(id_) == "sending"


def test_what_may_be_doubled_counts_as_sending_once_it_is_claimed(store: Store) -> None:
    id_ = store.add(A, B, C)
    (claimed,) = store.claim(batch=2, delivery=AT_LEAST_ONCE, lease=-1.0)
    assert (claimed.begun, store.state(id_)) == (True, "sending")
    assert store.states(id_) == {A: "sending", B: "sending", C: "pending"}

    (row,) = store.do(lambda c: lease_owner.lost(c, "b", (), None))
    assert store.do(lambda c: lease_owner.take_back(c, row.id, GONE, True)) == State.PENDING
    assert set(store.states(id_).values()) == {"pending"}


@pytest.mark.parametrize(
    ("sending", "at_least_once", "state", "cause"),
    [
        (False, True, "pending", ""),
        (False, False, "pending", ""),
        (True, True, "pending", "NO_ANSWER"),
        (True, False, "unknown", "NO_ANSWER"),
    ],
)
@pytest.mark.parametrize("by_time", [True, False])
def test_what_a_dead_owner_held_comes_back(
    store: Store, by_time: bool, sending: bool, at_least_once: bool, state: str, cause: str
) -> None:
    id_ = store.add()
    (claimed,) = store.claim("dead", lease=-1.0 if by_time else 60.0)
    assert not sending or store.begin(claimed)
    alive = store.add()
    store.claim("alive")
    assert store.do(lambda c: sorted(lease_owner.owners(c))) == ["alive", "dead"]

    (row,) = store.do(lambda c: lease_owner.lost(c, "b", (), None if by_time else ["dead"]))
    after = store.do(lambda c: lease_owner.take_back(c, row.id, GONE, at_least_once))

    assert (row.id, after, store.state(id_), store.row(id_).cause) == (id_, state, state, cause)
    at_once = state == "pending" and not sending  # one that ends its worker gets a pause
    assert [each.id for each in store.claim("b")] == ([id_] if at_once else [])
    store.change(message, due=0.0)
    assert [each.id for each in store.claim("b")] == (
        [id_] if state == "pending" and not at_once else []
    )
    assert store.state(alive) == "leased"


@pytest.mark.parametrize("dead", [None, ["dead"]])
def test_of_ones_own_leases_only_those_that_one_does_not_know_are_lost(
    store: Store, dead: list[str] | None
) -> None:
    busy, unknown, other = (store.add(gsm=f"9c751433000{n}") for n in range(3))
    taken = {each.id: each for each in store.claim("me", most=2, lease=-1.0)}
    store.claim("other", lease=60.0)
    known = [(busy, taken[busy].until)]
    lost = store.do(lambda c: lease_owner.lost(c, "me", known, dead))
    assert [row.id for row in lost] == [unknown]
    # A copy of the database may have another SMS under the same id.
    old = [(busy, taken[busy].until - 1), (unknown, taken[unknown].until)]
    assert [row.id for row in store.do(lambda c: lease_owner.lost(c, "me", old, dead))] == [busy]
    lost = store.do(lambda c: lease_owner.lost(c, "me", [], dead))
    assert [row.id for row in lost] == [busy, unknown]
    assert store.state(other) == "leased"


def test_a_gateway_is_busy_for_its_pace(store: Store) -> None:
    store.add(A, B)
    store.add()
    other = store.add(gsm="9c7514330001")
    assert len(store.claim(pace=5.0)) == 2
    assert 8 < _in(store, gateway.c.free_at, gateway.c.gsm == "") < 10
    assert 3 < _in(store, gateway.c.free_at, gateway.c.gsm == "9c7514330001") < 5
    assert store.claim(pace=5.0) == []
    assert store.state(other) == "leased"

    store.change(gateway, free_at=0.0)
    assert len(store.claim(pace=5.0)) == 1


def test_a_gateway_without_pace_leaves_the_others_their_turn(store: Store) -> None:
    for _ in range(5):
        store.add()
    store.add(sender="102")
    taken = [each.sender for _ in range(2) for each in store.claim(most=2)]
    assert "102" in taken


def test_the_urgent_and_the_older_go_first(store: Store) -> None:
    bulk = store.add(priority=1)
    first, second = store.add(), store.add()
    later = store.add(planned=4e9)
    assert [each.id for each in store.claim(most=2)] == [first, second]
    assert [each.id for each in store.claim()] == [bulk]
    store.change(message, message.c.id == later, due=0.0)
    assert [each.id for each in store.claim()] == [later]


def test_a_hold_concerns_all_of_the_senders(store: Store) -> None:
    store.add(gsm="9c7514330001")
    (claimed,) = store.claim()
    store.add()
    other = store.add(sender="102")
    _finish(store, claimed, Verdict(again=(A,), stops="UNAUTHORIZED"))
    store.add(gsm="9c7514330002")  # a gateway that was not known before

    assert [each.id for each in store.claim()] == [other]
    assert 290 < _in(store, gateway.c.free_at, gateway.c.gsm == "9c7514330002") <= 300

    store.change(gateway, gateway.c.gsm == "9c7514330001", free_at=0.0)
    (again,) = store.claim()
    _finish(store, again, Verdict(sent=(A,)))
    assert len(store.claim()) == 2


def test_a_pause_grows_with_each_outage_seen_and_ends_with_a_success(store: Store) -> None:
    for _ in range(3):
        store.add()
    together = store.claim()
    for each in together:  # of one moment: they count once
        _finish(store, each, Verdict(again=(A,), stops="UNREACHABLE"), UNREACHABLE)
    assert 4 < _in(store, gateway.c.free_at) <= 5
    assert store.claim() == []

    store.change(gateway, free_at=0.0)
    (again,) = store.claim(most=1)
    _finish(store, again, Verdict(again=(A,), stops="UNREACHABLE"), UNREACHABLE)
    assert 9 < _in(store, gateway.c.free_at) <= 10

    store.change(gateway, free_at=0.0)
    (again,) = store.claim(most=1)
    _finish(store, again, Verdict(sent=(A,)))
    assert len(store.claim()) == 2


def test_what_is_too_old_expires(store: Store) -> None:
    old, young, later = store.add(A, B), store.add(), store.add(planned=4e9)
    done = store.add(A, B)
    store.change(message, message.c.id.in_((old, later, done)), created=1.0)
    store.change(message, message.c.id == done, state=State.SENT)

    assert store.do(lambda c: transitions.expire(c, "101", 3600.0)) == 1

    assert store.state(old) == "expired"
    assert (store.row(old).text, store.row(old).ended is None) == ("hello", False)
    assert set(store.states(old).values()) == {"expired"}
    assert [store.state(each) for each in (young, later, done)] == ["pending", "pending", "sent"]


def _mend(store: Store) -> None:
    store.do(lambda c: gateways.mend_clock(c, [replace(SENDER, pace=5.0, batch=20)]))


@pytest.mark.parametrize("back", [1200.0, 172_800.0])
class TestAClockThatWasSetBack:
    """Nothing waits for longer than it would have: all times are as they were noted before."""

    def test_holds_no_sms_up(self, store: Store, back: float) -> None:
        new, tried, planned = store.add(), store.add(), store.add(planned=4e9)
        store.change(message, message.c.id != planned, due=now() + back)
        store.change(message, message.c.id == tried, attempts=2)
        _mend(store)
        assert {each.id for each in store.claim()} == {new, tried}
        assert store.row(planned).due == 4e9

    @pytest.mark.parametrize("cause", ["", "UNREACHABLE", "UNAUTHORIZED"])
    def test_keeps_no_gateway_busy_nor_a_sender_held(
        self, store: Store, back: float, cause: str
    ) -> None:
        id_ = store.add()
        store.change(gateway, free_at=now() + back, held=cause)
        _mend(store)
        assert [each.id for each in store.claim()] == [id_]


def test_what_waits_as_it_should_is_not_hurried(store: Store) -> None:
    ids = [store.add(gsm=gsm) for gsm in ("", "9c7514330001", "9c7514330002")]
    store.change(message, message.c.id == ids[0], attempts=2, due=now() + 12.0)
    store.change(gateway, gateway.c.gsm == "9c7514330001", free_at=now() + 99.0)
    store.change(gateway, gateway.c.gsm == "9c7514330002", free_at=now() + 299.0, held="CONFIG")
    _mend(store)
    assert store.claim() == []


def test_calls_that_never_came_back_are_unknown(store: Store) -> None:
    ids = [store.add() for _ in range(3)]
    store.change(message, state=State.SENDING, created=1.0)
    store.change(number, state=State.SENDING)
    store.change(message, message.c.id == ids[1], lease_until=4e9)  # a worker's
    store.change(message, message.c.id == ids[2], created=now())

    store.do(lambda c: transitions.give_up_calls(c, 600.0))

    assert [store.state(each) for each in ids] == ["unknown", "sending", "sending"]
    assert store.states(ids[0]) == {A: "unknown"}


def test_an_owner_is_dead_once_it_has_let_go(tmp_path: Path) -> None:
    file = str(tmp_path / "outbox.sqlite")
    one, two = LeaseOwner(file), LeaseOwner(file)
    assert one.dead([one.name, two.name, "host-1-abc"]) == ["host-1-abc"]
    two.close()
    assert one.dead([one.name, two.name]) == [two.name]
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_a_server_is_in_reach_for_a_while_before_another_host_counts_as_dead() -> None:
    """A lease's time tells only once a host that lives has had time to come back."""
    clock = [1000.0]
    owner = LeaseOwner(None, lambda: clock[0])

    def dead(seconds: float) -> list[str] | None:
        """Which of that host is dead after so many seconds, with a look each 5 s."""
        for _ in range(int(seconds / 5)):
            clock[0] += 5.0
            owner.reached()
        return owner.dead(["host-1-abc"])

    assert dead(5) == []
    assert dead(25) == []
    assert dead(5) is None
    owner.failed()
    assert dead(0) == []
    assert dead(30) == []  # since it worked again, which is 25 s ago
    assert dead(5) is None
    clock[0] += 20.0  # it hung, or this host did
    assert dead(0) == []
    owner.reached()
    assert dead(0) == []
    assert dead(30) is None


def test_what_is_stored_already_is_not_stored_twice(store: Store) -> None:
    first, second = new(A, B), new(A, B)
    (id_,) = store.do(lambda c: insert(c, [first]))
    assert store.do(lambda c: insert(c, [second, first]))[1] == id_
    assert len(store.claim()) == 2


def _store(store: Store, leased: Sequence[Lease]) -> None:
    store.do(lambda c: insert(c, [new() for _ in leased]))


def _begin(store: Store, leased: Sequence[Lease]) -> None:
    assert store.do(lambda c: leases.begin_sending(c, leased)) == [True] * len(leased)


def _end(store: Store, leased: Sequence[Lease]) -> None:
    ends = [Ended(each, SUCCESS, Verdict(sent=each.sms.numbers), 0.5) for each in leased]
    assert store.do(lambda c: leases.finish(c, ends)) == [(State.SENT, 0)] * len(leased)


@pytest.mark.parametrize("step", [_store, _begin, _end])
def test_many_take_as_many_statements_as_one(
    store: Store, step: Callable[[Store, Sequence[Lease]], None]
) -> None:
    said: list[object] = []
    sa.event.listen(store.writer.engine, "before_cursor_execute", lambda *args: said.append(args))
    counts = []
    for many in (1, 10):
        for _ in range(many):
            store.add(A, B)
        leased = store.claim(most=many)
        assert len(leased) == many
        said.clear()
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
