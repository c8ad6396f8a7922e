"""The outbox's history: what people read of it, and how it is forgotten.

Functions on the connection of a transaction, the same on SQLite and PostgreSQL. Each is short,
however many rows there are, since on SQLite it keeps the writers waiting; what takes longer goes
in portions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from dialplan_sms.schema import ENDED, State, attempt, gateway, message, now, number

_A_DAY = 86400.0
_SPAN = 20_000
"""Ids that one call of listing() looks at."""
_PRIORITIES = (0, 1)


@dataclass(frozen=True, slots=True)
class Overview:
    """How the outbox is doing.

    ``counts`` is of the states that do not last; ``waits`` the seconds for which an SMS could have
    been taken by a worker and was not; ``held`` the cause for which a sender's SMS wait.
    """

    counts: Mapping[str, int]
    waits: float
    held: Mapping[str, str]


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

    ``numbers`` is number and state of each. ``text`` and ``tries`` are only filled by show().
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


@dataclass(frozen=True, slots=True)
class Page:
    """Some SMS, newest first; ``below`` is the id to go on from, None at the end."""

    found: tuple[Stored, ...]
    below: int | None


_COLUMNS = (
    message.c.id, message.c.created, message.c.due, message.c.planned, message.c.ended,
    message.c.state, message.c.mode, message.c.sender, message.c.gsm, message.c.postpone,
    message.c.chars, message.c.call, message.c.caller, message.c.attempts, message.c.cause,
    message.c.reason, ((message.c.state == State.PENDING) & (message.c.due > now())).label("later"),
)  # fmt: skip


def overview(connection: sa.Connection) -> Overview:
    """How the outbox is doing; quick however long the history is."""
    under_way = tuple(state for state in State if state not in ENDED)
    counts = connection.execute(
        sa.select(message.c.state, sa.func.count())
        .where(message.c.state.in_(under_way))
        .group_by(message.c.state)
    )
    firsts = [
        sa.select(message.c.due)
        .where(
            message.c.sender == gateway.c.sender,
            message.c.gsm == gateway.c.gsm,
            message.c.state == State.PENDING,
            message.c.priority == priority,
            message.c.due <= now(),
        )
        .order_by(message.c.due)
        .limit(1)
        .scalar_subquery()
        for priority in _PRIORITIES
    ]
    free = connection.execute(
        sa.select(gateway.c.free_at, now(), *firsts).where(gateway.c.free_at <= now())
    ).all()
    waits = [
        at - max(due, free_at) for free_at, at, *dues in free for due in dues if due is not None
    ]
    held = connection.execute(
        sa.select(gateway.c.sender, gateway.c.held).where(gateway.c.held != "").distinct()
    )
    return Overview(
        dict.fromkeys(map(str, under_way), 0) | {row[0]: row[1] for row in counts},
        max(waits, default=0.0),
        {row[0]: row[1] for row in held},
    )


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
        sa.select(*_COLUMNS)
        .where(message.c.id < top, message.c.id >= bottom, *_where(filters))
        .order_by(message.c.id.desc())
        .limit(most)
    ).all()
    numbers = _numbers(connection, [row.id for row in rows])
    found = tuple(Stored(**row._mapping, numbers=numbers.get(row.id, ())) for row in rows)
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
            found[id_] = (*found.get(id_, ()), (to, state))
    return found


def show(connection: sa.Connection, id_: int) -> Stored | None:
    """One SMS with its text, where that is kept, and its tries."""
    row = connection.execute(
        sa.select(*_COLUMNS, message.c.text).where(message.c.id == id_)
    ).one_or_none()
    if row is None:
        return None
    tries = connection.execute(
        sa.select(
            attempt.c.at, attempt.c.numbers, attempt.c.status, attempt.c.cause, attempt.c.reason
        )
        .where(attempt.c.message_id == id_)
        .order_by(attempt.c.id)
    )
    numbers = _numbers(connection, [id_]).get(id_, ())
    return Stored(**row._mapping, numbers=numbers, tries=tuple(Try(*each) for each in tries))


def purge(connection: sa.Connection, older: float, most: int = 1000) -> int:
    """Delete at most *most* SMS that have ended more than *older* seconds ago; how many.

    The portion was the last where it is less than *most*.
    """
    ids: list[int] = []
    for state in ENDED:  # each a range of the index, however many rows there are
        if len(ids) < most:
            ids += connection.scalars(
                sa.select(message.c.id)
                .where(
                    message.c.state == state,
                    message.c.due < now() - older,
                    message.c.ended < now() - older,
                )
                .order_by(message.c.due)
                .limit(most - len(ids))
                .with_for_update(skip_locked=True)
            ).all()
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        for table in (number, attempt):
            connection.execute(table.delete().where(table.c.message_id.in_(part)))
        connection.execute(message.delete().where(message.c.id.in_(part)))
    return len(ids)


def forget_texts(connection: sa.Connection, sender: str, keep_text: float, most: int = 1000) -> int:
    """Drop at most *most* texts of *sender*'s SMS that ended *keep_text* seconds ago; how many.

    Those that were not sent stay for a day at least: an admin may want to try them again.
    """
    done = message.c.state.in_((State.SENT, State.CANCELLED))
    old = sa.and_(
        message.c.sender == sender,
        message.c.text.is_not(None),
        message.c.ended.is_not(None),
        message.c.ended < sa.case((done, now() - keep_text), else_=now() - max(keep_text, _A_DAY)),
    )
    ids = connection.scalars(
        sa.select(message.c.id).where(old).limit(most).with_for_update(skip_locked=True)
    ).all()
    for start in range(0, len(ids), 500):
        mine = message.c.id.in_(ids[start : start + 500])
        connection.execute(message.update().where(mine).values(text=None))
    return len(ids)
