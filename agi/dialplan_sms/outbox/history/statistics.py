"""How the outbox is doing, and how it did in the last day, in figures.

Functions on a connection; counted along indexes, so quick however long the history is.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from dialplan_sms.outbox.schema import ENDED, PRIORITIES, State, attempt, gateway, message, now
from dialplan_sms.sms.outcome import Status

_MOST = 10_000  # SMS of one state whose causes are counted, the newest


@dataclass(frozen=True, slots=True)
class Overview:
    """How the outbox is doing.

    ``counts`` is of the states that do not last; ``waits`` the seconds for which an SMS could have
    been taken by a worker and was not; ``held`` the cause for which a sender's SMS wait. ``due`` is
    how many of those that are pending are not for later; ``oldest`` the seconds since the one that
    is due for longest was to be sent, ``next_try`` those until one of all can be, None if there
    is none; ``held_for`` those for which a sender is still held.
    """

    counts: Mapping[str, int]
    waits: float
    held: Mapping[str, str]
    due: int = 0
    oldest: float | None = None
    next_try: float | None = None
    held_for: Mapping[str, float] = field(default_factory=dict)


def overview(connection: sa.Connection) -> Overview:
    """How the outbox is doing; quick however long the history is."""
    under_way = [state for state in State if state not in ENDED]
    counts = connection.execute(
        sa.select(message.c.state, sa.func.count())
        .where(message.c.state.in_(under_way))
        .group_by(message.c.state)
    )
    is_due = (message.c.state == State.PENDING, message.c.due <= now())
    oldest = (
        sa.select(now() - sa.func.coalesce(message.c.planned, message.c.created))
        .where(*is_due)
        .order_by(message.c.due)
        .limit(1)
    )
    waiting = connection.execute(
        sa.select(gateway.c.free_at, now(), *map(_first, PRIORITIES))
    ).all()
    tries = [
        max(first, free_at) - at
        for free_at, at, *firsts in waiting
        for first in firsts
        if isinstance(first, float)  # SQLite keeps whatever it was given
    ]
    held = connection.execute(
        sa.select(gateway.c.sender, gateway.c.held, gateway.c.free_at - now())
        # What may be tried waits no more, if it was all sent by a backup.
        .where(gateway.c.held != "", gateway.c.free_at > now())
        .order_by(gateway.c.free_at.desc())  # the first to be free counts
    ).all()
    return Overview(
        dict.fromkeys(map(str, under_way), 0) | {row[0]: row[1] for row in counts},
        max(0.0, -min(tries)) if tries else 0.0,
        {row[0]: row[1] for row in held},
        connection.scalar(sa.select(sa.func.count()).where(*is_due)) or 0,
        connection.scalar(oldest),
        max(0.0, min(tries)) if tries else None,
        {row[0]: max(0.0, row[2]) for row in held},
    )


def _first(priority: int) -> sa.ScalarSelect[float]:
    """When the first of a gateway's SMS is due."""
    return (
        sa.select(message.c.due)
        .where(
            message.c.sender == gateway.c.sender,
            message.c.gsm == gateway.c.gsm,
            message.c.state == State.PENDING,
            message.c.priority == priority,
        )
        .order_by(message.c.due)
        .limit(1)
        .scalar_subquery()
    )


def first_try(connection: sa.Connection, at: float, below: int | None = None) -> int:
    """The id of the first try at *at* or later, among those with ids less than *below*.

    *below*, or one beyond the last, if there is none. Tries are written in the order in which
    they ended, give or take a second, so their ids are searched as an index on the time would be.
    """
    ends = [sa.select(end(attempt.c.id)).scalar_subquery() for end in (sa.func.min, sa.func.max)]
    low, high = connection.execute(sa.select(*ends)).one()
    if low is None:
        return 0
    high = high + 1 if below is None else min(below, high + 1)
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(
            sa.select(attempt.c.id, attempt.c.at)
            .where(attempt.c.id >= middle)
            .order_by(attempt.c.id)
            .limit(1)
        ).one()
        if row.at >= at:
            high = middle
        else:
            low = row.id + 1
    return int(high)


def sent(connection: sa.Connection, first: int, below: int) -> int:
    """How many requests the PBX took: tries with ids from *first* to less than *below*."""
    taken = attempt.c.status.in_((str(Status.SUCCESS), str(Status.WARNING)))
    tries = sa.select(sa.func.count()).where(attempt.c.id >= first, attempt.c.id < below, taken)
    return connection.scalar(tries) or 0


def causes(connection: sa.Connection, since: float) -> dict[str, int]:
    """Why SMS that were due since *since* were not sent: how many, by cause, most first.

    One that has no cause counts by its state.
    """
    found: Counter[str] = Counter()
    for state in (State.FAILED, State.EXPIRED, State.UNKNOWN):
        newest = (
            sa.select(message.c.cause)
            .where(message.c.state == state, message.c.due >= since)
            .order_by(message.c.due.desc())
            .limit(_MOST)
            .subquery()
        )
        for cause, count in connection.execute(
            sa.select(newest.c.cause, sa.func.count()).group_by(newest.c.cause)
        ):
            found[cause or state] += count
    return dict(found.most_common())
