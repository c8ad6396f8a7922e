"""The keys of sms.conf: how each is read, and what is allowed."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dialplan_sms import api
from dialplan_sms.conffile import ConfigError, Place, Value, read_private

COUNTRIES = frozenset(
    "AC AD AE AF AG AI AL AM AO AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR"
    " BS BT BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC"
    " EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GT GU GW GY HK"
    " HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB"
    " LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY"
    " MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PR PS PT PW PY QA RE RO RS"
    " RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TA TC TD TG TH TJ TK TL"
    " TM TN TO TR TT TV TW TZ UA UG US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW".split()
)
"""phonenumbers.SUPPORTED_REGIONS; written out, since importing phonenumbers costs a call 40 ms."""


class _Bad(Exception):
    """A value that a reader does not take; its text, if any, says more than "allowed" does."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: the field that it fills, how it is read, and what is allowed, for the error."""

    field: str
    read: Callable[[str, Place], Any]
    allowed: str
    secret: bool = False


def read(values: Mapping[str, Value], known: Mapping[str, Setting]) -> dict[str, Any]:
    """The fields that *values* fill. Raises ConfigError with place, key and what is allowed."""
    fields = {}
    for key, value in values.items():
        setting = known[key]
        try:
            fields[setting.field] = setting.read(value.text, value.place)
        except _Bad as bad:
            # A url with a name and a password in it is a secret, too.
            hidden = setting.secret or "@" in value.text
            shown = "" if hidden else f" = {value.text[:80]}"
            detail = f", {bad}" if str(bad) else ""
            raise ConfigError(
                f"{value.place}: {key}{shown}{detail} - allowed: {setting.allowed}"
            ) from None
    return fields


def _choice(*allowed: str) -> Callable[[str, Place], str]:
    def choose(text: str, _: Place) -> str:
        if text.lower() not in allowed:
            raise _Bad
        return text.lower()

    return choose


def _yes_no(text: str, _: Place) -> bool:
    # The words that Asterisk's own files take (main/utils.c: ast_true, ast_false).
    if text.lower() in ("yes", "true", "y", "t", "1", "on"):
        return True
    if text.lower() in ("no", "false", "n", "f", "0", "off"):
        return False
    raise _Bad


def _not_empty(text: str, _: Place) -> str:
    if not text or not text.isprintable():
        raise _Bad("empty" if not text else "control characters")
    return text


def _url(text: str, _: Place) -> str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _Bad from None
    if parts.scheme not in ("http", "https") or not host or not _HOST.fullmatch(host) or port == 0:
        raise _Bad
    if parts.username is not None or parts.password is not None:
        raise _Bad("name and password do not belong into a url: the section has them")
    if parts.query or parts.fragment or not text.isprintable() or " " in text:
        raise _Bad
    path = parts.path if parts.path.strip("/") else api.PATH
    return f"{parts.scheme}://{parts.netloc}{path}"


def _secret_file(text: str, place: Place) -> str:
    path = _beside(text, place)
    lines = read_private(path, "password_file").splitlines()
    if not lines or not lines[0]:
        raise _Bad("the file's first line is empty")
    return lines[0]


def _beside(text: str, place: Place) -> Path:
    if not text or not text.isprintable():
        raise _Bad
    return place.path.parent.absolute() / text


def _verify(text: str, place: Place) -> str:
    if text.lower().startswith("sha256:"):
        digits = text[7:].replace(":", "").lower()
        if not re.fullmatch(r"[0-9a-f]{64}", digits):
            raise _Bad
        return "sha256:" + digits
    if re.fullmatch(r"(?i)[0-9a-f]{64}|(?:[0-9a-f]{2}:){31}[0-9a-f]{2}", text):
        raise _Bad("write sha256: before the fingerprint")
    if text.lower() in ("yes", "no", "true", "false", "on", "off", "1", "0"):
        return "yes" if _yes_no(text, place) else "no"
    path = _beside(text, place)
    if not path.is_file():
        raise _Bad(f"there is no file {path}")
    return str(path)


