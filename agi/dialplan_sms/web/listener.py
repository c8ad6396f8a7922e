"""The socket a web server listens on: it counts its connections, and can drop them all at once."""

import errno
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

BACKLOG = 1024
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


class Listener(socket.socket):
    """A listening socket that remembers what it accepted: *opened* says how many so far."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.opened = 0
        self._accepted: WeakSet[socket.socket] = WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        """As the base class; called by the event loop."""
        connection, address = super().accept()
        self.opened += 1
        self._accepted.add(connection)
        return connection, address

    def drop(self) -> None:
        """End every connection, those amid a TLS handshake included: their clients read EOF."""
        for connection in list(self._accepted):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is gone already


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
