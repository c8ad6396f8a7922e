"""Leases: a worker takes what is due, says when it goes out, and notes how it ended.

Functions on the connection of a transaction, as in transitions.py, and the owner of leases.
The clock of SQLite is its host's and may jump, so there a lease lasts as long as its process: that
keeps a file locked, and the kernel releases the lock whatever ends the process. If hosts share a
server, leases expire by the server's clock. They may have expired because no host could reach the
server: the first host that is back waits for the others, which may know that their SMS were sent.
"""

import contextlib
import fcntl
import os
import secrets
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox import gateways
from dialplan_sms.outbox.retry import FIRST_WAIT, Verdict, wait
from dialplan_sms.outbox.schema import PRIORITIES, State, message, now, number
from dialplan_sms.outbox.transitions import SET_NUMBERS, TRIED, end_try
from dialplan_sms.sms.outcome import Outcome
from dialplan_sms.sms.sms import Sms

COME_BACK = 30.0  # seconds that other hosts have for it once the server is in reach again
_PAUSE = 10.0  # seconds without a look after which the server, or this host, may have been away
_BATCH = 20  # numbers of a request for a sender that sms.conf does not have any more
_HELD = message.c.state.in_((State.LEASED, State.SENDING))

# Built once, as in transitions.py.
_MINE = (_HELD, message.c.lease_by == sa.bindparam("owner"),
         message.c.lease_until == sa.bindparam("until"))  # fmt: skip
