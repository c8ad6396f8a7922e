"""What only the admin knows: the PBX's address, the sender, the secret, the certificate.

From options, else the environment, else the person; in values that sms.conf takes.
"""

import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from dialplan_sms.cli.setup import certificate
from dialplan_sms.cli.setup.host import Host, refuse
from dialplan_sms.config import config as smsconf
from dialplan_sms.config import values
from dialplan_sms.config.config import GENERAL, HTTP
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.identity import HostError

PASSWORD = "DIALPLAN_SMS_PASSWORD"  # noqa: S105 - a name
TOKEN = "DIALPLAN_SMS_TOKEN"  # noqa: S105
_KINDS = {
    "--url": (values.url, "https://<host>, http://<host>"),
    "--country": (values.country, "two letters, as IT"),
    "--fingerprint": (values.verify, "sha256: and 64 hex digits"),
    "--gsm": (values.gsm, "12 hex digits, as 9c7514330001"),
}
"""How the value of an option is read, and what is allowed."""
_OF_SENDER = ("url", "password_file", "token_file", "country", "fingerprint", "pin", "gsm")
"""The options that say something of one sender, but for its name."""
Given = Mapping[str, Any]
"""The options, by the names of their parameters; empty is what was not given."""


@dataclass(frozen=True, slots=True)
class Answers:
    """A sender's section to be, or what is to be another in it; the rest is empty."""

    sender: str
    url: str
    secret: Mapping[str, str] = field(repr=False)
    verify: str
    country: str
    gsm: str

    @property
    def keys(self) -> dict[str, str]:
        """The keys of the section; a secret of the other kind, which goes, is empty."""
        keys = {"url": self.url, **self.secret, "verify": self.verify, "country": self.country}
        keys["gsm"] = self.gsm
        return {key: text for key, text in keys.items() if text or key in self.secret}


def checked(option: str, text: str) -> str:
    """The value of an *option* as sms.conf takes it.

    Raises click.UsageError, on which a person is asked again.
    """
    if option == "--sender":
        if re.search(r"[\[\]:;]", text) or not text.isprintable() or text != text.strip():
            raise click.UsageError("--sender: no brackets, colon, semicolon or space around it")
        if text.lower() in (GENERAL, HTTP):
            raise click.UsageError("--sender: the name of a PBX user, not general and not http")
    if not text or option == "--sender":
        return text
    if option == "--url" and "://" not in text:
        text = f"https://{text}"
    if option == "--fingerprint":
        text = f"sha256:{text.lower().removeprefix('sha256:')}"
    kind, allowed = _KINDS[option]
    try:
        value = kind(text)
    except values.Bad as bad:
        why = f"{bad} - " if str(bad) else ""
        raise click.UsageError(f"{option}: {why}allowed: {allowed}") from None
    return text if option == "--url" else value


def decide(path: Path, given: Given, host: Host, dry_run: bool) -> Answers | None:
    """The sender to be in sms.conf at *path*; None if that stays as it is.

    None also in a dry run that would have to ask. Raises HostError.
    """
    secret = _secret(given, host.environ)
    if path.exists():
        of_sender = [f"--{name.replace('_', '-')}" for name in _OF_SENDER if given[name]]
        named = given["sender"] or of_sender
        if not named and not secret:
            return None
        if named and not os.access(path, os.R_OK):
            click.echo(f"note: only root reads {path}: what the options would change is not shown")
            return None
        try:
            config = smsconf.load(path)
        except ConfigError:
            return None  # the step says so
        if sender := config.sender(given["sender"]):
            pinned = given["fingerprint"] or given["pin"]
            verify = _verify(given["url"] or sender.url, given, host) if pinned else ""
            url, country, gsm = (given[name] for name in ("url", "country", "gsm"))
            return Answers(sender.name, url, secret, verify, country, gsm)
        if not given["sender"]:
            refuse(
                of_sender,
                f"{', '.join(of_sender)}: of which sender? sms.conf has"
                f" {', '.join(config.senders)} and no default_sender: give --sender, too",
            )
            return None  # a secret in the environment, and nobody knows whose
    if dry_run and not (given["url"] and given["sender"] and secret):
        if path.exists():
            click.echo(
                f"note: {given['sender']} is not in sms.conf: give --url and --password-file, too,"
                " to see it added; without --dry-run setup asks"
            )
        return None
    return _ask(given, secret, host, _relayed(path))


def _relayed(path: Path) -> Collection[str]:
    """The users of the HTTP SMS server in sms.conf; each sends as the sender of that name."""
    with suppress(ConfigError):
        http = smsconf.load(path, http=True).http
        return http.users if http else ()
    return ()


