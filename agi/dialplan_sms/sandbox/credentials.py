"""Who may use the SMS API: users with passwords, and tokens."""

from base64 import b64decode
from collections.abc import Collection, Mapping
from hmac import compare_digest

TOKEN_USER = "token"  # noqa: S105 - a name that stands for whoever sent a token
"""The user of a request that carried a valid token: a company's API key belongs to no user."""


def authorize(
    header: str | None, users: Mapping[str, str], tokens: Collection[str] = ()
) -> str | None:
    """The user that an ``Authorization`` *header* proves, or None.

    Basic authorization of *users* (name to password), read as UTF-8, else as Latin-1; or
    ``Bearer`` with one of *tokens*.
    """
    scheme, _, value = (header or "").strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        matching = [token for token in tokens if _same(token, value)]
        return TOKEN_USER if matching else None
    if scheme.lower() != "basic":
        return None
    try:
        pair = b64decode(value, validate=True)
    except ValueError:
        return None
    for encoding in ("utf-8", "latin-1"):
        name, colon, password = pair.decode(encoding, errors="replace").partition(":")
        if colon and name in users and _same(users[name], password):
            return name
    return None


def _same(ours: str, theirs: str) -> bool:
    return compare_digest(ours.encode(errors="replace"), theirs.encode(errors="replace"))
