"""The PBX's certificate and the clocks, by which it is valid or not. Pure."""

import time
from urllib.parse import urlsplit

from dialplan_sms.cli.check import Finding, listed
from dialplan_sms.config.config import Sender
from dialplan_sms.host.address import is_loopback
from dialplan_sms.sms.outcome import Cause, Outcome
from dialplan_sms.transport.tls import PIN, PeerCertificate

CLOCK = Finding("clock", ("connection",))
CERTIFICATE = Finding("certificate", ("connection", "clock"))
_IN_BETWEEN = "whoever is between this host and the PBX can read the password"


def refusal(outcome: Outcome) -> str:
    """Why nothing was sent to this peer; empty if it was trusted, and has answered or may have."""
    refused = outcome.cause in (Cause.UNREACHABLE, Cause.CONFIG) and not outcome.from_pbx
    return outcome.reason if refused else ""


def clock(now: float, theirs: float | None, found: PeerCertificate | None, why: str) -> Finding:
    """Whether this host's clock is right, by the PBX's and by the dates of its certificate."""
    if theirs is None:
        return CLOCK.skipped(f"{_moment(now)} here, the PBX does not tell its own")
    says = f"this host has {_moment(now)}, the PBX {_moment(theirs)}"
    do = "timedatectl set-ntp true, here or on the PBX"
    holds = found and found.end and found.start <= theirs <= found.end
    return (
        (abs(now - theirs) <= 300 and CLOCK.ok(f"as the PBX's, {_moment(now)}"))
        or (_for_dates(why) and holds and CLOCK.wrong(
            f"{says}: the certificate holds by the PBX's only", do))
        or CLOCK.warning(says, do)
    )  # fmt: skip


def certificate(
    sender: Sender, outcome: Outcome, found: PeerCertificate | None, now: float
) -> Finding:
    """What there is to say of the certificate that was *found*, if the PBX has one."""
    why, host = refusal(outcome), urlsplit(sender.url).hostname or ""
    if outcome.cause is Cause.CONFIG:
        return CERTIFICATE.wrong(why, "verify = a file in PEM format")
    if found is None:
        none = CERTIFICATE.warning(f"http: {_IN_BETWEEN}", f"url = https://{host}")
        return CERTIFICATE.ok("none needed: http on this host") if is_loopback(host) else none
    compare = f"compare with the PBX's own, then verify = {found.fingerprint} in [{sender.name}]"
    unverified, ends = sender.verify == "no", _date(found.end)
    return (
        (why and _not_trusted(sender, host, found, now, why, compare))
        or (unverified and is_loopback(host) and CERTIFICATE.ok("not looked at: verify = no"))
        or (unverified and CERTIFICATE.warning(f"verify = no: {_IN_BETWEEN}", compare))
        or (sender.verify.startswith(PIN) and CERTIFICATE.ok(
            f"the one of verify = {sender.verify[:15]}..."))
        or (not found.end and CERTIFICATE.ok("trusted"))
        or (found.end - now < 14 * 86400 and CERTIFICATE.warning(
            f"ends on {ends}", "renew it on the PBX"))
        or CERTIFICATE.ok(f"for {listed(found.names, 4)}, until {ends}")
    )  # fmt: skip


def _not_trusted(
    sender: Sender, host: str, found: PeerCertificate, now: float, why: str, compare: str
) -> Finding:
    usable = next((f"url = https://{name}, or " for name in found.names if "*" not in name), "")
    issuer = found.issuer.get("commonName") or found.issuer.get("organizationName") or "somebody"
    signer = "itself" if found.self_signed else issuer[:80]
    dates = _for_dates(why) and found.end
    return (
        (sender.verify.startswith(PIN) and CERTIFICATE.wrong(
            f"it is another one than verify = {sender.verify[:15]}...: a new one, or somebody in"
            " between", f"if you know why: verify = {found.fingerprint} in [{sender.name}]"))
        or ("mismatch" in why and CERTIFICATE.wrong(
            f"it is for {listed(found.names, 4) or 'no name'}, not for {host}", usable + compare))
        or (dates and now > found.end and CERTIFICATE.wrong(
            f"it expired on {_date(found.end)}", f"renew it on the PBX, or {compare}"))
        or (dates and CERTIFICATE.wrong(
            f"it is valid from {_date(found.start)} on only, and here it is {_date(now)}",
            "set the clocks of this host and of the PBX"))
        or (sender.verify != "yes" and CERTIFICATE.wrong(
            f"{sender.verify} is not the CA that signed it: that is {signer}",
            f"put the PBX's CA into it, or {compare}"))
        or (found.self_signed and CERTIFICATE.wrong(
            "it is self-signed, and this host does not know it", compare))
        or CERTIFICATE.wrong(f"it is signed by {signer}, unknown to this host", compare)
    )  # fmt: skip


def _for_dates(why: str) -> bool:
    return "expired" in why or "not yet valid" in why


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(when))


def _moment(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))
