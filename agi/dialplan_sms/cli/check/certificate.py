"""What the PBX's certificate is, and what is wrong with it. Pure, apart from decode()."""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dialplan_sms.cli.check.finding import Finding, ok, skipped, warning, wrong
from dialplan_sms.config.config import Sender

CERTIFICATE, CLOCK = "certificate", "clock"
_DAY = 86400.0
_SOON = 14 * _DAY
OFF = 300.0
"""Seconds that two clocks may differ."""
NO_CHECK_TIME = 0x200000
"""OpenSSL: X509_V_FLAG_NO_CHECK_TIME."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's certificate; the rest is empty where OpenSSL does not take it apart."""

    fingerprint: str
    names: tuple[str, ...] = ()
    issuer: str = ""
    self_signed: bool = False
    start: float = 0.0
    end: float = 0.0

    @property
    def pin(self) -> str:
        return f"verify = sha256:{self.fingerprint}"


def decode(fingerprint: str, peer: Mapping[str, Any]) -> Certificate:
    """From what SSLSocket.getpeercert() gives."""
    subject, issuer = _name(peer.get("subject")), _name(peer.get("issuer"))
    names = tuple(value for _, value in peer.get("subjectAltName", ())) or (
        (subject,) if subject else ()
    )
    return Certificate(
        fingerprint,
        names,
        issuer,
        bool(peer) and peer.get("subject") == peer.get("issuer"),
        ssl.cert_time_to_seconds(peer["notBefore"]) if "notBefore" in peer else 0.0,
        ssl.cert_time_to_seconds(peer["notAfter"]) if "notAfter" in peer else 0.0,
    )


def _name(parts: Any) -> str:
    found = {key: value for part in parts or () for key, value in part}
    return str(found.get("commonName") or found.get("organizationName") or "")[:80]


def judge_clock(
    of: str, now: float, theirs: float | None, found: Certificate | None, failed: bool
) -> Finding:
    """Whether this host's clock is right, as far as the PBX's tells.

    Where the certificate *failed* for its dates, and would not by the PBX's clock, ours is wrong.
    """
    if theirs is None:
        return skipped(CLOCK, f"{_moment(now)} here, the PBX does not tell its own", of)
    off = now - theirs
    if abs(off) <= OFF:
        return ok(CLOCK, f"as the PBX's, {_moment(now)}", of)
    says = f"this host has {_moment(now)}, the PBX {_moment(theirs)}"
    do = "timedatectl set-ntp true, here or on the PBX"
    if failed and found and found.end and found.start <= theirs <= found.end:
        return wrong(CLOCK, f"{says}: the certificate holds by the PBX's only", do, of)
    return warning(CLOCK, says, do, of)


def for_dates(reason: str) -> bool:
    """Whether the certificate failed because of its dates."""
    return "expired" in reason or "not yet valid" in reason


def judge(
    sender: Sender,
    of: str,
    host: str,
    found: Certificate,
    now: float,
    failed: str,
    needs: tuple[str, ...],
) -> Finding:
    """The line of the certificate; *failed* is what the product said where it did not take it."""
    if failed:
        says, do = _why(sender, host, found, now, failed)
        return wrong(CERTIFICATE, says, do, of, needs)
    if sender.verify == "no":
        if is_loopback(host):
            return ok(CERTIFICATE, "not looked at: verify = no", of)
        says = "verify = no: whoever is between this host and the PBX can read the password"
        return warning(CERTIFICATE, says, _compare(sender, found), of, needs)
    if sender.verify.startswith("sha256:"):
        return ok(CERTIFICATE, f"the one of {_short(sender.verify)}", of)
    says = f"for {_names(found)}, until {_date(found.end)}" if found.end else "trusted"
    if found.end and found.end - now < _SOON:
        return warning(CERTIFICATE, f"ends on {_date(found.end)}", "renew it on the PBX", of, needs)
    return ok(CERTIFICATE, says, of)


def _why(sender: Sender, host: str, found: Certificate, now: float, failed: str) -> tuple[str, str]:
    if sender.verify.startswith("sha256:"):
        return (
            f"it is another one than {_short(sender.verify)}: a new one, or somebody in between",
            f"if you know why: {found.pin} in [{sender.name}]",
        )
    if "mismatch" in failed:
        usable = next((name for name in found.names if "*" not in name), "")
        do = f"url = https://{usable}, or " if usable else ""
        return f"it is for {_names(found)}, not for {host}", do + _compare(sender, found)
    if for_dates(failed) and found.end:
        if now > found.end:
            return (
                f"it expired on {_date(found.end)}",
                f"renew it on the PBX, or {_compare(sender, found)}",
            )
        return (
            f"it is valid from {_date(found.start)} on only, and here it is {_date(now)}",
            "set the clocks of this host and of the PBX",
        )
    if sender.verify != "yes":
        return (
            f"{sender.verify} is not the CA that signed it: that is {_signer(found)}",
            f"put the PBX's CA into it, or {_compare(sender, found)}",
        )
    if found.self_signed:
        return "it is self-signed, and this host does not know it", _compare(sender, found)
    return f"it is signed by {_signer(found)}, unknown to this host", _compare(sender, found)


def _signer(found: Certificate) -> str:
    return "itself" if found.self_signed else found.issuer or "somebody"


def _compare(sender: Sender, found: Certificate) -> str:
    return f"compare with the PBX's own, then {found.pin} in [{sender.name}]"


def _names(found: Certificate) -> str:
    shown = ", ".join(found.names[:4]) or "no name"
    return f"{shown} and {len(found.names) - 4} more" if len(found.names) > 4 else shown


def _short(verify: str) -> str:
    return f"verify = {verify[:15]}..."


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(when))


def _moment(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))


def is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")
