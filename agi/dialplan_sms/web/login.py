"""Who may use the HTTP SMS server: users with hashed passwords, each of which takes 50 ms to try.

A right one is remembered by a keyed digest. A wrong one takes as long for a user who exists as for
one who does not; after ten, the tries of an address for a name go one by one, with a pause before.
A right token needs no try; a wrong one counts as a wrong password of nobody.
"""

import asyncio
import hashlib
import os
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from dialplan_sms.config.http import DECOY, fits, owner
from dialplan_sms.host.address import machine

FREE = 10  # wrong passwords without a pause
_FORGOTTEN = 900.0  # seconds after the last wrong one
_LONGEST_PAUSE = 5.0
_WAITING = 20  # different passwords of a lane that may wait to be tried; one more is refused
_ALL_WAITING = 200
_LANES = 16  # of an address; names share one by chance: its pauses do not show who is a user
_MOST_LANES = 10_000


class Unknown(Exception):
    """No user with this password."""


class TooMany(Exception):
    """Too many tries wait already."""


@dataclass
class _Lane:
    failures: int = 0
    last: float = 0.0
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Login:
    """Checks names and passwords, on one event loop; *users* gives names and hashes as of now."""

    def __init__(
        self,
        users: Callable[[], Mapping[str, tuple[str, ...]]],
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.users = users
        self._note = note
        self.clock = clock
        self._pause = pause
        self._key = os.urandom(32)
        self._known: dict[bytes, tuple[str, ...]] = {}
        self._tries: dict[bytes, asyncio.Task[bool]] = {}
        self._lanes: dict[tuple[str, int], _Lane] = {}
        # One thread: a flood of tries takes one core, and no call waits for it.
        self._trying = ThreadPoolExecutor(1, thread_name_prefix="login")

    async def user(self, header: str | None, address: str) -> str:
        """The user that the ``Authorization`` *header* proves. Raises Unknown and TooMany."""
        if not header:
            raise Unknown
        scheme, _, token = header.strip().partition(" ")
        if scheme.lower() != "bearer":
            name, secret = read_basic(header)
        elif name := owner(secret := token.strip(), self.users()):
            return name
        await self.check(name, secret, address)
        return name

    async def check(self, name: str, password: str, address: str) -> None:
        """Raises Unknown if *name* is no user with this *password*, and TooMany."""
        digest = self._digest(f"{name}\0{password}")
        if digest in self._known and self.users().get(name) == self._known[digest]:
            return
        trying = self._tries.get(digest)
        if trying is None:
            lane = self._lane(address, name)
            if lane.waiting >= _WAITING or len(self._tries) >= _ALL_WAITING:
                raise TooMany
            lane.waiting += 1
            trying = asyncio.create_task(self._try(name, password, digest, lane, address))
            self._tries[digest] = trying
        if not await asyncio.shield(trying):
            raise Unknown

    def close(self) -> None:
        """End the thread."""
        self._trying.shutdown(wait=False, cancel_futures=True)

    async def _try(
        self, name: str, password: str, digest: bytes, lane: _Lane, address: str
    ) -> bool:
        try:
            async with lane.turn:
                if lane.failures >= FREE:
                    doublings = min(lane.failures - FREE, 8)
                    await self._pause(min(0.25 * 2**doublings, _LONGEST_PAUSE))
                hashed = self.users().get(name)
                right = await asyncio.wrap_future(
                    self._trying.submit(fits, password, hashed[0] if hashed else DECOY)
                )
                if right and hashed is not None:
                    self._known[digest] = hashed
                    return True
                lane.failures += 1
                lane.last = self.clock()
                if lane.failures <= FREE or lane.failures.bit_count() == 1:
                    self._note(
                        f"HTTP: wrong password or token from {address}, {lane.failures} so far"
                    )
                return False
        finally:
            lane.waiting -= 1
            del self._tries[digest]

    def _lane(self, address: str, name: str) -> _Lane:
        key = (machine(address), self._digest(name)[0] % _LANES)
        lane = self._lanes.pop(key, None)
        if lane is None or not (lane.waiting or self.clock() - lane.last <= _FORGOTTEN):
            lane = _Lane()
        self._lanes[key] = lane  # the one that was asked for last is last
        if len(self._lanes) > _MOST_LANES:  # strangers cannot fill the memory: the oldest goes
            del self._lanes[next(old for old, each in self._lanes.items() if not each.waiting)]
        return lane

    def _digest(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode("utf-8", "replace"), key=self._key).digest()


def read_basic(header: str) -> tuple[str, str]:
    """Name and password of a Basic *header*; both are empty if it is none."""
    scheme, _, value = header.strip().partition(" ")
    try:
        pair = b64decode(value.strip(), validate=True) if scheme.lower() == "basic" else b""
    except ValueError:
        return "", ""
    try:
        text = pair.decode()
    except UnicodeDecodeError:
        text = pair.decode("latin-1")
    name, _, password = text.partition(":")
    return name, password
