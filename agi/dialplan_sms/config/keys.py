"""The keys of sms.conf: how each is read, and what is allowed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dialplan_sms.config import values
from dialplan_sms.config.parser import ConfigError, Place, Value, version


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: the field that it fills, how it is read, and what is allowed, for the error."""

    field: str
    read: Callable[[str, Place], Any]
    allowed: str
    secret: bool = False


def read(given: Mapping[str, Value], known: Mapping[str, Setting]) -> dict[str, Any]:
    """The fields that *given* fill. Raises ConfigError with place, key and what is allowed."""
    fields = {}
    for key, value in given.items():
        setting = known[key]
        try:
            fields[setting.field] = setting.read(value.text, value.place)
        except values.Bad as bad:
            # A url with a name and a password in it is a secret, too.
            hidden = setting.secret or "@" in value.text or not value.text
            shown = "" if hidden else f" = {value.text[:80]}"
            why = str(bad) or ("" if value.text else "empty")
            detail = f", {why}" if why else ""
            raise ConfigError(
                f"{value.place}: {key}{shown}{detail} - allowed: {setting.allowed}"
            ) from None
    return fields


_FILES = ("password_file", "verify", "certificate", "key")
"""The keys of a section that may name a file, whose content counts as the section's own."""


def named(given: Mapping[str, Value]) -> Iterator[tuple[str, Path]]:
    """The files that a section names, by their keys."""
    for key in _FILES:
        if (value := given.get(key)) is not None:
            path = value.place.path.parent.absolute() / value.text
            if path.is_file():
                yield key, path


def versions(given: Mapping[str, Value]) -> tuple[str, ...]:
    """What tells these files from others of the same names; nothing of what they say."""
    return tuple(version(path) for _, path in named(given))


_URL = "https:// or http:// and the address of the PBX, with a port and a path if need be"
_FINGERPRINT = "sha256: and the 64 hex digits of the fingerprint of the certificate"
_TIME = "a time as 30s, 15m, 24h or 7d"
_RATE = "a number of SMS and a time, as 5/1h or 200/1d, or none"
LISTEN = "addresses with a port, as 127.0.0.1:4573, [::1]:4573"
NETWORKS = (
    "networks, as 192.0.2.0/24, 2001:db8::/64 - countries and prefixes stand in the section of a"
    " sender"
)
_DATABASE = "sqlite:/// and the path of a file from / on, or postgresql+psycopg:// and a database"


def _outbox(text: str, place: Place) -> str:
    """As values.outbox(), which also says what is wrong with the URLs that other programs take."""
    if text.startswith(("postgresql://", "postgres://")):
        raise values.Bad("write postgresql+psycopg:// in place of its beginning")
    if text.startswith("sqlite:") and not text.startswith("sqlite:////"):
        raise values.Bad(
            "write four slashes and the whole path, as sqlite:////var/spool/asterisk/sms/outbox.sqlite"
        )
    return values.outbox(text, place)


_PLACES = "countries and prefixes, as IT, FR, +4179"

SENDER = {
    "url": Setting("url", values.url, _URL),
    "password": Setting("password", values.not_empty, "the password of the PBX user", secret=True),
    "password_file": Setting(
        "password", values.secret_file, "a file with the password in its first line", secret=True
    ),
    "token": Setting("token", values.not_empty, "an API key of the PBX", secret=True),
    "verify": Setting("verify", values.verify, f"yes, no, a CA file, {_FINGERPRINT}"),
    "gsm": Setting(
        "gsm", values.gsm, "the MAC address of a gateway, 12 hex digits as 9c7514330001"
    ),
    "max_length": Setting("max_length", values.between(1, 10000), "characters, 1 to 10000"),
    "long_message": Setting("truncate", values.truncate, "refuse, truncate"),
    "country": Setting("country", values.country, "two letters of ISO 3166, as IT"),
    "short_numbers": Setting("short_numbers", values.yes_no, "yes, no"),
    "mode": Setting("mode", values.choice("wait", "queue", "fallback"), "wait, queue, fallback"),
    "call_timeout": Setting("call_timeout", values.seconds, "seconds, 1 to 300"),
    "delivery": Setting(
        "delivery", values.choice("at-least-once", "at-most-once"), "at-least-once, at-most-once"
    ),
    "postpone": Setting("postpone", values.choice("here", "pbx"), "here, pbx"),
    "pace": Setting("pace", values.duration, f"{_TIME}, 0 for none"),
    "batch": Setting("batch", values.between(1, 500), "numbers in a request, 1 to 500"),
    "max_age": Setting("max_age", values.duration, _TIME),
    "keep_text": Setting("keep_text", values.duration, f"{_TIME}, 0 for as long as needed"),
    "allow": Setting("allow", values.places, f"all, {_PLACES}"),
    "deny": Setting("deny", values.denied, f"all, none, {_PLACES}"),
    "per_number": Setting("per_number", values.rate, _RATE),
    "per_sender": Setting("per_sender", values.rate, _RATE),
    "per_caller": Setting("per_caller", values.rate, _RATE),
    "repeat_window": Setting("repeat_window", values.duration, f"{_TIME}, 0 for none"),
}
"""What a sender's section holds; in [general] it is the default of every sender."""

SECRETS = ("password", "password_file", "token")
"""How a sender proves who it is: one of these."""

GENERAL = {
    "default_sender": Setting(
        "default_sender", values.not_empty, "the name of the section of a sender"
    ),
    "log": Setting("log", values.log, "syslog, or the path of a file"),
    "listen": Setting("listen", values.listen, LISTEN),
    "allow": Setting("allow", values.networks, NETWORKS),
    "max_calls": Setting("max_calls", values.between(1, 4096), "calls at once, 1 to 4096"),
    "monitor": Setting("monitor", values.listen, "an address with a port, as 127.0.0.1:4574"),
    "outbox": Setting("outbox", _outbox, _DATABASE, secret=True),
    "workers": Setting("workers", values.between(0, 64), "threads that send stored SMS, 0 to 64"),
    "retention": Setting("retention", values.duration, _TIME),
}
"""What only [general] holds."""
