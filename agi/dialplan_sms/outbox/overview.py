"""How the outbox is doing, in figures that are quick to have however long the history is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from dialplan_sms.outbox.schema import ENDED, State, gateway, message, now

_PRIORITIES = (0, 1)


@dataclass(frozen=True, slots=True)
class Overview:
    """How the outbox is doing.

    ``counts`` is of the states that do not last; ``waits`` the seconds for which an SMS could have
    been taken by a worker and was not; ``held`` the cause for which a sender's SMS wait. ``due`` is
    how many of those that are pending are not for later; ``oldest`` the seconds since the one that
    is due for longest was to be sent, ``next_try`` those until one of all can be, None where there
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
    under_way = tuple(state for state in State if state not in ENDED)
    counts = connection.execute(
        sa.select(message.c.state, sa.func.count())
        .where(message.c.state.in_(under_way))
        .group_by(message.c.state)
    )
    due = connection.scalar(
        sa.select(sa.func.count()).where(message.c.state == State.PENDING, message.c.due <= now())
    )
    oldest = connection.scalar(
        sa.select(now() - sa.func.coalesce(message.c.planned, message.c.created))
        .where(message.c.state == State.PENDING, message.c.due <= now())
        .order_by(message.c.due)
        .limit(1)
    )
    waiting = connection.execute(
        sa.select(gateway.c.free_at, now(), *map(_first, _PRIORITIES))
    ).all()
    tries = [
        max(first, free_at) - at
        for free_at, at, *firsts in waiting
        for first in firsts
        if isinstance(first, float)  # SQLite keeps whatever it was given
    ]
    waits = [-seconds for seconds in tries if seconds <= 0]
    held = connection.execute(
        sa.select(gateway.c.sender, gateway.c.held, gateway.c.free_at - now())
        .where(gateway.c.held != "")
        .order_by(gateway.c.free_at.desc())  # the first to be free counts
    ).all()
    return Overview(
        dict.fromkeys(map(str, under_way), 0) | {row[0]: row[1] for row in counts},
        max(waits, default=0.0),
        {row[0]: row[1] for row in held},
        due or 0,
        oldest,
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
