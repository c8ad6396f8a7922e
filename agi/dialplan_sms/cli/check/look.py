"""A connection to the PBX that trusts any certificate, to see it; nothing secret goes over it."""

import contextlib
import hashlib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from dialplan_sms.cli.check.certificate import NO_CHECK_TIME, Certificate, decode
from dialplan_sms.transport.connection import Connection, make
from dialplan_sms.transport.deadline import Resolver, Watchdog
from dialplan_sms.transport.exchange import Exchange, Stage

_DATE_TIME = 2.0
"""Seconds that an answer with a Date may take."""


@dataclass(frozen=True, slots=True)
class Look:
    """How far a connection came: *stage* and *failure* where it failed, else what was seen."""

    stage: Stage
    seconds: float
    failure: Exception | None = None
    certificate: Certificate | None = None
    tls: str = ""
    theirs: float | None = None
    """The PBX's clock, seconds since 1970."""


class Eye:
    """Looks at one PBX. *connect_time* bounds each connection, in seconds."""

    def __init__(
        self, scheme: str, host: str, port: int | None, connect_time: float, resolver: Resolver
    ) -> None:
        self._peer = (scheme, host, port)
        self._connect_time = connect_time
        self._resolver = resolver
        self._watchdog = Watchdog()

    def look(self) -> Look:
        """Connect, see the certificate, ask for the time."""
        began = time.monotonic()
        connection = self._make(None)
        exchange = connection.exchange = self._exchange()
        with contextlib.closing(exchange), contextlib.closing(connection):
            try:
                connection.connect()
            except Exception as error:  # noqa: BLE001 - whatever it is, there is no connection
                failure = exchange.failure or error
                return Look(exchange.stage, time.monotonic() - began, failure)
            seconds = time.monotonic() - began
            der, tls = b"", ""
            if isinstance(connection.sock, ssl.SSLSocket):
                der = connection.sock.getpeercert(True) or b""
                tls = connection.sock.version() or ""
            theirs = _date_of(connection)
        certificate = self._decoded(der) if der else None
        return Look(exchange.stage, seconds, None, certificate, tls, theirs)

    def _decoded(self, der: bytes) -> Certificate:
        """Python takes a certificate apart only once it is trusted: so a second connection does."""
        fingerprint = hashlib.sha256(der).hexdigest().upper()
        try:
            connection = self._make(ssl.DER_cert_to_PEM_cert(der))
            connection.exchange = self._exchange()
            with contextlib.closing(connection):
                connection.connect()
                assert isinstance(connection.sock, ssl.SSLSocket)  # noqa: S101
                return decode(fingerprint, connection.sock.getpeercert() or {})
        except Exception:  # noqa: BLE001 - then its fingerprint is all that is known
            return Certificate(fingerprint)

    def _make(self, trusted: str | None) -> Connection:
        if self._peer[0] != "https":
            return make(*self._peer, self._resolver)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if trusted is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(NO_CHECK_TIME)
            context.load_verify_locations(cadata=trusted)
        return make(*self._peer, self._resolver, ssl_context=context, assert_hostname=False)

    def _exchange(self) -> Exchange:
        clock: Callable[[], float] = time.monotonic
        until = clock() + self._connect_time + _DATE_TIME
        return Exchange(self._connect_time, _DATE_TIME, until, lambda: None, self._watchdog)


def _date_of(connection: Connection) -> float | None:
    """The Date of an answer to a request of nothing, at no SMS API and without a password."""
    try:
        answer = connection.post("/", {"Content-Length": "0", "Connection": "close"}, b"")
        return parsedate_to_datetime(answer.getheader("Date") or "").timestamp()
    except Exception:  # noqa: BLE001 - a PBX need not tell
        return None
