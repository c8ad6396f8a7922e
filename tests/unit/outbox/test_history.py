import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from dialplan_sms.outbox import leases, transitions
from dialplan_sms.outbox.history.retention import forget_texts, purge
from dialplan_sms.outbox.history.search import Place, listing
from dialplan_sms.outbox.history.statistics import overview
from dialplan_sms.outbox.history.stored import Filters, Stored, show
from dialplan_sms.outbox.leases import Ended
from dialplan_sms.outbox.limits import used
from dialplan_sms.outbox.retry import Verdict
from dialplan_sms.outbox.schema import State, attempt, gateway, message, number
from dialplan_sms.outbox.transitions import Try, cancel, retry
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from tests.unit.stored import SENDER, Store

ROME, MILAN = "+39069999001", "+39029999002"
DAY = 86400.0


def shown(store: Store, id_: int) -> Stored:
    found = store.do(lambda c: show(c, id_))
    assert found is not None
    return found


def listed(store: Store, most: int = 50, **filters: Any) -> list[int]:
    page = store.do(lambda c: listing(c, Filters(**filters), most))
    return [sms.id for sms in page.found]


def hold(store: Store, sender: str) -> None:
    """It waits for its PBX for 100 s, which is no matter of the worker's."""
    until = time.time() + 100
    store.change(gateway, gateway.c.sender == sender, free_at=until, held="UNAUTHORIZED")


def test_overview_counts_what_is_not_ended_and_how_long_nobody_takes_it(store: Store) -> None:
    nothing = store.do(overview)
    assert (dict(nothing.counts), nothing.waits, dict(nothing.held)) == (
        {"pending": 0, "leased": 0, "sending": 0}, 0.0, {},
    )  # fmt: skip
    store.add(age=90)
    store.add(planned=time.time() + 900)
    store.add(state=State.SENT, age=5000)
    store.add(sender="102", age=5000)
    hold(store, "102")
    found = store.do(overview)
    assert dict(found.counts) == {"pending": 3, "leased": 0, "sending": 0}
    assert dict(found.held) == {"102": "UNAUTHORIZED"}
    assert 89 < found.waits < 100
    store.change(gateway, gateway.c.sender == "102", free_at=time.time() - 1)
    assert dict(store.do(overview).held) == {}  # it may be tried by now


def test_what_waited_for_a_gateway_has_waited_for_a_worker_only_since(store: Store) -> None:
    store.add(age=3600)
    store.change(gateway, free_at=time.time() - 4)
    assert 3 < store.do(overview).waits < 30


def test_overview_says_what_is_due_how_old_it_is_and_when_the_next_try_is(store: Store) -> None:
    nothing = store.do(overview)
    assert (nothing.due, nothing.oldest, nothing.next_try) == (0, None, None)
    later = store.add(planned=time.time() + 900)
    found = store.do(overview)
    assert (found.due, found.oldest) == (0, None)
    assert 880 < (found.next_try or 0) < 901  # SQLite's clock has whole milliseconds
    # one that was tried and waits, and one whose sender is held
    again = store.add(age=600)
    store.change(message, message.c.id == again, due=time.time() + 30)
    store.add(sender="102", age=60)
    hold(store, "102")
    found = store.do(overview)
    assert found.due == 1
    assert 59 < (found.oldest or 0) < 70
    assert 20 < (found.next_try or 0) < 31
    assert 90 < found.held_for["102"] < 101
    store.do(lambda c: [cancel(c, each) for each in (later, again)])
    assert 90 < (store.do(overview).next_try or 0) < 101
    store.change(gateway, free_at=0.0)
    assert store.do(overview).next_try == 0.0


def test_listing_is_newest_first_and_filters(store: Store) -> None:
    first = store.add(ROME, age=7200)
    second = store.add(MILAN, ROME, state=State.SENT, sender="102")
    third = store.add("12345", state=State.FAILED)
    assert listed(store) == [third, second, first]
    assert listed(store, most=2) == [third, second]
    assert listed(store, states=(State.SENT, State.PENDING)) == [second, first]
    assert listed(store, sender="101") == [third, first]
    assert listed(store, number="99002") == [second]
    assert listed(store, number="3906") == [second, first]
    assert listed(store, number="%") == []
    assert listed(store, since=3600.0) == [third, second]
    (sms,) = store.do(lambda c: listing(c, Filters(sender="102"), 50)).found
    assert sms.numbers == ((MILAN, "sent"), (ROME, "sent"))


