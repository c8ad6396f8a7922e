"""The section ``[http]`` of sms.conf: the HTTP SMS server, and the passwords of its users.

They are kept as hashes: scrypt, in the PHC string format, ``$scrypt$ln=14,r=8,p=1$<salt>$<hash>``,
both in base64 without padding. To try one password takes about 50 ms and 16 MiB.
"""

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dialplan_sms.config import keys, values
from dialplan_sms.config.parser import Place, Section, refuse

_FORMAT = re.compile(
    # 16 bytes of salt, 32 of hash; the unused bits of the last character are zero.
    r"\$scrypt\$ln=14,r=8,p=1\$([A-Za-z0-9+/]{21}[AQgw])\$[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]"
)
DECOY = f"$scrypt$ln=14,r=8,p=1${'A' * 22}${'A' * 43}"
"""The hash of no password that anybody knows: to try one takes as long as with another."""


@values.kind("what dialplan-sms user NAME prints, one line a user")
def _users(text: str, _: Place) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, hashed = map(str.strip, line.partition(":"))
        values.must(
            colon and name and name.isprintable(), "no name and hash with a colon between them"
        )
        values.must(_FORMAT.fullmatch(hashed), f"that of {name[:40]} is no hash")
        values.must(name not in found, f"{name[:40]} stands there twice")
        found[name] = hashed
    return found


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
        values.listen,
        "where it listens for requests",
        (("127.0.0.1", 4575),),
        local=("", ", or add allow = and the networks of those who send"),
    )
    certificate: str = keys.key(
        values.Kind(values.existing, "a file in PEM format, chain included", file=True),
        "its certificate, for HTTPS",
        "",
    )
    key: str = keys.key(
        values.Kind(
            values.existing, "a file in PEM format, of the user that runs the service", file=True
        ),
        "the private key of certificate",
        "",
    )
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
    given, http = section.values, f"{section.place}: [http]"
    refuse("user" not in given, f"{http} has no user: add {_users.allowed}")
    refuse(
        not outbox,
        f"{http} needs the outbox, as Success means that an SMS is stored: set outbox in [general]",
    )
    is_half = ("certificate" in given) != ("key" in given)
    refuse(is_half, f"{http} needs certificate and key, or neither of them")
    return Http(files=keys.versions(given, KEYS), **keys.read(given, KEYS, senders))


def make_hash(password: str) -> str:
    """The hash of *password*, with a salt of its own."""
    return _hashed(password, os.urandom(16))


def fits(password: str, hashed: str) -> bool:
    """Whether *hashed* is of *password*; the time that it takes depends on neither."""
    found = _FORMAT.fullmatch(hashed)
    if found is None:
        raise ValueError("no hash")
    return hmac.compare_digest(_hashed(password, base64.b64decode(found[1] + "==")), hashed)


def _hashed(password: str, salt: bytes) -> str:
    key = hashlib.scrypt(
        password.encode("utf-8", "replace"), salt=salt, n=2**14, r=8, p=1, maxmem=2**25, dklen=32
    )
    encoded = (base64.b64encode(each).decode().rstrip("=") for each in (salt, key))
    return "$".join(("$scrypt$ln=14,r=8,p=1", *encoded))
