import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox import idempotency, leases, transitions
from dialplan_sms.outbox.leases import Ended
from dialplan_sms.outbox.retry import Verdict
from dialplan_sms.outbox.schema import State, message, meta, number
from dialplan_sms.outbox.store import Outbox, insert
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.sms import Sms
from tests.unit.stored import NUMBERS, SENDER, Store, another, new, opened, rows
from tests.waiting import until

A, B, _ = NUMBERS
HELLO = Sms((A,), "hello", mode="queue")
ALARM = Sms((A, B), "Alarm", key="7")
SUCCESS = Outcome(Status.SUCCESS)
WHEN = datetime(2033, 7, 14, 15, 35)


def accept(outbox: Outbox, sms: Sms = HELLO, sender: Sender = SENDER, **fields: Any) -> Outcome:
    return outbox.accept(replace(sms, **fields), sender)


def reserve(outbox: Outbox, sms: Sms = HELLO) -> str:
    token = outbox.reserve(sms, SENDER)
    assert isinstance(token, str)
    return token


def end(outbox: Outbox, state: str, *states: str) -> None:
    """Have all ended as if a worker had, A and B in *states*, if these are given."""
    store = Store(outbox.writer)
    store.change(message, state=state, reason="full", lease_until=9e9)
    for each, what in zip((A, B), states or (state, state), strict=True):
        store.change(number, number.c.number == each, state=what)


def test_queued_is_committed(outbox: Outbox, database: str) -> None:
    outcome = accept(outbox, numbers=(A, B), call="1700000000.7", caller="200")
    (row,) = rows(database)
    assert (outcome.status, outcome.id) == (Status.QUEUED, str(row.id))
    assert (row.state, row.text, row.chars, row.sender) == ("pending", "hello", 5, "101")
    assert (row.call, row.caller, row.mode, row.key) == ("1700000000.7", "200", "queue", None)


def test_a_commit_of_many_changes_few_pages(sqlite: str) -> None:
    """Each is written twice and waited for: those of one commit are neighbours in every index."""
    file = Path(sqlite.removeprefix("sqlite:///"))

    def pages() -> list[bytes]:
        content = file.read_bytes()
        return [content[at : at + 4096] for at in range(0, len(content), 4096)]

    with opened(sqlite) as store:
        many = [new(f"+39061{n:06}") for n in range(10_000)]
        store.do(lambda c: insert(c, many))
        before = pages()
        store.do(lambda c: insert(c, [new(f"+39062{n:06}") for n in range(100)]))
        changed = sum(old != now for old, now in zip(before, pages(), strict=False))
    assert changed < 60


def test_a_worker_is_told_once_it_is_committed(database: str) -> None:
    seen: list[int] = []
    outbox = Outbox(database, lambda: seen.append(len(rows(database))))
    accept(outbox)
    outbox.close()
    assert seen == [1]


def test_a_postponed_one_waits_here_or_at_the_pbx(outbox: Outbox, database: str) -> None:
    accept(outbox, postpone=WHEN)
    accept(outbox, sender=replace(SENDER, postpone="pbx"), postpone=WHEN)
    here, there = rows(database)
    assert (here.due, here.planned, here.postpone) == (WHEN.timestamp(), WHEN.timestamp(), None)
    assert (there.planned, there.postpone) == (None, "14/07/2033 15:35")  # older hosts read it, too


def test_a_date_that_is_none_does_not_stop_the_others(sqlite: str) -> None:
    """SQLite keeps whatever somebody writes into a column."""
    outbox = Outbox(sqlite)
    for _ in range(3):
        accept(outbox, sender=replace(SENDER, postpone="pbx"), postpone=WHEN)
    with another(sqlite) as connection, connection.begin():
        connection.exec_driver_sql("UPDATE sms_message SET postpone = 'soon' WHERE id = 1")
        connection.exec_driver_sql("UPDATE sms_message SET postpone = x'00ff' WHERE id = 2")
    assert [each.sms.postpone for each in Store(outbox.writer).claim()] == [None, None, WHEN]
    outbox.close()


def test_a_commit_that_does_not_end_may_be_sent(outbox: Outbox, database: str) -> None:
    accept(outbox)
    go_on = threading.Event()
    sa.event.listen(outbox.writer.engine, "commit", lambda _: go_on.wait(20) and None)
    outcome = outbox.accept(HELLO, SENDER, left=2.0)
    go_on.set()
    assert (outcome.status, outcome.cause) == (Status.ERROR, Cause.NO_ANSWER)
    accept(outbox)
    assert len(rows(database)) == 3


