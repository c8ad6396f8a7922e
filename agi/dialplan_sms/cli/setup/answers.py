"""What only the admin knows: the PBX's address, the sender, the secret, the country.

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

from dialplan_sms.cli.setup import pbx
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
    """A sender, and the keys of its section to be, or what is to be another in it.

    A secret of the other kind, which goes, is an empty key.
    """

    sender: str
    keys: Mapping[str, str] = field(repr=False)


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
            verify = pbx.verify(given["url"] or sender.url, given, host) if pinned else ""
            return _answers(sender.name, secret, given["url"], verify, given)
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
    more = {key: given[key] for key in ("country", "gsm")}
    if not (more["country"] or unattended):
        which = "Country of numbers without +, as IT: SMS go to no other; empty: to all, with +"
        more["country"] = _prompt(host, which, "--country", default="")
    if not (more["gsm"] or unattended) and sender in relayed:  # else it would come back for ever
        which = f"Gateway (MAC address), if that PBX itself sends as {sender} by [http]; else empty"
        more["gsm"] = _prompt(host, which, "--gsm", default="")
    return _answers(sender, secret, url, pbx.verify(url, given, host), more)


def _answers(sender: str, secret: Given, url: str, verify: str, more: Given) -> Answers:
    """In the order in which a new section has them."""
    texts = {"url": url, **secret, "verify": verify, "country": more["country"], "gsm": more["gsm"]}
    return Answers(sender, {key: text for key, text in texts.items() if text or key in secret})


def _prompt(host: Host, text: str, option: str, default: str | None = None) -> str:
    refuse(
        not host.interactive,
        f"{option} is missing: give it, or run setup in a terminal to be asked",
    )
    answer: str = click.prompt(
        text, default=default, show_default=False, value_proc=partial(checked, option)
    )
    return answer


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
