"""How long the history is kept, and the texts in it.

Functions on the connection of a transaction, the same on SQLite and PostgreSQL; in portions, since
on SQLite each keeps the writers waiting.
"""

import sqlalchemy as sa

from dialplan_sms.outbox.schema import ENDED, State, attempt, message, now, number

A_DAY = 86400.0  # for which what was not sent keeps its text


def purge(connection: sa.Connection, older: float, most: int = 500) -> int:
    """Delete at most *most* SMS that have ended more than *older* seconds ago; how many."""
    count = 0
    for state in ENDED:  # each a range of the index, however many rows there are
        ids = connection.scalars(
            sa.select(message.c.id)
            .where(
                message.c.state == state,
                message.c.due < now() - older,
                message.c.ended < now() - older,
            )
            .order_by(message.c.due)
            .limit(most - count)
            .with_for_update(skip_locked=True)
        ).all()
        if ids:
            for id_ in (number.c.message_id, attempt.c.message_id, message.c.id):
                connection.execute(sa.delete(id_.table).where(id_.in_(ids)))
        count += len(ids)
    return count


def forget_texts(connection: sa.Connection, sender: str, keep: float, most: int = 1000) -> int:
    """Drop at most *most* texts of *sender*'s SMS that ended *keep* seconds ago; how many.

    Those that were not sent stay for a day at least: an admin may want to try them again.
    """
    done = message.c.state.in_((State.SENT, State.CANCELLED))
    old = (
        sa.select(message.c.id)
        .where(
            message.c.sender == sender,
            message.c.text.is_not(None),
            message.c.ended.is_not(None),
            message.c.ended < sa.case((done, now() - keep), else_=now() - max(keep, A_DAY)),
        )
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    forgets = message.update().where(message.c.id.in_(old)).values(text=None)
    return connection.execute(forgets).rowcount
