"""A request to the SMS API, and how its form parameters are read from the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

MAX_BODY = 1 << 20
"""Bytes of a request's body; a longer one is answered with status 413."""

MAX_FIELDS = 1000
"""Form parameters read from a query string or a body; what follows is dropped."""


Pairs = tuple[tuple[str, str], ...]
"""Names and values of form parameters, in their order."""


def form_pairs(data: bytes) -> Pairs:
    """The names and values of *data*, ``application/x-www-form-urlencoded``.

    As web forms do: ``+`` is a space, ``%`` and two hex digits a byte, ``&`` ends a pair, a pair
    without ``=`` has an empty value, bytes that are not UTF-8 become U+FFFD. So a body that was
    never encoded comes out as damaged as it does on a PBX. Any bytes will do; nothing is raised.
    """
    pairs = []
    for pair in data.split(b"&", MAX_FIELDS)[:MAX_FIELDS]:
        if pair:
            name, _, value = pair.partition(b"=")
            pairs.append((_decode(name), _decode(value)))
    return tuple(pairs)


def _decode(data: bytes) -> str:
    return unquote_to_bytes(data.replace(b"+", b" ")).decode("utf-8", errors="replace")


@dataclass(frozen=True, slots=True)
class Request:
    """One request that arrived completely.

    *pairs* are the names and values as received, those of the query string first; *user* is whose
    the credentials are, None if they were missing or wrong.
    """

    method: str
    path: str
    pairs: Pairs = field(default=(), repr=False)
    user: str | None = None
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def form(self) -> Mapping[str, str]:
        """The parameters by name: spaces around a name are dropped, the last of a name wins.

        The old dialplan recipe sends `` message=…``, and PBXs take it.
        """
        return {name.strip(): value for name, value in self.pairs}