def test_listing_goes_on_where_it_stopped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [store.add() for _ in range(7)]
    monkeypatch.setattr("dialplan_sms.outbox.history.search.SPAN", 3)
    found: list[int] = []
    place: Place | None = None
    for _ in range(20):
        page = store.do(lambda c, place=place: listing(c, Filters(), 2, place))  # type: ignore[misc]
        found += [sms.id for sms in page.found]
        place = page.place
        if place is None:
            break
    assert found == ids[::-1]


def test_show_has_numbers_tries_and_text_and_a_repr_without_it(store: Store) -> None:
    id_ = store.add(ROME, MILAN, text="secret")
    (claimed,) = store.claim()
    refused = error(Cause.UNREACHABLE, "no route")
    ended = Ended(claimed, refused, Verdict(sent=(ROME,), again=(MILAN,)), 0.5, True)
    store.do(lambda c: leases.finish(c, [ended]))
    sms = shown(store, id_)
    assert sms.numbers == ((MILAN, "pending"), (ROME, "sent"))
    (only,) = sms.tries
    assert (only.numbers, only.status, only.cause, only.reason) == (
        2, "ERROR", "UNREACHABLE", "no route",
    )  # fmt: skip
    assert sms.text == "secret"
    assert "secret" not in repr(sms)
    assert store.do(lambda c: show(c, id_ + 1)) is None


@pytest.mark.parametrize("state", [State.FAILED, State.EXPIRED, State.UNKNOWN, State.CANCELLED])
def test_retry_sends_again_to_those_who_did_not_get_it(store: Store, state: State) -> None:
    id_ = store.add(ROME, MILAN, state=state, age=30 * DAY)
    store.change(number, number.c.number == ROME, state=State.SENT)
    store.change(message, attempts=7, cause="REJECTED", reason="no")
    assert store.do(lambda c: retry(c, id_)) == ""
    sms = shown(store, id_)
    assert (sms.state, sms.attempts, sms.cause, sms.ended) == ("pending", 0, "", None)
    # the next try is as good as the first: its max_age begins now
    assert store.do(lambda c: transitions.expire(c, "101", DAY)) == 0
    (claimed,) = store.claim()
    assert claimed.sms.numbers == (MILAN,)
    assert claimed.age < 60


def test_retry_says_why_not(store: Store) -> None:
    sent = store.add(state=State.SENT)
    waits = store.add()
    gone = store.add(state=State.FAILED, text=None)
    why = store.do(lambda c: {id_: retry(c, id_) for id_ in (sent, waits, gone, 999)})
    assert "is sent" in why[sent]
    assert "is pending already" in why[waits]
    assert "keep_text" in why[gone]
    assert "no such" in why[999]
    assert (store.state(sent), store.state(gone)) == ("sent", "failed")


@pytest.mark.parametrize(("ahead", "kept"), [(-1, False), (1, True)])
def test_retry_does_not_tell_the_pbx_to_wait_for_the_past(
    store: Store, ahead: int, kept: bool
) -> None:
    when = datetime.now() + timedelta(days=ahead)
    said = f"{when:{api.POSTPONE_FORMAT}}"
    id_ = store.add(state=State.FAILED, postpone=said)
    store.do(lambda c: retry(c, id_))
    assert shown(store, id_).postpone == (said if kept else None)


def test_cancel_takes_what_waits_and_nothing_else(store: Store) -> None:
    going = store.add()
    store.claim()
    waits = store.add(ROME, MILAN)
    later = store.add(planned=time.time() + DAY)
    done = store.add(state=State.SENT)
    why = store.do(lambda c: {id_: cancel(c, id_) for id_ in (going, waits, later, done, 999)})
    assert (why[waits], why[later]) == ("", "")
    assert "going out" in why[going]
    assert "is sent already" in why[done]
    assert "no such" in why[999]
    assert set(store.states(waits).values()) == {"cancelled"}
    assert [store.state(id_) for id_ in (going, waits, later, done)] == [
        "leased", "cancelled", "cancelled", "sent",
    ]  # fmt: skip
    assert store.claim() == []


def test_cancel_drops_the_text_unless_the_sender_keeps_it(store: Store) -> None:
    dropped, kept = store.add(), store.add(sender="102")
    store.do(lambda c: [cancel(c, each, keeping=["102"]) for each in (dropped, kept)])
    assert (store.row(dropped).text, store.row(kept).text) == (None, "hello")


