import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox import leases
from dialplan_sms.outbox import store as outbox_module
from dialplan_sms.outbox.leases import Ended
from dialplan_sms.outbox.retry import Verdict
from dialplan_sms.outbox.schema import State, message, meta, number
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.sms import Sms
from tests.unit.stored import NUMBERS, SENDER, another, locked

A, B, _ = NUMBERS
SUCCESS = Outcome(Status.SUCCESS)


def _accept(
    outbox: Outbox, text: str = "hello", *numbers: str, sender: Sender = SENDER,
    **fields: Any,
) -> Outcome:  # fmt: skip
    return outbox.accept(Sms(numbers or (A,), text, mode="queue", **fields), sender)


def _rows(database: str) -> list[Any]:
    with another(database) as connection, connection.begin():
        return list(connection.execute(message.select().order_by(message.c.id)).all())


def _end(outbox: Outbox, state: State) -> None:
    for table in (message, number):
        outbox.writer.do(
            lambda c, t=table: c.execute(t.update().values(state=state)) and None,  # type: ignore[misc]
            20.0,
        )
    leased = message.update().values(lease_until=9e9)  # by a worker, not by a call
    outbox.writer.do(lambda c: c.execute(leased) and None, 20.0)


def test_queued_is_committed(outbox: Outbox, database: str) -> None:
    outcome = _accept(outbox, "hello", A, B, call="1700000000.7", caller="200")
    (row,) = _rows(database)
    assert (outcome.status, outcome.id) == (Status.QUEUED, str(row.id))
    assert (row.state, row.text, row.chars, row.sender) == ("pending", "hello", 5, "101")
    assert (row.call, row.caller, row.mode, row.key) == ("1700000000.7", "200", "queue", None)


def test_a_worker_is_told_once_it_is_committed(database: str) -> None:
    seen: list[int] = []
    outbox = Outbox(database, lambda: seen.append(len(_rows(database))))
    _accept(outbox)
    outbox.close()
    assert seen == [1]


def test_a_postponed_one_waits_here_or_at_the_pbx(outbox: Outbox, database: str) -> None:
    when = datetime(2033, 7, 14, 15, 35)
    _accept(outbox, postpone=when)
    _accept(outbox, postpone=when, sender=replace(SENDER, postpone="pbx"))
    here, there = _rows(database)
    assert (here.due, here.planned, here.postpone) == (when.timestamp(), when.timestamp(), None)
    assert (there.planned, there.postpone) == (None, when)
    with another(database) as connection, connection.begin():  # as an older host reads it
        texts = connection.exec_driver_sql("SELECT postpone FROM sms_message ORDER BY id").scalars()
        assert list(texts) == [None, "14/07/2033 15:35"]


def test_a_date_that_is_none_does_not_stop_the_others(sqlite: str) -> None:
    """SQLite keeps whatever somebody writes into a column."""
    outbox = Outbox(sqlite)
    for _ in range(3):
        _accept(outbox, sender=replace(SENDER, postpone="pbx"), postpone=datetime(2033, 7, 14))
    with another(sqlite) as connection, connection.begin():
        connection.exec_driver_sql("UPDATE sms_message SET postpone = 'soon' WHERE id = 1")
        connection.exec_driver_sql("UPDATE sms_message SET postpone = x'00ff' WHERE id = 2")
    leased = outbox.writer.do(lambda c: leases.claim(c, "a", 60.0, 9, {}), 20.0)
    assert [each.sms.postpone for each in leased] == [None, None, datetime(2033, 7, 14)]
    outbox.close()


