"""Who holds leases, and which of the others still live.

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
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dialplan_sms.outbox.history.stored import all_numbers
from dialplan_sms.outbox.leases import HELD, split
from dialplan_sms.outbox.retry import FIRST_WAIT, Verdict
from dialplan_sms.outbox.schema import State, message, now
from dialplan_sms.outbox.transitions import Try, end_tries
from dialplan_sms.sms.outcome import Outcome

COME_BACK = 30.0  # seconds that other hosts have for it once the server is in reach again
_PAUSE = 10.0  # seconds without a look after which the server, or this host, may have been away


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
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path(self.name))
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


def owners(connection: sa.Connection) -> list[str]:
    """Who holds leases."""
    held = sa.select(message.c.lease_by).where(HELD, message.c.lease_by.is_not(None))
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
        .where(HELD, message.c.lease_until.is_not(None), sa.or_(mine & ~known, ~mine & gone))
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return list(connection.execute(found))


def take_back(connection: sa.Connection, id_: int, outcome: Outcome, at_least_once: bool) -> State:
    """Decide on a message whose worker is gone, as lost() has found it; its state."""
    sending, rest = split(all_numbers(connection, [id_]).get(id_, ()), State.SENDING)
    if numbers := tuple(sending):
        verdict = Verdict(again=numbers) if at_least_once else Verdict(unknown=numbers)
        # One that ends its worker each time must not do so without a pause.
        return end_tries(connection, [Try(id_, outcome, verdict, rest, FIRST_WAIT)])[0]
    free = {"state": State.PENDING, "due": now(), "lease_by": None, "lease_until": None}
    connection.execute(message.update().where(message.c.id == id_).values(free))
    return State.PENDING
