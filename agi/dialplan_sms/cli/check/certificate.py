"""The PBX's certificate and the clocks, by which it is valid or not. Pure."""

import time
from urllib.parse import urlsplit

from dialplan_sms.cli.check.finding import Finding, listed
from dialplan_sms.config.config import Sender
from dialplan_sms.host.address import is_loopback
from dialplan_sms.sms.outcome import Cause, Outcome
from dialplan_sms.transport.look import PeerCertificate
from dialplan_sms.transport.tls import PIN

CLOCK = Finding("clock", ("connection",))
CERTIFICATE = Finding("certificate", ("connection", "clock"))
_SOON = 14 * 86400.0
_OFF = 300.0
"""Seconds that two clocks may differ."""


def refusal(outcome: Outcome) -> str:
    """Why nothing was sent to this peer; empty if it was trusted, and has answered or may have."""
    refused = outcome.cause in (Cause.UNREACHABLE, Cause.CONFIG) and not outcome.from_pbx
    return outcome.reason if refused else ""


def clock(now: float, theirs: float | None, found: PeerCertificate | None, why: str) -> Finding:
    """Whether this host's clock is right, as far as the PBX's tells.

    If the certificate failed for its dates, as *why* says, and would not by the PBX's clock, ours
    is wrong.
    """
    if theirs is None:
        return CLOCK.skipped(f"{_moment(now)} here, the PBX does not tell its own")
    if abs(now - theirs) <= _OFF:
        return CLOCK.ok(f"as the PBX's, {_moment(now)}")
    says = f"this host has {_moment(now)}, the PBX {_moment(theirs)}"
    do = "timedatectl set-ntp true, here or on the PBX"
    if _for_dates(why) and found and found.end and found.start <= theirs <= found.end:
        return CLOCK.wrong(f"{says}: the certificate holds by the PBX's only", do)
    return CLOCK.warning(says, do)


def certificate(
    sender: Sender, outcome: Outcome, found: PeerCertificate | None, now: float
) -> Finding:
    """What there is to say of the certificate that was *found*, if the PBX has one."""
    why, host = refusal(outcome), urlsplit(sender.url).hostname or ""
    if outcome.cause is Cause.CONFIG:
        return CERTIFICATE.wrong(why, "verify = a file in PEM format")
    if found is None and is_loopback(host):
        return CERTIFICATE.ok("none needed: http on this host")
    if found is None:
        says = "http: whoever is between this host and the PBX can read the password"
        return CERTIFICATE.warning(says, f"url = https://{host}")
    compare = f"compare with the PBX's own, then verify = {found.fingerprint} in [{sender.name}]"
    if why:
        return CERTIFICATE.wrong(*_not_trusted(sender, host, found, now, why, compare))
    if sender.verify == "no" and is_loopback(host):
        return CERTIFICATE.ok("not looked at: verify = no")
    if sender.verify == "no":
        says = "verify = no: whoever is between this host and the PBX can read the password"
        return CERTIFICATE.warning(says, compare)
    if sender.verify.startswith(PIN):
        return CERTIFICATE.ok(f"the one of {_short(sender.verify)}")
    if found.end and found.end - now < _SOON:
        return CERTIFICATE.warning(f"ends on {_date(found.end)}", "renew it on the PBX")
    return CERTIFICATE.ok(
        f"for {listed(found.names, 4)}, until {_date(found.end)}" if found.end else "trusted"
    )


def _not_trusted(
    sender: Sender, host: str, found: PeerCertificate, now: float, why: str, compare: str
) -> tuple[str, str]:
    if sender.verify.startswith(PIN):
        return (
            f"it is another one than {_short(sender.verify)}: a new one, or somebody in between",
            f"if you know why: verify = {found.fingerprint} in [{sender.name}]",
        )
    if "mismatch" in why:
        usable = next((name for name in found.names if "*" not in name), "")
        do = f"url = https://{usable}, or " if usable else ""
        return f"it is for {listed(found.names, 4) or 'no name'}, not for {host}", do + compare
    if _for_dates(why) and found.end and now > found.end:
        return f"it expired on {_date(found.end)}", f"renew it on the PBX, or {compare}"
    if _for_dates(why) and found.end:
        return (
            f"it is valid from {_date(found.start)} on only, and here it is {_date(now)}",
            "set the clocks of this host and of the PBX",
        )
    name = found.issuer.get("commonName") or found.issuer.get("organizationName") or "somebody"
    signer = "itself" if found.self_signed else name[:80]
    if sender.verify != "yes":
        says = f"{sender.verify} is not the CA that signed it: that is {signer}"
        return says, f"put the PBX's CA into it, or {compare}"
    if found.self_signed:
        return "it is self-signed, and this host does not know it", compare
    return f"it is signed by {signer}, unknown to this host", compare


def _for_dates(why: str) -> bool:
    return "expired" in why or "not yet valid" in why


def _short(verify: str) -> str:
    return f"verify = {verify[:15]}..."


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(when))


def _moment(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))
