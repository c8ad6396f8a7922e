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
from collections.abc import Callable, Iterable
from pathlib import Path

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
