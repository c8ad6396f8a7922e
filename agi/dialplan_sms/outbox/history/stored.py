"""The outbox's history: what people read of it.

Functions on the connection of a transaction, the same on SQLite and PostgreSQL. Each is short,
however many rows there are, since on SQLite it keeps the writers waiting; what takes longer goes
in portions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from dialplan_sms.outbox.schema import State, attempt, gateway, message, now, number

_SPAN = 20_000
"""Ids that one call of listing() looks at."""


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


@dataclass(frozen=True, slots=True)
class Stored:
    """One SMS of the history; the times are seconds since 1970.

    ``numbers`` is number and state of each. ``text``, ``tries``, and for one that is pending
    ``held`` and ``free_at``, its sender's, are only filled by show().
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


@dataclass(frozen=True, slots=True)
class Page:
    """Some SMS, newest first; ``below`` is the id to go on from, None at the end."""

    found: tuple[Stored, ...]
    below: int | None


_TIMES = ("created", "due", "planned", "ended", "at")
_COUNTS = ("id", "chars", "attempts", "numbers")
COLUMNS = (
    message.c.id, message.c.created, message.c.due, message.c.planned, message.c.ended,
    message.c.state, message.c.mode, message.c.sender, message.c.gsm,
    sa.type_coerce(message.c.postpone, sa.String).label("postpone"),
    message.c.chars, message.c.call, message.c.caller, message.c.attempts, message.c.cause,
    message.c.reason, ((message.c.state == State.PENDING) & (message.c.due > now())).label("later"),
)  # fmt: skip


def listing(
    connection: sa.Connection, filters: Filters, most: int, below: int | None = None
) -> Page:
    """At most *most* SMS that *filters* let through, newest first, with ids less than *below*.

    Looks at a portion of the history only; there is more as long as the Page has a ``below``.
    """
    lowest, highest = (  # each alone is a look at one end of the index, together a scan
        connection.scalar(sa.select(end(message.c.id))) for end in (sa.func.min, sa.func.max)
    )
    if lowest is None or highest is None:
        return Page((), None)
    top = highest + 1 if below is None else min(below, highest + 1)
    bottom = top - _SPAN
    rows = connection.execute(
        sa.select(*COLUMNS)
        .where(message.c.id < top, message.c.id >= bottom, *_where(filters))
        .order_by(message.c.id.desc())
        .limit(most)
    ).all()
    numbers = _numbers(connection, [row.id for row in rows])
    found = tuple(Stored(**sound(row), numbers=numbers.get(row.id, ())) for row in rows)
    rest = found[-1].id if len(found) == most and found else bottom
    return Page(found, rest if rest > lowest else None)


def _where(filters: Filters) -> list[sa.ColumnElement[bool]]:
    where: list[sa.ColumnElement[bool]] = []
    if filters.states:
        where.append(message.c.state.in_(filters.states))
    if filters.sender:
        where.append(message.c.sender == filters.sender)
    if filters.since is not None:
        where.append(message.c.created > now() - filters.since)
    if filters.number:
        to = number.c.message_id == message.c.id
        where.append(
            sa.exists().where(to, number.c.number.contains(filters.number, autoescape=True))
        )
    return where


def _numbers(connection: sa.Connection, ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    found: dict[int, tuple[Any, ...]] = {}
    for start in range(0, len(ids), 500):
        for id_, to, state in connection.execute(
            sa.select(number.c.message_id, number.c.number, number.c.state)
            .where(number.c.message_id.in_(ids[start : start + 500]))
            .order_by(number.c.message_id, number.c.number)
        ):
            found[id_] = (*found.get(id_, ()), (str(to), str(state)))
    return found


def show(connection: sa.Connection, id_: int) -> Stored | None:
    """One SMS with its text, where that is kept, and its tries. Raises Damaged."""
    row = connection.execute(
        sa.select(*COLUMNS, message.c.text).where(message.c.id == id_)
    ).one_or_none()
    if row is None:
        return None
    _refuse_damaged(id_, row)
    tries = connection.execute(
        sa.select(
            attempt.c.at, attempt.c.numbers, attempt.c.status, attempt.c.cause, attempt.c.reason
        )
        .where(attempt.c.message_id == id_)
        .order_by(attempt.c.id)
    ).all()
    for each in tries:
        _refuse_damaged(id_, each)
    numbers = _numbers(connection, [id_]).get(id_, ())
    held, free_at = "", None
    if row.state == State.PENDING:
        mine = (gateway.c.sender == row.sender) & (gateway.c.gsm == row.gsm)
        found = connection.execute(sa.select(gateway.c.held, gateway.c.free_at).where(mine)).first()
        held, free_at = (found.held, found.free_at) if found and found.held else ("", None)
    return Stored(
        **row._mapping, numbers=numbers, tries=tuple(Try(*each) for each in tries), held=held,
        free_at=free_at,
    )  # fmt: skip


class Damaged(Exception):
    """A row of the database that holds what nobody has written there; its text is for people."""


def _damaged(row: Any) -> list[str]:
    # SQLite keeps whatever it is given in a column of any type.
    return [
        name
        for name, value in row._mapping.items()
        if isinstance(value, bytes) or (name in _TIMES and isinstance(value, str))
    ]


def _refuse_damaged(id_: int, row: Any) -> None:
    if names := _damaged(row):
        raise Damaged(
            f"SMS {id_} is damaged in the database, {', '.join(names)}: restore a backup, or delete"
            " its row"
        )


def sound(row: Any) -> dict[str, Any]:
    """The values of *row*; those that are damaged do not hide the other SMS of a list."""
    values = dict(row._mapping)
    for name in _damaged(row):
        values[name] = None if name in _TIMES else 0 if name in _COUNTS else "damaged"
    return values
