"""The kinds of values of sms.conf: how each is read, and what is allowed."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from dialplan_sms.config.countries import CALLING_CODE
from dialplan_sms.config.parser import Place, read_private

PATH = "/api/v1/originate/sms"
"""Where a PBX has its SMS API."""

T = TypeVar("T")


class Bad(Exception):
    """A value that a reader does not take; its text, if any, says more than "allowed" does."""


def must(fit: T | None, why: str = "") -> T:
    """*fit*, which must be true; else Bad says *why*."""
    if not fit:
        raise Bad(why)
    return fit


_NOWHERE = Place(Path("/"), 0)


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind of values; *allowed* says for people what they may be.

    One may be the name of a *file*, whose content then counts as the section's own.
    """

    read: Callable[[str, Place], T]
    allowed: str
    file: bool = False

    def __call__(self, text: str, place: Place = _NOWHERE) -> T:
        """The value that *text* at *place* means; raises Bad."""
        try:
            return self.read(text, place)
        except (ValueError, LookupError):  # whose text may quote a password
            raise Bad from None


def kind(allowed: str, file: bool = False) -> Callable[[Callable[[str, Place], T]], Kind[T]]:
    """Makes a Kind of a function that reads its values."""
    return lambda read: Kind(read, allowed, file)


_SWITCH = dict.fromkeys(("yes", "true", "y", "t", "1", "on"), True) | dict.fromkeys(
    ("no", "false", "n", "f", "0", "off"), False
)
"""The words that Asterisk's own files take (main/utils.c: ast_true, ast_false)."""
yes_no = Kind(lambda text, _: _SWITCH[text.lower()], "yes, no")


@kind("https:// or http:// and the address of the PBX, with a port and a path if need be")
def url(text: str, _: Place) -> str:
    """An http or https URL; with the API's path if it has none."""
    from urllib.parse import urlsplit

    parts = urlsplit(text)
    host = re.fullmatch(r"\w[\w.-]*|[0-9A-Fa-f:.]+(?:%\w+)?", parts.hostname or "")
    must(parts.scheme in ("http", "https") and host and parts.port != 0)
    must(
        parts.username is None and parts.password is None,
        "name and password do not belong into a url: the section has them",
    )
    must(text.isprintable() and not (parts.query or parts.fragment or " " in text))
    return f"{parts.scheme}://{parts.netloc}{parts.path if parts.path.strip('/') else PATH}"


@kind("a file with the password in its first line", file=True)
def secret_file(text: str, place: Place) -> str:
    """The first line of a private file."""
    lines = read_private(_beside(text, place), "password_file", place.path).splitlines()
    return must(next(iter(lines), ""), "the file's first line is empty")


def _beside(text: str, place: Place) -> Path:
    must(text and text.isprintable())
    return place.path.parent.absolute() / text


@kind(
    "yes, no, a CA file, sha256: and the 64 hex digits of the fingerprint of the certificate",
    file=True,
)
def verify(text: str, place: Place) -> str:
    """``yes``, ``no``, the absolute path of a CA file or ``sha256:`` and 64 hex digits."""
    if text.lower().startswith("sha256:"):
        digits = must(re.fullmatch(r"[0-9a-f]{64}", text[7:].replace(":", "").lower()))
        return f"sha256:{digits[0]}"
    is_bare = re.fullmatch(r"(?i)[0-9a-f]{64}|(?:[0-9a-f]{2}:){31}[0-9a-f]{2}", text)
    must(not is_bare, "write sha256: before the fingerprint")
    if text.lower() in _SWITCH:
        return "yes" if _SWITCH[text.lower()] else "no"
    return existing(text, place)


@kind("addresses with a port, as 127.0.0.1:4573, [::1]:4573")
def listen(text: str, _place: Place) -> tuple[tuple[str, int], ...]:
    """``host:port`` or ``[host]:port``, several separated by commas; numeric hosts only."""
    import ipaddress

    found = []
    for host, _, port in (item.strip().rpartition(":") for item in text.split(",")):
        must(host, "the address is missing")
        try:
            address = str(ipaddress.ip_address(host.strip("[]")))
        except ValueError:
            raise Bad(f"{host} is no IP address") from None
        must(re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= 65535)
        found.append((address, int(port)))
    return tuple(found)


