"""Leases: a worker takes what is due, says when it goes out, and notes how it ended.

Functions on the connection of a transaction, as in transitions.py. Those on many leases take no
more statements than on one. What becomes of a lease whose worker is gone is in lease_owner.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox import gateways
from dialplan_sms.outbox.retry import AT_LEAST_ONCE, Verdict, turn, wait
from dialplan_sms.outbox.schema import State, attempt, message, number
from dialplan_sms.outbox.transitions import SET_NUMBER, Try, end_tries, expire
from dialplan_sms.sms.outcome import Outcome
from dialplan_sms.sms.sms import Sms

_BATCH = 20  # numbers of a request for a sender that sms.conf does not have any more
HELD = message.c.state.in_((State.LEASED, State.SENDING))

# Built once, as in transitions.py.
_MINE = (
    sa.select(message.c.id, message.c.lease_by, message.c.lease_until)
    .where(HELD, message.c.id.in_(sa.bindparam("these", expanding=True)))
    .with_for_update()
)
_SET = message.update().where(message.c.id == sa.bindparam("of"))
_BEGUN = _SET.values(state=State.SENDING)
_LEASED = _SET.values(state=sa.bindparam("is"))
_NUMBERS = (
    sa.select(number.c.message_id, number.c.number, number.c.state)
    .where(number.c.message_id.in_(sa.bindparam("these", expanding=True)))
    .order_by(number.c.message_id, number.c.number)
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
        sender = senders.get(name)
        pace, batch = (sender.pace, sender.batch) if sender else (0.0, _BATCH)
        probe = sender.call_timeout if sender and sender.backup and held else 0.0
        queues = [(name, gsm), *relieved.get((name, gsm), ())]
        room = 1 if pace or probe else most - len(taken)
        due = gateways.due(connection, queues, senders, room, seconds)
        if not due:
            continue
        at_least_once = {of for of in {of for _, of in due} if _may_double(senders.get(of))}
        connection.execute(_LEASED, [
            {"of": row.id, "is": State.SENDING if of in at_least_once else State.LEASED,
             "lease_by": owner, "lease_until": row.until}
            for row, of in due
        ])  # fmt: skip
        # What became of a number by curl is on the disk before the next goes out, also if the
        # backup is such a sender, which an SMS that is overdue may go to within its lease.
        singly, then = _is_single(sender), sender and _is_single(senders.get(sender.backup))
        numbers, rest = numbers_of(connection, [row.id for row, _ in due], State.PENDING)
        in_vain: dict[int, int] = {}
        for row, _ in due:
            waiting = numbers[row.id]
            if singly or (sender and then and row.age >= sender.backup_after):
                numbers[row.id], in_vain[row.id] = turn(waiting, row.attempts, len(rest[row.id]))
            else:
                numbers[row.id] = waiting[:batch]
            rest[row.id] += waiting[len(numbers[row.id]) :] and [State.PENDING]
        if at_least_once:
            _send(connection, ((row.id, numbers[row.id]) for row, of in due if of in at_least_once))
        fixed = set(numbers)
        if sender and sender.backup:
            fixed = set(connection.scalars(_DOUBTED, {"these": list(numbers)}))
        for row, of in due:
            to, via = tuple(numbers[row.id]), name if of != name else ""
            sms = Sms(
                to, row.text or "", row.gsm or None, row.postpone, call=row.call, key=row.token,
                to_pbx=sender is None or sender.is_pbx,
            )  # fmt: skip
            tries = in_vain.get(row.id, row.attempts)
            taken.append(Lease(
                row.id, owner, row.until, of, sms, frozenset(rest[row.id]), tries, row.age,
                failures, of in at_least_once, bool(via) or row.id not in fixed, via,
            ))  # fmt: skip
        count = sum(map(len, numbers.values()))
        # Also without a pace: the next turn begins with the others.
        busy = {"of": name, "to": gsm, "seconds": max(pace * count, probe)}
        connection.execute(gateways.BUSY, busy)
        if len(taken) >= most:
            break
    return taken


def _may_double(sender: Sender | None) -> bool:
    return sender is not None and sender.delivery == AT_LEAST_ONCE


def _is_single(sender: Sender | None) -> bool:
    return sender is not None and sender.curl is not None and sender.batch == 1


def numbers_of(
    connection: sa.Connection, ids: Sequence[int], state: State
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """By id, each message's numbers in *state*, and the states of the others."""
    found: dict[int, list[str]] = {id_: [] for id_ in ids}
    rest: dict[int, list[str]] = {id_: [] for id_ in ids}
    for id_, to, is_ in connection.execute(_NUMBERS, {"these": ids}):
        if is_ == state:
            found[id_].append(to)
        else:
            rest[id_].append(is_)
    return found, rest


def begin_sending(connection: sa.Connection, those: Sequence[Lease]) -> list[bool]:
    """Note that requests go out now; of each, False if the lease is another's by now."""
    mine = _mine(connection, those)
    going = [lease for lease, is_mine in zip(those, mine, strict=True) if is_mine]
    if going:
        connection.execute(_BEGUN, [{"of": lease.id} for lease in going])
        _send(connection, [(lease.id, lease.sms.numbers) for lease in going])
    return mine


def _send(connection: sa.Connection, those: Iterable[tuple[int, Sequence[str]]]) -> None:
    numbers = [
        {"of": id_, "to": to, "is": State.SENDING} for id_, numbers in those for to in numbers
    ]
    connection.execute(SET_NUMBER, numbers)


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
