"""What the command line and the environment give to ``setup``, in values that sms.conf takes."""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dialplan_sms.config import values
from dialplan_sms.config.parser import Place
from dialplan_sms.host.identity import HostError

PASSWORD = "DIALPLAN_SMS_PASSWORD"  # noqa: S105 - a name
TOKEN = "DIALPLAN_SMS_TOKEN"  # noqa: S105
_NOWHERE = Place(Path("/"), 0)


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

    @property
    def of_sender(self) -> list[str]:
        """The options given that say something of one sender, but for its name."""
        names = ("url", "password_file", "token_file", "country", "fingerprint", "pin")
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name)]


def checked(given: Options) -> Options:
    """The options with values that sms.conf takes. Raises HostError."""
    fingerprint = given.fingerprint.lower()
    if fingerprint:
        text = f"sha256:{fingerprint.removeprefix('sha256:')}"
        allowed = "sha256: and 64 hex digits"
        fingerprint = _check(values.verify, text, "--fingerprint", allowed)
    return replace(
        given,
        url=given.url and url(given.url),
        sender=given.sender and sender(given.sender),
        country=country(given.country),
        fingerprint=fingerprint,
    )


def url(text: str) -> str:
    """*text*, with https if it names no protocol."""
    found = text if "://" in text else f"https://{text}"
    _check(values.url, found, "--url", "https://<host>, http://<host>")
    return found


def country(text: str) -> str:
    """*text* as sms.conf takes it, or none."""
    return _check(values.country, text, "--country", "two letters, as IT") if text else ""


def sender(text: str) -> str:
    """*text*, which can be the name of a section and of a PBX user."""
    if re.search(r"[\[\]:;]", text) or not text.isprintable() or text != text.strip():
        raise HostError("--sender: no brackets, colon, semicolon or space around it")
    if text.lower() in ("", "general", "http"):
        raise HostError("--sender: the name of a PBX user, not general and not http")
    return text


def _check(check: Callable[[str, Place], str], text: str, option: str, allowed: str) -> str:
    try:
        return check(text, _NOWHERE)
    except values.Bad as bad:
        why = f"{bad} - " if str(bad) else ""
        raise HostError(f"{option}: {why}allowed: {allowed}") from None


@dataclass(frozen=True, slots=True)
class Secret:
    """A sender's password or token; *kind* is its key in sms.conf. Empty if none was given."""

    kind: str
    text: str = field(repr=False)


def secret(options: Options, environ: Mapping[str, str]) -> Secret:
    """The secret from a file or the environment.

    To be called once: what is no file, as ``-``, gives it once only. Raises HostError.
    """
    if options.token_file:
        return Secret("token", _first_line(options.token_file, "--token-file"))
    if options.password_file:
        return Secret("password", _first_line(options.password_file, "--password-file"))
    password, token = environ.get(PASSWORD), environ.get(TOKEN)
    if password and token:
        raise HostError(f"{PASSWORD} and {TOKEN} do not go together: unset one")
    text = password or token or ""
    return Secret("token" if token else "password", text and checked_secret(text))


def checked_secret(text: str) -> str:
    """*text*, if sms.conf can hold it. Raises HostError."""
    if not text or not text.isprintable() or text != text.strip():
        raise HostError(
            "the password is empty, or has a control character or a space at its ends, which"
            " sms.conf cannot hold: write password_file into sms.conf by hand"
        )
    return text


def _first_line(path: Path, option: str) -> str:
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.readline(65536) if sys.stdin else b""
        else:
            with path.open("rb") as file:
                data = file.readline(65536)
        text = data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise HostError(f"{option}: {path} is not UTF-8") from None
    except OSError as error:
        raise HostError(f"{option}: {path} cannot be read, {error.strerror}") from None
    if not text:
        raise HostError(f"{option}: the first line of {path} is empty")
    return checked_secret(text)
