"""When the gateways of each sender are free: the pace, what holds all of its SMS; what is due."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox.retry import HELD, LONGEST_WAIT, wait
from dialplan_sms.outbox.schema import PRIORITIES, State, attempt, gateway, message, now
from dialplan_sms.outbox.work import many
from dialplan_sms.sms.outcome import NOBODY_KNOWS, Cause

# Built once: to build a statement costs more than to run it.
_MINE = (gateway.c.sender == sa.bindparam("of")) & (gateway.c.gsm == sa.bindparam("to"))
_HELD_UNTIL = sa.case((gateway.c.held != "", gateway.c.free_at), else_=0.0)
_NEW = gateway.insert().from_select(
    ["sender", "gsm", "free_at", "failures", "held"],
    sa.select(
        sa.bindparam("of", type_=sa.String()),
        sa.bindparam("to", type_=sa.String()),
        sa.func.coalesce(sa.func.max(_HELD_UNTIL), 0.0),
        sa.func.coalesce(sa.func.max(gateway.c.failures), 0),
        sa.func.coalesce(sa.func.max(gateway.c.held), ""),
    )
    .where(gateway.c.sender == sa.bindparam("of"))
    .having(~sa.exists().where(_MINE).correlate(None)),
)
FREE = (
    sa.select(gateway.c.sender, gateway.c.gsm, gateway.c.failures, gateway.c.held)
    .where(gateway.c.free_at <= now())
    .order_by(gateway.c.free_at)
    .with_for_update(skip_locked=True)
)
"""Those that are free, and no other host's now; the longest free first."""
_AGE = now() - sa.func.coalesce(message.c.planned, message.c.created)
_DUE = (
    sa.select(
        message.c.id, message.c.due, message.c.text, message.c.gsm, message.c.postpone,
        message.c.call, message.c.attempts, message.c.token, _AGE.label("age"),
        (now() + sa.bindparam("seconds", type_=sa.Double())).label("until"),
    )
    .where(
        message.c.sender == sa.bindparam("sender"),
        message.c.gsm == sa.bindparam("gsm"),
        message.c.state == State.PENDING,
        message.c.priority == sa.bindparam("priority"),
        message.c.due <= now(),
    )
    .order_by(message.c.due)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)
)  # fmt: skip
# A crash is noted as a try without an answer.
IN_DOUBT = sa.select(attempt.c.message_id).where(attempt.c.cause.in_(NOBODY_KNOWS))
_OVERDUE = _DUE.where(
    sa.bindparam("after", type_=sa.Double()) <= _AGE,
    ~IN_DOUBT.where(attempt.c.message_id == message.c.id).exists(),
)  # fmt: skip
SOON = 5.0  # seconds for which a backup's turn is waited for, if nothing holds it
_LEFT = sa.case((gateway.c.free_at > now(), gateway.c.free_at - now()), else_=0.0)
_MINE_SOON = (
    sa.select(gateway.c.failures, _LEFT.label("left"))
    .where(_MINE, sa.case((gateway.c.held == "", SOON), else_=0.0) >= _LEFT)
    .with_for_update()
)
_WAITS = sa.select(gateway.c.sender, gateway.c.gsm).where(
    gateway.c.held != "", gateway.c.free_at > now()
)  # fmt: skip
_IN_SECONDS = now() + sa.bindparam("seconds", type_=sa.Double())
BUSY = gateway.update().where(_MINE).values(free_at=_IN_SECONDS)  # free again in so many
_ALL = gateway.update().where(gateway.c.sender == sa.bindparam("of"))
_HOLD = _ALL.values(free_at=_IN_SECONDS)
_GO_ON = _ALL.where((gateway.c.failures > 0) | (gateway.c.held != "")).values(
    free_at=now(), failures=0, held=""
)


def ensure(connection: sa.Connection, sender: str, gsm: str) -> None:
    """Add the gateway, if it is new, for workers to find; held if the sender's others are."""
    many(connection, _NEW, [{"of": sender, "to": gsm}])