def test_a_call_that_sends_itself_leaves_its_history(outbox: Outbox, database: str) -> None:
    first, _ = reserve(outbox), reserve(outbox)
    assert [row.state for row in rows(database)] == ["sending", "sending"]
    outbox.settle(first, HELLO, SUCCESS)
    outbox.settle(first, HELLO, error(Cause.REJECTED, "no"))  # as if run again
    accept(outbox)
    assert [(row.state, row.text, row.attempts) for row in rows(database)] == [
        ("sent", None, 1), ("sending", None, 0), ("pending", "hello", 0),
    ]  # fmt: skip


def test_the_history_does_not_keep_a_call_waiting(outbox: Outbox, database: str) -> None:
    """What 200 calls leave at once is committed in parts, between which others get their turn."""
    accept(outbox)
    commits: list[Any] = []
    sa.event.listen(outbox.writer.engine, "commit", commits.append)
    for _ in range(200):
        outbox.record(HELLO, SENDER, SUCCESS)
    outbox.close()
    assert (len(rows(database)), len(commits) >= 4) == (201, True)


def test_what_cannot_be_noted_holds_up_no_other(outbox: Outbox, database: str) -> None:
    accept(outbox)
    outbox.record(HELLO, replace(SENDER, name=object()), SUCCESS)  # type: ignore[arg-type]
    for count in (2, 3):
        outbox.record(HELLO, SENDER, SUCCESS)
        until(lambda count=count: len(rows(database)) == count)  # type: ignore[misc]


def test_what_a_call_could_not_send_has_failed_and_is_not_too_old(
    outbox: Outbox, database: str
) -> None:
    """In mode wait: nothing was stored, so no time can have run out."""
    outbox.settle(reserve(outbox), HELLO, error(Cause.UNREACHABLE, "no connection"))
    outbox.record(HELLO, SENDER, error(Cause.UNREACHABLE, "no connection"))
    outbox.record(HELLO, SENDER, error(Cause.REJECTED, "no"))
    outbox.close()
    assert [(row.state, row.cause, row.text, row.attempts) for row in rows(database)] == [
        (State.FAILED, cause, None, 1) for cause in ("UNREACHABLE", "UNREACHABLE", "REJECTED")
    ]


@pytest.mark.parametrize(
    "damage",
    [meta.update().where(meta.c.name == "version").values(value="abc"),
     meta.update().where(meta.c.name == "version").values(value="-5"),
     meta.delete().where(meta.c.name == "secret")],
    ids=["abc", "-5", "no secret"],
)  # fmt: skip
def test_a_damaged_outbox_is_told_in_a_line(
    outbox: Outbox, database: str, damage: sa.Update | sa.Delete
) -> None:
    accept(outbox)
    with another(database) as connection, connection.begin():
        connection.execute(damage)
    again = Outbox(database)
    outcome = accept(again)
    again.close()
    assert (outcome.cause, "the outbox is damaged" in outcome.reason) == (Cause.OUTBOX, True)


def test_a_reason_that_repeats_the_text_is_not_stored(outbox: Outbox, database: str) -> None:
    for text in ("PIN x7Q", "a longer private text"):
        sms = Sms((A,), text)
        told = error(Cause.REJECTED, f"bad message: {text}", from_pbx=True)
        outbox.settle(reserve(outbox, sms), sms, told)
        outbox.record(sms, SENDER, told)
    outbox.close()
    assert [row.reason for row in rows(database)] == ["the PBX repeats the text"] * 4


