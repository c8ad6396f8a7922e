"""What on_failure is told: stored SMS that have ended without being sent, each until it was told.

The end is the record: what ends so is to be told from that commit on, for a day. The columns of the
lease, of which what has ended has no other use, say that it is being told, and that it was; a retry
clears them. Functions on the connection of a transaction, the same on SQLite and PostgreSQL.
"""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from dialplan_sms.outbox.history.retention import A_DAY
from dialplan_sms.outbox.history.stored import TOLD, all_numbers
from dialplan_sms.outbox.schema import State, message, now

_MOST = 500  # SMS that are told together
_LONGEST = 900.0  # seconds between two tries to tell the same, at most
_UNTOLD = [
    sa.select(
        message.c.id, message.c.sender, message.c.state, message.c.cause, message.c.reason,
        message.c.created, message.c.planned, message.c.ended, message.c.text,
        message.c.lease_until, now().label("at"),
    )
    .where(
        message.c.sender.in_(sa.bindparam("senders", expanding=True)),
        message.c.ended > now() - A_DAY,
        message.c.lease_by.is_(None),
        *these,
    )
    .order_by(message.c.ended)
    .limit(_MOST)
    .with_for_update(skip_locked=True)
    for these in (
        (
            message.c.state.in_((State.FAILED, State.EXPIRED, State.UNKNOWN)),
            message.c.text.is_not(None),  # and ended, for the index sms_message_text
            message.c.ended.is_not(None),
        ),
        (  # A call that died: whoever called was told nothing. For the index sms_message_state.
            message.c.state == State.UNKNOWN,
            message.c.due > now() - A_DAY,
            message.c.text.is_(None),
            message.c.attempts == 0,
        ),
    )
]  # fmt: skip


def claim(
    connection: sa.Connection, senders: Collection[str], seconds: float, at_once: bool = False
) -> tuple[float, list[tuple[Any, tuple[Any, ...]]]]:
    """What is to be told of *senders*, each with its numbers, and until when it is being told.

    That is for *seconds*, for longer the longer it is to be told. Nothing until then: what comes
    meanwhile goes along the next time, unless that is to be *at_once*. What a call was told itself
    has no text, and is left out.
    """
    mine = {"senders": list(senders)}
    rows = [row for untold in _UNTOLD for row in connection.execute(untold, mine)][:_MOST]
    # A time further off is of a clock that was set back since.
    waits = any(row.at < (row.lease_until or 0.0) < row.at + _LONGEST for row in rows)
    if not rows or (waits and not at_once):
        return 0.0, []
    until = rows[0].at + min(seconds + (rows[0].at - rows[0].ended) / 4, _LONGEST)
    ids = [row.id for row in rows]
    connection.execute(message.update().where(message.c.id.in_(ids)).values(lease_until=until))
    numbers = all_numbers(connection, ids)
    return until, [(row, numbers.get(row.id, ())) for row in rows]


def told(connection: sa.Connection, ids: Collection[int], until: float) -> None:
    """Note that what was claimed *until* then was told; not of what was tried again meanwhile."""
    mine = message.update().where(message.c.id.in_(ids), message.c.lease_until == until)
    connection.execute(mine.values(lease_by=TOLD, lease_until=None))
