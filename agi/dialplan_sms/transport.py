"""How a request travels: requests over connections that report to the Exchange of their thread."""

import contextlib
import logging
import os
import socket
import ssl
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from dialplan_sms.deadline import Address, Resolver
from dialplan_sms.exchange import Exchange, Stage, current

# What urllib3 logs of a hostile answer is not for Asterisk's console, nor for ours.
logging.getLogger("urllib3").addHandler(logging.NullHandler())
logging.getLogger("urllib3").propagate = False
# An admin who wrote "verify = no" need not be told so at every SMS.
urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


class _Releasing:
    """A pool that gets a connection back only once no deadline can shut it down any more."""

    def _put_conn(self, conn: Any) -> None:
        with contextlib.suppress(LookupError):
            current().close()
        super()._put_conn(conn)  # type: ignore[misc]


class _Recording:
    """What both kinds of connection do in place of urllib3's own."""

    host: str
    port: int
    sock: socket.socket | None
    resolver: Resolver

    def _new_conn(self) -> socket.socket:
        exchange = current()
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
            exchange = current()
            exchange.failure = exchange.failure or error
            raise

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        assert self.sock is not None  # noqa: S101
        current().go_out(self.sock)
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
