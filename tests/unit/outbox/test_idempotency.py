"""SMS_KEY on the outbox: the second SMS is the first."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox import idempotency, transitions
from dialplan_sms.outbox.schema import message, number
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.sms.outcome import Cause, Outcome, Status
from dialplan_sms.sms.sms import Sms

SENDER = Sender(name="101", url="https://192.0.2.1", password="x")
A, B = "+39333123456", "+39333123457"
ALARM = Sms((A, B), "Alarm")


def accept(outbox: Outbox, sms: Sms = ALARM, key: str = "7") -> Outcome:
    return outbox.accept(replace(sms, key=key), SENDER)


def make(outbox: Outbox, state: str, *numbers: str) -> None:
    """Have it ended as if a worker had."""
    states = numbers or (state, state)

    def work(connection: sa.Connection) -> None:
        connection.execute(message.update().values(state=state, reason="full"))
        for each, what in zip((A, B), states, strict=True):
            connection.execute(number.update().where(number.c.number == each).values(state=what))

    outbox.writer.do(work, 5)


def test_the_second_is_the_first_as_far_as_it_has_come(outbox: Outbox) -> None:
    first = accept(outbox)
    assert (first.status, accept(outbox)) == (Status.QUEUED, first)
    make(outbox, "sent")
    assert accept(outbox) == Outcome(Status.SUCCESS, id=first.id)
    make(outbox, "unknown")
    assert accept(outbox).cause is Cause.NO_ANSWER
    assert accept(outbox, key="8").id not in ("", first.id)


@pytest.mark.parametrize(
    "other", [Sms((A,), "Alarm"), Sms((A, B), "All clear"), Sms((A, B), "Alarm", "9c7514330001")]
)
def test_a_key_that_was_another_smss_is_refused(outbox: Outbox, other: Sms) -> None:
    accept(outbox)
    assert accept(outbox, other).cause is Cause.DENIED


def test_what_went_to_nobody_may_be_tried_again_and_what_some_have_may_not(outbox: Outbox) -> None:
    first = accept(outbox)
    make(outbox, "failed", "sent", "failed")
    assert accept(outbox) == Outcome(Status.WARNING, Cause.NOT_QUEUED, "full", (B,), first.id)
    make(outbox, "failed")
    again = accept(outbox)
    assert again.status is Status.QUEUED
    assert again.id != first.id


def test_the_longest_key_is_freed_too(outbox: Outbox) -> None:
    first = accept(outbox, key="k" * 200)
    make(outbox, "failed")
    again = accept(outbox, key="k" * 200)
    assert again.status is Status.QUEUED
    taken = outbox.writer.do(lambda c: idempotency.taken(c, int(first.id)), 5)
    assert str(taken) == again.id


class TestReserved:
    """What a call has reserved is known by its token: ids begin anew in another database."""

    def test_of_another_database_nothing_is_touched(self, outbox: Outbox) -> None:
        mine = outbox.reserve(Sms((A,), "for A only"), SENDER)
        assert isinstance(mine, str)

        def anew(connection: sa.Connection) -> None:
            connection.execute(number.delete())
            connection.execute(message.delete())

        outbox.writer.do(anew, 5)
        theirs = outbox.reserve(Sms((B,), "for B only"), SENDER)
        assert isinstance(theirs, str)
        stored = outbox.accept(Sms((A,), "for A only"), SENDER, reserved=mine)
        assert stored.status is Status.QUEUED
        outbox.settle(mine, ALARM, Outcome(Status.SUCCESS))
        with outbox.writer.engine.begin() as connection:
            rows = connection.execute(
                sa.select(number.c.number, message.c.text, message.c.state)
                .join(message)
                .order_by(message.c.id)
            ).all()
        assert [tuple(row) for row in rows] == [
            (B, None, "sending"), (A, "for A only", "pending"),
        ]  # fmt: skip

    def test_what_has_ended_meanwhile_is_stored_anew(self, outbox: Outbox) -> None:
        mine = outbox.reserve(Sms((A,), "x"), SENDER)
        assert isinstance(mine, str)
        outbox.writer.do(lambda c: transitions.give_up_calls(c, -1.0), 5)  # as after a clock's jump
        stored = outbox.accept(Sms((A,), "x"), SENDER, reserved=mine)
        assert (stored.status, stored.id) == (Status.QUEUED, "2")


def test_a_reason_that_repeats_the_text_is_not_stored(database: str) -> None:
    outbox = Outbox(database)
    for text in ("PIN x7Q", "a longer private text"):
        sms = Sms((A,), text)
        told = Outcome(Status.ERROR, Cause.REJECTED, f"bad message: {text}", from_pbx=True)
        token = outbox.reserve(sms, SENDER)
        assert isinstance(token, str)
        outbox.settle(token, sms, told)
        outbox.record(sms, SENDER, told)
    outbox.close()
    again = Outbox(database)
    reasons = again.writer.do(lambda c: c.scalars(sa.select(message.c.reason)).all(), 5)
    assert list(reasons) == ["the PBX repeats the text"] * 4
    again.close()
