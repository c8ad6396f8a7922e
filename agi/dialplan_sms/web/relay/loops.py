"""Whether a client is the PBX that its SMS would go to: then they would come back for ever."""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from dialplan_sms.host.address import is_loopback, parse
from dialplan_sms.transport.resolver import Resolver

_FRESH = 60.0
"""Seconds for which the addresses of a PBX hold."""
_PATIENCE = 2.0
"""Seconds that a lookup may take."""
_MOST_ROUNDS, _MINUTE = 5, 60.0
"""Of one SMS in a minute; a sixth is taken for a loop."""
_KEPT_ROUNDS = 10_000
_NONLOCAL = Path("/proc/sys/net/ipv4/ip_nonlocal_bind")


class Loops:
    """Compares addresses of clients with those of PBXs; thread-safe."""

    def __init__(
        self, resolver: Resolver | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._resolver = resolver or Resolver()
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, frozenset[str]]] = {}

    def __call__(self, address: str, url: str) -> bool:
        """Whether *address* is the host of *url*, or both are this host."""
        mine, pbx = _plain(address), self._addresses(urlsplit(url).hostname or "")
        return mine in pbx or (is_here(mine) and any(map(is_here, pbx)))

    def _addresses(self, host: str) -> frozenset[str]:
        now = self._clock()
        with self._lock:
            known = self._known.get(host)
        if known is not None and now - known[0] < _FRESH:
            return known[1]
        try:
            found = self._resolver.resolve(host, 0, _PATIENCE)
        except OSError:
            # What held before holds on: a name server that is away must not make a loop.
            return known[1] if known else frozenset()
        addresses = frozenset(_plain(str(each[4][0])) for each in found)
        with self._lock:
            self._known[host] = (now, addresses)
        return addresses


class Rounds:
    """Counts how often the same SMS comes: a loop shows, whatever address it comes by."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[int, deque[float]] = {}

    def again(self, sms: str) -> bool:
        """Whether *sms* came _MOST_ROUNDS times within the last minute already."""
        key, now = hash(sms), self._clock()
        with self._lock:
            if len(self._seen) >= _KEPT_ROUNDS:
                self._seen = {k: v for k, v in self._seen.items() if v[-1] > now - _MINUTE}
            times = self._seen.setdefault(key, deque(maxlen=_MOST_ROUNDS))
            full = len(times) == _MOST_ROUNDS and times[0] > now - _MINUTE
            if not full:
                times.append(now)
            return full


def is_here(address: str) -> bool:
    """Whether *address* is one of this host's."""
    if _NONLOCAL.exists() and _NONLOCAL.read_text().strip() == "1":
        return is_loopback(address)  # anything can be bound to: it would tell nothing
    try:
        family = socket.AF_INET6 if parse(address).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except (OSError, ValueError):
        return False
    return True


def _plain(address: str) -> str:
    try:
        return str(parse(address))
    except ValueError:
        return address
