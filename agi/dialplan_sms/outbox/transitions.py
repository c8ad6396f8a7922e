"""Every change of state of a stored SMS, except those of a worker's lease (leases.py).

Functions on the connection of a transaction, the same on SQLite and PostgreSQL. None of them
commits; each may be run again after a rollback. Workers are at work meanwhile: each change names
the state that it starts from, and leaves alone what is in another state by now.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dialplan_sms.outbox import gateways, idempotency
from dialplan_sms.outbox.retry import Verdict
from dialplan_sms.outbox.schema import State, attempt, message, now, number
from dialplan_sms.sms.outcome import Outcome

RETRIED = (State.FAILED, State.EXPIRED, State.UNKNOWN, State.CANCELLED)
"""The states from which an SMS can be tried again."""
_DECIDES = (
    State.PENDING, State.UNKNOWN, State.FAILED, State.EXPIRED, State.CANCELLED, State.SENT
)  # fmt: skip
"""The first of these that a number has is the state of the message."""
_RESERVED = (message.c.state == State.SENDING, message.c.lease_until.is_(None))
"""What a call is sending itself."""
_NOT_RETRIED = {State.SENT: "is sent"} | dict.fromkeys(
    RETRIED, "is {}, and its text is gone: keep_text in sms.conf keeps texts for longer"
)
_NEVER_KEPT = _NOT_RETRIED | dict.fromkeys(
    RETRIED, "is {}, and mode wait keeps no text: send it anew"
)
_NOT_CANCELLED = dict.fromkeys((State.LEASED, State.SENDING), "is {}: it is going out now")

# Built once: to build a statement costs as much as to run it.
_OF: sa.BindParameter[int] = sa.bindparam("of")
_NEW = message.insert().values(
    created=now(), due=sa.func.coalesce(sa.bindparam("when", type_=sa.Double()), now())
)
_NEW_NUMBER = number.insert().values(created=now())
_NEW_TRY = attempt.insert().values(at=now())
_THESE: sa.BindParameter[str] = sa.bindparam("these", expanding=True)
_OTHERS = sa.select(number.c.state).distinct().where(
    number.c.message_id == _OF, number.c.number.not_in(_THESE)
)  # fmt: skip
SET_NUMBERS = number.update().where(number.c.message_id == _OF, number.c.number.in_(_THESE))
_AGAIN = sa.bindparam("again", type_=sa.Boolean())
TRIED = (
    message.update()
    .where(message.c.id == _OF)
    .values(
        attempts=message.c.attempts + 1, lease_by=None, lease_until=None,
        due=sa.case((_AGAIN, now() + sa.bindparam("wait", type_=sa.Double())), else_=message.c.due),
        ended=sa.case((_AGAIN, sa.null()), else_=now()),
        text=sa.case((sa.bindparam("keep", type_=sa.Boolean()), message.c.text), else_=sa.null()),
    )
)  # fmt: skip
"""For end_try()."""
_SETTLED = TRIED.where(*_RESERVED)

Row = dict[str, Any]
"""The columns of a stored SMS that are known before it is stored, by name."""


def find(connection: sa.Connection, token: str) -> int | None:
    """The id of the SMS that was stored under *token*."""
    found: int | None = connection.scalar(sa.select(message.c.id).where(message.c.token == token))
    return found


def insert(connection: sa.Connection, row: Row, numbers: Sequence[str], state: State) -> int:
    """Store an SMS to *numbers*, which is not stored yet; its id."""
    result = connection.execute(_NEW, row | {"state": state, "when": row["planned"]})
    assert result.inserted_primary_key is not None  # noqa: S101
    id_ = int(result.inserted_primary_key[0])
    rows = [{"message_id": id_, "number": each, "state": state} for each in numbers]
    connection.execute(_NEW_NUMBER, rows)
    if state is State.PENDING:
        gateways.ensure(connection, row["sender"], row["gsm"])
    return id_


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
    due = sa.func.coalesce(message.c.planned, now())
    _update(connection, found.id, state=State.PENDING, text=text, lease_by=None, due=due)
    connection.execute(
        number.update().where(number.c.message_id == found.id).values(state=State.PENDING)
    )
    gateways.ensure(connection, found.sender, found.gsm)
    return int(found.id)


def settle(connection: sa.Connection, token: str, outcome: Outcome, verdict: Verdict) -> None:
    """Note how the one try of a call in mode wait ended. Does nothing the second time."""
    id_ = find(connection, token)
    if id_ is not None:
        end_try(connection, id_, outcome, verdict, tried=_SETTLED)


def end_try(
    connection: sa.Connection, id_: int, outcome: Outcome, verdict: Verdict, wait: float = 0.0,
    keep_text: bool = False, tried: sa.Update = TRIED, **mine: Any,
) -> State | None:  # fmt: skip
    """Note a try: what becomes of its numbers and of the message, and the attempt.

    The message is pending again, in *wait* seconds, if a number is, else it has ended: its state.
    None, and nothing is changed, if it is not as *tried*, which is TRIED with conditions on *mine*,
    says. The text of one that was not sent stays for a while: an admin may want to try it again.
    """
    ends = states(verdict)
    these = [each for numbers in ends.values() for each in numbers]
    state = of_all({*ends, *connection.scalars(_OTHERS, {"of": id_, "these": these})})
    keep = keep_text or state not in (State.SENT, State.CANCELLED)
    again = state is State.PENDING
    values = {"state": state, "again": again, "wait": wait, "keep": keep, **why(outcome)}
    if connection.execute(tried, {"of": id_, **mine, **values}).rowcount != 1:
        return None
    for each, numbers in ends.items():
        connection.execute(SET_NUMBERS, {"of": id_, "these": numbers, "state": each})
    row = {"message_id": id_, "numbers": len(these), "status": outcome.status, **why(outcome)}
    connection.execute(_NEW_TRY, row)
    return state


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
        sent_by_call = (message.c.mode == "wait", message.c.planned.is_(None))
        never = sa.select(message.c.id).where(message.c.id == id_, *sent_by_call)
        return _why_not(connection, id_, _NEVER_KEPT if connection.scalar(never) else _NOT_RETRIED)
    connection.execute(number.update().where(*mine).values(state=State.PENDING))
    sender, gsm, postpone = connection.execute(
        sa.select(message.c.sender, message.c.gsm, message.c.postpone).where(message.c.id == id_)
    ).one()
    gateways.ensure(connection, sender, gsm)
    if postpone and postpone <= datetime.now():  # the PBX is to wait for no time that is over
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
        connection.execute(messages.values(state=state, ended=now(), lease_by=None))
    return len(ids)


def states(verdict: Verdict) -> dict[State, tuple[str, ...]]:
    """The numbers of a request by the state that *verdict* has for them."""
    every = {
        State.SENT: verdict.sent, State.PENDING: verdict.again, State.FAILED: verdict.failed,
        State.EXPIRED: verdict.expired, State.UNKNOWN: verdict.unknown,
    }  # fmt: skip
    return {state: numbers for state, numbers in every.items() if numbers}


def of_all(found: Collection[str]) -> State:
    """The state of a message whose numbers have *found* states."""
    return next((each for each in _DECIDES if each in found), State.UNKNOWN)


def why(outcome: Outcome) -> dict[str, str]:
    """Those columns of a message and of an attempt that say why it ended so."""
    return {"cause": outcome.cause, "reason": outcome.reason}
