"""When the gateways of each sender are free: the pace, and what holds all of a sender's SMS."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dialplan_sms.outbox.retry import HELD, LONGEST_WAIT, Verdict, wait
from dialplan_sms.outbox.schema import gateway, now
from dialplan_sms.sms.outcome import Cause

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
"""Built once: every SMS that is stored asks, and to build it costs more than to run it."""


def know(connection: sa.Connection, sender: str, gsm: str) -> None:
    """Have SMS of *sender* to *gsm* looked for; a new one is held as the sender's others are."""
    connection.execute(_NEW, {"of": sender, "to": gsm})


def free(connection: sa.Connection) -> Sequence[Any]:
    """Those that are free, and no other host's now; the longest free first."""
    return connection.execute(
        sa.select(gateway.c.sender, gateway.c.gsm, gateway.c.failures)
        .where(gateway.c.free_at <= now())
        .order_by(gateway.c.free_at)
        .with_for_update(skip_locked=True)
    ).all()


def occupy(connection: sa.Connection, sender: str, gsm: str, seconds: float) -> None:
    """Have it free again in so many *seconds*."""
    connection.execute(
        gateway.update()
        .where(gateway.c.sender == sender, gateway.c.gsm == gsm)
        .values(free_at=now() + seconds)
    )


def follow(
    connection: sa.Connection, sender: str, verdict: Verdict, failures: int, random: float
) -> None:
    """Let all of the sender's messages wait, or go on, as a try shows the PBX to be.

    *failures* is how many were counted when the try began: those of one outage count once.
    """
    every = gateway.update().where(gateway.c.sender == sender)
    if verdict.holds:
        connection.execute(every.values(free_at=now() + HELD, held=verdict.holds))
    elif verdict.pauses:
        free_at = now() + wait(failures + 1, random)
        connection.execute(
            every.values(free_at=free_at, failures=failures + 1, held=Cause.UNREACHABLE)
        )
    else:
        troubled = (gateway.c.failures > 0) | (gateway.c.held != "")
        connection.execute(every.where(troubled).values(free_at=now(), failures=0, held=""))


def mend_clock(connection: sa.Connection, longest: Mapping[str, float]) -> None:
    """Free those that are busy or held for longer than they can be; *longest* busy is by sender."""
    free = gateway.update().values(free_at=0.0)
    held = sa.case((gateway.c.held == Cause.UNREACHABLE, LONGEST_WAIT), else_=HELD)
    connection.execute(free.where(gateway.c.held != "", gateway.c.free_at > now() + held))
    for sender, seconds in longest.items():
        busy = (gateway.c.sender == sender) & (gateway.c.held == "")
        connection.execute(free.where(busy, gateway.c.free_at > now() + seconds))


def resume(connection: sa.Connection) -> None:
    """Let what is held be tried now."""
    connection.execute(gateway.update().where(gateway.c.held != "").values(free_at=now()))
