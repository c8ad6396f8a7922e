"""When the gateways of each sender are free: the pace, and what holds all of a sender's SMS."""

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox.retry import HELD, LONGEST_WAIT, wait
from dialplan_sms.outbox.schema import State, gateway, message, now
from dialplan_sms.sms.outcome import Cause

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
_MINE_FREE = (
    sa.select(gateway.c.failures).where(_MINE, gateway.c.free_at <= now()).with_for_update()
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
    connection.execute(_NEW, {"of": sender, "to": gsm})


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


def take(connection: sa.Connection, sender: str, gsm: str, seconds: float) -> int | None:
    """Have the gateway busy, if it is free: how many failures were counted of it; else None."""
    ensure(connection, sender, gsm)
    mine = {"of": sender, "to": gsm, "seconds": seconds}
    failures = connection.scalar(_MINE_FREE, mine)
    if failures is not None:
        connection.execute(BUSY, mine)
    return failures


def apply(connection: sa.Connection, sender: str, stops: str, failures: int, random: float) -> None:
    """Have all of the sender's messages wait if *stops* is a cause, else go on.

    *failures* is how many were counted when the try began: those of one outage count once.
    """
    held: dict[str, Any] = {"of": sender, "held": stops}
    if stops == Cause.UNREACHABLE:
        held |= {"failures": failures + 1, "seconds": wait(failures + 1, random)}
        connection.execute(_HOLD, held)
    elif stops:
        connection.execute(_HOLD, held | {"seconds": HELD})
    else:
        connection.execute(_GO_ON, {"of": sender})


def mend_clock(connection: sa.Connection, senders: Iterable[Sender]) -> None:
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
    free = gateway.update().values(free_at=0.0)
    held = sa.case((gateway.c.held == Cause.UNREACHABLE, LONGEST_WAIT), else_=HELD)
    connection.execute(free.where(gateway.c.held != "", gateway.c.free_at > now() + held))
    for sender in senders:
        busy = (gateway.c.sender == sender.name) & (gateway.c.held == "")
        longest = sender.pace * sender.batch
        connection.execute(free.where(busy, gateway.c.free_at > now() + longest))


def resume(connection: sa.Connection) -> None:
    """Let what is held be tried now."""
    connection.execute(gateway.update().where(gateway.c.held != "").values(free_at=now()))
