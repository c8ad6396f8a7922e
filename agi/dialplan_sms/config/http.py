"""The section ``[http]`` of sms.conf: the HTTP SMS server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dialplan_sms.config import values
from dialplan_sms.config.keys import LISTEN, NETWORKS, Setting, read, versions
from dialplan_sms.config.parser import ConfigError, Place, Section
from dialplan_sms.config.password import is_hash


@dataclass(frozen=True, slots=True)
class Http:
    """Where the HTTP SMS server listens, and who may use it.

    ``users`` are names and hashes of passwords. ``allow`` are ipaddress networks, loopback apart,
    ``proxy`` those whose X-Forwarded-For is believed. Files are absolute paths, empty for plain
    HTTP, and ``files`` their versions. ``sender`` sends for the users who are none; empty for the
    default sender.
    """

    users: Mapping[str, str] = field(repr=False)
    listen: tuple[tuple[str, int], ...] = (("127.0.0.1", 4575),)
    certificate: str = ""
    key: str = field(default="", repr=False)
    allow: tuple[Any, ...] = ()
    proxy: tuple[Any, ...] = ()
    sender: str = ""
    page: bool = False
    files: tuple[str, ...] = field(default=(), repr=False)

    @property
    def fixed(self) -> tuple[Any, ...]:
        """What a running server cannot change."""
        return (self.listen, self.certificate, self.key, self.files, self.page)


def _users(text: str, _: Place) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, hashed = line.partition(":")
        name, hashed = name.strip(), hashed.strip()
        if not colon or not name or not name.isprintable():
            raise values.Bad("no name and hash with a colon between them")
        if not is_hash(hashed):
            raise values.Bad(f"that of {name[:40]} is no hash")
        if name in found:
            raise values.Bad(f"{name[:40]} stands there twice")
        found[name] = hashed
    return found


_USER = "what dialplan-sms user <name> prints, one line a user"
_SETTINGS = {
    "user": Setting("users", _users, _USER, secret=True),
    "listen": Setting("listen", values.listen, LISTEN),
    "certificate": Setting("certificate", values.file, "a file in PEM format, chain included"),
    "key": Setting("key", values.file, "a file in PEM format, of the user that runs the service"),
    "allow": Setting("allow", values.networks, NETWORKS),
    "proxy": Setting("proxy", values.networks, NETWORKS),
    "sender": Setting("sender", values.not_empty, "the name of the section of a sender"),
    "page": Setting("page", values.yes_no, "yes, no"),
}
KNOWN = tuple(_SETTINGS)
"""The keys of the section."""


def read_http(section: Section, senders: Mapping[str, Any], outbox: bool) -> Http:
    """The Http that *section* describes; its keys are KNOWN ones. Raises ConfigError."""
    given = section.values
    if "user" not in given:
        raise ConfigError(f"{section.place}: [http] has no user: add {_USER}")
    if not outbox:
        raise ConfigError(
            f"{section.place}: [http] needs the outbox, as Success means that an SMS is stored:"
            " set outbox in [general]"
        )
    http = Http(files=versions(given), **read(given, _SETTINGS))
    if ("certificate" in given) != ("key" in given):
        raise ConfigError(f"{section.place}: [http] needs certificate and key, or neither of them")
    if http.sender and http.sender not in senders:
        raise ConfigError(
            f"{given['sender'].place}: sender: there is no section [{http.sender}],"
            f" allowed: {', '.join(senders)}"
        )
    for host, _ in http.listen:
        if host != "::1" and not host.startswith("127.") and "allow" not in given:
            raise ConfigError(
                f"{given['listen'].place}: listen: {host} is no loopback address - allowed:"
                " 127.0.0.1 and ::1, or add allow = and the networks of those who send"
            )
    return http
