"""What only the admin knows: the PBX's address, the sender, the secret, the certificate."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click

from dialplan_sms.cli.setup import certificate, options
from dialplan_sms.cli.setup.options import PASSWORD, Options, Secret
from dialplan_sms.cli.setup.places import Host
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.identity import HostError

_WHICH_COUNTRY = "Country, as IT, for national numbers; SMS go there alone; empty for none"


@dataclass(frozen=True, slots=True)
class Answers:
    """A sender's section to be; ``verify`` is empty with http."""

    sender: str
    url: str
    secret: Secret
    verify: str
    country: str = ""


def decide(path: Path, given: Options, host: Host, dry_run: bool) -> Answers | None:
    """The sender to be in sms.conf at *path*; None if that stays as it is.

    None also in a dry run that would have to ask. Raises HostError.
    """
    secret = options.secret(given, host.environ)
    if path.exists():
        named = bool(given.sender or given.of_sender)
        if not named and not secret.text:
            return None
        if named and not os.access(path, os.R_OK):
            click.echo(f"note: only root reads {path}: what the options would change is not shown")
            return None
        try:
            config = smsconf.load(path)
        except ConfigError:
            return None  # the step says so
        if sender := config.sender(given.sender):
            return _changed(sender, given, secret, host)
        if not given.sender:
            if named:
                raise HostError(
                    f"{', '.join(given.of_sender)}: of which sender? sms.conf has"
                    f" {', '.join(config.senders)} and no default_sender: give --sender, too"
                )
            return None  # a secret in the environment, and nobody knows whose
    if dry_run and not (given.url and given.sender and secret.text):
        if path.exists():
            click.echo(
                f"note: {given.sender} is not in sms.conf: give --url and --password-file, too, to"
                " see it added; without --dry-run setup asks"
            )
        return None
    return _ask(given, secret, host)


def _changed(known: Sender, given: Options, secret: Secret, host: Host) -> Answers:
    """A sender that is there, with what the options, and perhaps another *secret*, say."""
    url = given.url or known.url
    if not secret.text:
        token = known.token
        secret = Secret("token", token) if token else Secret("password", known.password)
    verify = known.verify if url.startswith("https:") else ""
    if given.fingerprint or given.pin:
        verify = _verify(url, given, host)
    country = given.country or known.country or ""
    return Answers(known.name, url, secret, verify, country)


def _ask(given: Options, secret: Secret, host: Host) -> Answers:
    """All answers: from options, else the environment, else the person. Raises HostError."""
    # Who gives all on the command line or in the environment is no person to be asked.
    unattended = bool(given.url and given.sender and secret.text) or not host.interactive
    url = given.url or _prompt(host, "Address of the PBX", "--url", options.url)
    sender = given.sender or _prompt(
        host, "PBX user who sends (the extension, as 101)", "--sender", options.sender
    )
    if not secret.text:
        if not host.interactive:
            raise HostError(
                f"the password of {sender} is missing: give --password-file FILE or set {PASSWORD}"
            )
        text = click.prompt(f"Password of {sender}", hide_input=True, err=True)
        secret = replace(secret, text=options.checked_secret(text))
    country = given.country
    if not country and not unattended:
        country = _prompt(host, _WHICH_COUNTRY, "--country", options.country, default="")
    return Answers(sender, url, secret, _verify(url, given, host), country)


def _verify(url: str, given: Options, host: Host) -> str:
    if not url.startswith("https:"):
        if given.fingerprint or given.pin:
            option = "--fingerprint" if given.fingerprint else "--pin"
            raise HostError(f"{option}: {url} has no certificate: give an https --url, or neither")
        click.echo("note: with http the password goes to the PBX without encryption")
        return ""
    try:
        seen = certificate.shown_at(url)
    except certificate.Unreachable as why:
        if given.pin and not given.fingerprint:
            raise HostError(
                f"{url} cannot be reached now, {why}, so its certificate cannot be pinned: try"
                " again, or give --fingerprint"
            ) from None
        click.echo(
            f"warning: {url} cannot be reached now, {why}: its certificate was not looked at"
        )
        return given.fingerprint or "yes"
    if given.fingerprint:
        if seen.fingerprint.replace(":", "").lower() != given.fingerprint.replace(":", ""):
            raise HostError(
                f"the PBX shows another certificate, {seen.fingerprint}: check --url and"
                " --fingerprint"
            )
        return given.fingerprint
    if given.pin:
        click.echo(f"the certificate of the PBX is pinned: {seen.fingerprint}")
        return seen.fingerprint
    if not seen.distrust:
        click.echo("the certificate of the PBX is trusted by this host")
        return "yes"
    if not host.interactive:
        raise HostError(
            f"the certificate of the PBX is not trusted, {seen.distrust}: compare its fingerprint"
            f" and give --fingerprint {seen.fingerprint}"
        )
    click.echo(f"the certificate of the PBX is not trusted by this host: {seen.distrust}")
    for name, value in (*seen.details, ("fingerprint", seen.fingerprint)):
        click.echo(f"  {name:11} {value}")
    if not click.confirm("Is this your PBX, and shall exactly this certificate be trusted?"):
        raise HostError("nothing was changed: give the PBX a certificate that this host trusts")
    return seen.fingerprint


def _prompt(
    host: Host, text: str, option: str, check: Callable[[str], str], default: str | None = None
) -> str:
    if not host.interactive:
        raise HostError(f"{option} is missing: give it, or run setup in a terminal to be asked")
    while True:
        answer: str = click.prompt(text, default=default, show_default=False)
        try:
            return check(answer)
        except HostError as error:
            click.echo(str(error), err=True)
