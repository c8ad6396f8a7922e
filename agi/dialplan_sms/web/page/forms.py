"""Forms that only the page itself can have sent."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.requests import Request

MOST = 1 << 16
"""Bytes of a form."""


class Forged(Exception):
    """A form that did not come from a page of ours, or from one before the service started."""


class TooLong(Exception):
    """A form of more than MOST bytes."""


class Forms:
    """Makes and checks the tokens of one process; each is bound to a user."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def token(self, user: str) -> str:
        """What a form of *user* has to carry."""
        mac = hmac.new(self._secret, user.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return mac.hexdigest()

    def check(self, request: Request, user: str, given: Mapping[str, str]) -> None:
        """Raises Forged unless the fields *given* are those of a form of ours."""
        if not _is_same_site(request):
            raise Forged
        mine, theirs = self.token(user), given.get("token", "")
        if not hmac.compare_digest(mine.encode(), theirs.encode("utf-8", "surrogatepass")):
            raise Forged


def _is_same_site(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    if origin is None or origin == "null":  # no-referrer makes a browser say null: see the token
        return True
    try:
        # The scheme is left out: a proxy in front may speak TLS for us.
        return urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()
    except ValueError:  # "http://["
        return False


async def body(request: Request) -> bytes:
    """The body of a form. Raises TooLong."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST:
            raise TooLong
    return bytes(data)
