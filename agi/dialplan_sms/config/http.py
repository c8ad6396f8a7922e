"""The section ``[http]`` of sms.conf: the HTTP SMS server, its users' passwords and tokens.

They are kept as hashes. Of a password: scrypt, in the PHC string format,
``$scrypt$ln=14,r=8,p=1$<salt>$<hash>``, both in base64 without padding; to try one takes about
50 ms and 16 MiB. Of a token, whose 256 random bits nobody guesses: ``$sha256$`` and 64 hex digits.
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
_TOKEN = re.compile(r"\$sha256\$[0-9a-f]{64}")
DECOY = f"$scrypt$ln=14,r=8,p=1${'A' * 22}${'A' * 43}"
"""The hash of no password that anybody knows: to try one takes as long as with another."""


@values.kind("what dialplan-sms user NAME prints, one line for each password and token")
def _users(text: str, _: Place) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for line in text.split("\n"):
        name, colon, hashed = map(str.strip, line.partition(":"))
        values.must(
            colon and name and name.isprintable(), "no name and hash with a colon between them"
        )
        password, *tokens = found.get(name, (DECOY,))
        is_token = _TOKEN.fullmatch(hashed)
        values.must(is_token or _FORMAT.fullmatch(hashed), f"that of {name[:40]} is no hash")
        values.must(
            text.count(hashed) == 1 if is_token else password == DECOY,
            f"{name[:40]} stands there twice",
        )
        found[name] = (password, *tokens, hashed) if is_token else (hashed, *tokens)
    return found


@dataclass(frozen=True, slots=True)
class Http:
    """Where the HTTP SMS server listens, and who may use it.

    ``users`` are names and hashes: of the password first, DECOY for none, then of tokens.
    ``allow`` are ipaddress networks, loopback apart,
    ``proxy`` those whose X-Forwarded-For is believed. Files are absolute paths, empty for plain
    HTTP, and ``files`` their versions. ``sender`` sends for the users who are none; empty for the
    default sender.
    """

    users: Mapping[str, tuple[str, ...]] = keys.key(
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
    found = Http(files=keys.versions(given, KEYS), **keys.read(given, KEYS, senders))
    refuse(
        ("certificate" in given) != ("key" in given),
        f"{http} needs certificate and key, or neither of them",
    )
    return found


def make_hash(password: str) -> str:
    """The hash of *password*, with a salt of its own."""
    return _hashed(password, os.urandom(16))


def fits(password: str, hashed: str) -> bool:
    """Whether *hashed* is of *password*; the time that it takes depends on neither."""
    found = _FORMAT.fullmatch(hashed)
    if found is None:
        raise ValueError("no hash")
    return hmac.compare_digest(_hashed(password, base64.b64decode(found[1] + "==")), hashed)


def token_hash(token: str) -> str:
    """The hash of *token*."""
    return f"$sha256${hashlib.sha256(token.encode('utf-8', 'replace')).hexdigest()}"


def owner(token: str, users: Mapping[str, tuple[str, ...]]) -> str:
    """Whose *token* is; empty if nobody's."""
    hashed = token_hash(token)
    return next(
        (
            name
            for name, (_, *tokens) in users.items()
            if any(hmac.compare_digest(hashed, each) for each in tokens)
        ),
        "",
    )


def _hashed(password: str, salt: bytes) -> str:
    key = hashlib.scrypt(
        password.encode("utf-8", "replace"), salt=salt, n=2**14, r=8, p=1, maxmem=2**25, dklen=32
    )
    encoded = (base64.b64encode(each).decode().rstrip("=") for each in (salt, key))
    return "$".join(("$scrypt$ln=14,r=8,p=1", *encoded))
