"""A look at the certificate that a peer shows, whether it is trusted or not."""

import contextlib
import hashlib
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

from dialplan_sms.transport.connection import make
from dialplan_sms.transport.exchange import Exchange, Stage, Watchdog
from dialplan_sms.transport.resolver import Resolver
from dialplan_sms.transport.tls import PIN, any_peer, settings

_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # OpenSSL: X509_V_FLAG_NO_CHECK_TIME


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A server's certificate; all but the fingerprint is empty if OpenSSL cannot read it.

    *subject* and *issuer* are the parts of a name, as ``commonName``; *start* and *end* are
    seconds since 1970.
    """

    fingerprint: str
    names: tuple[str, ...] = ()
    subject: dict[str, str] = field(default_factory=dict)
    issuer: dict[str, str] = field(default_factory=dict)
    start: float = 0.0
    end: float = 0.0

    @property
    def self_signed(self) -> bool:
        return bool(self.subject) and self.subject == self.issuer


def fingerprint(der: bytes) -> str:
    """That of a certificate, ``sha256:AA:BB:…``, as OpenSSL shows it and ``verify`` takes it."""
    return PIN + hashlib.sha256(der).digest().hex(":").upper()


@dataclass(frozen=True, slots=True)
class Look:
    """One connection to a peer: *failure* at *stage*, or the *certificate* and TLS *version*."""

    stage: Stage
    seconds: float
    failure: Exception | None = None
    version: str = ""
    certificate: PeerCertificate | None = None


def look(
    scheme: str, host: str, port: int, resolver: Resolver, connect_time: float, verify: str = "no"
) -> Look:
    """Connect within *connect_time* seconds, and see the certificate; nothing is asked for."""
    tls = settings(verify) if scheme == "https" else {}
    began = time.monotonic()
    exchange = Exchange(connect_time, 0, began + connect_time, lambda: None, Watchdog())
    connection = make(scheme, host, port, resolver, **tls)
    connection.exchange = exchange
    with contextlib.closing(exchange), contextlib.closing(connection):
        try:
            connection.connect()
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no connection
            return Look(exchange.stage, time.monotonic() - began, exchange.failure or error)
        seconds = time.monotonic() - began
        if not isinstance(connection.sock, ssl.SSLSocket):
            return Look(exchange.stage, seconds)
        version, address = connection.sock.version() or "", connection.sock.getpeername()
        der = connection.sock.getpeercert(True) or b""
    certificate = _decoded(der, host, address[:2], connect_time)
    return Look(exchange.stage, seconds, None, version, certificate)


def _decoded(der: bytes, host: str, address: tuple[str, int], timeout: float) -> PeerCertificate:
    """Python decodes a certificate only once it is trusted: a second connection trusts this one."""
    context = any_peer()
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    try:
        context.load_verify_locations(cadata=der)
        with (
            socket.create_connection(address, timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            told: Any = secure.getpeercert()
        subject, issuer = _name(told["subject"]), _name(told["issuer"])
        names = tuple(value for _, value in told.get("subjectAltName", ()))
        return PeerCertificate(
            fingerprint(der),
            names or tuple(filter(None, [subject.get("commonName")])),
            subject,
            issuer,
            ssl.cert_time_to_seconds(told["notBefore"]),
            ssl.cert_time_to_seconds(told["notAfter"]),
        )
    except (OSError, ValueError):
        return PeerCertificate(fingerprint(der))


def _name(parts: Any) -> dict[str, str]:
    return {key: value for part in parts for key, value in part}
