"""Leases: a worker takes what is due, says when it goes out, and notes how it ended.

Functions on the connection of a transaction, as in transitions.py. Those on many leases take no
more statements than on one. What becomes of a lease whose worker is gone is in lease_owner.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox import gateways
from dialplan_sms.outbox.history.stored import all_numbers
from dialplan_sms.outbox.retry import AT_LEAST_ONCE, AT_MOST_ONCE, Verdict, turn, wait
from dialplan_sms.outbox.schema import State, api_time, attempt, message
from dialplan_sms.outbox.transitions import SET_NUMBER, Try, end_tries, expire
from dialplan_sms.outbox.work import many
from dialplan_sms.sms.outcome import Outcome
from dialplan_sms.sms.sms import Sms

# In place of a sender that sms.conf does not have any more.
NOBODY = Sender(name="", url="", pace=0.0, delivery=AT_MOST_ONCE, max_age=inf)
HELD = message.c.state.in_((State.LEASED, State.SENDING))

# Built once, as in transitions.py.
_MINE = (
    sa.select(message.c.id, message.c.lease_by, message.c.lease_until)
    .where(HELD, message.c.id.in_(sa.bindparam("these", expanding=True)))
    .with_for_update()
)
_LEASED = (
    message.update().where(message.c.id == sa.bindparam("of")).values(state=sa.bindparam("is"))
)
_DOUBTED = gateways.IN_DOUBT.where(attempt.c.message_id.in_(sa.bindparam("these", expanding=True)))


@dataclass(frozen=True, slots=True)
class Lease:
    """One request to make: a message, and those of its numbers that it goes to.

    ``rest`` are the states of its other numbers, which do not change while it is leased. ``until``
    distinguishes it from a later lease of the same owner; ``age`` is seconds since the
    SMS was to be sent; ``failures`` are the sender's tries before that found the PBX out of reach;
    ``begun`` is whether its request counts as out already. ``may_change`` is whether the sender's
    backup may have it, since certainly nobody got it yet; ``via`` is the backup if it goes by that
    alone, and then ``failures`` are the backup's.
    """

    id: int
    owner: str
    until: float
    sender: str
    sms: Sms
    rest: frozenset[str]
    attempts: int
    age: float
    failures: int
    begun: bool
    may_change: bool = False
    via: str = ""


def claim(
    connection: sa.Connection, owner: str, seconds: float, most: int, senders: Mapping[str, Sender]
) -> list[Lease]:
    """Lease at most *most* requests that are due, each for so many *seconds*.

    One for each gateway that is free, several if the sender's pace is 0 s. The gateway is then
    busy for its pace for each number. If the sender's SMS may be doubled, they count as sending
    from now on, which saves a commit; the others do so from begin_sending() on.

    A gateway also has what is overdue of a sender that is held and whose backup it is; of such a
    sender, one SMS finds out whether it can be reached again.
    """
    taken: list[Lease] = []
    relieved = gateways.relieved(connection, senders)
    for name, gsm, failures, held in connection.execute(gateways.FREE).all():
        sender = senders.get(name, NOBODY)
        backup = senders.get(sender.backup, NOBODY)
        probe = sender.call_timeout if sender.backup and held else 0.0
        queues = [(name, gsm), *relieved.get((name, gsm), ())]
        room = 1 if sender.pace or probe else most - len(taken)
        due = gateways.due(connection, queues, senders, room, seconds)
        if not due:
            continue
        doubled = {of for _, of in due if senders.get(of, NOBODY).delivery == AT_LEAST_ONCE}
        many(connection, _LEASED, [
            {"of": row.id, "is": State.SENDING if of in doubled else State.LEASED,
             "lease_by": owner, "lease_until": row.until}
            for row, of in due
        ])  # fmt: skip
        ids = [row.id for row, _ in due]
        numbers = all_numbers(connection, ids)
        fixed = set(connection.scalars(_DOUBTED, {"these": ids}) if sender.backup else ids)
        new: list[Lease] = []
        for row, of in due:
            waiting, rest = split(numbers.get(row.id, ()), State.PENDING)
            to, tries = waiting[: sender.batch], row.attempts
            # What became of a number by curl is on the disk before the next goes out, also if the
            # backup is such a sender, which an SMS that is overdue may go to within its lease.
            if _is_single(sender) or (_is_single(backup) and row.age >= sender.backup_after):
                to, tries = turn(waiting, tries, len(rest))
            rest += waiting[len(to) :] and [State.PENDING]
            sms = Sms(
                tuple(to), row.text or "", row.gsm or None, api_time(row.postpone), call=row.call,
                key=row.token, to_pbx=sender.is_pbx,
            )  # fmt: skip
            new.append(Lease(
                row.id, owner, row.until, of, sms, frozenset(rest), tries, row.age, failures,
                of in doubled, of != name or row.id not in fixed, name if of != name else "",
            ))  # fmt: skip
        _send(connection, [lease for lease in new if lease.begun])
        count = sum(len(lease.sms.numbers) for lease in new)
        # Also without a pace: the next turn begins with the others.
        busy = {"of": name, "to": gsm, "seconds": max(sender.pace * count, probe)}
        many(connection, gateways.BUSY, [busy])
        taken += new
        if len(taken) >= most:
            break
    return taken


def _is_single(sender: Sender) -> bool:
    return sender.curl is not None and sender.batch == 1


def split(numbers: Sequence[tuple[str, str]], state: State) -> tuple[list[str], list[str]]:
    """Those of a message's *numbers* in *state*, and the states of the others."""
    rest = [is_ for _, is_ in numbers if is_ != state]
    return [to for to, is_ in numbers if is_ == state], rest


