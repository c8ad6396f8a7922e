"""What only the admin knows: from options, the environment or the person, as sms.conf takes it."""

import os
import re
from collections.abc import Callable, Collection, Mapping
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
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.identity import HostError

PASSWORD = "DIALPLAN_SMS_PASSWORD"  # noqa: S105 - a name
TOKEN = "DIALPLAN_SMS_TOKEN"  # noqa: S105
# How the value of an option may be written shorter, how it is read, and what is allowed.
_KINDS: dict[str, tuple[Callable[[str], str], Callable[[str], str], str]] = {
    "--url": (lambda text: text if "://" in text else f"https://{text}",
              lambda text: values.url(text) and text, "https://<host>, http://<host>"),
    "--country": (str, values.country, "two letters, as IT"),
    "--fingerprint": (lambda text: f"sha256:{text.lower().removeprefix('sha256:')}",
                      values.verify, "sha256: and 64 hex digits"),
    "--gsm": (str, values.gsm, "12 hex digits, as 9c7514330001"),
}  # fmt: skip
# The options that say something of one sender, but for its name.
_OF_SENDER = ("url", "password_file", "token_file", "country", "fingerprint", "pin", "gsm")
# What is asked, in this order: the answer's key, the question, what is said if there is nobody to
# ask (nothing of what may be left out), and more for click.prompt().
_ELSE = "is missing: give it, or run setup in a terminal to be asked"
_QUESTIONS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("url", "Address of the PBX", f"--url {_ELSE}", {}),
    ("sender", "PBX user who sends (the extension, as 101)", f"--sender {_ELSE}", {}),
    ("secret", "Password of {sender}", "the password of {sender} is missing: give"
     f" --password-file FILE or set {PASSWORD}", {"hide_input": True, "err": True}),
    ("country", "Country of numbers without +, as IT: SMS go to no other; empty: to all, with +",
     "", {"default": ""}),
    ("gsm", "Gateway (MAC address), if that PBX itself sends as {sender} by [http]; else empty",
     "", {"default": ""}),
)  # fmt: skip
Given = Mapping[str, Any]  # the options, by the names of their parameters; empty if not given


@dataclass(frozen=True, slots=True)
class Answers:
    """A sender, and the keys of its section to be, or what is to be another in it."""

    sender: str
    keys: Mapping[str, str] = field(repr=False)  # a secret of the other kind, which goes, is empty


def checked(option: str, text: str) -> str:
    """The value of an *option* as sms.conf takes it. Raises UsageError: a person is asked again."""
    if option == "--sender":
        if re.search(r"[\[\]:;]", text) or not text.isprintable() or text != text.strip():
            raise click.UsageError("--sender: no brackets, colon, semicolon or space around it")
        if text.lower() in (smsconf.GENERAL, smsconf.HTTP):
            raise click.UsageError("--sender: the name of a PBX user, not general and not http")
    if not text or option == "--sender":
        return text
    whole, kind, allowed = _KINDS[option]
    try:
        return kind(whole(text))
    except values.Bad as bad:
        why = " - ".join(filter(None, [str(bad), f"allowed: {allowed}"]))
        raise click.UsageError(f"{option}: {why}") from None


def decide(path: Path, given: Given, host: Host, dry_run: bool) -> Answers | None:
    """The sender to be in sms.conf at *path*; None if that stays as it is.

    None also in a dry run that would have to ask. Raises HostError.
    """
    answers = {**given, "secret": _secret(given, host.environ)}
    # Who gives all on the command line or in the environment is no person to be asked.
    is_whole, sender = all(answers[key] for key in ("url", "sender", "secret")), None
    if path.exists():
        of_sender = [f"--{name.replace('_', '-')}" for name in _OF_SENDER if given[name]]
        named = given["sender"] or of_sender
        if named and not os.access(path, os.R_OK):
            click.echo(f"note: only root reads {path}: what the options would change is not shown")
            return None
        try:
            config = smsconf.load(path)
        except ConfigError:
            return None  # the step says so
        sender = config.sender(given["sender"])
        if not named and not (answers["secret"] and sender):
            return None  # there may be a secret in the environment, and nobody knows whose
        refuse(
            not sender and not given["sender"],
            f"{', '.join(of_sender)}: of which sender? sms.conf has {', '.join(config.senders)} and"
            " no default_sender: give --sender, too",
        )
    if sender:
        answers["sender"], is_pinned = sender.name, given["fingerprint"] or given["pin"]
        verify = is_pinned and pbx.verify(given["url"] or sender.url, given, host)
    elif is_whole or not dry_run:
        _ask(answers, host, host.interactive and not is_whole, path)
        verify = pbx.verify(answers["url"], given, host)
    else:
        if path.exists():
            click.echo(
                f"note: {given['sender']} is not in sms.conf: give --url and --password-file, too,"
                " to see it added; without --dry-run setup asks"
            )
        return None
    # In the order in which a new section has them.
    texts = {"url": answers["url"], **answers["secret"], "verify": verify,
             "country": answers["country"], "gsm": answers["gsm"]}  # fmt: skip
    keys = {key: text for key, text in texts.items() if text or key in answers["secret"]}
    return Answers(answers["sender"], keys)


def _ask(answers: dict[str, Any], host: Host, is_person: bool, conf: Path) -> None:
    """Ask for what *answers* have not, and a person for what may be left out. Raises HostError."""
    for key, text, missing, more in _QUESTIONS:
        # Without the gateway, an SMS of that PBX would come back for ever.
        needless = key == "gsm" and answers["sender"] not in _relayed(conf)
        if answers[key] or needless or not (is_person or missing):
            continue
        refuse(not host.interactive, missing.format(**answers))
        check = partial(checked, f"--{key}") if key != "secret" else partial(_held, "password")
        shown = text.format(**answers)
        answers[key] = click.prompt(shown, show_default=False, value_proc=check, **more)


def _relayed(path: Path) -> Collection[str]:
    """The users of the HTTP SMS server in sms.conf; each sends as the sender of that name."""
    with suppress(ConfigError):
        http = smsconf.load(path, http=True).http
        return http.users if http else ()
    return ()


def _secret(given: Given, environ: Mapping[str, str]) -> dict[str, str]:
    """The password or token by its key in sms.conf, if there is one. Once: ``-`` ends then."""
    for kind in ("token", "password"):
        if path := given[f"{kind}_file"]:
            return _held(kind, _first_line(path, f"--{kind}-file"))
    found = {"password": environ.get(PASSWORD), "token": environ.get(TOKEN)}
    refuse(all(found.values()), f"{PASSWORD} and {TOKEN} do not go together: unset one")
    return next((_held(kind, text) for kind, text in found.items() if text), {})


def _held(kind: str, text: str) -> dict[str, str]:
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
