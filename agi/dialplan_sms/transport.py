"""How a request travels: requests over connections that record what they did.

Whether a request went out decides between "certainly not sent" and "may have been sent". No
exception of requests or urllib3 tells it (both cases end in ``Connection aborted``), so the
connection notes it, in the Exchange of the thread that sends.
"""

import contextlib
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from dialplan_sms.deadline import Address, Alarm, Resolver, Watchdog

# What urllib3 logs of a hostile answer is not for Asterisk's console, nor for ours.
logging.getLogger("urllib3").addHandler(logging.NullHandler())
logging.getLogger("urllib3").propagate = False
# An admin who wrote "verify = no" need not be told so at every SMS.
urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


class Stage(Enum):
    """How far one request came."""

    RESOLVING = auto()
    CONNECTING = auto()
    SECURING = auto()  # the TLS handshake
    GONE_OUT = auto()  # from here on it may have been processed


class Exchange:
    """One request on its way: its stage and its deadlines.

    *connect_time* bounds name, connection and handshake together: each of them is given what is
    left of it. *answer_time* bounds what follows once the request has gone out: no timeout of a
    socket does that, as each byte begins it anew, so a watchdog shuts the connection down. Both
    are seconds, and neither lasts beyond *until* on *clock*. *going_out* is called just before.
    """

    def __init__(
        self,
        connect_time: float,
        answer_time: float,
        until: float,
        going_out: Callable[[], None],
        watchdog: Watchdog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stage = Stage.RESOLVING
        self.failure: Exception | None = None
        self.timed_out = False
        self._answer_time = answer_time
        self._going_out = going_out
        self._watchdog = watchdog
        self._clock = clock
        self._until = until
        self._connect_by = min(clock() + connect_time, until)
        self._alarm: Alarm | None = None

    def time_to_connect(self) -> float:
        """Seconds left to connect. Raises TimeoutError where there are none."""
        left = self._connect_by - self._clock()
        if left <= 0:
            self.failure = TimeoutError()
            raise self.failure
        return left

    def go_out(self, connection: socket.socket) -> None:
        """Called before each write; the first is the moment after which nobody can be certain."""
        if self.stage is Stage.GONE_OUT:
            return
        self.time_to_connect()
        connection.settimeout(None)
        self._alarm = self._watchdog.at(
            min(self._clock() + self._answer_time, self._until),
            lambda: self._too_late(connection),
        )
        self._going_out()
        self.stage = Stage.GONE_OUT

    def close(self) -> None:
        """The request has ended; no deadline touches the connection any more."""
        if self._alarm is not None:
            self._alarm.cancel()

    def _too_late(self, connection: socket.socket) -> None:
        self.timed_out = True
        # Not SSLSocket.shutdown: it would take the TLS object from under the reading thread.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


_thread = threading.local()


@contextlib.contextmanager
def carrying(exchange: Exchange) -> Iterator[None]:
    """Connections used by this thread report to *exchange*."""
    _thread.exchange = exchange
    try:
        yield
    finally:
        _thread.exchange = None
        exchange.close()


def _current() -> Exchange:
    exchange: Exchange = _thread.exchange
    return exchange


class _Releasing:
    """A pool that gets a connection back only once no deadline can shut it down any more."""

    def _put_conn(self, conn: Any) -> None:
        exchange: Exchange | None = getattr(_thread, "exchange", None)
        if exchange is not None:
            exchange.close()
        super()._put_conn(conn)  # type: ignore[misc]


class _Recording:
    """What both kinds of connection do in place of urllib3's own."""

    host: str
    port: int
    sock: socket.socket | None
    resolver: Resolver

    def _new_conn(self) -> socket.socket:
        exchange = _current()
        if exchange.stage is Stage.GONE_OUT:
            raise ConnectionAbortedError("one request takes one connection")
        try:
            exchange.stage = Stage.RESOLVING
            addresses = self.resolver.resolve(
                self.host.strip("[]"), self.port, exchange.time_to_connect()
            )
            exchange.stage = Stage.CONNECTING
            connection = _connect(addresses, exchange)
        except OSError as error:
            exchange.failure = error
            raise
        # The handshake's deadline: CPython begins a socket's timeout once for all of it.
        connection.settimeout(exchange.time_to_connect())
        exchange.stage = Stage.SECURING
        return connection

    def connect(self) -> None:
        try:
            super().connect()  # type: ignore[misc]
        except Exception as error:
            exchange = _current()
            exchange.failure = exchange.failure or error
            raise

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        assert self.sock is not None  # noqa: S101
        _current().go_out(self.sock)
        super().send(data)  # type: ignore[misc]


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
            continue
        return connection
    raise failure


class _Connection(_Recording, HTTPConnection):
    pass


class _SecureConnection(_Recording, HTTPSConnection):
    @property
    def is_connected(self) -> bool:
        """False also where an answer that nobody asked for waits in the TLS layer."""
        waiting = self.sock.pending() if isinstance(self.sock, ssl.SSLSocket) else 0
        return super().is_connected and not waiting


class Adapter(HTTPAdapter):
    """requests' adapter on recording connections and one shared SSLContext.

    requests would load the CA bundle for every new connection (33-41 ms); here TLS is settled
    when the adapter is made: *verify* is ``yes``, ``no``, a CA file or ``sha256:<hex>``, or None
    for plain HTTP. *connections* is how many stay open to the PBX.
    """

    def __init__(self, verify: str | None, resolver: Resolver, connections: int = 1) -> None:
        self._verify = verify
        self._resolver = resolver
        super().__init__(pool_connections=1, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **_: Any
    ) -> None:
        resolver = self._resolver

        class Connection(_Connection):
            pass

        class SecureConnection(_SecureConnection):
            pass

        Connection.resolver = SecureConnection.resolver = resolver

        class Pool(_Releasing, HTTPConnectionPool):
            ConnectionCls = Connection

        class SecurePool(_Releasing, HTTPSConnectionPool):
            ConnectionCls = SecureConnection

        self.poolmanager = urllib3.PoolManager(
            connections, maxsize=maxsize, block=block, timeout=None, **_tls(self._verify)
        )
        self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}

    def get_connection_with_tls_context(
        self, request: Any, verify: Any, proxies: Any = None, cert: Any = None
    ) -> HTTPConnectionPool:
        pool: HTTPConnectionPool = self.poolmanager.connection_from_url(request.url)
        return pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the context is the pool's already."""


def _tls(verify: str | None) -> dict[str, Any]:
    if verify is None:
        return {}
    if verify.startswith("sha256:"):
        context = _unverified()
        return {"ssl_context": context, "assert_fingerprint": verify.removeprefix("sha256:")}
    if verify == "no":
        return {"ssl_context": _unverified(), "assert_hostname": False}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if verify != "yes":
        # A certificate that an admin saved from the PBX is trusted, whoever signed it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(verify)
    else:
        _trust_the_host(context)
    return {"ssl_context": context}


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _trust_the_host(context: ssl.SSLContext) -> None:
    """The host's own CAs, where admins put theirs; certifi's where the host has none."""
    places = ssl.get_default_verify_paths()
    if places.capath and "SSL_CERT_FILE" not in os.environ and _is_hashed(places.capath):
        # OpenSSL looks into the folder when it needs a CA; a bundle would cost 40 ms now.
        context.load_verify_locations(capath=places.capath)
    elif places.cafile or places.capath:
        context.set_default_verify_paths()
    else:
        import certifi

        context.load_verify_locations(certifi.where())


def _is_hashed(folder: str) -> bool:
    try:
        return any(name.endswith(".0") for name in os.listdir(folder))
    except OSError:
        return False
