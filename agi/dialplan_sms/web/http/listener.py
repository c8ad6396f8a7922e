"""The sockets a web server listens on, and whom it lets in.

Who is not let in is dropped at once, before a TLS handshake takes memory and time.
"""

import errno
import os
import re
import resource
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dialplan_sms.host.address import is_loopback, machine

BACKLOG = 1024
MOST = 1000  # connections at once of all the listeners of a server; one more is dropped
MOST_EACH = 250  # from one other machine, or from one /64 of IPv6
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
    def reachable(self) -> "Address":
        """Where a client can connect: the loopback address in place of "any address"."""
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


class ListenError(OSError):
    """An address cannot be listened on; the text says why and what to do."""


class Admission:
    """Whom the listeners of one server let in: whom *admits* takes, and not too many."""

    def __init__(self, admits: Callable[[str], bool]) -> None:
        self._admits = admits
        self._of: Counter[str] = Counter()
        # Calls and the outbox need descriptors, too.
        self._most = min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)

    @property
    def open(self) -> int:
        """Connections that are."""
        return self._of.total()

    @contextmanager
    def room(self, host: str) -> Iterator[bool]:
        """Whether one more connection from *host* may come in; it is counted while it lasts."""
        source = machine(host)
        each = MOST if is_loopback(host) else MOST_EACH
        full = self.open >= self._most or self._of[source] >= each
        if full or not self._admits(host):
            yield False
            return
        self._of[source] += 1
        try:
            yield True
        finally:
            self._of -= Counter([source])  # and those that have none left


def listen(address: Address, elsewhere: str = ANOTHER) -> socket.socket:
    """Listen on *address*; raises ListenError, which ends in how to listen *elsewhere*."""
    try:
        family, _, _, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ListenError(f"{address.host!r} is not the name of a host: {elsewhere}") from error
    try:
        return socket.create_server(where, family=family, backlog=BACKLOG)
    except OSError as error:
        # Not strerror, in which create_server() repeats the address in Python's words.
        reason = {
            errno.EADDRINUSE: "is in use: stop what listens there, or",
            errno.EACCES: "needs root:",
            errno.EADDRNOTAVAIL: "is not an address of this machine:",
        }.get(error.errno or 0, f"cannot be listened on ({os.strerror(error.errno or 0)}):")
        raise ListenError(f"{address} {reason} {elsewhere}") from error