@kind(
    "networks, as 192.0.2.0/24, 2001:db8::/64 - countries and prefixes stand in the section of a"
    " sender"
)
def networks(text: str, _: Place) -> tuple[Any, ...]:
    """ipaddress networks."""
    import ipaddress

    return tuple(ipaddress.ip_network(item.strip(), strict=False) for item in text.split(","))


@kind("the MAC address of a gateway, 12 hex digits as 9c7514330001")
def gsm(text: str, _: Place) -> str:
    """The MAC address of a gateway as the API wants it: 12 lower-case hex digits."""
    return must(re.fullmatch(r"[0-9a-f]{12}", re.sub(r"[:.\-\s]", "", text).lower()))[0]


@kind("two letters of ISO 3166, as IT")
def country(text: str, _: Place) -> str:
    """Two capitals of ISO 3166."""
    must(text.upper() in CALLING_CODE, "GB is the United Kingdom" * (text.upper() == "UK"))
    return text.upper()


_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "": 1}


@kind("a time as 30s, 15m, 24h or 7d")
def duration(text: str, _: Place) -> float:
    """Seconds: ``30s``, ``15m``, ``24h``, ``7d``, or a bare number of seconds."""
    found = must(re.fullmatch(r"([0-9]{1,6}) ?(s|m|min|h|d|)", text.lower()))
    return float(int(found[1]) * _UNITS[found[2]])


program = Kind(
    lambda text, _: must(re.fullmatch(r"(/[^\x00-\x1f\x7f]+)|(?i:none)", text))[1] or "",
    "the path of a program from / on, without arguments, or none",
)


@kind("a number of SMS and a time, as 5/1h or 200/1d, or none")
def rate(text: str, _place: Place) -> tuple[int, float] | None:
    """How many SMS in how many seconds: ``5/1h``, ``5/h``; None for ``none``."""
    if text.lower() == "none":
        return None
    count, time = must(re.fullmatch(r"([0-9]{1,7})/(.+)", text.replace(" ", ""))).groups()
    return must(int(count)), must(duration(time if time[0].isdigit() else f"1{time}"))


@kind("all, countries and prefixes, as IT, FR, +4179")
def places(text: str, _: Place) -> tuple[str, ...]:
    """Countries (two capitals) and prefixes (``+`` and digits); ``+`` alone is everywhere."""
    if text.lower() == "all":
        return ("+",)
    found = (re.sub(r"[ .\-]", "", item) for item in text.split(","))
    return tuple(
        each if re.fullmatch(r"\+[1-9][0-9]{0,14}", each) else country(each) for each in found
    )


@kind("all, none, countries and prefixes, as IT, FR, +4179")
def denied(text: str, place: Place) -> tuple[str, ...]:
    """As places(); empty for ``none``."""
    return () if text.lower() == "none" else places(text, place)


_NO_OUTBOX = {
    "postgres(ql)?://": "write postgresql+psycopg:// in place of its beginning",
    "sqlite:(?!////)": "write four slashes and the whole path, as"
    " sqlite:////var/spool/asterisk/sms/outbox.sqlite",
    "postgresql.*@.*@": "an @ in the password is written %40",
}
"""How a URL may begin that other programs take, and what to write."""


@kind("sqlite:/// and the path of a file from / on, or postgresql+psycopg:// and a database")
def outbox(text: str, _: Place) -> str:
    """The URL of a database; a file's path is absolute, as who runs has a folder of his own."""
    for start, why in _NO_OUTBOX.items():
        must(not re.match(start, text), why)
    must(re.fullmatch(r"sqlite:////.+|postgresql\+psycopg://.+", text) and text.isprintable())
    return text


@kind("a regular expression")
def pattern(text: str, _: Place) -> str:
    """What is searched for in an answer."""
    import regex  # which has a time limit, for an answer that means harm

    try:
        regex.compile(must(text))
    except regex.error as error:
        raise Bad(str(error)) from None
    return text


def existing(text: str, place: Place) -> str:
    """The absolute path of a file that is there."""
    path = _beside(text, place)
    must(path.is_file(), f"there is no file {path}")
    return str(path)


@kind("syslog, or the path of a file")
def log(text: str, place: Place) -> str:
    """``syslog``, or the absolute path of a file."""
    return "syslog" if text.lower() == "syslog" else str(_beside(text, place))
