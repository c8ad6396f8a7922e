"""Connections to one PBX: its name resolved in time, each request sent once, some kept open."""

import contextlib
import re
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from urllib3.util.ssl_ import assert_fingerprint
from urllib3.util.wait import wait_for_read

from dialplan_sms.transport.exchange import Answer, Stage, Unanswered, Unreached, Watchdog

_IDLE = 55.0  # seconds until an idle connection is closed, if the PBX does not say when it does
_MARGIN = 1.0  # seconds before the PBX closes an idle connection that it is not used any more
_KEEP_ALIVE = re.compile(r"timeout=([0-9]{1,5})")

# One entry of socket.getaddrinfo: family, type, protocol, canonical name, socket address.
Address = tuple[Any, ...]


class Resolver:
    """Name resolution with a time limit, which getaddrinfo has not.

    A lookup that takes too long goes on in its thread: a dead name server costs one a name.
    """

    def __init__(self, lookup: Callable[..., list[Address]] = socket.getaddrinfo) -> None:
        self._lookup = lookup
        self._lock = threading.Lock()
        self._lookups: dict[tuple[str, int], Future[list[Address]]] = {}

    def resolve(self, host: str, port: int, timeout: float) -> list[Address]:
        """The addresses of *host*. Raises OSError; TimeoutError after *timeout* seconds."""
        with contextlib.suppress(OSError, UnicodeError):  # of a name
            return self._lookup(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        with self._lock:
            found = self._lookups.get((host, port))
            if found is None or found.done():
                found = Future()
                threading.Thread(
                    target=self._look_up, args=(found, host, port), name="resolver", daemon=True
                ).start()  # raises RuntimeError if the host has no thread left
                self._lookups[host, port] = found
        try:
            return found.result(timeout)
        except (UnicodeError, MemoryError) as error:
            raise OSError(str(error)) from error

    def _look_up(self, found: Future[list[Address]], host: str, port: int) -> None:
        try:
            found.set_result(self._lookup(host, port, 0, socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - the caller's to handle, in its own thread
            found.set_exception(error)


class Peer(NamedTuple):
    """Where a PBX is; over TLS if there is a *context*, which *pin* narrows to one certificate."""

    host: str
    port: int
    resolver: Resolver
    context: ssl.SSLContext | None = None
    pin: str = ""

    def connect(self, until: float) -> socket.socket:
        """A new connection. Raises Unreached, also if it takes longer than *until* (monotonic)."""
        stage = Stage.RESOLVING
        try:
            addresses = self.resolver.resolve(self.host, self.port, _left(until))
            stage = Stage.CONNECTING
            with contextlib.ExitStack() as failing:
                connection = failing.enter_context(_connect(addresses, until))
                if self.context is not None:
                    stage = Stage.SECURING
                    # CPython begins a socket's timeout once for all of the handshake.
                    connection.settimeout(_left(until))
                    name = self.host.rstrip(".")
                    connection = secure = self.context.wrap_socket(connection, server_hostname=name)
                    failing.enter_context(secure)
                    if self.pin:
                        assert_fingerprint(secure.getpeercert(binary_form=True), self.pin)
                connection.settimeout(None)  # from here on a Watchdog has its deadline
                failing.pop_all()
                return connection
        except Exception as error:
            raise Unreached(stage, error) from error


def _connect(addresses: list[Address], until: float) -> socket.socket:
    """A connection to the first address that takes it; each gets its share of the time."""
    failure: OSError = OSError("the name has no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        share = _left(until) / (len(addresses) - index)
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(share)
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _left(until: float) -> float:
    """Seconds until then. Raises TimeoutError if there are none."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class Reply(NamedTuple):
    """An answer; *cut* if its time was over before it had ended. Names of headers are small."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool


class Pool:
    """Sends each request to one PBX once, over a connection that is open if there is one.

    *connections* is how many stay open. A session of requests would load the CA bundle for every
    new one (33-41 ms), and take twice as long for pools, proxies, redirects and cookies.
    """

    def __init__(self, peer: Peer, watchdog: Watchdog, connections: int = 1) -> None:
        self._peer = peer
        self._watchdog = watchdog
        self._most = connections
        self._idle: deque[tuple[float, socket.socket]] = deque()  # with when they get too old

    def send(
        self,
        request: bytes,
        largest: int,
        connect_by: float,
        answer_time: float,
        until: float,
        going_out: Callable[[], None] = lambda: None,
    ) -> Reply:
        """The answer to *request*, with at most *largest* bytes of its body.

        *answer_time* (seconds) bounds what follows once it goes out, *until* all of it; *going_out*
        is called just before. Raises Unreached, Unanswered, and what keeps it from going out.
        """
        kept = self._take()
        connection = kept or self._peer.connect(connect_by)
        try:
            if time.monotonic() >= connect_by:
                raise Unreached(Stage.CONNECTING, TimeoutError())
            answer_by = min(time.monotonic() + answer_time, until)
            with self._watchdog.watch(connection, answer_by) as deadline:
                going_out()
                if kept is not None and not _is_quiet(kept):
                    # The PBX has closed it, and nothing is written yet: over another socket.
                    kept.close()
                    connection = deadline.connection = self._peer.connect(connect_by)
                    deadline.at = min(time.monotonic() + answer_time, until)
                    if deadline.passed:
                        raise Unreached(Stage.CONNECTING, TimeoutError())
                try:
                    # A PBX that answers before it has read all is heard all the same.
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        # Head and body together: one TLS record, one write.
                        connection.sendall(request)
                    answer = Answer(connection, method="POST")
                    answer.begin()
                    body = answer.read(largest)
                except Exception as error:
                    raise Unanswered(deadline.passed, error) from error
        except BaseException:
            connection.close()
            raise
        # After a status below 200 another answer follows, which would be taken for the next one's.
        is_whole = answer.isclosed() and not answer.length and answer.status >= 200
        if is_whole and not answer.will_close:
            # Only now that no deadline can shut it down any more.
            self._keep(connection, answer.headers.get("keep-alive", ""))
        else:
            connection.close()
        return Reply(answer.status, answer.headers, body, deadline.passed)  # type: ignore[arg-type]

    def connect(self, until: float) -> None:
        """See whether there is a connection, and trust. Raises Unreached."""
        self._peer.connect(until).close()

    @property
    def idle(self) -> int:
        """Connections that are open and not in use."""
        return len(self._idle)

    def close(self) -> None:
        """Close what is idle; what is in use is closed after its request."""
        self._most = 0
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop()[1].close()

    __del__ = close

    def _take(self) -> socket.socket | None:
        """An open connection, that which was used last; those too old are closed."""
        with contextlib.suppress(IndexError):
            while True:
                too_old_at, connection = self._idle.pop()
                if time.monotonic() < too_old_at:
                    return connection  # whether it is open still is seen at the last moment
                connection.close()
        return None

    def _keep(self, connection: socket.socket, keep_alive: str) -> None:
        told = _KEEP_ALIVE.search(keep_alive)
        # A request that goes out just as the PBX closes the connection may be lost.
        idle_for = min(int(told[1]) - _MARGIN, _IDLE) if told else _IDLE
        self._idle.append((time.monotonic() + idle_for, connection))
        if len(self._idle) > self._most:
            with contextlib.suppress(IndexError):
                self._idle.popleft()[1].close()


def _is_quiet(connection: socket.socket) -> bool:
    """Whether it is open, and no answer waits that nobody asked for, be it in the TLS layer."""
    waiting = connection.pending() if isinstance(connection, ssl.SSLSocket) else 0
    return not waiting and not wait_for_read(connection, 0.0)
