"""All that is written to the outbox, as functions on the connection of a transaction.

The same on SQLite and PostgreSQL. None of them commits; each may be run again after a rollback.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import sqlalchemy as sa

from dialplan_sms.outbox import gateways
from dialplan_sms.outbox.retry import LONGEST_WAIT, Verdict, wait
from dialplan_sms.outbox.schema import State, attempt, message, now, number
from dialplan_sms.sms.outcome import Outcome

_RESERVED = (message.c.state == State.SENDING, message.c.lease_until.is_(None))
"""What a call is sending itself."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An SMS as it is stored. ``planned`` is seconds since 1970, None for at once."""

    token: str  # of this Entry alone
    sender: str
    numbers: tuple[str, ...]
    text: str | None = field(repr=False)
    chars: int
    mode: str
    gsm: str = ""
    postpone: str | None = None
    planned: float | None = None
    priority: int = 0
    call: str = ""
    caller: str = ""
    key: str | None = None
    fingerprint: str = ""


_FIELDS = [each.name for each in fields(Entry) if each.name != "numbers"]


_NEW = message.insert().values(
    created=now(), due=sa.func.coalesce(sa.bindparam("when", type_=sa.Double()), now())
)
_NEW_NUMBER = number.insert().values(created=now())
"""Built once: to build a statement costs as much as to run it."""


def find(connection: sa.Connection, token: str) -> int | None:
    """The id of the Entry with *token*, where it is stored."""
    found = connection.scalar(sa.select(message.c.id).where(message.c.token == token))
    return None if found is None else int(found)


def insert(connection: sa.Connection, entry: Entry, state: State) -> int:
    """Store *entry*, which is not yet; its id."""
    values = {name: getattr(entry, name) for name in _FIELDS} | {
        "state": state,
        "when": entry.planned,
    }
    result = connection.execute(_NEW, values)
    assert result.inserted_primary_key is not None  # noqa: S101
    id_ = int(result.inserted_primary_key[0])
    rows = [{"message_id": id_, "number": each, "state": state} for each in entry.numbers]
    connection.execute(_NEW_NUMBER, rows)
    if state is State.PENDING:
        gateways.know(connection, entry.sender, entry.gsm)
    return id_


def make_pending(connection: sa.Connection, token: str, text: str) -> int | None:
    """Have what a call has reserved sent by a worker; its id, None where it is not there any more.

    The second time it is pending, leased or sent already, and nothing is changed.
    """
    row = connection.execute(
        sa.select(
            message.c.id, message.c.sender, message.c.gsm, message.c.text,
            sa.and_(*_RESERVED).label("reserved"),
        )
        .where(message.c.token == token)
        .with_for_update()
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    if not row.reserved:
        return int(row.id) if row.text is not None else None  # only what is to be sent has one
    due = sa.func.coalesce(message.c.planned, now())
    connection.execute(
        message.update()
        .where(message.c.id == row.id)
        .values(state=State.PENDING, text=text, lease_by=None, due=due)
    )
    connection.execute(
        number.update().where(number.c.message_id == row.id).values(state=State.PENDING)
    )
    gateways.know(connection, row.sender, row.gsm)
    return int(row.id)


def settle(connection: sa.Connection, token: str, outcome: Outcome, verdict: Verdict) -> None:
    """Note how the one try of a call in mode wait ended. Does nothing the second time."""
    reserved = sa.select(message.c.id).where(message.c.token == token, *_RESERVED)
    id_ = connection.scalar(reserved)
    if id_ is not None:
        note(connection, id_, outcome, verdict)
        end(connection, id_)


def note(connection: sa.Connection, id_: int, outcome: Outcome, verdict: Verdict) -> None:
    """Note a try: what becomes of each number, and the attempt."""
    tried = 0
    for state, numbers in (
        (State.SENT, verdict.sent), (State.PENDING, verdict.again), (State.FAILED, verdict.failed),
        (State.EXPIRED, verdict.expired), (State.UNKNOWN, verdict.unknown),
    ):  # fmt: skip
        tried += len(numbers)
        if numbers:
            connection.execute(
                number.update()
                .where(number.c.message_id == id_, number.c.number.in_(numbers))
                .values(state=state)
            )
    connection.execute(
        attempt.insert().values(
            message_id=id_,
            at=now(),
            numbers=tried,
            status=outcome.status,
            cause=outcome.cause,
            reason=outcome.reason[:1000],
        )
    )
    connection.execute(
        message.update()
        .where(message.c.id == id_)
        .values(attempts=message.c.attempts + 1, cause=outcome.cause, reason=outcome.reason[:1000])
    )


def counts(connection: sa.Connection, id_: int) -> dict[str, int]:
    """How many numbers of a message are in which state."""
    rows = connection.execute(
        sa.select(number.c.state, sa.func.count().label("used"))
        .where(number.c.message_id == id_)
        .group_by(number.c.state)
    )
    return {row.state: row.used for row in rows}


def end(connection: sa.Connection, id_: int, keep_text: bool = False) -> str:
    """End a message whose numbers all have; its state, the worst of theirs.

    The text of one that was not sent stays for a while: an admin may want to try it again.
    """
    found = counts(connection, id_)
    worst = (State.UNKNOWN, State.FAILED, State.EXPIRED, State.CANCELLED, State.SENT)
    state = next((each for each in worst if found.get(each)), State.UNKNOWN)
    values: dict[str, Any] = {"state": state, "ended": now(), "lease_by": None}
    if state in (State.SENT, State.CANCELLED) and not keep_text:
        values["text"] = None
    connection.execute(message.update().where(message.c.id == id_).values(**values))
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
    ids = connection.scalars(old).all()
    _end_as(connection, ids, State.PENDING, State.EXPIRED)
    return len(ids)


def forget_wait(connection: sa.Connection, older: float) -> None:
    """Calls in mode wait that never came back to say how they ended: nobody can know."""
    old = sa.select(message.c.id).where(*_RESERVED, message.c.created < now() - older)
    _end_as(connection, connection.scalars(old).all(), State.SENDING, State.UNKNOWN)


def _end_as(connection: sa.Connection, ids: Sequence[int], before: State, state: State) -> None:
    """End messages, and those of their numbers that are as *before*."""
    if not ids:
        return
    connection.execute(
        number.update()
        .where(number.c.message_id.in_(ids), number.c.state == before)
        .values(state=state)
    )
    connection.execute(
        message.update()
        .where(message.c.id.in_(ids))
        .values(state=state, ended=now(), lease_by=None)
    )


def mend_clock(connection: sa.Connection, longest: Mapping[str, float]) -> None:
    """After the clock was set back: nothing waits for longer than it would have.

    *longest* is by sender for how many seconds a gateway that is not held can be busy.
    """
    tries = [(message.c.attempts == n, wait(n, 1.0) if n else 0.0) for n in range(9)]
    connection.execute(
        message.update()
        .where(
            message.c.state == State.PENDING,
            message.c.due > now() + sa.case(*tries, else_=LONGEST_WAIT),
            message.c.planned.is_(None),
        )
        .values(due=now())
    )
    gateways.mend_clock(connection, longest)
