"""What only the admin knows: the PBX's address, the sender, the secret, the certificate."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click

from dialplan_sms import config as smsconf
from dialplan_sms import values
from dialplan_sms.conffile import ConfigError, Place
from dialplan_sms.config import Sender
from dialplan_sms.setup import certificate
from dialplan_sms.setup.host import PASSWORD, TOKEN, Host
from dialplan_sms.trust import HostError

_NOWHERE = Place(Path("/"), 0)
_WHICH_COUNTRY = "Country of national numbers, as IT; empty for none"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line gave."""

    url: str = ""
    sender: str = ""
    password_file: Path | None = None
    token_file: Path | None = None
    country: str = ""
    fingerprint: str = ""
    pin: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """A sender's section to be. ``kind`` is the key of the secret: ``password`` or ``token``.

    ``verify`` is empty with http.
    """

    sender: str
    url: str
    kind: str
    secret: str = field(repr=False)
    verify: str
    country: str = ""


def checked(options: Options) -> Options:
    """*options* with values that sms.conf takes. Raises HostError."""
    url, country, fingerprint = options.url, options.country, options.fingerprint
    if url:
        url = _url(url)
    if country:
        country = _country(country)
    if fingerprint:
        bare = fingerprint.lower().removeprefix("sha256:").replace(":", "")
        if not re.fullmatch(r"[0-9a-f]{64}", bare):
            raise HostError("--fingerprint: allowed: sha256: and 64 hex digits")
        fingerprint = f"sha256:{bare}"
    if options.sender:
        _check_sender(options.sender)
    if options.password_file and options.token_file:
        raise HostError("--password-file and --token-file do not go together: give one")
    return Options(
        url, options.sender, options.password_file, options.token_file, country, fingerprint,
        options.pin,
    )  # fmt: skip


def decide(
    path: Path, options: Options, host: Host, dry_run: bool, say: Callable[[str], None]
) -> Answers | None:
    """The sender to be in sms.conf at *path*; None where that stays as it is.

    None also in a dry run that does not know what it would be told. Raises HostError.
    """
    given = options.url or options.sender or options.password_file or options.token_file
    if path.exists():
        if not given and not given_secret(options, host)[1]:
            return None
        try:
            config = smsconf.load(path)
        except ConfigError:
            return None  # the step says so
        if known := config.sender(options.sender):
            return _changed(known, options, host)
        if not given:
            return None  # a secret in the environment, and nobody knows whose
    if dry_run and not (options.url and options.sender and given_secret(options, host)[1]):
        return None
    return ask(options, host, say)


def _changed(known: Sender, options: Options, host: Host) -> Answers:
    """A sender that is there, with what the options say otherwise."""
    url = options.url or known.url
    kind, secret = given_secret(options, host)
    if not secret:
        kind, secret = ("token", known.token) if known.token else ("password", known.password)
    verify = (options.fingerprint or known.verify) if url.startswith("https:") else ""
    return Answers(known.name, url, kind, secret, verify, options.country)


def ask(options: Options, host: Host, say: Callable[[str], None]) -> Answers:
    """All answers: from options, else the environment, else the person. Raises HostError."""
    url = options.url or _prompt(host, "Address of the PBX", "--url", _url)
    sender = options.sender or _prompt(
        host, "PBX user who sends (the extension, as 101)", "--sender", _check_sender
    )
    kind, known = given_secret(options, host)
    secret = known
    if not secret:
        if not host.interactive:
            raise HostError(
                f"the password of {sender} is missing: give --password-file FILE or set {PASSWORD}"
            )
        secret = click.prompt(f"Password of {sender}", hide_input=True, err=True)
        _check_secret(secret)
    country = options.country
    # Who gives all the rest on the command line or in the environment is no person to be asked.
    if not country and host.interactive and not (options.url and options.sender and known):
        country = _prompt(host, _WHICH_COUNTRY, "--country", _country, default="")
    return Answers(sender, url, kind, secret, _verify(url, options, host, say), country)


def given_secret(options: Options, host: Host) -> tuple[str, str]:
    """Kind and secret from a file or the environment; an empty secret where there is none."""
    if options.token_file:
        return "token", _first_line(options.token_file, "--token-file")
    if options.password_file:
        return "password", _first_line(options.password_file, "--password-file")
    kind = "password" if host.environ.get(PASSWORD) else "token"
    secret = host.environ.get(PASSWORD) or host.environ.get(TOKEN) or ""
    if not secret:
        return "password", ""
    _check_secret(secret)
    return kind, secret


def _verify(url: str, options: Options, host: Host, say: Callable[[str], None]) -> str:
    if not url.startswith("https:"):
        say("note: with http the password goes to the PBX without encryption")
        return ""
    try:
        seen = certificate.look(url)
    except certificate.Unreachable as why:
        say(f"warning: {url} cannot be reached now, {why}: its certificate was not looked at")
        return options.fingerprint or "yes"
    if options.fingerprint:
        if seen.fingerprint.replace(":", "").lower() != options.fingerprint.replace(":", ""):
            raise HostError(
                f"the PBX shows another certificate, {seen.fingerprint}: check --url and"
                " --fingerprint"
            )
        return options.fingerprint
    if options.pin:
        say(f"the certificate of the PBX is pinned: {seen.fingerprint}")
        return seen.fingerprint
    if not seen.distrust:
        say("the certificate of the PBX is trusted by this host")
        return "yes"
    if not host.interactive:
        raise HostError(
            f"the certificate of the PBX is not trusted, {seen.distrust}: compare its fingerprint"
            f" and give --fingerprint {seen.fingerprint}"
        )
    say(f"the certificate of the PBX is not trusted by this host: {seen.distrust}")
    for name, value in (*seen.details, ("fingerprint", seen.fingerprint)):
        say(f"  {name:11} {value}")
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


def _url(text: str) -> str:
    """*text*, with https where it names no protocol."""
    url = text if "://" in text else f"https://{text}"
    _valid(values.url, url, "--url", "https://<host>, http://<host>")
    return url


def _country(text: str) -> str:
    """*text* as sms.conf takes it, or none."""
    allowed = "two letters, as IT"
    return _valid(values.country, text, "--country", allowed) if text else ""


def _check_sender(text: str) -> str:
    if re.search(r"[\[\]:;]", text) or not text.isprintable() or text != text.strip():
        raise HostError("--sender: no brackets, colon, semicolon or space around it")
    if text.lower() in ("", "general", "http"):
        raise HostError("--sender: the name of a PBX user, not general and not http")
    return text


def _check_secret(secret: str) -> None:
    if not secret or not secret.isprintable() or secret != secret.strip():
        raise HostError(
            "the password is empty, or has a control character or a space at its ends, which"
            " sms.conf cannot hold: write password_file into sms.conf by hand"
        )


def _valid(check: Callable[[str, Place], str], text: str, option: str, allowed: str) -> str:
    try:
        return check(text, _NOWHERE)
    except values.Bad as bad:
        why = f"{bad} - " if str(bad) else ""
        raise HostError(f"{option}: {why}allowed: {allowed}") from None


def _first_line(path: Path, option: str) -> str:
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.readline(65536) if sys.stdin else b""
        else:
            with path.open("rb") as file:
                data = file.readline(65536)
        secret = data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise HostError(f"{option}: {path} is not UTF-8") from None
    except OSError as error:
        raise HostError(f"{option}: {path} cannot be read, {error.strerror}") from None
    if not secret:
        raise HostError(f"{option}: the first line of {path} is empty")
    _check_secret(secret)
    return secret