def _ask(given: Given, secret: dict[str, str], host: Host, relayed: Collection[str]) -> Answers:
    """All answers: from options, else the environment, else the person. Raises HostError."""
    # Who gives all on the command line or in the environment is no person to be asked.
    unattended = bool(given["url"] and given["sender"] and secret) or not host.interactive
    url = given["url"] or _prompt(host, "Address of the PBX", "--url")
    sender = given["sender"] or _prompt(
        host, "PBX user who sends (the extension, as 101)", "--sender"
    )
    if not secret:
        refuse(
            not host.interactive,
            f"the password of {sender} is missing: give --password-file FILE or set {PASSWORD}",
        )
        typed = click.prompt(f"Password of {sender}", hide_input=True, err=True)
        secret = _checked_secret("password", typed)
    country = given["country"]
    if not country and not unattended:
        which = "Country, as IT, for national numbers; SMS go there alone; empty for none"
        country = _prompt(host, which, "--country", default="")
    gsm = given["gsm"]
    if not gsm and not unattended and sender in relayed:  # else it would come back for ever
        which = f"Gateway (MAC address), if that PBX itself sends as {sender} by [http]; else empty"
        gsm = _prompt(host, which, "--gsm", default="")
    return Answers(sender, url, secret, _verify(url, given, host), country, gsm)


def _prompt(host: Host, text: str, option: str, default: str | None = None) -> str:
    refuse(
        not host.interactive,
        f"{option} is missing: give it, or run setup in a terminal to be asked",
    )
    answer: str = click.prompt(
        text, default=default, show_default=False, value_proc=partial(checked, option)
    )
    return answer


def _verify(url: str, given: Given, host: Host) -> str:
    """How the PBX at *url* proves who it is; empty with http. Raises HostError."""
    if not url.startswith("https:"):
        option = "--fingerprint" if given["fingerprint"] else "--pin"
        refuse(
            given["fingerprint"] or given["pin"],
            f"{option}: {url} has no certificate: give an https --url, or neither",
        )
        click.echo("note: with http the password goes to the PBX without encryption")
        return ""
    shown, why = certificate.look_at(url)
    if shown is None:
        out = f"{url} cannot be reached now, {why}"
        refuse(
            given["pin"] and not given["fingerprint"],
            f"{out}, so its certificate cannot be pinned: try again, or give --fingerprint",
        )
        click.echo(f"warning: {out}: its certificate was not looked at")
        return given["fingerprint"] or "yes"
    fingerprint = shown.fingerprint
    if given["fingerprint"]:
        refuse(
            values.verify(fingerprint) != given["fingerprint"],
            f"the PBX shows another certificate, {fingerprint}: check --url and --fingerprint",
        )
    elif given["pin"]:
        click.echo(f"the PBX shows this certificate: {fingerprint}")
    elif not why:
        click.echo("the certificate of the PBX is trusted by this host")
        return "yes"
    else:
        refuse(
            not host.interactive,
            f"the certificate of the PBX is not trusted, {why}: compare its fingerprint"
            f" and give --fingerprint {fingerprint}",
        )
        click.echo(f"the certificate of the PBX is not trusted by this host: {why}")
        for name, value in certificate.details(shown):
            click.echo(f"  {name:11} {value}")
        refuse(
            not click.confirm("Is this your PBX, and shall exactly this certificate be trusted?"),
            "nothing was changed: give the PBX a certificate that this host trusts",
        )
    return fingerprint


def _secret(given: Given, environ: Mapping[str, str]) -> dict[str, str]:
    """A sender's password or token, by its key in sms.conf; empty if none is given.

    From a file or the environment. To be called once: what is no file, as ``-``, gives it once
    only. Raises HostError.
    """
    for kind, path in (("token", given["token_file"]), ("password", given["password_file"])):
        if path:
            return _checked_secret(kind, _first_line(path, f"--{kind}-file"))
    found = {"password": environ.get(PASSWORD), "token": environ.get(TOKEN)}
    refuse(all(found.values()), f"{PASSWORD} and {TOKEN} do not go together: unset one")
    return next((_checked_secret(kind, text) for kind, text in found.items() if text), {})


def _checked_secret(kind: str, text: str) -> dict[str, str]:
    """*text* in the place of the secret that the sender has, if sms.conf can hold it."""
    refuse(
        not text or not text.isprintable() or text != text.strip(),
        "the password is empty, or has a control character or a space at its ends, which"
        " sms.conf cannot hold: write password_file into sms.conf by hand",
    )
    return {"password": "", "token": "", kind: text}


def _first_line(path: Path, option: str) -> str:
    try:
        with click.open_file(str(path), "rb") as file:
            text: str = file.readline(65536).decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise HostError(f"{option}: {path} is not UTF-8") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: standard input is closed
        why = getattr(error, "strerror", None) or error
        raise HostError(f"{option}: {path} cannot be read, {why}") from None
    refuse(not text, f"{option}: the first line of {path} is empty")
    return text
