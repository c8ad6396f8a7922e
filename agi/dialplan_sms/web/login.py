"""Who may use the HTTP SMS server: users with hashed passwords.

A password that fits is remembered in memory, by a keyed digest of what the client sends, since to
try one takes 50 ms. One that does not takes as long for a user that there is as for one that there
is not; after ten, those of an address are tried one after the other, with a pause before each.
"""

import asyncio
import hashlib
import os
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from dialplan_sms.password import fits

FREE = 10
"""Wrong passwords of an address without a pause."""
_FORGOTTEN = 900.0
"""Seconds after the last wrong one until they are forgotten."""
_LONGEST_PAUSE = 5.0
_WAITING = 20
"""Tries of one address that may wait; more are turned away at once."""
_ADDRESSES = 10_000
_REMEMBERED = 1000


class Unknown(Exception):
    """No user with this password."""


class TooMany(Exception):
    """Too many tries wait already."""


@dataclass
class _Failures:
    count: int = 0
    last: float = 0.0
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Login:
    """Tells users by what their client sends.

    *users* gives names and hashes as they are now, *note* writes a line to the log. To be used on
    one event loop.
    """

    def __init__(
        self,
        users: Callable[[], Mapping[str, str]],
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._users = users
        self._note = note
        self._clock = clock
        self._pause = pause
        self._key = os.urandom(32)
        self._known: dict[bytes, tuple[str, str]] = {}
        self._failures: dict[str, _Failures] = {}
        # One thread: tries that flood the server cost one core, and no call has to wait for them.
        self._trying = ThreadPoolExecutor(1, thread_name_prefix="login")

    async def user(self, header: str | None, address: str) -> str:
        """The user that the ``Authorization`` *header* proves. Raises Unknown and TooMany."""
        if not header:
            raise Unknown
        digest = hashlib.blake2b(header.encode("utf-8", "replace"), key=self._key).digest()
        known = self._known.get(digest)
        if known is not None and self._users().get(known[0]) == known[1]:
            return known[0]
        failures = self._of(address)
        if failures.waiting >= _WAITING:
            raise TooMany
        failures.waiting += 1
        try:
            async with failures.turn:
                return await self._try(header, digest, failures, address)
        finally:
            failures.waiting -= 1

    def close(self) -> None:
        """End the thread."""
        self._trying.shutdown(wait=False, cancel_futures=True)

    async def _try(self, header: str, digest: bytes, failures: _Failures, address: str) -> str:
        if failures.count >= FREE:
            await self._pause(min(0.25 * 2.0 ** min(failures.count - FREE, 8), _LONGEST_PAUSE))
        name, password = read_basic(header)
        users = self._users()
        hashed = users.get(name)
        tried = hashed or next(iter(users.values()))  # a stranger's takes as long
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(self._trying, fits, password, tried)
        if right and hashed is not None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[digest] = (name, hashed)
            failures.count = 0
            return name
        failures.count += 1
        failures.last = self._clock()
        if failures.count <= FREE or failures.count & (failures.count - 1) == 0:
            self._note(f"HTTP: wrong user or password from {address}, {failures.count} so far")
        raise Unknown

    def _of(self, address: str) -> _Failures:
        network = _network(address)
        found = self._failures.get(network)
        idle = found is not None and not found.waiting
        if found is None or (idle and self._clock() - found.last > _FORGOTTEN):
            if len(self._failures) >= _ADDRESSES:
                self._forget()
            found = self._failures[network] = _Failures()
        return found

    def _forget(self) -> None:
        """Drop those that are oldest: nobody's memory grows with what strangers try."""
        idle = [(each.last, key) for key, each in self._failures.items() if not each.waiting]
        for _, key in sorted(idle)[: _ADDRESSES // 2]:
            del self._failures[key]


def read_basic(header: str) -> tuple[str, str]:
    """Name and password of a Basic *header*; both empty where it is none."""
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        pair = b64decode(value.strip(), validate=True)
    except ValueError:
        return "", ""
    try:
        text = pair.decode()
    except UnicodeDecodeError:
        text = pair.decode("latin-1")
    name, _, password = text.partition(":")
    return name, password


def _network(address: str) -> str:
    """What one client can call its own: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ip_network((found, 64), strict=False)) if found.version == 6 else str(found)
