"""Passwords that are kept as hashes: scrypt, in the PHC string format.

``$scrypt$ln=14,r=8,p=1$<salt>$<hash>``, both in base64 without padding. To try one password takes
about 50 ms and 16 MiB.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re

_FORMAT = re.compile(
    r"\$scrypt\$ln=(1[0-7]),r=([1-9]|1[0-6]),p=([1-4])\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})"
)
_MEMORY = 1 << 29
"""Bytes that scrypt may take: as much as the costliest of what the format admits."""


def make_hash(password: str) -> str:
    """The hash of *password*, with a salt of its own."""
    salt = os.urandom(16)
    return f"$scrypt$ln=14,r=8,p=1${_encode(salt)}${_encode(_scrypt(password, salt, 14, 8, 1, 32))}"


def is_hash(text: str) -> bool:
    """Whether fits() can compare with *text*."""
    return _FORMAT.fullmatch(text) is not None


def fits(password: str, hashed: str) -> bool:
    """Whether *hashed* is of *password*; the time that it takes depends on neither."""
    found = _FORMAT.fullmatch(hashed)
    if found is None:
        raise ValueError("no hash")
    salt, expected = _decode(found[4]), _decode(found[5])
    made = _scrypt(password, salt, int(found[1]), int(found[2]), int(found[3]), len(expected))
    return hmac.compare_digest(made, expected)


def _scrypt(password: str, salt: bytes, ln: int, r: int, p: int, size: int) -> bytes:
    secret = password.encode("utf-8", "replace")
    return hashlib.scrypt(secret, salt=salt, n=1 << ln, r=r, p=p, maxmem=_MEMORY, dklen=size)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return b""  # fits nothing
