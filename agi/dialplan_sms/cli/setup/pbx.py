"""What setup asks the PBX: its certificate first, and in the end whether it accepts the sender.

As ``check`` does, without a number, so that nothing is sent; by a program of its own, run by the
user that will send, who also has to read sms.conf.
"""

import json
import ssl
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from dialplan_sms.cli.check import CheckState, Finding
from dialplan_sms.cli.setup.host import AsteriskHost, Host, refuse
from dialplan_sms.cli.setup.steps import Action, Step, Work
from dialplan_sms.config import config as smsconf
from dialplan_sms.config import values
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.identity import current
from dialplan_sms.sms.outcome import safe_line
from dialplan_sms.transport.connection import Resolver
from dialplan_sms.transport.tls import PeerCertificate, look

_TIME = 5.0  # seconds for one connection that looks at the certificate


def verify(url: str, given: Mapping[str, Any], host: Host) -> str:
    """How the PBX at *url* proves who it is; empty with http. Raises HostError."""
    given_one, pin = given["fingerprint"], given["pin"]
    if not url.startswith("https:"):
        refuse(
            given_one or pin,
            f"{'--fingerprint' if given_one else '--pin'}: {url} has no certificate: give an https"
            " --url, or neither",
        )
        click.echo("note: with http the password goes to the PBX without encryption")
        return ""
    shown, why = look_at(url)
    if shown is None:
        out = f"{url} cannot be reached now, {why}"
        refuse(
            pin and not given_one,
            f"{out}, so its certificate cannot be pinned: try again, or give --fingerprint",
        )
        click.echo(f"warning: {out}: its certificate was not looked at")
        return given_one or "yes"
    if given_one:
        refuse(
            values.verify(shown.fingerprint) != given_one,
            f"the PBX shows another certificate, {shown.fingerprint}: check --url and"
            " --fingerprint",
        )
    elif pin:
        click.echo(f"the PBX shows this certificate: {shown.fingerprint}")
    elif not why:
        click.echo("the certificate of the PBX is trusted by this host")
        return "yes"
    else:
        refuse(
            not host.interactive,
            f"the certificate of the PBX is not trusted, {why}: compare its fingerprint"
            f" and give --fingerprint {shown.fingerprint}",
        )
        click.echo(f"the certificate of the PBX is not trusted by this host: {why}")
        _show(shown)
        refuse(
            not click.confirm("Is this your PBX, and shall exactly this certificate be trusted?"),
            "nothing was changed: give the PBX a certificate that this host trusts",
        )
    return shown.fingerprint


def look_at(url: str) -> tuple[PeerCertificate | None, str]:
    """The certificate at *url*, None if it cannot be asked; and why it is not trusted, or empty."""
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


def _show(found: PeerCertificate) -> None:
    """What a person compares; only the fingerprint if the rest cannot be read."""
    dates = [time.strftime("%Y-%m-%d", time.gmtime(when)) for when in (found.start, found.end)]
    rows = {
        "issued to": ", ".join(f"{key}={value}" for key, value in found.subject.items()),
        "issued by": ", ".join(f"{key}={value}" for key, value in found.issuer.items()),
        "names": ", ".join(found.names),
        "valid": " to ".join(dates) if found.end else "",
        "fingerprint": found.fingerprint,
    }
    for name in filter(rows.get, rows):
        click.echo(f"  {name:11} {safe_line(rows[name])}")


def prove(work: Work, found: AsteriskHost, sender: str) -> Step:
    """Try sms.conf and the PBX with *sender*, the default one if that is empty."""
    yield Action("the PBX", None)
    systemd = "systemd" if found.systemd else ""
    # Check gives name, connection and answer their own time, 15 s in all.
    done = work.host.ask_program(
        found.user, ["-m", __name__, f"{found.etc}/sms.conf", sender, systemd], 60
    )
    try:
        said, good = json.loads(done.last_line)
    except (ValueError, TypeError):
        why = f" ({done.last_line})" if done.status else ""
        said, good = f"warning: the PBX was not asked{why}: run dialplan-sms check", True
    work.failed |= not good
    work.say(str(said))


def ask(conf: Path, name: str, systemd: str = "") -> tuple[str, bool]:
    """A line on that sender, on the default one if *name* is empty, and whether SMS can go out."""
    from dialplan_sms.cli.check.pbx import PbxCheck  # only here: setup itself asks nothing

    try:
        sender = smsconf.load(conf).sender(name)
    except ConfigError as error:
        return f"{current().name} cannot use sms.conf: {error}", False
    if sender is None:
        why = "sms.conf has several senders and no default_sender: run dialplan-sms check"
        return f"note: the PBX was not asked, since {why}", True
    findings = list(PbxCheck([sender]).check())
    found = next(each for each in findings if each.name == "credentials")
    if found.state is CheckState.SKIPPED:  # it was not asked: the first that is wrong says why
        found = next((each for each in findings if each.state is CheckState.WRONG), found)
    reload = ", then systemctl reload dialplan-sms" if systemd else ""
    return sentence(sender, found, f"{conf}{reload}")


def sentence(sender: smsconf.Sender, found: Finding, conf: str) -> tuple[str, bool]:
    """One line on what ``check`` has *found*, and whether SMS can go out."""
    says = ": ".join(filter(None, (found.says, found.do)))
    match found.name, found.state:
        case "credentials", CheckState.OK:
            return f"the PBX accepts {sender.name}", True
        case "credentials", CheckState.WRONG:
            key, what = ("token", "the token") if sender.token else ("password", "user or password")
            return f"the PBX refuses {what} of [{sender.name}]: correct {key} in {conf}", False
        case (("name" | "connection"), _):
            asked = f"warning: the PBX could not be asked whether it accepts {sender.name}"
            return f"{asked}, {says}; then run dialplan-sms check", True
        case _, CheckState.WRONG:
            return f"no SMS of {sender.name} can be sent, {found.name}: {says}", False
    return f"warning: {says}", True


if __name__ == "__main__":
    print(json.dumps(ask(Path(sys.argv[1]), *sys.argv[2:])))