def due(
    connection: sa.Connection, queues: Sequence[tuple[str, str]], senders: Mapping[str, Sender],
    most: int, seconds: float,
) -> list[tuple[Any, str]]:  # fmt: skip
    """At most so many that are due first in *queues*, each of a sender and gateway; and the sender.

    The first is that of the gateway itself, from the others comes only what is overdue.
    """
    first: list[tuple[Any, str]] = []
    for priority in PRIORITIES:  # each a range of the index, however many rows there are
        found: list[tuple[Any, str]] = []
        for of, gsm in queues if len(first) < most else ():
            where = {
                "sender": of, "gsm": gsm, "priority": priority, "seconds": seconds,
                "most": most - len(first),
            }  # fmt: skip
            statement = _DUE
            if of != queues[0][0]:
                where["after"], statement = senders[of].backup_after, _OVERDUE
            found += ((row, of) for row in connection.execute(statement, where))
        first += sorted(found, key=lambda each: each[0].due)[: most - len(first)]
    return first


def relieved(
    connection: sa.Connection, senders: Mapping[str, Sender]
) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """The gateways that are held and have a backup, by the gateway of that, which is then there."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, gsm in connection.execute(_WAITS) if any(s.backup for s in senders.values()) else ():
        if name in senders and (backup := senders.get(senders[name].backup)):
            found.setdefault((backup.name, backup.gsm or ""), []).append((name, gsm))
    for of in found:
        ensure(connection, *of)
    return found


def take(
    connection: sa.Connection, sender: str, gsm: str, seconds: float
) -> tuple[int, float] | None:
    """Have the gateway busy for *seconds* once it is free, if it is soon; else None.

    How many failures were counted of it, and in how many seconds it is free.
    """
    ensure(connection, sender, gsm)
    mine = {"of": sender, "to": gsm}
    found = connection.execute(_MINE_SOON, mine).one_or_none()
    if found is None:
        return None
    many(connection, BUSY, [mine | {"seconds": found.left + seconds}])
    return found.failures, found.left


def apply(connection: sa.Connection, sender: str, stops: str, failures: int, random: float) -> None:
    """Have all of the sender's messages wait if *stops* is a cause, else go on.

    *failures* is how many were counted when the try began: those of one outage count once.
    """
    held: dict[str, Any] = {"held": stops, "seconds": HELD}
    if stops == Cause.UNREACHABLE:
        held = {"held": stops, "failures": failures + 1, "seconds": wait(failures + 1, random)}
    if stops:
        many(connection, _HOLD, [held | {"of": sender}])
    else:
        many(connection, _GO_ON, [{"of": sender}])


def mend_clock(connection: sa.Connection, senders: Collection[Sender]) -> None:
    """After the clock was set back: nothing waits, or is busy, for longer than it can."""
    tries = [(message.c.attempts == n, wait(n, 1.0) if n else 0.0) for n in range(9)]
    connection.execute(
        message.update()
        .where(
            message.c.state == State.PENDING,
            message.c.due > now() + sa.case(*tries, else_=LONGEST_WAIT),
            message.c.planned.is_(None),
        )
        .values(due=now())
    )
    most = max(sender.batch for sender in senders)  # as who is a backup has the lists of others
    longest = sa.case(
        (gateway.c.held == Cause.UNREACHABLE, LONGEST_WAIT),
        (gateway.c.held != "", HELD),
        *((gateway.c.sender == each.name, each.pace * most + SOON) for each in senders),
        else_=HELD,
    )
    late = gateway.update().where(gateway.c.free_at > now() + longest)
    connection.execute(late.values(free_at=0.0))


def resume(connection: sa.Connection) -> None:
    """Let what is held be tried now."""
    connection.execute(gateway.update().where(gateway.c.held != "").values(free_at=now()))
