"""How the values of sms.conf are read."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dialplan_sms.config.countries import CALLING_CODE
from dialplan_sms.config.parser import Place, read_private

PATH = "/api/v1/originate/sms"
"""Where a PBX has its SMS API."""

_HOST = re.compile(r"\w[\w.-]*|[0-9A-Fa-f:.]+(?:%\w+)?")


class Bad(Exception):
    """A value that a reader does not take; its text, if any, says more than "allowed" does."""


def choice(*allowed: str) -> Callable[[str, Place], str]:
    """Reads one of these words, in small letters."""

    def choose(text: str, _: Place) -> str:
        if text.lower() not in allowed:
            raise Bad
        return text.lower()

    return choose


def yes_no(text: str, _: Place) -> bool:
    # The words that Asterisk's own files take (main/utils.c: ast_true, ast_false).
    if text.lower() in ("yes", "true", "y", "t", "1", "on"):
        return True
    if text.lower() in ("no", "false", "n", "f", "0", "off"):
        return False
    raise Bad


def not_empty(text: str, _: Place) -> str:
    """Text of at least one character, none of them a control character."""
    if not text or not text.isprintable():
        raise Bad("empty" if not text else "control characters")
    return text


def url(text: str, _: Place) -> str:
    """An http or https URL; with the API's path where it has none."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Bad from None
    if parts.scheme not in ("http", "https") or not host or not _HOST.fullmatch(host) or port == 0:
        raise Bad
    if parts.username is not None or parts.password is not None:
        raise Bad("name and password do not belong into a url: the section has them")
    if parts.query or parts.fragment or not text.isprintable() or " " in text:
        raise Bad
    path = parts.path if parts.path.strip("/") else PATH
    return f"{parts.scheme}://{parts.netloc}{path}"


def secret_file(text: str, place: Place) -> str:
    """The first line of a private file."""
    path = _beside(text, place)
    lines = read_private(path, "password_file", place.path).splitlines()
    if not lines or not lines[0]:
        raise Bad("the file's first line is empty")
    return lines[0]


def _beside(text: str, place: Place) -> Path:
    if not text or not text.isprintable():
        raise Bad
    return place.path.parent.absolute() / text


def verify(text: str, place: Place) -> str:
    """``yes``, ``no``, the absolute path of a CA file or ``sha256:`` and 64 hex digits."""
    if text.lower().startswith("sha256:"):
        digits = text[7:].replace(":", "").lower()
        if not re.fullmatch(r"[0-9a-f]{64}", digits):
            raise Bad
        return "sha256:" + digits
    if re.fullmatch(r"(?i)[0-9a-f]{64}|(?:[0-9a-f]{2}:){31}[0-9a-f]{2}", text):
        raise Bad("write sha256: before the fingerprint")
    if text.lower() in ("yes", "no", "true", "false", "on", "off", "1", "0"):
        return "yes" if yes_no(text, place) else "no"
    return file(text, place)


def listen(text: str, _: Place) -> tuple[tuple[str, int], ...]:
    """``host:port`` or ``[host]:port``, several separated by commas; numeric hosts only."""
    import ipaddress

    found = []
    for item in text.split(","):
        host, colon, port = item.strip().rpartition(":")
        if not host:
            raise Bad("the address is missing")
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            raise Bad(f"{host} is no IP address") from None
        if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
            raise Bad
        found.append((str(address), int(port)))
    return tuple(found)


def networks(text: str, _: Place) -> tuple[Any, ...]:
    """ipaddress networks."""
    import ipaddress

    try:
        return tuple(ipaddress.ip_network(item.strip(), strict=False) for item in text.split(","))
    except ValueError:
        raise Bad from None


def gsm(text: str, _: Place) -> str:
    """12 lower-case hex digits."""
    mac = re.sub(r"[:\-]", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{12}", mac):
        raise Bad
    return mac


def between(low: int, high: int) -> Callable[[str, Place], int]:
    """Reads a whole number from *low* to *high*."""

    def number(text: str, _: Place) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", text) or not low <= int(text) <= high:
            raise Bad
        return int(text)

    return number


def seconds(text: str, place: Place) -> float:
    """1 to 300 s."""
    return float(between(1, 300)(text.removesuffix("s"), place))


def country(text: str, _: Place) -> str:
    """Two capitals of ISO 3166."""
    if text.upper() not in CALLING_CODE:
        raise Bad("GB is the United Kingdom" if text.upper() == "UK" else "")
    return text.upper()


_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "": 1}
_DURATION = re.compile(r"([0-9]{1,6}) ?(s|m|min|h|d|)")


def duration(text: str, _: Place) -> float:
    """Seconds: ``30s``, ``15m``, ``24h``, ``7d``, or a bare number of seconds."""
    found = _DURATION.fullmatch(text.lower())
    if found is None:
        raise Bad
    return float(int(found[1]) * _UNITS[found[2]])


def rate(text: str, place: Place) -> tuple[int, float] | None:
    """How many SMS in how many seconds: ``5/1h``, ``5/h``; None for ``none``."""
    if text.lower() == "none":
        return None
    count, _, time = text.replace(" ", "").partition("/")
    if not re.fullmatch(r"[0-9]{1,7}", count) or not time:
        raise Bad
    window = duration(time if time[0].isdigit() else f"1{time}", place)
    if not window or not int(count):
        raise Bad
    return int(count), window


def places(text: str, _: Place) -> tuple[str, ...]:
    """Countries (two capitals) and prefixes (``+`` and digits); ``+`` alone is everywhere."""
    if text.lower() == "all":
        return ("+",)
    found = tuple(re.sub(r"[ .\-]", "", item).upper() for item in text.split(","))
    for each in found:
        if each not in CALLING_CODE and not re.fullmatch(r"\+[1-9][0-9]{0,14}", each):
            raise Bad("GB is the United Kingdom" if each == "UK" else "")
    return found


def denied(text: str, place: Place) -> tuple[str, ...]:
    """As places(); empty for ``none``."""
    return () if text.lower() == "none" else places(text, place)


def truncate(text: str, place: Place) -> bool:
    """Whether a text that is too long is cut."""
    return choice("refuse", "truncate")(text, place) == "truncate"


def outbox(text: str, _: Place) -> str:
    """The URL of a database; a file's path is absolute, as who runs has a folder of his own."""
    if not re.fullmatch(r"sqlite:////.+|postgresql\+psycopg://.+", text) or not text.isprintable():
        raise Bad
    if text.startswith("postgresql") and text.count("@") > 1:
        raise Bad("an @ in the password is written %40")
    return text


def file(text: str, place: Place) -> str:
    """The absolute path of a file that is there."""
    path = _beside(text, place)
    if not path.is_file():
        raise Bad(f"there is no file {path}")
    return str(path)


def log(text: str, place: Place) -> str:
    """``syslog``, or the absolute path of a file."""
    return "syslog" if text.lower() == "syslog" else str(_beside(text, place))
