"""The PBX's certificate as setup shows it: its fingerprint, and whether this host trusts it."""

import ssl
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from dialplan_sms.sms.outcome import safe_line
from dialplan_sms.transport.connection import Resolver
from dialplan_sms.transport.tls import PeerCertificate, look

_TIME = 5.0
"""Seconds for one connection."""


def look_at(url: str) -> tuple[PeerCertificate | None, str]:
    """The certificate at an https *url*, and why this host does not trust it, empty if it does.

    None if the PBX could not be asked, and why.
    """
    parts = urlsplit(url)
    peer = ("https", parts.hostname or "", parts.port or 443, Resolver(), _TIME)
    seen = look(*peer)
    failure = seen.failure if seen.certificate is None else look(*peer, verify="yes").failure
    return seen.certificate, (_why(failure) or "not trusted") if failure else ""


def _why(error: Exception) -> str:
    match error:
        case TimeoutError():
            return f"no answer in {_TIME:.0f} s"
        case ssl.SSLCertVerificationError():
            return safe_line(error.verify_message)
        case ssl.SSLError():
            return safe_line(error.reason or "no TLS").replace("_", " ").lower()
    return safe_line(getattr(error, "strerror", None) or str(error))


def details(found: PeerCertificate) -> Iterator[tuple[str, str]]:
    """What a person compares, by its name; only the fingerprint if the rest cannot be read."""
    dates = [time.strftime("%Y-%m-%d", time.gmtime(when)) for when in (found.start, found.end)]
    rows = {
        "issued to": ", ".join(f"{key}={value}" for key, value in found.subject.items()),
        "issued by": ", ".join(f"{key}={value}" for key, value in found.issuer.items()),
        "names": ", ".join(found.names),
        "valid": " to ".join(dates) if found.end else "",
        "fingerprint": found.fingerprint,
    }
    return ((name, safe_line(value)) for name, value in rows.items() if value)
