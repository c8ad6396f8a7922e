"""Leases: a worker takes what is due, says when it goes out, and notes how it ended.

Functions on the connection of a transaction, as in statements.py; so is what is done with the
leases of a worker that is gone.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from dialplan_sms.outbox import gateways
from dialplan_sms.outbox.retry import FIRST_WAIT, Verdict, wait
from dialplan_sms.outbox.schema import State, message, now, number
from dialplan_sms.outbox.statements import counts, end, note
from dialplan_sms.sms.outcome import Outcome

_PRIORITIES = (0, 1)


@dataclass(frozen=True, slots=True)
class Claimed:
    """One request to make: a message, and those of its numbers that it goes to."""

    id: int
    sender: str
    numbers: tuple[str, ...]
    text: str = field(repr=False)
    gsm: str
    postpone: str | None
    call: str
    attempts: int
    age: float  # seconds since it was to be sent
    lease_until: float  # tells this lease from a later one of the same owner
    failures: int = 0  # of the sender's tries before, since the PBX is out of reach


def claim(
    connection: sa.Connection,
    owner: str,
    lease: float,
    most: int,
    paces: dict[str, float],
    batches: dict[str, int],
) -> list[Claimed]:
    """Take at most *most* requests that are due, each for *lease* seconds.

    One for each gateway that is free, several where the sender's pace is 0 s; *paces* and *batches*
    are by sender. The gateway is then busy for its pace for each number.
    """
    taken: list[Claimed] = []
    for sender, gsm, failures in gateways.free(connection):
        pace = paces.get(sender, 0.0)
        due = _due(connection, sender, gsm, 1 if pace else most - len(taken))
        batch = batches.get(sender, 20)
        mine = [_lease(connection, each, owner, lease, batch, failures) for each in due]
        if mine:  # also without a pace: the next turn begins with the others
            seconds = pace * sum(len(each.numbers) for each in mine)
            gateways.occupy(connection, sender, gsm, seconds)
        taken += mine
        if len(taken) >= most:
            break
    return taken


def _due(connection: sa.Connection, sender: str, gsm: str, most: int) -> list[int]:
    found: list[int] = []
    for priority in _PRIORITIES:  # each a range of the index, however many rows there are
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
    connection: sa.Connection, id_: int, owner: str, lease: float, batch: int, failures: int
) -> Claimed:
    connection.execute(
        message.update()
        .where(message.c.id == id_)
        .values(state=State.LEASED, lease_by=owner, lease_until=now() + lease)
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
    return Claimed(
        id_, row.sender, tuple(numbers), row.text or "", row.gsm, row.postpone, row.call,
        row.attempts, row.age, row.lease_until, failures,
    )  # fmt: skip


def begin_sending(connection: sa.Connection, claimed: Claimed, owner: str) -> bool:
    """Note that the request goes out now; False where the lease is another's by now."""
    mine = _mine(claimed, owner)
    if connection.execute(message.update().where(mine).values(state=State.SENDING)).rowcount != 1:
        return False
    connection.execute(
        number.update()
        .where(number.c.message_id == claimed.id, number.c.number.in_(claimed.numbers))
        .values(state=State.SENDING)
    )
    return True


def finish(
    connection: sa.Connection,
    claimed: Claimed,
    owner: str,
    outcome: Outcome,
    verdict: Verdict,
    random: float,
    keep_text: bool,
) -> str | None:
    """Note how a request ended, and what follows; the message's state, None where it is lost.

    It is where the lease was another's meanwhile, who has then decided.
    """
    mine = _mine(claimed, owner)
    taken = connection.execute(message.update().where(mine).values(lease_by=None, lease_until=None))
    if taken.rowcount != 1:
        return None
    note(connection, claimed.id, outcome, verdict)
    gateways.follow(connection, claimed.sender, verdict, claimed.failures, random)
    if not counts(connection, claimed.id).get(State.PENDING):
        return end(connection, claimed.id, keep_text)
    # The rest of a list goes on at once, and so does what waits for all of the sender's anyway.
    alone = verdict.again and not (verdict.holds or verdict.pauses)
    due = now() + wait(claimed.attempts + 1, random) if alone else now()
    connection.execute(
        message.update().where(message.c.id == claimed.id).values(state=State.PENDING, due=due)
    )
    return State.PENDING


def _mine(claimed: Claimed, owner: str) -> Any:
    return sa.and_(
        message.c.id == claimed.id,
        message.c.lease_by == owner,
        message.c.lease_until == claimed.lease_until,
        message.c.state.in_((State.LEASED, State.SENDING)),
    )


def owners(connection: sa.Connection) -> list[str]:
    """Who holds leases."""
    held = message.c.state.in_((State.LEASED, State.SENDING)) & message.c.lease_by.is_not(None)
    return list(connection.scalars(sa.select(message.c.lease_by).where(held).distinct()))


def lost(
    connection: sa.Connection, owner: str, busy: Collection[tuple[int, float]],
    dead: Collection[str] | None, most: int = 200,
) -> list[Any]:  # fmt: skip
    """The leases of *dead* owners, or, where that is None, those whose time is over.

    Of *owner*'s own those, and those only, that it is not *busy* with (id and ``lease_until``): it
    never learnt of them, or somebody has restored an older copy of the database.
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
    if not counts(connection, id_).get(State.PENDING):
        return end(connection, id_)
    # One that ends its worker each time must not do so without a pause.
    due = now() + FIRST_WAIT if sending else now()
    connection.execute(
        message.update()
        .where(message.c.id == id_)
        .values(state=State.PENDING, lease_by=None, lease_until=None, due=due)
    )
    return State.PENDING
