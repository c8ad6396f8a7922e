"""What an admin changes in the outbox: SMS that are tried again, or never.

Functions on the connection of a transaction, the same on SQLite and PostgreSQL. Workers are at work
meanwhile: each change names the state that it starts from, and what has left it is let alone.
"""

from collections.abc import Collection
from contextlib import suppress
from datetime import datetime

import sqlalchemy as sa

from dialplan_sms.outbox import gateways, idempotency
from dialplan_sms.outbox.schema import State, message, now, number
from dialplan_sms.sms import api

RETRIED = (State.FAILED, State.EXPIRED, State.UNKNOWN, State.CANCELLED)
"""The states from which an SMS can be tried again."""


def retry(connection: sa.Connection, ids: Collection[int]) -> dict[int, str]:
    """Have SMS that have ended without being sent tried again, now: why not, by id; empty if so.

    Only to the numbers that did not get it; what it has been through does not count for max_age.
    """
    return {id_: _retry(connection, id_) for id_ in ids}


def _retry(connection: sa.Connection, id_: int) -> str:
    if (later := idempotency.taken(connection, id_)) is not None:
        return f"its SMS_KEY was used again, SMS {later} is in its place: see outbox show {later}"
    open_ = sa.and_(number.c.message_id == id_, number.c.state.in_(RETRIED))
    changed = connection.execute(
        message.update()
        .where(
            message.c.id == id_,
            message.c.state.in_(RETRIED),
            message.c.text.is_not(None),
            sa.exists().where(open_),
        )
        .values(
            state=State.PENDING, due=now(), planned=now(), ended=None, attempts=0, cause="",
            reason="", lease_by=None, lease_until=None,
        )
    )  # fmt: skip
    if changed.rowcount == 1:
        connection.execute(number.update().where(open_).values(state=State.PENDING))
        _prepare(connection, id_)
        return ""
    state = connection.scalar(sa.select(message.c.state).where(message.c.id == id_))
    if state is None:
        return "there is no such SMS"
    if state in RETRIED:
        return f"is {state}, and its text is gone: keep_text in sms.conf keeps texts for longer"
    return f"is {state}" + ("" if state == State.SENT else " already")


def _prepare(connection: sa.Connection, id_: int) -> None:
    """Have its gateway looked after, and do not tell the PBX to wait for a time that is over."""
    sender, gsm, postpone = connection.execute(
        sa.select(message.c.sender, message.c.gsm, message.c.postpone).where(message.c.id == id_)
    ).one()
    gateways.know(connection, sender, gsm)
    with suppress(ValueError):
        if postpone and datetime.strptime(postpone, api.POSTPONE_FORMAT) <= datetime.now():
            past = message.update().where(message.c.id == id_)
            connection.execute(past.values(postpone=None))


def cancel(
    connection: sa.Connection, ids: Collection[int], keeping: Collection[str] = ()
) -> dict[int, str]:
    """End SMS that wait: why not, by id; empty if so. *keeping* are senders who keep texts."""
    return {id_: _cancel(connection, id_, keeping) for id_ in ids}


def _cancel(connection: sa.Connection, id_: int, keeping: Collection[str]) -> str:
    kept = sa.case((message.c.sender.in_(keeping), message.c.text), else_=sa.null())
    changed = connection.execute(
        message.update()
        .where(message.c.id == id_, message.c.state == State.PENDING)
        # What has ended is never due later, which purge() relies on.
        .values(state=State.CANCELLED, ended=now(), due=now(), text=kept)
    )
    if changed.rowcount == 1:
        waiting = sa.and_(number.c.message_id == id_, number.c.state == State.PENDING)
        connection.execute(number.update().where(waiting).values(state=State.CANCELLED))
        return ""
    state = connection.scalar(sa.select(message.c.state).where(message.c.id == id_))
    if state is None:
        return "there is no such SMS"
    if state in (State.LEASED, State.SENDING):
        return f"is {state}: it is going out now"
    return f"is {state} already"
