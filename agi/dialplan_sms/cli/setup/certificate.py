"""The PBX's certificate: whether this host trusts it, and its fingerprint."""

import contextlib
import hashlib
import importlib
import socket
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dialplan_sms.sms.outcome import safe_line

_TIME = 5.0
"""Seconds for one look."""


class Unreachable(Exception):
    """The PBX could not be asked; says why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the PBX shows; ``distrust`` says why this host does not trust it, empty where it does.

    ``fingerprint`` is ``sha256:`` and pairs of hex digits, as OpenSSL and the stand-in show it.
    """

    fingerprint: str
    distrust: str
    details: tuple[tuple[str, str], ...] = ()


def look(url: str) -> Certificate:
    """The certificate at an https *url*. Raises Unreachable."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    try:
        with _connected(host, port, trusting) as connection:
            der = connection.getpeercert(binary_form=True) or b""
    except (OSError, ValueError) as error:
        raise Unreachable(_why(error)) from None
    fingerprint = "sha256:" + hashlib.sha256(der).digest().hex(":").upper()
    return Certificate(fingerprint, _distrust(host, port), _details(der))


def _distrust(host: str, port: int) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    places = ssl.get_default_verify_paths()
    if places.cafile or places.capath:
        context.set_default_verify_paths()
    else:
        import certifi  # what sends takes the same

        context.load_verify_locations(certifi.where())
    try:
        with _connected(host, port, context):
            return ""
    except ssl.SSLCertVerificationError as error:
        return safe_line(error.verify_message) or "not trusted"
    except (OSError, ValueError) as error:
        return _why(error)


@contextlib.contextmanager
def _connected(host: str, port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection((host, port), _TIME) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        yield connection


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {_TIME:.0f} s"
    if isinstance(error, ssl.SSLError):
        return safe_line(error.reason or "no TLS").replace("_", " ").lower()
    return safe_line(getattr(error, "strerror", None) or str(error))


def _details(der: bytes) -> tuple[tuple[str, str], ...]:
    """What a person compares; nothing where Python cannot read it without the connection's help."""
    try:
        decode: Any = importlib.import_module("_ssl")._test_decode_cert
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(ssl.DER_cert_to_PEM_cert(der))
            file.flush()
            said: dict[str, Any] = decode(file.name)
    except (AttributeError, ImportError, OSError, ValueError):
        return ()
    rows = (
        ("issued to", _name(said.get("subject", ()))),
        ("issued by", _name(said.get("issuer", ()))),
        ("names", ", ".join(value for _, value in said.get("subjectAltName", ()))),
        ("valid", f"{said.get('notBefore', '?')} to {said.get('notAfter', '?')}"),
    )
    return tuple((name, safe_line(value)) for name, value in rows if value)


def _name(parts: Any) -> str:
    return ", ".join(f"{key}={value}" for part in parts for key, value in part)
