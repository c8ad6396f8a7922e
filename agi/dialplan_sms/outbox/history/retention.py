"""How long the history is kept, and the texts in it.

Functions on the connection of a transaction, the same on SQLite and PostgreSQL; in portions, since
on SQLite each keeps the writers waiting.
"""

import sqlalchemy as sa

from dialplan_sms.outbox.schema import ENDED, State, attempt, message, now, number

_A_DAY = 86400.0


def purge(connection: sa.Connection, older: float, most: int = 1000) -> int:
    """Delete at most *most* SMS that have ended more than *older* seconds ago; how many.

    The portion was the last if it is less than *most*.
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


def forget_texts(connection: sa.Connection, sender: str, keep: float, most: int = 1000) -> int:
    """Drop at most *most* texts of *sender*'s SMS that ended *keep* seconds ago; how many.

    Those that were not sent stay for a day at least: an admin may want to try them again.
    """
    done = message.c.state.in_((State.SENT, State.CANCELLED))
    old = sa.and_(
        message.c.sender == sender,
        message.c.text.is_not(None),
        message.c.ended.is_not(None),
        message.c.ended < sa.case((done, now() - keep), else_=now() - max(keep, _A_DAY)),
    )
    ids = connection.scalars(
        sa.select(message.c.id).where(old).limit(most).with_for_update(skip_locked=True)
    ).all()
    for start in range(0, len(ids), 500):
        mine = message.c.id.in_(ids[start : start + 500])
        connection.execute(message.update().where(mine).values(text=None))
    return len(ids)
