"""The form of a request, as strangers send it: of any length, in any bytes."""

from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_BODY = 1 << 20  # bytes; a longer one is answered with status 413
MAX_FIELDS = 2000  # read of a query string or a body, twice what numbers may be; others are dropped
FORM = "application/x-www-form-urlencoded"

Pairs = tuple[tuple[str, str], ...]  # names and values of form parameters, in their order


def form_pairs(data: bytes) -> Pairs:
    """The names and values of *data*, ``application/x-www-form-urlencoded``.

    As web forms do: ``+`` is a space, ``%`` and two hex digits a byte, ``&`` ends a pair, a pair
    without ``=`` has an empty value, bytes that are not UTF-8 become U+FFFD. So a body that was
    never encoded comes out as damaged as it does on a PBX. Any bytes will do; nothing is raised.
    """
    pairs = (pair.partition(b"=") for pair in data.split(b"&", MAX_FIELDS)[:MAX_FIELDS] if pair)
    return tuple((_decode(name), _decode(value)) for name, _, value in pairs)


def _decode(data: bytes) -> str:
    return unquote_to_bytes(data.replace(b"+", b" ")).decode("utf-8", errors="replace")


async def read_pairs(
    http: Request, read_other: Callable[[Request, bytes], Pairs] = lambda *_: ()
) -> Pairs:
    """The parameters of a whole request, those of the query string first.

    *read_other* reads a body that is no form.
    """
    body = await read_body(http, MAX_BODY, "Request is too large")
    pairs = form_pairs(http.scope["query_string"])
    if http.method == "POST":
        pairs += form_pairs(body) if content_type(http) == FORM else read_other(http, body)
    return pairs


async def read_body(http: Request, most: int, refused: str) -> bytes:
    """The body; HTTPException with *refused* if it has more than *most* bytes."""
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413, refused, {"Connection": "close"})  # the rest is not read
    return bytes(body)


def content_type(http: Request) -> str:
    """What the body is said to be, without parameters; a form if nothing is said."""
    return http.headers.get("content-type", FORM).partition(";")[0].strip().lower()
