"""What the command line of ``setup`` gave, in values that sms.conf takes."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dialplan_sms.config import values
from dialplan_sms.config.parser import Place
from dialplan_sms.host.identity import HostError

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
        given = (
            ("--url", self.url), ("--password-file", self.password_file),
            ("--token-file", self.token_file), ("--country", self.country),
            ("--fingerprint", self.fingerprint), ("--pin", self.pin),
        )  # fmt: skip
        return [name for name, value in given if value]


def checked(options: Options) -> Options:
    """*options* with values that sms.conf takes. Raises HostError."""
    found, country, fingerprint = options.url, options.country, options.fingerprint
    if found:
        found = url(found)
    if country:
        country = country_of(country)
    if fingerprint:
        bare = fingerprint.lower().removeprefix("sha256:").replace(":", "")
        if not re.fullmatch(r"[0-9a-f]{64}", bare):
            raise HostError("--fingerprint: allowed: sha256: and 64 hex digits")
        fingerprint = f"sha256:{bare}"
    if options.sender:
        sender(options.sender)
    if options.password_file and options.token_file:
        raise HostError("--password-file and --token-file do not go together: give one")
    return replace(options, url=found, country=country, fingerprint=fingerprint)


def url(text: str) -> str:
    """*text*, with https where it names no protocol."""
    found = text if "://" in text else f"https://{text}"
    _valid(values.url, found, "--url", "https://<host>, http://<host>")
    return found


def country_of(text: str) -> str:
    """*text* as sms.conf takes it, or none."""
    allowed = "two letters, as IT"
    return _valid(values.country, text, "--country", allowed) if text else ""


def sender(text: str) -> str:
    """*text*, which can be the name of a section and of a PBX user."""
    if re.search(r"[\[\]:;]", text) or not text.isprintable() or text != text.strip():
        raise HostError("--sender: no brackets, colon, semicolon or space around it")
    if text.lower() in ("", "general", "http"):
        raise HostError("--sender: the name of a PBX user, not general and not http")
    return text


def _valid(check: Callable[[str, Place], str], text: str, option: str, allowed: str) -> str:
    try:
        return check(text, _NOWHERE)
    except values.Bad as bad:
        why = f"{bad} - " if str(bad) else ""
        raise HostError(f"{option}: {why}allowed: {allowed}") from None
