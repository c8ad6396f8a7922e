"""Figures of the last day for charts, counted along indexes; functions on a connection."""

import sqlalchemy as sa

from dialplan_sms.outbox.schema import State, attempt, message
from dialplan_sms.sms.outcome import Status

_MOST = 10_000
"""SMS of one state whose causes are counted, the newest."""


def first_try(connection: sa.Connection, at: float, below: int | None = None) -> int:
    """The id of the first try at *at* or later, among those with ids less than *below*.

    *below*, or one beyond the last, where there is none. Tries are written in the order in which
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
    found = connection.scalar(
        sa.select(sa.func.count()).where(
            attempt.c.id >= first,
            attempt.c.id < below,
            attempt.c.status.in_((str(Status.SUCCESS), str(Status.WARNING))),
        )
    )
    return int(found or 0)


def causes(connection: sa.Connection, since: float) -> dict[str, int]:
    """Why SMS that were due since *since* were not sent: how many, by cause, most first.

    One that has no cause counts by its state.
    """
    found: dict[str, int] = {}
    for state in (State.FAILED, State.EXPIRED, State.UNKNOWN):
        newest = (
            sa.select(message.c.cause)
            .where(message.c.state == state, message.c.due >= since)
            .order_by(message.c.due.desc())
            .limit(_MOST)
            .subquery()
        )
        rows = connection.execute(
            sa.select(newest.c.cause, sa.func.count()).group_by(newest.c.cause)
        )
        for cause, count in rows:
            found[cause or state] = found.get(cause or state, 0) + int(count)
    return dict(sorted(found.items(), key=lambda each: -each[1]))