def test_a_locked_outbox_is_an_error_within_patience(
    outbox: Outbox, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _accept(outbox)
    with locked(database), monkeypatch.context() as impatient:
        impatient.setattr(outbox_module, "PATIENCE", 0.3)
        outcome = _accept(outbox)
    assert (outcome.status, outcome.cause) == (Status.ERROR, Cause.OUTBOX)
    assert _accept(outbox).status is Status.QUEUED
    assert len(_rows(database)) == 2


def test_a_commit_that_does_not_end_may_be_sent(outbox: Outbox) -> None:
    _accept(outbox)
    go_on = threading.Event()
    sa.event.listen(outbox.writer.engine, "commit", lambda _: go_on.wait(20) and None)
    outcome = outbox.accept(Sms((A,), "hello"), SENDER, left=2.0)
    go_on.set()
    assert (outcome.status, outcome.cause) == (Status.ERROR, Cause.NO_ANSWER)


def test_a_call_that_sends_itself_leaves_its_history(outbox: Outbox, database: str) -> None:
    ids = [outbox.reserve(Sms((A,), "hello"), SENDER) for _ in range(2)]
    assert [row.state for row in _rows(database)] == ["sending", "sending"]
    assert isinstance(ids[0], str)
    outbox.settle(ids[0], Sms((A,), "hello"), SUCCESS)
    outbox.settle(ids[0], Sms((A,), "hello"), error(Cause.REJECTED, "no"))  # as if run again
    _accept(outbox)
    rows = _rows(database)
    assert [row.state for row in rows] == ["sent", "sending", "pending"]
    assert [row.text for row in rows] == [None, None, "hello"]
    assert [row.attempts for row in rows] == [1, 0, 0]


def test_the_history_does_not_keep_a_call_waiting(outbox: Outbox, database: str) -> None:
    """What 200 calls leave at once is committed in parts, between which others get their turn."""
    _accept(outbox)
    commits: list[Any] = []
    sa.event.listen(outbox.writer.engine, "commit", commits.append)
    for _ in range(200):
        outbox.record(Sms((A,), "hello"), SENDER, SUCCESS)
    outbox.close()
    assert (len(_rows(database)), len(commits) >= 4) == (201, True)


def test_what_a_call_could_not_send_has_failed_and_is_not_too_old(
    outbox: Outbox, database: str
) -> None:
    """In mode wait: nothing was stored, so no time can have run out."""
    sms = Sms((A,), "hello")
    id_ = outbox.reserve(sms, SENDER)
    assert isinstance(id_, str)
    outbox.settle(id_, sms, error(Cause.UNREACHABLE, "no connection"))
    outbox.record(sms, SENDER, error(Cause.UNREACHABLE, "no connection"))
    outbox.close()
    assert [row.state for row in _rows(database)] == ["failed", "failed"]


@pytest.mark.parametrize("damage", ["version = 'abc'", "version = '-5'", "secret = gone"])
def test_a_damaged_outbox_is_told_in_a_line(outbox: Outbox, database: str, damage: str) -> None:
    _accept(outbox)
    name, _, value = damage.partition(" = ")
    with another(database) as connection, connection.begin():
        if name == "secret":
            connection.execute(meta.delete().where(meta.c.name == name))
        else:
            connection.execute(
                meta.update().where(meta.c.name == name).values(value=value.strip("'"))
            )
    again = Outbox(database)
    outcome = _accept(again)
    again.close()
    assert (outcome.cause, "the outbox is damaged" in outcome.reason) == (Cause.OUTBOX, True)


def test_what_was_sent_without_asking_is_history_too(outbox: Outbox, database: str) -> None:
    outbox.record(Sms((A,), "hello"), SENDER, error(Cause.REJECTED, "no"))
    outbox.close()
    (row,) = _rows(database)
    assert (row.state, row.cause, row.text, row.attempts) == ("failed", "REJECTED", None, 1)


def test_what_a_call_could_not_send_is_stored_under_its_id(outbox: Outbox, database: str) -> None:
    when = datetime(2033, 7, 14, 15, 35)
    sms = Sms((A,), "hello", postpone=when)
    id_ = outbox.reserve(sms, SENDER)
    assert isinstance(id_, str)
    outcome = outbox.accept(sms, SENDER, reserved=id_)
    (row,) = _rows(database)
    assert (outcome.status, outcome.id) == (Status.QUEUED, str(row.id))
    assert (row.state, row.text, row.due) == ("pending", "hello", when.timestamp())


def test_storing_what_is_stored_already_takes_no_lease_away(outbox: Outbox, database: str) -> None:
    id_ = outbox.reserve(Sms((A,), "hello"), SENDER)
    assert isinstance(id_, str)
    outbox.accept(Sms((A,), "hello"), SENDER, reserved=id_)
    (claimed,) = outbox.writer.do(lambda c: leases.claim(c, "a", 60.0, 1, {}), 20.0)
    for _ in range(2):  # leased, then sending
        outbox.accept(Sms((A,), "hello"), SENDER, reserved=id_)
        assert outbox.writer.do(lambda c: leases.begin_sending(c, [claimed]), 20.0) == [True]
    assert _rows(database)[0].state == "sending"
    sent = Verdict(sent=(A,))
    outbox.writer.do(lambda c: leases.finish(c, [Ended(claimed, SUCCESS, sent, 0.0)]), 20.0)
    outbox.accept(Sms((A,), "hello"), SENDER, reserved=id_)  # it has no text any more
    (row,) = _rows(database)
    assert row.state == "sent"


def test_a_key_is_stored_once(outbox: Outbox, database: str) -> None:
    with ThreadPoolExecutor(16) as threads:
        outcomes = list(threads.map(lambda _: _accept(outbox, key="alarm-7"), range(16)))
    assert {outcome.status for outcome in outcomes} == {Status.QUEUED}
    assert len({outcome.id for outcome in outcomes}) == 1
    assert _accept(outbox, key="alarm-8").id != outcomes[0].id
    assert _accept(outbox, key="alarm-7", sender=replace(SENDER, name="102")).id != outcomes[0].id
    assert len(_rows(database)) == 3


def test_a_key_is_stored_once_by_two_hosts(database: str) -> None:
    hosts = [Outbox(database), Outbox(database)]
    _accept(hosts[0])
    with ThreadPoolExecutor(16) as threads:
        outcomes = list(
            threads.map(lambda n: _accept(hosts[n % 2], key=f"alarm-{n // 2}"), range(40))
        )
    for host in hosts:
        host.close()
    assert [outcome.status for outcome in outcomes] == [Status.QUEUED] * 40
    assert len(_rows(database)) == 21


@pytest.mark.parametrize(
    ("state", "status", "cause", "again"),
    [
        (State.SENT, Status.SUCCESS, Cause.NONE, False),
        (State.LEASED, Status.QUEUED, Cause.NONE, False),
        (State.SENDING, Status.QUEUED, Cause.NONE, False),
        (State.UNKNOWN, Status.ERROR, Cause.NO_ANSWER, False),
        (State.FAILED, Status.QUEUED, Cause.NONE, True),
        (State.EXPIRED, Status.QUEUED, Cause.NONE, True),
    ],
)
def test_a_key_tells_what_became_of_it(
    outbox: Outbox, database: str, state: State, status: Status, cause: Cause, again: bool
) -> None:
    first = _accept(outbox, key="alarm-7")
    _end(outbox, state)
    outcome = _accept(outbox, key="alarm-7")
    assert (outcome.status, outcome.cause) == (status, cause)
    assert (outcome.id != first.id) == again
    assert len(_rows(database)) == 1 + again


def test_a_key_is_not_for_another_text(outbox: Outbox, database: str) -> None:
    _accept(outbox, "hello", key="alarm-7")
    outcome = _accept(outbox, "good-bye", key="alarm-7")
    assert (outcome.status, outcome.cause) == (Status.ERROR, Cause.DENIED)
    assert len(_rows(database)) == 1


def test_the_same_text_goes_once_in_the_repeat_window(outbox: Outbox, database: str) -> None:
    sender = replace(SENDER, repeat_window=60.0)
    assert _accept(outbox, "hello", sender=sender).status is Status.QUEUED
    outcome = _accept(outbox, "hello", sender=sender)
    assert (outcome.status, outcome.cause) == (Status.ERROR, Cause.DENIED)
    assert "repeat_window" in outcome.reason
    assert _accept(outbox, "good-bye", sender=sender).status is Status.QUEUED
    assert _accept(outbox, "hello", B, sender=sender).status is Status.QUEUED

    _end(outbox, State.FAILED)
    assert _accept(outbox, "hello", sender=sender).status is Status.QUEUED
    assert [row.fingerprint for row in _rows(database)].count(_rows(database)[0].fingerprint) == 3


def test_a_limit_lets_no_two_pass_together(outbox: Outbox, database: str) -> None:
    sender = replace(SENDER, per_sender=(5, 3600.0))
    _accept(outbox, sender=replace(sender, name="102"))
    with ThreadPoolExecutor(16) as threads:
        outcomes = list(threads.map(lambda _: _accept(outbox, sender=sender), range(16)))
    assert [outcome.status for outcome in outcomes].count(Status.QUEUED) == 5
    assert len(_rows(database)) == 6
