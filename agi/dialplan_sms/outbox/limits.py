"""Limits against SMS pumping and runaway dialplans: how many SMS a sender of sms.conf may send.

Counted on the outbox's history in one query, in the transaction that stores the SMS, so that no two
calls pass together. Where to is decided in sms/numbers.py.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox.schema import State, message, now, number
from dialplan_sms.sms.outcome import Cause, Refused, safe_line

_LOCK = 4574  # PostgreSQL's advisory lock while one counts: other hosts wait for its insert
_NOT_SENT = (State.FAILED, State.EXPIRED, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most *count* SMS in *seconds*."""

    count: int
    seconds: float

    def __str__(self) -> str:
        for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
            if self.seconds % size == 0:
                return f"{self.count}/{self.seconds / size:g}{unit}"
        return f"{self.count}/{self.seconds:g}s"


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of one rule is used: *oldest* is when the first of what counts was taken."""

    rule: str
    whose: str
    used: int
    oldest: float


@dataclass(frozen=True, slots=True)
class _Limit:
    """A rule as it meets one SMS: of *whose* SMS that match, *most* may be there before it.

    ``numbers`` is whether each number counts for itself; whose it is may be empty.
    """

    rule: str
    rate: Rate
    most: int
    numbers: bool
    whose: str
    matches: sa.ColumnElement[bool]


def refusal(
    connection: sa.Connection, sender: Sender, new: Mapping[str, Any], numbers: Sequence[str]
) -> Refused | None:
    """Whether *new* (columns) to *numbers* would go over a limit: the one that ends last, and when.

    Counted are the numbers that were tried or wait, whatever became of them, but cancelled ones.
    """
    limits = _limits(sender, new, numbers)
    for limit in limits:
        if limit.most < 0:  # by itself, whenever it is sent
            more = f"{len(numbers)} numbers are more than {limit.rule} = {limit.rate}"
            return Refused(Cause.DENIED, f"{more} in sms.conf allows")
    if not limits:
        return None
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    over = [_over(position, limit) for position, limit in enumerate(limits)]
    ends = [
        (row.created + limits[row.position].rate.seconds, row.position, row.number)
        for row in connection.execute(sa.union_all(*over))
    ]
    if not ends:
        return None
    end, position, to = max(ends, key=lambda each: each[0])
    return _refused(end, limits[position], to)


def _limits(sender: Sender, new: Mapping[str, Any], numbers: Sequence[str]) -> list[_Limit]:
    """What *new* falls under. A call without a caller ID falls under no per_caller."""
    caller = new["caller"]
    mine = message.c.sender == sender.name
    to = mine & number.c.number.in_(numbers)
    same = (message.c.fingerprint == new["fingerprint"]) & number.c.state.not_in(_NOT_SENT)
    once = (1, sender.repeat_window) if sender.repeat_window else None
    rules = (
        ("repeat_window", once, True, "", to & same),
        ("per_number", sender.per_number, True, "", to),
        ("per_sender", sender.per_sender, False, sender.name, mine),
        ("per_caller", sender.per_caller, False, caller, mine & (message.c.caller == caller)),
    )
    return [
        _Limit(rule, Rate(*rate), rate[0] - (1 if each else len(numbers)), each, whose, matches)
        for rule, rate, each, whose, matches in rules
        if rate and (each or whose)
    ]


def _over(position: int, limit: _Limit) -> sa.Select[tuple[object, ...]]:
    """The SMS that have to leave the window before one more may go; none if one may.

    It is the newest but ``limit.most``: so a range of an index is read, and its end is known.
    """
    created = number.c.created if limit.numbers else message.c.created
    counted = [
        limit.matches, number.c.state != State.CANCELLED, created > now() - limit.rate.seconds
    ]  # fmt: skip
    both = number.join(message)
    if not limit.numbers:
        newest = (
            sa.select(created, sa.literal("").label("number"))
            .select_from(both)
            .where(*counted)
            .order_by(created.desc())
            .limit(1)
            .offset(limit.most)
            .subquery()
        )
        return sa.select(sa.literal(position).label("position"), newest)
    rank = sa.func.row_number().over(partition_by=number.c.number, order_by=created.desc())
    ranked = (
        sa.select(created, number.c.number, rank.label("rank"))
        .select_from(both)
        .where(*counted)
        .subquery()
    )
    return sa.select(
        sa.literal(position).label("position"), ranked.c.created, ranked.c.number
    ).where(ranked.c.rank == limit.most + 1)


def _refused(end: float, limit: _Limit, number_: str) -> Refused:
    until = time.strftime("until %Y-%m-%d %H:%M:%S", time.localtime(math.ceil(end)))
    whose = safe_line(number_ or limit.whose)
    if limit.rule == "repeat_window":
        reason = f"the same text went to {whose} already, repeat_window in sms.conf refuses it"
        return Refused(Cause.DENIED, f"{reason} {until}", f"repeat_window refuses it {until}")
    reached = f"{limit.rule} = {limit.rate} in sms.conf is reached"
    return Refused(Cause.DENIED, f"{reached} for {whose}, {until}", f"{reached}, {until}")


def used(connection: sa.Connection, sender: Sender, most: int = 5) -> list[tuple[Usage, Rate]]:
    """For people: what is used of *sender*'s limits, all of per_sender, the *most* used others."""
    found: list[tuple[Usage, Rate]] = []
    for rule, limit, whose in (
        ("per_sender", sender.per_sender, message.c.sender),
        ("per_number", sender.per_number, number.c.number),
        ("per_caller", sender.per_caller, message.c.caller),
    ):
        if limit is None:
            continue
        rate = Rate(*limit)
        count = sa.func.count()
        rows = connection.execute(
            sa.select(whose, count, sa.func.min(number.c.created))
            .select_from(number.join(message))
            .where(
                message.c.sender == sender.name,
                message.c.created > now() - rate.seconds,
                number.c.created > now() - rate.seconds,
                number.c.state != State.CANCELLED,
                whose != "",
            )
            .group_by(whose)
            .order_by(count.desc(), whose)
            .limit(most)
        ).all()
        uses = [Usage(rule, *row) for row in rows] or [Usage(rule, "", 0, 0.0)]
        found += [(use, rate) for use in uses]
    return found
