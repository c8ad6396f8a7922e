"""Every change of state of a stored SMS, except those of a worker's lease (leases.py).

Functions on the connection of a transaction, the same on SQLite and PostgreSQL. None of them
commits; each may be run again after a rollback. Workers are at work meanwhile: each change names
the state that it starts from, and leaves alone what is in another state by now.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dialplan_sms.outbox import gateways, idempotency
from dialplan_sms.outbox.retry import Verdict
from dialplan_sms.outbox.schema import State, api_time, attempt, message, now, number
from dialplan_sms.outbox.work import many
from dialplan_sms.sms.outcome import Outcome

RETRIED = (State.FAILED, State.EXPIRED, State.UNKNOWN, State.CANCELLED)  # can be tried again
_DECIDES = (
    State.PENDING, State.UNKNOWN, State.FAILED, State.EXPIRED, State.CANCELLED, State.SENT
)  # fmt: skip
"""The first of these that a number has is the state of the message."""
# What a call is sending itself.
_RESERVED = (message.c.state == State.SENDING, message.c.lease_until.is_(None))
_NOT_RETRIED = {State.SENT: "is sent"} | dict.fromkeys(
    RETRIED, "is {}, and its text is gone: keep_text in sms.conf keeps texts for longer"
)
_NEVER_KEPT = _NOT_RETRIED | dict.fromkeys(
    RETRIED, "is {}, and mode wait keeps no text: send it anew"
)
_NOT_CANCELLED = dict.fromkeys((State.LEASED, State.SENDING), "is {}: it is going out now")

_OF: sa.BindParameter[int] = sa.bindparam("of")  # all built once, as that costs as much as to run
_NEW_TRY = attempt.insert().inline().values(at=now() - sa.bindparam("ago", type_=sa.Double()))
SET_NUMBER = (
    number.update()
    .where(number.c.message_id == _OF, number.c.number == sa.bindparam("to"))
    .values(state=sa.bindparam("is"))
)
_AGAIN = sa.bindparam("again", type_=sa.Boolean())
_TRIED = (
    message.update()
    .where(message.c.id == _OF)
    .values(
        attempts=message.c.attempts + 1, lease_by=None, lease_until=None,
        due=sa.case((_AGAIN, now() + sa.bindparam("wait", type_=sa.Double())), else_=message.c.due),
        ended=sa.case((_AGAIN, sa.null()), else_=now()),
        text=sa.case((sa.bindparam("keep", type_=sa.Boolean()), message.c.text), else_=sa.null()),
        state=sa.bindparam("is"), cause=sa.bindparam("why"), reason=sa.bindparam("said"),
    )
)  # fmt: skip
_TO_SETTLE = (
    sa.select(message.c.token, message.c.id)
    .where(message.c.token.in_(sa.bindparam("these", expanding=True)), *_RESERVED)
    .with_for_update()
)


def make_pending(connection: sa.Connection, token: str, text: str) -> int | None:
    """Have what a call has reserved sent by a worker; its id, None if it is not there or given up.

    The second time it is pending, leased or sent already, and nothing is changed.
    """
    found = connection.execute(
        sa.select(
            message.c.id, message.c.sender, message.c.gsm,
            sa.and_(*_RESERVED).label("reserved"),
            # No worker has had it.
            sa.and_(message.c.state == State.UNKNOWN, message.c.text.is_(None)).label("given_up"),
        )
        .where(message.c.token == token)
        .with_for_update()
    ).one_or_none()  # fmt: skip
    if found is None or found.given_up:
        return None
    if not found.reserved:
        return int(found.id)
    _update(
        connection, found.id, state=State.PENDING, text=text, lease_by=None,
        due=sa.func.coalesce(message.c.planned, now()),
    )  # fmt: skip
    connection.execute(
        number.update().where(number.c.message_id == found.id).values(state=State.PENDING)
    )
    gateways.ensure(connection, found.sender, found.gsm)
    return int(found.id)


def settle(connection: sa.Connection, calls: Sequence[tuple[str, Outcome, Verdict]]) -> list[None]:
    """Note how calls in mode wait ended, by their tokens. Does nothing the second time."""
    ends = {token: (outcome, verdict) for token, outcome, verdict in reversed(calls)}
    reserved = connection.execute(_TO_SETTLE, {"these": list(ends)})
    end_tries(connection, [Try(row.id, *ends[row.token]) for row in reserved])
    return [None] * len(calls)


@dataclass(frozen=True, slots=True)
class Try:
    """One try of a message, and what follows from it.

    *rest* are the states of its other numbers. It is pending again, in *wait* seconds, if a number
    of it is. The text of one that was not sent stays for a while, as an admin may want to try it
    again; *keep_text* keeps others. *ago* is how many seconds ago it was.
    """

    id: int
    outcome: Outcome
    verdict: Verdict
    rest: Collection[str] = ()
    wait: float = 0.0
    keep_text: bool = False
    ago: float = 0.0


def end_tries(connection: sa.Connection, tries: Sequence[Try]) -> list[State]:
    """Note tries of different messages, which the transaction has locked; the messages' states."""
    if not tries:
        return []
    numbers = [
        {"of": each.id, "to": to, "is": state}
        for each in tries for to, state in numbers_in(each.verdict)
    ]  # fmt: skip
    many(connection, SET_NUMBER, numbers)
    ends = [
        of_all({*each.rest, *(state for _, state in numbers_in(each.verdict))}) for each in tries
    ]
    many(connection, _TRIED, [
        {"of": each.id, "is": state, "again": state is State.PENDING, "wait": each.wait,
         "keep": each.keep_text or state not in (State.SENT, State.CANCELLED),
         "why": each.outcome.cause, "said": each.outcome.reason}
        for each, state in zip(tries, ends, strict=True)
    ])  # fmt: skip
    many(connection, _NEW_TRY, [
        {"message_id": each.id, "status": each.outcome.status, "cause": each.outcome.cause,
         "reason": each.outcome.reason, "via": each.outcome.via, "ago": each.ago,
         "numbers": len(numbers_in(each.verdict))}
        for each in tries
    ])  # fmt: skip
    return ends


