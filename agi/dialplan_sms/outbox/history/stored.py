"""One SMS of the history, as people read it; search.py finds many.

Functions on the connection of a transaction, the same on SQLite and PostgreSQL.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.schema import State, attempt, gateway, message, now, number


@dataclass(frozen=True, slots=True)
class Filters:
    """Which SMS: all that are set must hold. ``number`` is digits anywhere in one of its numbers,
    ``since`` the seconds in which it was stored."""

    states: tuple[str, ...] = ()
    number: str = ""
    sender: str = ""
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Try:
    """One try to send to some numbers of an SMS."""

    at: float
    numbers: int
    status: str
    cause: str
    reason: str
    via: str


@dataclass(frozen=True, slots=True)
class Stored:
    """One SMS of the history; the times are seconds since 1970.

    ``numbers`` is number and state of each. ``text``, ``tries``, whether on_failure was ``told``,
    and for one that is pending ``held`` and ``free_at``, its sender's, are only filled by show().
    """

    id: int
    created: float
    due: float
    planned: float | None
    ended: float | None
    state: str
    mode: str
    sender: str
    gsm: str
    postpone: str | None
    chars: int
    parts: int | None
    parts_from: int | None
    call: str
    caller: str
    attempts: int
    cause: str
    reason: str
    later: bool  # pending, and not due yet
    numbers: tuple[tuple[str, str], ...] = ()
    text: str | None = field(default=None, repr=False)
    tries: tuple[Try, ...] = ()
    held: str = ""
    free_at: float | None = None
    told: str = ""


TOLD = "told"
"""In the column lease_by of what has ended: on_failure was told of it."""
_TOLD = sa.case(
    (message.c.lease_by == TOLD, "was told"),
    (message.c.ended.is_not(None) & message.c.lease_until.is_not(None), "was not told yet"),
    else_="",
).label("told")
_TIMES = ("created", "due", "planned", "ended", "at")
_COUNTS = ("id", "chars", "parts", "parts_from", "attempts", "numbers")
COLUMNS = (
    message.c.id, message.c.created, message.c.due, message.c.planned, message.c.ended,
    message.c.state, message.c.mode, message.c.sender, message.c.gsm,
    sa.type_coerce(message.c.postpone, sa.String).label("postpone"),
    message.c.chars, message.c.parts, message.c.parts_from, message.c.call, message.c.caller,
    message.c.attempts, message.c.cause, message.c.reason,
    ((message.c.state == State.PENDING) & (message.c.due > now())).label("later"),
)  # fmt: skip


def iso(at: Any) -> str | None:
    """A time as ISO 8601 has it, local, with its offset; None for none, and for a damaged one."""
    try:
        return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError, TypeError):
        return None


def all_numbers(connection: sa.Connection, ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """Number and state of each number of SMS, by their *ids*, of which there are some hundred."""
    found: dict[int, tuple[Any, ...]] = {}
    for id_, to, state in connection.execute(
        sa.select(number.c.message_id, number.c.number, number.c.state)
        .where(number.c.message_id.in_(ids))
        .order_by(number.c.message_id, number.c.number)
    ):
        found[id_] = (*found.get(id_, ()), (str(to), str(state)))
    return found


def show(connection: sa.Connection, id_: int) -> Stored | None:
    """One SMS with its text, if that is kept, and its tries.

    Raises OutboxError if the database holds what nobody has written there.
    """
    row = connection.execute(
        sa.select(*COLUMNS, message.c.text, _TOLD).where(message.c.id == id_)
    ).one_or_none()
    if row is None:
        return None
    tries = connection.execute(
        sa.select(
            attempt.c.at,
            attempt.c.numbers,
            attempt.c.status,
            attempt.c.cause,
            attempt.c.reason,
            attempt.c.via,
        )
        .where(attempt.c.message_id == id_)
        .order_by(attempt.c.id)
    ).all()
    for each in (row, *tries):
        if names := _damaged(each):
            raise OutboxError(
                f"SMS {id_} is damaged in the database, {', '.join(names)}: restore a backup, or"
                " delete its row"
            )
    held: Any = None
    if row.state == State.PENDING:
        mine = (gateway.c.sender == row.sender, gateway.c.gsm == row.gsm, gateway.c.held != "")
        held = connection.execute(sa.select(gateway.c.held, gateway.c.free_at).where(*mine)).first()
    numbers = all_numbers(connection, [id_]).get(id_, ())
    by, until = held or ("", None)
    return Stored(
        **row._mapping, numbers=numbers, tries=tuple(Try(*each) for each in tries), held=by,
        free_at=until,
    )  # fmt: skip


def _damaged(row: Any) -> list[str]:
    # SQLite keeps whatever it is given in a column of any type.
    return [
        name
        for name, value in row._mapping.items()
        if isinstance(value, bytes) or (name in _TIMES and isinstance(value, str))
    ]


def sound(row: Any) -> dict[str, Any]:
    """The values of *row*; those that are damaged do not hide the other SMS of a list."""
    values = dict(row._mapping)
    for name in _damaged(row):
        values[name] = None if name in _TIMES else 0 if name in _COUNTS else "damaged"
    return values
