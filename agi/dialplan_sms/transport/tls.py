"""TLS with the PBX: what ``verify`` in sms.conf trusts, and a look at the certificate it shows."""

import hashlib
import os
import socket
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from dialplan_sms.sms.outcome import safe_line
from dialplan_sms.transport.connection import Peer, Resolver
from dialplan_sms.transport.exchange import Stage, Unreached

PIN = "sha256:"
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # OpenSSL: X509_V_FLAG_NO_CHECK_TIME


def peer(scheme: str, host: str, port: int | None, resolver: Resolver, verify: str = "no") -> Peer:
    """Who answers there if *verify* trusts it. Raises OSError for a file without a certificate."""
    if scheme != "https":
        return Peer(host, port or 80, resolver)
    pin = verify.removeprefix(PIN) if verify.startswith(PIN) else ""
    if pin or verify == "no":
        context = any_peer()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if verify == "yes":
            _trust_the_host(context)
        else:
            # A certificate that an admin saved from the PBX is trusted, whoever signed it.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(verify)
    context.set_alpn_protocols(["http/1.1"])
    return Peer(host, port or 443, resolver, context, pin)


def any_peer() -> ssl.SSLContext:
    """Trusts every certificate: what goes over such a connection must not be secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _trust_the_host(context: ssl.SSLContext) -> None:
    """The host's own CAs, where admins put theirs; certifi's if the host has none."""
    places = ssl.get_default_verify_paths()
    is_hashed = places.capath and any(Path(places.capath).glob("*.0"))
    if is_hashed and "SSL_CERT_FILE" not in os.environ:
        # OpenSSL looks into the folder when it needs a CA; a bundle would cost 40 ms now.
        context.load_verify_locations(capath=places.capath)
    elif places.cafile or places.capath:
        context.set_default_verify_paths()
    else:
        import certifi

        context.load_verify_locations(certifi.where())


class PeerCertificate(NamedTuple):
    """A server's certificate; all but the fingerprint is empty if OpenSSL cannot read it.

    *subject* and *issuer* are the parts of a name, as ``commonName``; times are s since 1970.
    """

    fingerprint: str
    names: tuple[str, ...] = ()
    subject: Mapping[str, str] = MappingProxyType({})
    issuer: Mapping[str, str] = MappingProxyType({})
    start: float = 0.0
    end: float = 0.0

    @property
    def self_signed(self) -> bool:
        return bool(self.subject) and self.subject == self.issuer


def fingerprint(der: bytes) -> str:
    """That of a certificate, ``sha256:AA:BB:…``, as OpenSSL shows it and ``verify`` takes it."""
    return PIN + hashlib.sha256(der).digest().hex(":").upper()


class Look(NamedTuple):
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
    looked_at = peer(scheme, host, port, resolver, verify)
    began = time.monotonic()
    try:
        connection = looked_at.connect(began + connect_time)
    except Unreached as failure:
        return Look(failure.stage, time.monotonic() - began, failure.why)
    seconds = time.monotonic() - began
    with connection:
        if not isinstance(connection, ssl.SSLSocket):
            return Look(Stage.CONNECTING, seconds)
        version, address = connection.version() or "", connection.getpeername()
        der = connection.getpeercert(True) or b""
    found = _decoded(der, host, address[:2], connect_time)
    return Look(Stage.SECURING, seconds, version=version, certificate=found)


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
        names = names or tuple(filter(None, [subject.get("commonName")]))
        start, end = (ssl.cert_time_to_seconds(told[name]) for name in ("notBefore", "notAfter"))
        return PeerCertificate(fingerprint(der), names, subject, issuer, start, end)
    except (OSError, ValueError):
        return PeerCertificate(fingerprint(der))


def _name(parts: Any) -> dict[str, str]:
    return {key: value for part in parts for key, value in part}


def why_none(failure: Exception) -> str:
    """Why there is no TLS with a peer, and what to do in sms.conf."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return (
            f"the certificate is not trusted, {safe_line(failure.verify_message)}: set verify in"
            " sms.conf to its CA file or to its sha256: fingerprint"
        )
    text = str(failure)
    if "Fingerprints did not match" in text:
        found = text.rpartition("got ")[2].strip(" \"')")
        return (
            f"the certificate has another fingerprint than verify in sms.conf, sha256:{found}"
            " - take it over only if you know why it changed"
        )
    what = getattr(failure, "reason", None) or type(failure).__name__
    return f"{safe_line(str(what))} - perhaps url needs http or another port"