_BEGUN = message.update().where(message.c.id == sa.bindparam("of"), *_MINE)
_FINISHED = TRIED.where(*_MINE)
_LEASED = message.update().where(message.c.id == sa.bindparam("of")).values(state=State.LEASED)
_WAITING = (
    sa.select(number.c.number)
    .where(number.c.message_id == sa.bindparam("of"), number.c.state == State.PENDING)
    .order_by(number.c.number)
    .limit(sa.bindparam("most"))
)
_DUE = (
    sa.select(
        message.c.id, message.c.text, message.c.gsm, message.c.postpone, message.c.call,
        message.c.attempts,
        (now() - sa.func.coalesce(message.c.planned, message.c.created)).label("age"),
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
    for name, gsm, failures in connection.execute(gateways.FREE).all():
        sender = senders.get(name)
        pace, batch = (sender.pace, sender.batch) if sender else (0.0, _BATCH)
        due: list[Any] = []
        room = 1 if pace else most - len(taken)
        for priority in PRIORITIES:  # each a range of the index, however many rows there are
            where = {"sender": name, "gsm": gsm, "priority": priority, "seconds": seconds}
            if len(due) < room:
                due += connection.execute(_DUE, where | {"most": room - len(due)})
        if not due:
            continue
        rows = [{"of": row.id, "lease_by": owner, "lease_until": row.until} for row in due]
        connection.execute(_LEASED, rows)
        count = 0
        for row in due:
            numbers = tuple(connection.scalars(_WAITING, {"of": row.id, "most": batch}))
            count += len(numbers)
            sms = Sms(numbers, row.text or "", row.gsm or None, row.postpone, call=row.call)
            taken.append(
                Lease(row.id, owner, row.until, name, sms, row.attempts, row.age, failures)
            )
        # Also without a pace: the next turn begins with the others.
        connection.execute(gateways.BUSY, {"of": name, "to": gsm, "seconds": pace * count})
        if len(taken) >= most:
            break
    return taken


def begin_sending(connection: sa.Connection, lease: Lease) -> bool:
    """Note that the request goes out now; False if the lease is another's by now."""
    mine = {"of": lease.id, "owner": lease.owner, "until": lease.until}
    if connection.execute(_BEGUN, mine | {"state": State.SENDING}).rowcount != 1:
        return False
    numbers = {"of": lease.id, "these": lease.sms.numbers, "state": State.SENDING}
    connection.execute(SET_NUMBERS, numbers)
    return True


def finish(
    connection: sa.Connection, lease: Lease, outcome: Outcome, verdict: Verdict, random: float,
    keep_text: bool,
) -> State | None:  # fmt: skip
    """Note how a request ended, and what follows; the message's state.

    None if the lease is another's by now, who has then decided.
    """
    # The rest of a list goes on at once, and so does what waits for all of the sender's anyway.
    alone = verdict.again and not (verdict.holds or verdict.pauses)
    pause = wait(lease.attempts + 1, random) if alone else 0.0
    state = end_try(
        connection, lease.id, outcome, verdict, pause, keep_text, _FINISHED,
        owner=lease.owner, until=lease.until,
    )  # fmt: skip
    if state is not None:
        gateways.apply(connection, lease.sender, verdict, lease.failures, random)
    return state


def owners(connection: sa.Connection) -> list[str]:
    """Who holds leases."""
    held = sa.select(message.c.lease_by).where(_HELD, message.c.lease_by.is_not(None))
    return list(connection.scalars(held.distinct()))


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
    found = (
        sa.select(message.c.id, message.c.sender, message.c.state)
        .where(_HELD, message.c.lease_until.is_not(None), sa.or_(mine & ~known, ~mine & gone))
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return list(connection.execute(found))


def take_back(
    connection: sa.Connection, id_: int, outcome: Outcome, at_least_once: bool
) -> State | None:
    """Decide on a message whose worker is gone, as lost() has found it; its state."""
    going = sa.select(number.c.number).where(
        number.c.message_id == id_, number.c.state == State.SENDING
    )
    if numbers := tuple(connection.scalars(going)):
        verdict = Verdict(again=numbers) if at_least_once else Verdict(unknown=numbers)
        # One that ends its worker each time must not do so without a pause.
        return end_try(connection, id_, outcome, verdict, FIRST_WAIT)
    free = {"state": State.PENDING, "due": now(), "lease_by": None, "lease_until": None}
    connection.execute(message.update().where(message.c.id == id_).values(free))
    return State.PENDING


class LeaseOwner:
    """This process as a holder of leases on the SQLite file *database*, or on a server's (None).

    Raises OSError if the file cannot be made beside the database.
    """

    def __init__(self, database: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        host = "".join(c for c in socket.gethostname()[:30] if c.isalnum() or c in ".-")
        self.name = f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
        self._database = Path(database).absolute() if database else None
        self._clock = clock
        self._since = clock()  # the server is in reach since then
        self._reached = float("-inf")
        self._file: int | None = None
        if path := self._path(self.name):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def reached(self) -> None:
        """The database was in reach just now."""
        now = self._clock()
        if now - self._reached > _PAUSE:
            self._since = now
        self._reached = now

    def failed(self) -> None:
        """The database was out of reach just now."""
        self._reached = float("-inf")

    def dead(self, names: Iterable[str]) -> list[str] | None:
        """Those of *names* whose processes are gone; None if only the time of a lease says so."""
        if self._database is None:
            now = self._clock()
            steady = now - self._reached <= _PAUSE and now - self._since >= COME_BACK
            return None if steady else []
        return [name for name in names if name != self.name and not self._lives(name)]

    def close(self) -> None:
        """Release the file: others take back what is still leased."""
        path = self._path(self.name)
        if path and self._file is not None:
            with contextlib.suppress(OSError):
                os.unlink(path)
            os.close(self._file)
            self._file = None

    def _lives(self, name: str) -> bool:
        path = self._path(name)
        try:
            with open(path, "r+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with contextlib.suppress(OSError):  # another user's, in a sticky folder
                    os.unlink(path)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # perhaps: better late than twice
        return False

    def _path(self, name: str) -> str:
        """The file of the owner *name*; empty if the database is a server's."""
        if self._database is None:
            return ""
        mine = f".{self._database.name}-{name.replace('/', '_')}.lock"
        return str(self._database.with_name(mine))
