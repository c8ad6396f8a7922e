"""Connections to the PBX that report to the Exchange of the request which uses them."""

import contextlib
import socket
import ssl
from collections.abc import Mapping
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection

from dialplan_sms.transport.exchange import Exchange, Stage
from dialplan_sms.transport.http_head import Answer, request_head
from dialplan_sms.transport.resolver import Address, Resolver


class Connection(HTTPConnection):
    """One without TLS."""

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
