"""SMS_KEY: a second SMS with the key of an earlier one is that one, and is not sent again."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dialplan_sms.outbox.schema import State, message, number
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error

_FREE = "\x7f"  # begins what is no key any more; no key holds a control character
_GONE = (State.FAILED, State.EXPIRED, State.CANCELLED)


def earlier(
    connection: sa.Connection, new: Mapping[str, Any], numbers: Sequence[str]
) -> Outcome | None:
    """What became of an SMS with the key of *new* (columns); None if there is none that went out.

    The key of one that certainly went to nobody is free again.
    """
    mine = (message.c.sender == new["sender"]) & (message.c.key == new["key"])
    # Locked, so that the commit waits for a standby, which may not have it yet.
    found = connection.execute(sa.select(message).where(mine).with_for_update()).one_or_none()
    if found is None:
        return None
    rows = connection.execute(
        sa.select(number.c.number, number.c.state).where(number.c.message_id == found.id)
    ).all()
    same = (found.fingerprint, found.gsm) == (new["fingerprint"], new["gsm"])
    if not same or {row.number for row in rows} != set(numbers):
        return error(Cause.DENIED, "SMS_KEY was used before for another SMS: text, number or gsm")
    id_ = str(found.id)
    if found.state in _GONE:
        failed = tuple(row.number for row in rows if row.state != State.SENT)
        if len(failed) < len(rows):  # some have it: not again
            return Outcome(Status.WARNING, Cause.NOT_QUEUED, found.reason, failed, id_)
        freed = f"{_FREE}{_digest(new['key'])}{_FREE}{id_}"
        connection.execute(message.update().where(mine).values(key=freed))
        return None
    if found.state == State.SENT:
        return Outcome(Status.SUCCESS, id=id_)
    by_a_call = found.state == State.SENDING and found.lease_until is None
    if found.state != State.UNKNOWN and not by_a_call:
        return Outcome(Status.QUEUED, id=id_)
    reason = "an SMS with this SMS_KEY is on its way or may have been sent"
    return Outcome(Status.ERROR, Cause.NO_ANSWER, reason, id=id_)


def taken(connection: sa.Connection, id_: int) -> int | None:
    """The id of a later SMS with the key that this one had; None if there is none."""
    mine = connection.execute(
        sa.select(
            message.c.sender, message.c.key, message.c.fingerprint, message.c.created,
            sa.func.min(number.c.number).label("number"),
        )
        .join(number)
        .where(message.c.id == id_)
        .group_by(message.c.id)
    ).one_or_none()  # fmt: skip
    if mine is None or not str(mine.key or "").startswith(_FREE):
        return None
    others = connection.execute(  # it went to the same numbers, for which there is an index
        sa.select(message.c.id, message.c.key)
        .join(number)
        .where(
            number.c.number == mine.number,
            number.c.created >= mine.created,
            message.c.sender == mine.sender,
            message.c.fingerprint == mine.fingerprint,
            message.c.id > id_,
            message.c.key.is_not(None),
        )
        .order_by(message.c.id.desc())
    )
    was = _digest(mine.key)
    return next((each.id for each in others if _digest(each.key) == was), None)


def _digest(key: str) -> str:
    """What two SMS with one key have in common, whether they have it still or lost it."""
    if key.startswith(_FREE):
        return key.split(_FREE)[1]
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
