"""Leases: a worker takes what is due, says when it goes out, and notes how it ended.

Functions on the connection of a transaction, as in transitions.py; so is what is done with the
leases of a worker that is gone.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox import gateways
from dialplan_sms.outbox.retry import FIRST_WAIT, Verdict, wait
from dialplan_sms.outbox.schema import PRIORITIES, State, message, now, number
from dialplan_sms.outbox.transitions import conclude, note
from dialplan_sms.sms.outcome import Outcome
from dialplan_sms.sms.sms import Sms

_BATCH = 20
"""Numbers of a request for a sender that sms.conf does not have any more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One request to make: a message, and those of its numbers that it goes to.

    ``until`` distinguishes it from a later lease of the same owner; ``age`` is seconds since the
    SMS was to be sent; ``failures`` are the sender's tries before that found the PBX out of reach.
    """

    id: int
    owner: str
    until: float
    sender: str
    sms: Sms
    attempts: int
    age: float
    failures: int


def claim(
    connection: sa.Connection, owner: str, seconds: float, most: int, senders: Mapping[str, Sender]
) -> list[Lease]:
    """Lease at most *most* requests that are due, each for so many *seconds*.

    One for each gateway that is free, several if the sender's pace is 0 s. The gateway is then
    busy for its pace for each number.
    """
    taken: list[Lease] = []
    for name, gsm, failures in gateways.free(connection):
        sender = senders.get(name)
        pace, batch = (sender.pace, sender.batch) if sender else (0.0, _BATCH)
        due = _due(connection, name, gsm, 1 if pace else most - len(taken))
        mine = [_lease(connection, each, owner, seconds, batch, failures) for each in due]
        if mine:  # also without a pace: the next turn begins with the others
            busy = pace * sum(len(each.sms.numbers) for each in mine)
            gateways.set_busy(connection, name, gsm, busy)
        taken += mine
        if len(taken) >= most:
            break
    return taken


def _due(connection: sa.Connection, sender: str, gsm: str, most: int) -> list[int]:
    found: list[int] = []
    for priority in PRIORITIES:  # each a range of the index, however many rows there are
        if len(found) < most:
            found += connection.scalars(
                sa.select(message.c.id)
                .where(
                    message.c.sender == sender,
                    message.c.gsm == gsm,
                    message.c.state == State.PENDING,
                    message.c.priority == priority,
                    message.c.due <= now(),
                )
                .order_by(message.c.due)
                .limit(most - len(found))
                .with_for_update(skip_locked=True)
            ).all()
    return found


def _lease(
    connection: sa.Connection, id_: int, owner: str, seconds: float, batch: int, failures: int
) -> Lease:
    connection.execute(
        message.update()
        .where(message.c.id == id_)
        .values(state=State.LEASED, lease_by=owner, lease_until=now() + seconds)
    )
    numbers = connection.scalars(
        sa.select(number.c.number)
        .where(number.c.message_id == id_, number.c.state == State.PENDING)
        .order_by(number.c.number)
        .limit(batch)
    ).all()
    row = connection.execute(
        sa.select(
            message.c.sender, message.c.text, message.c.gsm, message.c.postpone, message.c.call,
            message.c.attempts, message.c.lease_until,
            (now() - sa.func.coalesce(message.c.planned, message.c.created)).label("age"),
        ).where(message.c.id == id_)
    ).one()  # fmt: skip
    sms = Sms(tuple(numbers), row.text or "", row.gsm or None, row.postpone, call=row.call)
    return Lease(id_, owner, row.lease_until, row.sender, sms, row.attempts, row.age, failures)


def begin_sending(connection: sa.Connection, lease: Lease) -> bool:
    """Note that the request goes out now; False if the lease is another's by now."""
    if not _update(connection, lease, state=State.SENDING):
        return False
    connection.execute(
        number.update()
        .where(number.c.message_id == lease.id, number.c.number.in_(lease.sms.numbers))
        .values(state=State.SENDING)
    )
    return True


def finish(
    connection: sa.Connection, lease: Lease, outcome: Outcome, verdict: Verdict, random: float,
    keep_text: bool,
) -> str | None:  # fmt: skip
    """Note how a request ended, and what follows; the message's state.

    None if the lease is another's by now, who has then decided.
    """
    if not _update(connection, lease, lease_by=None, lease_until=None):
        return None
    note(connection, lease.id, outcome, verdict)
    gateways.apply(connection, lease.sender, verdict, lease.failures, random)
    # The rest of a list goes on at once, and so does what waits for all of the sender's anyway.
    alone = verdict.again and not (verdict.holds or verdict.pauses)
    due = now() + (wait(lease.attempts + 1, random) if alone else 0.0)
    return conclude(connection, lease.id, due, keep_text)


def _update(connection: sa.Connection, lease: Lease, **values: Any) -> bool:
    """Change the leased message; False if the lease is another's by now."""
    changed = connection.execute(
        message.update()
        .where(
            message.c.id == lease.id,
            message.c.lease_by == lease.owner,
            message.c.lease_until == lease.until,
            message.c.state.in_((State.LEASED, State.SENDING)),
        )
        .values(**values)
    )
    return bool(changed.rowcount == 1)


def owners(connection: sa.Connection) -> list[str]:
    """Who holds leases."""
    held = message.c.state.in_((State.LEASED, State.SENDING)) & message.c.lease_by.is_not(None)
    return list(connection.scalars(sa.select(message.c.lease_by).where(held).distinct()))


def lost(
    connection: sa.Connection, owner: str, busy: Collection[tuple[int, float]],
    dead: Collection[str] | None, most: int = 200,
) -> list[Any]:  # fmt: skip
    """The leases of *dead* owners, or, if that is None, those whose time is over.

    Of *owner*'s own those, and those only, that it is not *busy* with (id and ``until``): it never
    learnt of them, or somebody has restored an older copy of the database.
    """
    mine = message.c.lease_by == owner
    gone = message.c.lease_until < now() if dead is None else message.c.lease_by.in_(list(dead))
    known = sa.tuple_(message.c.id, message.c.lease_until).in_(list(busy))
    return list(
        connection.execute(
            sa.select(message.c.id, message.c.sender, message.c.state)
            .where(
                message.c.state.in_((State.LEASED, State.SENDING)),
                message.c.lease_until.is_not(None),
                sa.or_(mine & ~known, ~mine & gone),
            )
            .limit(most)
            .with_for_update(skip_locked=True)
        )
    )


def take_back(connection: sa.Connection, id_: int, outcome: Outcome, at_least_once: bool) -> str:
    """Decide on a message whose worker is gone; its state."""
    sending = connection.scalars(
        sa.select(number.c.number).where(
            number.c.message_id == id_, number.c.state == State.SENDING
        )
    ).all()
    if sending:
        numbers = tuple(sending)
        verdict = Verdict(again=numbers) if at_least_once else Verdict(unknown=numbers)
        note(connection, id_, outcome, verdict)
    # One that ends its worker each time must not do so without a pause.
    return conclude(connection, id_, now() + (FIRST_WAIT if sending else 0.0))