@pytest.mark.parametrize("change", [cancel, retry])
def test_an_admin_and_a_worker_at_once_have_one_winner(
    store: Store, change: Callable[[sa.Connection, int], str]
) -> None:
    # The worker's transaction is open while the admin's begins: on SQLite one waits for the
    # other, on PostgreSQL the second sees what the first has committed.
    id_ = store.add()
    with store.writer.engine.begin() as connection:
        (claimed,) = leases.claim(connection, "worker", 60.0, 10, {})
        admin = store.writer.submit(lambda c: change(c, id_))
        time.sleep(0.3)
    assert admin.result(10) != ""
    assert store.begin(claimed)


def test_purge_deletes_what_ended_long_ago_in_portions(store: Store) -> None:
    old = [store.add(ROME, MILAN, state=state, age=100 * DAY) for state in
           (State.SENT, State.FAILED, State.EXPIRED, State.CANCELLED, State.UNKNOWN)]  # fmt: skip
    recent = store.add(state=State.SENT, age=100 * DAY)
    waits = store.add(age=100 * DAY)
    tried = Try(old[0], Outcome(Status.SUCCESS), Verdict(sent=(ROME,)))
    store.do(lambda c: transitions.end_tries(c, [tried]))
    store.change(message, message.c.id == old[0], ended=time.time() - 100 * DAY)
    store.change(message, message.c.id == recent, ended=time.time() - 80 * DAY)
    counts = [store.do(lambda c: purge(c, 90 * DAY, most=2)) for _ in range(4)]
    assert counts == [2, 2, 1, 0]
    assert listed(store) == [waits, recent]
    count = sa.select(sa.func.count())
    assert store.do(lambda c: c.scalar(count.select_from(number))) == 2
    assert store.do(lambda c: c.scalar(count.select_from(attempt))) == 0


def test_what_was_cancelled_before_it_was_due_is_purged(store: Store) -> None:
    id_ = store.add(planned=time.time() + 300 * DAY)
    store.do(lambda c: cancel(c, id_))
    time.sleep(0.05)
    assert store.do(lambda c: purge(c, 0.0)) == 1


def test_texts_are_forgotten_once_they_are_old(store: Store) -> None:
    old = store.add(state=State.FAILED, age=8 * DAY)
    recent = store.add(state=State.FAILED, age=6 * DAY)
    waits = store.add(age=8 * DAY)
    others = store.add(state=State.FAILED, age=8 * DAY, sender="102")
    assert store.do(lambda c: forget_texts(c, "101", 7 * DAY)) == 1
    assert store.do(lambda c: forget_texts(c, "101", 7 * DAY)) == 0
    assert [store.row(id_).text for id_ in (old, recent, waits, others)] == [
        None, "hello", "hello", "hello",
    ]  # fmt: skip


def test_a_text_that_was_not_sent_stays_for_a_day(store: Store) -> None:
    sent, failed = store.add(state=State.SENT, age=60), store.add(state=State.FAILED, age=60)
    old = store.add(state=State.UNKNOWN, age=2 * DAY)
    assert store.do(lambda c: forget_texts(c, "101", 0.0)) == 2
    assert [store.row(id_).text for id_ in (sent, failed, old)] == [None, "hello", None]


def test_used_counts_as_the_limits_do(store: Store) -> None:
    hour = 3600.0
    sender = replace(SENDER, per_number=(2, hour), per_sender=(9, hour), per_caller=(3, hour))
    store.add(ROME, MILAN, caller="201")
    store.add(ROME, caller="202", age=60)
    store.add(ROME, caller="201", age=7200)
    store.add(MILAN, sender="102")
    mistaken = store.add(caller="201")
    store.do(lambda c: cancel(c, mistaken))
    found = [(use.rule, use.whose, use.used) for use, _ in store.do(lambda c: used(c, sender))]
    assert found == [
        ("per_sender", "101", 3), ("per_number", ROME, 2), ("per_number", MILAN, 1),
        ("per_caller", "201", 2), ("per_caller", "202", 1),
    ]  # fmt: skip
    none = store.do(lambda c: used(c, replace(sender, name="103")))
    assert [(use.rule, use.used) for use, _ in none] == [
        ("per_sender", 0), ("per_number", 0), ("per_caller", 0),
    ]  # fmt: skip