class TestReserved:
    """What a call has reserved is known by its token: ids begin anew in another database."""

    def test_is_stored_under_its_id_if_it_could_not_be_sent(
        self, outbox: Outbox, database: str
    ) -> None:
        sms = replace(HELLO, postpone=WHEN)
        outcome = outbox.accept(sms, SENDER, reserved=reserve(outbox, sms))
        (row,) = rows(database)
        assert (outcome.status, outcome.id) == (Status.QUEUED, str(row.id))
        assert (row.state, row.text, row.due) == ("pending", "hello", WHEN.timestamp())

    def test_and_stored_already_loses_no_lease(self, outbox: Outbox) -> None:
        token, store = reserve(outbox), Store(outbox.writer)
        outbox.accept(HELLO, SENDER, reserved=token)
        (claimed,) = store.claim()
        for _ in range(2):  # leased, then sending
            outbox.accept(HELLO, SENDER, reserved=token)
            assert store.begin(claimed)
        assert store.state(1) == "sending"
        sent = Ended(claimed, SUCCESS, Verdict(sent=(A,)), 0.0)
        store.do(lambda c: leases.finish(c, [sent]))
        outbox.accept(HELLO, SENDER, reserved=token)  # it has no text any more
        assert store.state(1) == "sent"

    def test_touches_nothing_of_another_database(self, outbox: Outbox, database: str) -> None:
        mine = reserve(outbox, Sms((A,), "for A only"))
        for table in (number, message):
            outbox.writer.do(lambda c, t=table: c.execute(t.delete()) and None, 5)  # type: ignore[misc]
        reserve(outbox, Sms((B,), "for B only"))
        stored = outbox.accept(Sms((A,), "for A only"), SENDER, reserved=mine)
        assert stored.status is Status.QUEUED
        outbox.settle(mine, ALARM, SUCCESS)
        store = Store(outbox.writer)
        assert [(store.states(row.id), row.text, row.state) for row in rows(database)] == [
            ({B: "sending"}, None, "sending"), ({A: "pending"}, "for A only", "pending"),
        ]  # fmt: skip

    def test_is_stored_anew_if_it_has_ended_meanwhile(self, outbox: Outbox) -> None:
        mine = reserve(outbox)
        outbox.writer.do(lambda c: transitions.give_up_calls(c, -1.0), 5)  # as after a clock's jump
        stored = outbox.accept(HELLO, SENDER, reserved=mine)
        assert (stored.status, stored.id) == (Status.QUEUED, "2")


class TestAKey:
    """SMS_KEY: the second SMS is the first."""

    def test_is_stored_once_by_two_hosts(self, database: str) -> None:
        hosts = [Outbox(database), Outbox(database)]
        accept(hosts[0])
        with ThreadPoolExecutor(16) as threads:
            outcomes = list(
                threads.map(lambda n: accept(hosts[n % 2], key=f"alarm-{n // 4}"), range(40))
            )
        assert [outcome.status for outcome in outcomes] == [Status.QUEUED] * 40
        assert len({outcome.id for outcome in outcomes}) == 10
        others = accept(hosts[0], key="alarm-1", sender=replace(SENDER, name="102"))
        assert others.id not in {outcome.id for outcome in outcomes}
        for host in hosts:
            host.close()
        assert len(rows(database)) == 12

    @pytest.mark.parametrize(
        ("state", "status", "cause", "again"),
        [
            (State.PENDING, Status.QUEUED, Cause.NONE, False),
            (State.SENT, Status.SUCCESS, Cause.NONE, False),
            (State.LEASED, Status.QUEUED, Cause.NONE, False),
            (State.SENDING, Status.QUEUED, Cause.NONE, False),
            (State.UNKNOWN, Status.ERROR, Cause.NO_ANSWER, False),
            (State.FAILED, Status.QUEUED, Cause.NONE, True),
            (State.EXPIRED, Status.QUEUED, Cause.NONE, True),
        ],
    )
    def test_tells_what_became_of_it(
        self, outbox: Outbox, database: str, state: State, status: Status, cause: Cause, again: bool
    ) -> None:
        first = accept(outbox, ALARM)
        end(outbox, state)
        outcome = accept(outbox, ALARM)
        assert (outcome.status, outcome.cause, outcome.failed) == (status, cause, ())
        assert (outcome.id != first.id) == again
        assert len(rows(database)) == 1 + again

    def test_whose_sms_some_have_is_not_sent_again(self, outbox: Outbox) -> None:
        first = accept(outbox, ALARM)
        end(outbox, "failed", "sent", "failed")
        warning = Outcome(Status.WARNING, Cause.NOT_QUEUED, "full", (B,), first.id)
        assert accept(outbox, ALARM) == warning

    @pytest.mark.parametrize(
        "other", [{"numbers": (A,)}, {"text": "All clear"}, {"gsm": "9c7514330001"}]
    )
    def test_is_not_for_another_sms(
        self, outbox: Outbox, database: str, other: dict[str, Any]
    ) -> None:
        accept(outbox, ALARM)
        assert accept(outbox, ALARM, **other).cause is Cause.DENIED
        assert len(rows(database)) == 1

    def test_of_200_characters_is_freed_too(self, outbox: Outbox) -> None:
        first = accept(outbox, ALARM, key="k" * 200)
        end(outbox, "failed")
        again = accept(outbox, ALARM, key="k" * 200)
        assert (again.status, again.id != first.id) == (Status.QUEUED, True)
        taken = outbox.writer.do(lambda c: idempotency.taken(c, int(first.id)), 5)
        assert str(taken) == again.id
