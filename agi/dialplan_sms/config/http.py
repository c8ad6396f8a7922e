"""The section ``[http]`` of sms.conf: the HTTP SMS server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dialplan_sms.config import keys, values
from dialplan_sms.config.parser import ConfigError, Place, Section
from dialplan_sms.config.password import is_hash


@values.kind("what dialplan-sms user <name> prints, one line a user")
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


_CERTIFICATE = values.file("a file in PEM format, chain included")
_KEY = values.file("a file in PEM format, of the user that runs the service")


@dataclass(frozen=True, slots=True)
class Http:
    """Where the HTTP SMS server listens, and who may use it.

    ``users`` are names and hashes of passwords. ``allow`` are ipaddress networks, loopback apart,
    ``proxy`` those whose X-Forwarded-For is believed. Files are absolute paths, empty for plain
    HTTP, and ``files`` their versions. ``sender`` sends for the users who are none; empty for the
    default sender.
    """

    users: Mapping[str, str] = keys.key(
        _users, "who may use the HTTP SMS server", name="user", secret=True
    )
    listen: tuple[keys.HostPort, ...] = keys.key(
        values.listen, "where it listens for requests", (("127.0.0.1", 4575),)
    )
    certificate: str = keys.key(_CERTIFICATE, "its certificate, for HTTPS", "")
    key: str = keys.key(_KEY, "the private key of certificate", "")
    allow: tuple[Any, ...] = keys.key(values.networks, "who may connect besides this host", ())
    proxy: tuple[Any, ...] = keys.key(
        values.networks, "the reverse proxies whose X-Forwarded-For is believed", ()
    )
    sender: str = keys.key(keys.SECTION, "who sends for the users who are no senders", "")
    page: bool = keys.key(values.yes_no, "whether it has the page", False)
    files: tuple[str, ...] = field(default=(), repr=False)

    @property
    def fixed(self) -> tuple[Any, ...]:
        """What a running server cannot change."""
        return (self.listen, self.certificate, self.key, self.files, self.page)


KEYS = keys.keys_of(Http)
"""The keys of the section."""


def read_http(section: Section, senders: Mapping[str, Any], outbox: bool) -> Http:
    """The Http that *section* describes; its keys are KEYS. Raises ConfigError."""
    given = section.values
    if "user" not in given:
        raise ConfigError(f"{section.place}: [http] has no user: add {_users.allowed}")
    if not outbox:
        raise ConfigError(
            f"{section.place}: [http] needs the outbox, as Success means that an SMS is stored:"
            " set outbox in [general]"
        )
    http = Http(files=keys.versions(given, KEYS), **keys.read(given, KEYS))
    if ("certificate" in given) != ("key" in given):
        raise ConfigError(f"{section.place}: [http] needs certificate and key, or neither of them")
    if http.sender and http.sender not in senders:
        raise keys.no_section(given["sender"], "sender", senders)
    if "listen" in given and "allow" not in given:
        cure = ", or add allow = and the networks of those who send"
        keys.refuse_others(given["listen"], "listen", http.listen, "", cure)
    return http
