"""The PBX's certificate as setup shows it: its fingerprint, and whether this host trusts it."""

import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from dialplan_sms.sms.outcome import safe_line
from dialplan_sms.transport.look import PeerCertificate, look
from dialplan_sms.transport.resolver import Resolver

_TIME = 5.0
"""Seconds for one connection."""


class Unreachable(Exception):
    """The PBX could not be asked; says why."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the PBX shows; ``distrust`` says why this host does not trust it, empty if it does."""

    fingerprint: str
    distrust: str
    details: tuple[tuple[str, str], ...] = ()


def shown_at(url: str) -> Shown:
    """The certificate at an https *url*. Raises Unreachable."""
    parts = urlsplit(url)
    peer = ("https", parts.hostname or "", parts.port or 443, Resolver(), _TIME)
    seen = look(*peer)
    if seen.certificate is None:
        raise Unreachable(_why(seen.failure))
    distrust = look(*peer, verify="yes").failure
    why = _why(distrust) if distrust else ""
    return Shown(seen.certificate.fingerprint, why, _details(seen.certificate))


def _why(error: Exception | None) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {_TIME:.0f} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return safe_line(error.verify_message) or "not trusted"
    if isinstance(error, ssl.SSLError):
        return safe_line(error.reason or "no TLS").replace("_", " ").lower()
    return safe_line(getattr(error, "strerror", None) or str(error))


def _details(found: PeerCertificate) -> tuple[tuple[str, str], ...]:
    """What a person compares; nothing if the certificate cannot be read."""
    rows = (
        ("issued to", _name(found.subject)),
        ("issued by", _name(found.issuer)),
        ("names", ", ".join(found.names)),
        ("valid", f"{_date(found.start)} to {_date(found.end)}" if found.end else ""),
    )
    return tuple((name, safe_line(value)) for name, value in rows if value)


def _name(parts: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in parts.items())


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(when))
