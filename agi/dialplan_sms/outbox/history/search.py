"""The history in portions: newest first, along whichever index fits the filters.

Functions on the connection of a transaction, the same on SQLite and PostgreSQL. Each call looks at
a portion only, however many rows there are, since on SQLite it keeps the writers waiting; and it
says where to go on.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from dialplan_sms.outbox.history.stored import COLUMNS, TIMES, Filters, Stored, all_numbers, damaged
from dialplan_sms.outbox.schema import State, message, now, number

SPAN = 3000  # rows that one call looks at

Place = tuple[float, int]
"""Where a search is: the value of its index, and an id. What is below comes next."""

_COUNTS = ("id", "chars", "parts", "parts_from", "attempts")
_FAR = 1e300  # where a row stands whose value is damaged: above all that are not


@dataclass(frozen=True, slots=True)
class Portion:
    """Some SMS with their texts; ``place`` is where to go on, None at the end.

    ``to`` is one number of each, the one that was searched for, and how many it has, by id; the
    SMS themselves do not hold them, since they can be very many.
    """

    found: tuple[Stored, ...]
    place: Place | None
    to: Mapping[int, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class _Axis:
    """An index to walk down: its value in ``at``, which rows it holds, and where those are."""

    at: sa.ColumnElement[Any]
    id: sa.ColumnElement[Any]
    where: tuple[sa.ColumnElement[bool], ...] = ()
    source: sa.FromClause = message


_BY_ID = _Axis(message.c.id, message.c.id)


def whole_number(connection: sa.Connection, typed: str) -> str | None:
    """The number of the history that *typed* is; None if it is only some digits of one."""
    digits = _digits(typed)
    for each in dict.fromkeys((f"+{digits}", digits, f"+{digits.removeprefix('00')}")):
        known = sa.select(number.c.number).where(number.c.number == each).limit(1)
        if digits and connection.scalar(known) is not None:
            return each
    return None


def _digits(typed: str) -> str:
    return re.sub(r"[^0-9*#]", "", typed)


def search(
    connection: sa.Connection, filters: Filters, most: int, place: Place | None = None
) -> Portion:
    """At most *most* SMS that *filters* let through, newest first, below *place*.

    A single state is walked by when its SMS were due, the rest by when they were stored.
    """
    whole = whole_number(connection, filters.number) if filters.number else None
    rows, place = _walk(connection, *_axis(filters, whole), most, place)
    to = _numbers(connection, [row.id for row in rows], _digits(filters.number))
    return Portion(tuple(_stored(row) for row in rows), place, to)


def listing(
    connection: sa.Connection, filters: Filters, most: int, place: Place | None = None
) -> Portion:
    """As search(), but by id alone, and each SMS has all its numbers."""
    rows, place = _walk(connection, _BY_ID, filters, most, place)
    numbers = all_numbers(connection, [row.id for row in rows])
    return Portion(tuple(_stored(row, numbers.get(row.id, ())) for row in rows), place, {})


def _stored(row: Any, numbers: tuple[Any, ...] = ()) -> Stored:
    """What is damaged does not hide the other SMS of a list."""
    values = dict(row._mapping)
    del values["place"]
    for name in damaged(row):
        values[name] = None if name in TIMES else 0 if name in _COUNTS else "damaged"
    return Stored(**values, numbers=numbers)


def _axis(filters: Filters, whole: str | None) -> tuple[_Axis, Filters]:
    """The index that narrows most, and what is left to compare row by row."""
    if whole is not None:
        pairs = number.join(message, number.c.message_id == message.c.id)
        axis = _Axis(number.c.created, number.c.message_id, (number.c.number == whole,), pairs)
        return axis, replace(filters, number="")
    if len(filters.states) == 1:
        mine = message.c.state == filters.states[0]
        return _Axis(message.c.due, message.c.id, (mine,)), replace(filters, states=())
    if filters.sender:
        mine = message.c.sender == filters.sender
        return _Axis(message.c.created, message.c.id, (mine,)), replace(filters, sender="")
    return _BY_ID, filters


def _walk(
    connection: sa.Connection, axis: _Axis, filters: Filters, most: int, place: Place | None
) -> tuple[Sequence[Any], Place | None]:
    """The next rows down *axis* that *filters* let through, and where to go on."""
    where, rest = list(axis.where), _compared(filters)
    if place is not None and axis.at is axis.id:
        where.append(axis.id < place[1])
    elif place is not None:  # the first half is what an index is searched by
        where += (axis.at <= place[0], sa.or_(axis.at < place[0], axis.id < place[1]))
    newest = (axis.at.desc(), axis.id.desc())
    bottom = None
    if rest:  # the last row of the portion, if the rest of the index is not shorter
        ids = sa.select(axis.at, axis.id).where(*where).order_by(*newest)
        last = connection.execute(ids.limit(1).offset(SPAN - 1)).one_or_none()
        if last is not None:
            bottom = _place(*last)
            where.append(axis.at >= bottom[0])
    rows = connection.execute(
        sa.select(*COLUMNS, message.c.text, axis.at.label("place"))
        .select_from(axis.source)
        .where(*where, *rest)
        .order_by(*newest)
        .limit(most)
    ).all()
    if len(rows) == most:
        bottom = _place(rows[-1].place, rows[-1].id)
    return rows, bottom


def _compared(filters: Filters) -> list[sa.ColumnElement[bool]]:
    """What is compared row by row."""
    digits = _digits(filters.number) or filters.number  # without one, none has it
    part = number.c.number.contains(digits, autoescape=True)
    rest = (
        (filters.states, message.c.state.in_(filters.states)),
        (filters.sender, message.c.sender == filters.sender),
        (filters.since is not None, message.c.created > now() - (filters.since or 0.0)),
        (filters.number, sa.exists().where(number.c.message_id == message.c.id, part)),
    )
    return [each for wanted, each in rest if wanted]


def _place(at: object, id_: int) -> Place:
    return (float(at) if isinstance(at, int | float) else _FAR, id_)


def _numbers(
    connection: sa.Connection, ids: Sequence[int], digits: str
) -> dict[int, tuple[str, int]]:
    """One number of each SMS, if possible one with *digits*, and how many it has."""
    like = number.c.number.contains(digits, autoescape=True)
    rows = connection.execute(
        sa.select(
            number.c.message_id,
            sa.func.coalesce(
                sa.func.min(sa.case((like, number.c.number))), sa.func.min(number.c.number)
            ),
            sa.func.count(),
        )
        .where(number.c.message_id.in_(ids))
        .group_by(number.c.message_id)
    )
    return {id_: (str(to), int(count)) for id_, to, count in rows}


def senders(connection: sa.Connection, most: int = 50) -> list[str]:
    """The names of senders in the history, at most *most*; a look into the index for each."""
    found: list[str] = []
    first = sa.select(sa.func.min(message.c.sender))
    name = connection.scalar(first)
    while name is not None and len(found) < most:
        found.append(name)
        name = connection.scalar(first.where(message.c.sender > name))
    return found


def received(connection: sa.Connection, to: str, most: int) -> Sequence[Any]:
    """The newest SMS that the PBX took for the number *to*, newest first; ``at`` is when."""
    newest = (
        sa.select(number.c.message_id, number.c.created, number.c.state)
        .where(number.c.number == to)
        .order_by(number.c.created.desc())
        .limit(SPAN)
        .subquery()
    )
    return connection.execute(
        sa.select(
            message.c.id, sa.func.coalesce(message.c.ended, message.c.created).label("at"),
            message.c.sender, message.c.text, message.c.chars,
        )
        .join(newest, newest.c.message_id == message.c.id)
        .where(newest.c.state == State.SENT)
        .order_by(newest.c.created.desc())
        .limit(most)
    ).all()  # fmt: skip


def recent_numbers(connection: sa.Connection, most: int) -> list[tuple[str, float, int]]:
    """Numbers of the newest SMS: number, when last, how many of these SMS. Newest first."""
    newest = sa.select(message.c.id).order_by(message.c.id.desc()).limit(500).subquery()
    rows = connection.execute(
        sa.select(number.c.number, sa.func.max(number.c.created), sa.func.count())
        .where(number.c.message_id.in_(sa.select(newest.c.id)), number.c.state == State.SENT)
        .group_by(number.c.number)
        .order_by(sa.func.max(number.c.created).desc())
        .limit(most)
    )
    return [(to, float(last), int(count)) for to, last, count in rows]
