"""Passwords that are kept as hashes: scrypt, in the PHC string format.

``$scrypt$ln=14,r=8,p=1$<salt>$<hash>``, both in base64 without padding. To try one password takes
about 50 ms and 16 MiB.
"""

import base64
import hashlib
import hmac
import os
import re

_FORMAT = re.compile(
    # 16 bytes of salt, 32 of hash; the unused bits of the last character are zero.
    r"\$scrypt\$ln=14,r=8,p=1\$([A-Za-z0-9+/]{21}[AQgw])\$([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048])"
)
_MEMORY = 1 << 25
DECOY = f"$scrypt$ln=14,r=8,p=1${'A' * 22}${'A' * 43}"
"""The hash of no password that anybody knows: to try one takes as long as with another."""


def make_hash(password: str) -> str:
    """The hash of *password*, with a salt of its own."""
    salt = os.urandom(16)
    return f"$scrypt$ln=14,r=8,p=1${_encode(salt)}${_encode(_scrypt(password, salt))}"


def is_hash(text: str) -> bool:
    """Whether *text* is whole, as make_hash() makes it."""
    return _FORMAT.fullmatch(text) is not None


def fits(password: str, hashed: str) -> bool:
    """Whether *hashed* is of *password*; the time that it takes depends on neither."""
    found = _FORMAT.fullmatch(hashed)
    if found is None:
        raise ValueError("no hash")
    return hmac.compare_digest(_scrypt(password, _decode(found[1])), _decode(found[2]))


def _scrypt(password: str, salt: bytes) -> bytes:
    secret = password.encode("utf-8", "replace")
    return hashlib.scrypt(secret, salt=salt, n=1 << 14, r=8, p=1, maxmem=_MEMORY, dklen=32)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))
