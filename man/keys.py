"""The keys of sms.conf as people read them, from their own descriptions in dialplan_sms.config."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from dialplan_sms.config.config import GENERAL_KEYS, Config
from dialplan_sms.config.http import KEYS, Http
from dialplan_sms.config.keys import SENDER, Key, Sender

_EXAMPLES = {
    "default_sender": "101",
    "outbox": "sqlite:////var/spool/asterisk/sms/outbox.sqlite",
    "allow": "192.0.2.0/24",
    "url": "https://pbx.example.com",
    "password": "the password of 101",
    "password_file": "101.secret",
    "token": "the API key of 101",
    "curl": 'curl -G http://192.0.2.30/sms -d "to={TO_NUMBER}" --data-urlencode "text={MESSAGE}"',
    "success": "^OK",
    "failed": "^ERROR",
    "id": "ID: ([0-9]+)",
    "list": ",",
    "gsm": "9c7514330001",
    "backup": "102",
    "max_parts": "3",
    "country": "IT",
    "[101] allow": "IT, FR, +4179",
    "deny": "+881, +882",
    "per_number": "5/1h",
    "per_sender": "200/1d",
    "per_caller": "3/10m",
    "on_failure": "/usr/local/bin/sms-failed",
    "user": "the line that dialplan-sms user prints",
    "certificate": "http.pem",
    "key": "http.key",
    "proxy": "192.0.2.10/32",
    "sender": "101",
}
"""What the sample shows of a key that has no default."""
_UNITS = (86400, "d"), (3600, "h"), (60, "m"), (1, "s")
_HEAD = """\
; sms.conf of dialplan-sms, with every key. Put what you need into /etc/asterisk/sms.conf, owner
; root:asterisk and mode 0640, as it holds passwords. Then "dialplan-sms check" says what is wrong.
"""


def _described(
    section: str, keys: Mapping[str, Key], values: type
) -> Iterator[tuple[str, str, str]]:
    """Of each key its name, what an admin reads about it, and a value that it may have."""
    defaults = {field.name: field.default for field in fields(values)}
    for name, key in keys.items():
        if not key.about:
            raise SystemExit(f"the key {name} of sms.conf has no description")
        default = "" if name == "password_file" else _default(defaults[key.field])
        example = default or _EXAMPLES.get(f"{section} {name}") or _EXAMPLES[name]
        text = f"{key.about[0].upper()}{key.about[1:]}. Allowed: {key.kind.allowed}. "
        required = defaults[key.field] is MISSING
        yield name, text + ("Required." if required else f"Default: {default or 'none'}."), example


def _default(value: Any) -> str:
    """A default as it stands in sms.conf; empty for none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        size, unit = next(each for each in _UNITS if not value % each[0] and value != each[0])
        return f"{value / size:.0f}{unit}"
    if isinstance(value, tuple):
        return ", ".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in value
        )
    return str(value) if isinstance(value, str | int) else ""


SECTIONS = [
    (name, list(_described(name, keys, values)))
    for name, keys, values in (
        ("[general]", GENERAL_KEYS, Config), ("[101]", SENDER, Sender), ("[http]", KEYS, Http),
    )
]  # fmt: skip
"""Each section and its keys; 101 stands for any sender."""


def sample() -> str:
    """sms.conf.sample: every key with what it is for, commented out."""
    lines = [_HEAD]
    for title, keys in SECTIONS:
        lines.append(title if title == "[general]" else f";{title}")
        for name, text, example in keys:
            lines += textwrap.wrap(text, 100, initial_indent="; ", subsequent_indent="; ")
            lines.append(f";{name} = {example}\n")
    return "\n".join(lines)