def _listen(text: str, _: Place) -> tuple[tuple[str, int], ...]:
    """``host:port`` or ``[host]:port``, several separated by commas; numeric hosts only."""
    import ipaddress

    found = []
    for item in text.split(","):
        host, colon, port = item.strip().rpartition(":")
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            raise _Bad(f"{host} is no IP address") from None
        if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
            raise _Bad
        found.append((str(address), int(port)))
    return tuple(found)


def _networks(text: str, _: Place) -> tuple[Any, ...]:
    import ipaddress

    try:
        return tuple(ipaddress.ip_network(item.strip(), strict=False) for item in text.split(","))
    except ValueError:
        raise _Bad from None


def _gsm(text: str, _: Place) -> str:
    mac = re.sub(r"[:\-]", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{12}", mac):
        raise _Bad
    return mac


def _between(low: int, high: int) -> Callable[[str, Place], int]:
    def number(text: str, _: Place) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", text) or not low <= int(text) <= high:
            raise _Bad
        return int(text)

    return number


def _seconds(text: str, place: Place) -> float:
    return float(_between(1, 300)(text.removesuffix("s"), place))


def _country(text: str, _: Place) -> str:
    if text.upper() not in COUNTRIES:
        raise _Bad("GB is the United Kingdom" if text.upper() == "UK" else "")
    return text.upper()


def _truncate(text: str, place: Place) -> bool:
    return _choice("refuse", "truncate")(text, place) == "truncate"


def _log(text: str, place: Place) -> str:
    return "syslog" if text.lower() == "syslog" else str(_beside(text, place))


_URL = "https:// or http:// and the address of the PBX, with a port and a path if need be"
_FINGERPRINT = "sha256: and the 64 hex digits of the fingerprint of the certificate"
_HOST = re.compile(r"\w[\w.-]*|[0-9A-Fa-f:.]+(?:%\w+)?")

SENDER = {
    "url": Setting("url", _url, _URL),
    "password": Setting("password", _not_empty, "the password of the PBX user", secret=True),
    "password_file": Setting(
        "password", _secret_file, "a file with the password in its first line", secret=True
    ),
    "token": Setting("token", _not_empty, "an API key of the PBX", secret=True),
    "verify": Setting("verify", _verify, f"yes, no, a CA file, {_FINGERPRINT}"),
    "gsm": Setting("gsm", _gsm, "the MAC address of a gateway, 12 hex digits as 9c7514330001"),
    "max_length": Setting("max_length", _between(1, 10000), "characters, 1 to 10000"),
    "long_message": Setting("truncate", _truncate, "refuse, truncate"),
    "country": Setting("country", _country, "two letters of ISO 3166, as IT"),
    "short_numbers": Setting("short_numbers", _yes_no, "yes, no"),
    "mode": Setting("mode", _choice("wait", "queue", "fallback"), "wait, queue, fallback"),
    "call_timeout": Setting("call_timeout", _seconds, "seconds, 1 to 300"),
}
"""What a sender's section holds; in [general] it is the default of every sender."""

SECRETS = ("password", "password_file", "token")
"""How a sender proves who it is: one of these."""

GENERAL = {
    "default_sender": Setting("default_sender", _not_empty, "the name of the section of a sender"),
    "log": Setting("log", _log, "syslog, or the path of a file"),
    "listen": Setting("listen", _listen, "addresses with a port, as 127.0.0.1:4573, [::1]:4573"),
    "allow": Setting("allow", _networks, "networks, as 192.0.2.0/24, 2001:db8::/64"),
    "max_calls": Setting("max_calls", _between(1, 4096), "calls at once, 1 to 4096"),
    "monitor": Setting("monitor", _listen, "an address with a port, as 127.0.0.1:4574"),
    "outbox": Setting("outbox", _not_empty, "the URL of a database", secret=True),
}
"""What only [general] holds."""
