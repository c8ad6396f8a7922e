"""The socket a web server listens on: it counts its connections, and can drop them all at once.

Whom it does not want it drops at once, before a TLS handshake takes its memory and its time.
"""

import errno
import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

BACKLOG = 1024
MOST = 1000
"""Connections at once of all the listeners of a server; one more is dropped."""
MOST_EACH = 250
"""Connections at once from one other machine, or from one /64 of IPv6."""
ANOTHER = "give another address with --listen, such as 127.0.0.1:0 (0: any free port)"

_ADDRESS = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]:|(?P<name>[^:\[\]\s]*):)?(?P<port>[0-9]{1,5})"
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host name or address, and a port, 0 for any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it, as far as its name tells."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def reachable(self) -> "Address":
        """The same where a client can connect: the loopback address for "any address"."""
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound to here
        return Address(anywhere.get(self.host, self.host), self.port)


def parse_address(text: str) -> Address:
    """Read ``HOST:PORT``, ``[IPv6]:PORT``, ``:PORT`` or ``PORT``; the host is 127.0.0.1 then.

    Raises ValueError, its text for people.
    """
    match = _ADDRESS.fullmatch(text.strip())
    if not match or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is not an address such as 127.0.0.1:8443 or [::1]:8443")
    return Address(match["six"] or match["name"] or "127.0.0.1", int(match["port"]))


class ListenError(Exception):
    """An address cannot be listened on; the text says why and what to do."""


def everybody(_: str) -> bool:
    """Admits any address."""
    return True


class Door:
    """Whom the listeners of one server let in: whom *admits* admits, and not too many."""

    def __init__(self, admits: Callable[[str], bool] = everybody) -> None:
        self._admits = admits
        self._open: WeakSet[_Connection] = WeakSet()
        self._of: dict[str, WeakSet[_Connection]] = {}

    def admits(self, host: str) -> bool:
        """Whether one more connection from the IP address *host* may be opened."""
        if len(self._open) >= MOST:
            return False
        source = _source(host)
        return (not source or len(self._of.get(source, ())) < MOST_EACH) and self._admits(host)

    def enter(self, connection: "_Connection", host: str) -> None:
        """Count *connection* until it is closed or gone."""
        self._open.add(connection)
        source = _source(host)
        if source:
            self._of.setdefault(source, WeakSet()).add(connection)
            if len(self._of) > 2 * MOST:
                self._of = {each: those for each, those in self._of.items() if those}
        connection.entered = (self, source)

    def leave(self, connection: "_Connection", source: str) -> None:
        """Count *connection* from *source* no more."""
        self._open.discard(connection)
        those = self._of.get(source)
        if those is not None:
            those.discard(connection)
            if not those:
                del self._of[source]


class _Connection(socket.socket):
    """A connection that leaves by the door it came in when it is closed."""

    entered: tuple[Door, str] | None = None

    def close(self) -> None:
        super().close()
        if self.entered is not None:
            door, source = self.entered
            self.entered = None
            door.leave(self, source)


class Listener(socket.socket):
    """A listening socket that remembers what it accepted: *opened* says how many so far."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.opened = 0
        self.door = Door()
        self._accepted: WeakSet[socket.socket] = WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        """As the base class; called by the event loop. Raises BlockingIOError for a refused one."""
        accepted, address = super().accept()
        host = str(address[0])
        if not self.door.admits(host):
            accepted.close()
            raise BlockingIOError  # the loop comes back for the next one
        self.opened += 1
        family, kind, protocol = accepted.family, accepted.type, accepted.proto
        connection = _Connection(family, kind, protocol, fileno=accepted.detach())
        self.door.enter(connection, host)
        self._accepted.add(connection)
        return connection, address

    def drop(self) -> None:
        """End every connection, those amid a TLS handshake included: their clients read EOF."""
        for connection in list(self._accepted):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is gone already


def _source(host: str) -> str:
    """What counts as one machine; empty for this one."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback:
        return ""
    return str(address) if address.version == 4 else address.exploded[:19]


def listen(address: Address, elsewhere: str = ANOTHER) -> Listener:
    """Listen on *address*; raises ListenError, which ends in how to listen *elsewhere*."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ListenError(f"{address.host!r} is not the name of a host: {elsewhere}") from error
    listener = Listener(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = {
            errno.EADDRINUSE: "is in use: stop what listens there, or",
            errno.EACCES: "needs root:",
            errno.EADDRNOTAVAIL: "is not an address of this machine:",
        }.get(error.errno or 0, f"cannot be listened on ({error.strerror}):")
        raise ListenError(f"{address} {reason} {elsewhere}") from error
    return listener