def begin_sending(connection: sa.Connection, those: Sequence[Lease]) -> list[bool]:
    """Note that requests go out now; of each, False if the lease is another's by now."""
    mine = _mine(connection, those)
    going = [lease for lease, is_mine in zip(those, mine, strict=True) if is_mine]
    many(connection, _LEASED, [{"of": each.id, "is": State.SENDING} for each in going])
    _send(connection, going)
    return mine


def _send(connection: sa.Connection, those: Sequence[Lease]) -> None:
    numbers = [
        {"of": each.id, "to": to, "is": State.SENDING} for each in those for to in each.sms.numbers
    ]
    many(connection, SET_NUMBER, numbers)


Asked = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Ended:
    """How the request of *lease* ended, and what follows; *random* (0 to 1) spreads later tries.

    If it finds that none of the sender's SMS can go, those older than *max_age* seconds expire.
    *asked* is each sender that was asked, if a backup may have been: its name, the cause that stops
    all of its SMS, and its failures before.
    """

    lease: Lease
    outcome: Outcome
    verdict: Verdict
    random: float
    keep_text: bool = False
    max_age: float = inf
    asked: Sequence[Asked] = ()

    @property
    def stops(self) -> Sequence[Asked]:
        """As *asked*, also if there is no backup."""
        return self.asked or (
            (self.lease.via or self.lease.sender, self.verdict.stops, self.lease.failures),
        )

    def as_try(self) -> Try:
        """The rest of a list goes on at once, and so does what waits for all of the sender's."""
        alone = self.verdict.again and not all(stops for _, stops, _ in self.stops)
        pause = wait(self.lease.attempts + 1, self.random) if alone else 0.0
        return Try(
            self.lease.id, self.outcome, self.verdict, self.lease.rest, pause, self.keep_text
        )


def finish(connection: sa.Connection, ends: Sequence[Ended]) -> list[tuple[State | None, int]]:
    """Note how requests ended: of each the message's state, and how many others expired.

    The state is None if the lease is another's by now, who has then decided.
    """
    mine = zip(ends, _mine(connection, [each.lease for each in ends]), strict=True)
    noted = {each.lease.id: each for each, is_mine in mine if is_mine}
    tries = [each.as_try() for each in noted.values()]
    states = dict(zip(noted, end_tries(connection, tries), strict=True))
    expired: dict[int, int] = {}
    # What has to be said of a sender's gateways is said once.
    by_sender = {each[:2]: (e, each[2]) for e in noted.values() for each in e.stops}
    for (sender, stops), (each, failures) in by_sender.items():
        gateways.apply(connection, sender, stops, failures, each.random)
        if stops and sender == each.lease.sender and each.max_age < inf:
            expired[each.lease.id] = expire(connection, sender, each.max_age)
    return [(states.get(each.lease.id), expired.get(each.lease.id, 0)) for each in ends]


def _mine(connection: sa.Connection, those: Sequence[Lease]) -> list[bool]:
    """Of each, whether it is its owner's still; it then stays so in this transaction."""
    found = set(connection.execute(_MINE, {"these": [lease.id for lease in those]}).all())
    return [(lease.id, lease.owner, lease.until) in found for lease in those]