def expire(connection: sa.Connection, sender: str, max_age: float, most: int = 1000) -> int:
    """End the sender's messages that are too old, once a try has shown that they cannot go.

    At most *most*, the oldest first; how many it were.
    """
    old = (
        sa.select(message.c.id)
        .where(
            message.c.sender == sender,
            # Written out and bounded for the index sms_message_age; a plan is to the minute.
            message.c.state == sa.literal_column(f"'{State.PENDING}'"),
            message.c.created < now() - (max_age - 60.0),
            message.c.due <= now(),
            sa.func.coalesce(message.c.planned, message.c.created) < now() - max_age,
        )
        .order_by(message.c.created)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return _end(connection, old, State.PENDING, State.EXPIRED)


def give_up_calls(connection: sa.Connection, older: float) -> None:
    """End what calls in mode wait reserved *older* seconds ago and never settled, as unknown."""
    old = sa.select(message.c.id).where(*_RESERVED, message.c.created < now() - older)
    _end(connection, old, State.SENDING, State.UNKNOWN)


def retry(connection: sa.Connection, id_: int) -> str:
    """Have an SMS that has ended without being sent tried again, now: why not; empty if so.

    Only to the numbers that did not get it; what it has been through does not count for max_age.
    """
    if (later := idempotency.taken(connection, id_)) is not None:
        return f"its SMS_KEY was used again, SMS {later} is in its place: see outbox show {later}"
    mine = (number.c.message_id == id_, number.c.state.in_(RETRIED))
    retriable = (
        message.c.state.in_(RETRIED), message.c.text.is_not(None), sa.exists().where(*mine)
    )  # fmt: skip
    if not _update(
        connection, id_, *retriable, state=State.PENDING, due=now(), planned=now(), ended=None,
        attempts=0, cause="", reason="", lease_by=None, lease_until=None,
    ):  # fmt: skip
        never = sa.select(message.c.id).where(
            message.c.id == id_, message.c.mode == "wait", message.c.planned.is_(None)
        )
        return _why_not(connection, id_, _NEVER_KEPT if connection.scalar(never) else _NOT_RETRIED)
    connection.execute(number.update().where(*mine).values(state=State.PENDING))
    sender, gsm, postpone = connection.execute(
        sa.select(message.c.sender, message.c.gsm, message.c.postpone).where(message.c.id == id_)
    ).one()
    gateways.ensure(connection, sender, gsm)
    at = api_time(postpone)
    if at and at <= datetime.now():  # the PBX is to wait for no time that is over
        _update(connection, id_, postpone=None)
    return ""


def cancel(connection: sa.Connection, id_: int, keeping: Collection[str] = ()) -> str:
    """End an SMS that waits: why not; empty if so. *keeping* are senders who keep texts."""
    if not _update(
        connection, id_, message.c.state == State.PENDING, state=State.CANCELLED, ended=now(),
        due=now(),  # what has ended is never due later: purge() relies on that
        text=sa.case((message.c.sender.in_(keeping), message.c.text), else_=sa.null()),
    ):  # fmt: skip
        return _why_not(connection, id_, _NOT_CANCELLED)
    waiting = (number.c.message_id == id_, number.c.state == State.PENDING)
    connection.execute(number.update().where(*waiting).values(state=State.CANCELLED))
    return ""


def _why_not(connection: sa.Connection, id_: int, says: Mapping[State, str]) -> str:
    """Why an SMS is not changed: what is said of its state."""
    state = connection.scalar(sa.select(message.c.state).where(message.c.id == id_))
    if state is None:
        return "there is no such SMS"
    return says.get(state, "is {} already").format(state)


def _update(
    connection: sa.Connection, id_: int, *where: sa.ColumnElement[bool], **values: Any
) -> bool:
    """Change one message; whether it was as *where* says."""
    update = message.update().where(message.c.id == id_, *where).values(**values)
    return bool(connection.execute(update).rowcount == 1)


def _end(
    connection: sa.Connection, which: "sa.Select[tuple[int]]", before: State, state: State
) -> int:
    """End messages, and those of their numbers that are as *before*; how many messages."""
    if ids := connection.scalars(which).all():
        numbers = number.update().where(number.c.message_id.in_(ids), number.c.state == before)
        connection.execute(numbers.values(state=state))
        messages = message.update().where(message.c.id.in_(ids))
        connection.execute(messages.values(state=state, ended=now(), due=now(), lease_by=None))
    return len(ids)


def numbers_in(verdict: Verdict) -> list[tuple[str, State]]:
    """The numbers of a request, each with the state that *verdict* has for it."""
    every = {
        State.SENT: verdict.sent, State.PENDING: verdict.again, State.FAILED: verdict.failed,
        State.EXPIRED: verdict.expired, State.UNKNOWN: verdict.unknown,
    }  # fmt: skip
    return [(number, state) for state, numbers in every.items() for number in numbers]


def of_all(found: Collection[str]) -> State:
    """The state of a message whose numbers have *found* states."""
    return next((each for each in _DECIDES if each in found), State.UNKNOWN)
