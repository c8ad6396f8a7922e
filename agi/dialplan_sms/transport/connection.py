"""Connections to one PBX: its name resolved in time, each request reported, some kept open."""

import contextlib
import re
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest
from urllib3.connection import HTTPConnection, HTTPSConnection

from dialplan_sms.transport.exchange import Answer, Exchange, Stage, request_head

_IDLE = 55.0  # seconds until an idle connection is closed, if the PBX does not say when it does
_MARGIN = 1.0  # seconds before the PBX closes an idle connection that it is not used any more
_KEEP_ALIVE = re.compile(r"timeout=([0-9]{1,5})")

# One entry of socket.getaddrinfo: family, type, protocol, canonical name, socket address.
Address = tuple[Any, ...]
_Found = list[list[Address] | Exception]  # empty until the lookup has ended


class Resolver:
    """Name resolution with a time limit, which getaddrinfo has not.

    A lookup that takes too long goes on in its thread, and callers who ask for the same name
    meanwhile wait for that one: a dead name server costs one thread a name.
    """

    def __init__(self, lookup: Callable[..., list[Address]] = socket.getaddrinfo) -> None:
        self._lookup = lookup
        self._lock = threading.Lock()
        self._threads: dict[tuple[str, int], tuple[threading.Thread, _Found]] = {}

    def resolve(self, host: str, port: int, timeout: float) -> list[Address]:
        """The addresses of *host*. Raises OSError; TimeoutError after *timeout* seconds."""
        with contextlib.suppress(OSError, UnicodeError):  # of a name
            return self._lookup(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        key = (host, port)
        with self._lock:
            if key not in self._threads or not self._threads[key][0].is_alive():
                found: _Found = []
                thread = threading.Thread(
                    target=self._run, args=(host, port, found), name="resolver", daemon=True
                )
                thread.start()  # raises RuntimeError if the host has no thread left
                self._threads[key] = thread, found
            thread, found = self._threads[key]
        thread.join(timeout)
        if not found:
            raise TimeoutError
        if isinstance(found[0], Exception):
            raise OSError(str(found[0])) from found[0]
        return found[0]

    def _run(self, host: str, port: int, found: _Found) -> None:
        try:
            found.append(self._lookup(host, port, 0, socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - the caller's to handle, in its own thread
            found.append(error)


class Connection(HTTPConnection):
    """One without TLS, which reports to the Exchange of the request that uses it."""

    resolver: Resolver
    exchange: Exchange
    idle_since = 0.0
    reused = False

    def _new_conn(self) -> socket.socket:
        exchange = self.exchange
        exchange.stage = Stage.RESOLVING
        host = self.host.strip("[]")
        addresses = self.resolver.resolve(host, self.port, exchange.time_to_connect())
        exchange.stage = Stage.CONNECTING
        connection = _connect(addresses, exchange)
        # The handshake's deadline: CPython begins a socket's timeout once for all of it.
        connection.settimeout(exchange.time_to_connect())
        exchange.stage = Stage.SECURING
        return connection

    def connect(self) -> None:
        try:
            super().connect()
        except Exception as error:
            self.exchange.failure = error
            raise

    def post(self, path: str, headers: Mapping[str, str | bytes], body: bytes) -> Answer:
        """Send a request, once, and return its answer, the body still to be read.

        ``Host`` is among the *headers*.
        """
        exchange = self.exchange
        if self.sock is None:
            self.connect()
        exchange.go_out(self.sock)
        if self.reused and not self.is_connected:
            # The PBX has closed it, and nothing is written yet: over another socket.
            self.close()
            self.connect()
            exchange.watch(self.sock)
        exchange.stage = Stage.GONE_OUT
        # A PBX that answers before it has read all is heard all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # Head and body together: one TLS record, one write.
            self.sock.sendall(request_head(path, headers.items()) + body)
        answer = Answer(self.sock, method="POST")
        try:
            answer.begin()
        except BaseException:
            answer.close()
            raise
        if answer.will_close:
            self.close()  # the answer keeps the socket until it is read
        return answer


class SecureConnection(Connection, HTTPSConnection):
    """One with TLS."""

    @property
    def is_connected(self) -> bool:
        """False, too, if an answer that nobody asked for waits in the TLS layer."""
        waiting = self.sock.pending() if isinstance(self.sock, ssl.SSLSocket) else 0
        return super().is_connected and not waiting


def make(scheme: str, host: str, port: int | None, resolver: Resolver, **tls: Any) -> Connection:
    """A connection that is not open yet; *tls* are arguments of urllib3's HTTPSConnection."""
    kind = SecureConnection if scheme == "https" else Connection
    connection = kind(host, port, timeout=None, **tls)
    connection.resolver = resolver
    return connection


def _connect(addresses: list[Address], exchange: Exchange) -> socket.socket:
    """A connection to the first address that takes it; each gets its share of the time."""
    failure: OSError = OSError("the name has no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        share = exchange.time_to_connect() / (len(addresses) - index)
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


class Pool:
    """Sends each request to one PBX once, over a connection that is open if there is one.

    A session of requests would load the CA bundle for every new connection (33-41 ms), and spend
    half of a request's time on pools, proxies, redirects and cookies, of which an API needs
    nothing. *tls* is as for make(); *connections* is how many stay open to the PBX.
    """

    def __init__(self, tls: Mapping[str, Any], resolver: Resolver, connections: int = 1) -> None:
        self._tls = tls
        self._resolver = resolver
        self._most = connections
        self._idle: deque[Connection] = deque()
        self._idle_for = _IDLE
        weakref.finalize(self, _close_all, self._idle)

    def send(
        self, request: PreparedRequest, exchange: Exchange, largest: int
    ) -> tuple[int, str, bytes]:
        """The answer to *request*: its status, its Location, and at most *largest* bytes of it.

        Raises OSError and http.client.HTTPException; *exchange* says how far the request came.
        """
        connection = self._connection(request)
        connection.exchange = exchange
        try:
            headers: Any = request.headers
            answer = connection.post(request.path_url, headers, request.body)  # type: ignore[arg-type]
            body = answer.read(largest)
        except BaseException:
            connection.close()
            raise
        # Only once no deadline can shut it down any more is it another request's to use.
        exchange.close()
        # After a status below 200 another answer follows, which would be taken for the next one's.
        whole = answer.isclosed() and not answer.length and answer.status >= 200
        if whole and connection.sock is not None:
            self._keep(connection, answer)
        else:
            connection.close()
        return answer.status, answer.headers.get("location", ""), body

    @property
    def idle(self) -> int:
        """Connections that are open and not in use."""
        return len(self._idle)

    def close(self) -> None:
        """Close what is idle; what is in use is closed after its request."""
        self._most = 0
        _close_all(self._idle)

    def _connection(self, request: PreparedRequest) -> Connection:
        """One that is open, that which was used last, or a new one; those too old are closed."""
        with contextlib.suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if time.monotonic() - connection.idle_since < self._idle_for:
                    connection.reused = True  # whether it is open still is seen at the last moment
                    return connection
                connection.close()
        parts = urlsplit(str(request.url))  # the name of the host encoded by requests
        return make(parts.scheme, parts.hostname or "", parts.port, self._resolver, **self._tls)

    def _keep(self, connection: Connection, answer: Answer) -> None:
        told = _KEEP_ALIVE.search(answer.headers.get("keep-alive", ""))
        # A request that goes out just as the PBX closes the connection may be lost.
        self._idle_for = min(int(told[1]) - _MARGIN, _IDLE) if told else _IDLE
        connection.idle_since = time.monotonic()
        del connection.exchange  # which would keep the call that it was of
        self._idle.append(connection)
        if len(self._idle) > self._most:
            with contextlib.suppress(IndexError):
                self._idle.popleft().close()


def _close_all(connections: deque[Connection]) -> None:
    with contextlib.suppress(IndexError):
        while True:
            connections.pop().close()
