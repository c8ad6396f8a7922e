"""The one HTTP application: the SMS API's paths, and what is mounted beside them.

What answers there is the caller's: a relay in production, a stand-in PBX in the sandbox.
"""

from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from dialplan_sms.sms import api
from dialplan_sms.web.http.request import MAX_BODY, Pairs, form_pairs

METHODS = ("GET", "POST")
PATHS = (api.PATH, api.OLD_PATH)
FORM = "application/x-www-form-urlencoded"

Endpoint = Callable[[HttpRequest], Awaitable[Response]]
Failure = Callable[[HttpRequest, Exception], Awaitable[Response]]


def make_app(
    originate: Endpoint,
    elsewhere: Failure,
    paths: Sequence[str] = PATHS,
    beside: Sequence[BaseRoute] = (),
) -> Starlette:
    """The application: *originate* answers on *paths*, *elsewhere* on all that are unknown."""

    endpoint = _Originate(originate)
    app = Starlette(
        routes=[*(Route(path, endpoint) for path in paths), *beside],
        exception_handlers={404: elsewhere, 405: elsewhere},
    )
    app.router.redirect_slashes = False
    return app


class _Originate:
    """An endpoint for every method, so that no other route answers HEAD or PUT on its path."""

    def __init__(self, originate: Endpoint) -> None:
        self._originate = originate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = HttpRequest(scope, receive)
        if http.method not in METHODS:
            raise HTTPException(405, headers={"Allow": ", ".join(METHODS)})
        response = await self._originate(http)
        await response(scope, receive, send)


async def read_pairs(http: HttpRequest) -> Pairs | Response:
    """The parameters of a whole request, those of the query string first.

    Or the answer to a request that is too long.
    """
    body = await read_body(http, MAX_BODY)
    if body is None:
        close = {"Connection": "close"}  # the rest is not read
        return JSONResponse(api.error("Request is too large"), 413, close)
    pairs = form_pairs(http.scope["query_string"])
    if http.method == "POST" and content_type(http) == FORM:
        pairs += form_pairs(body)
    return pairs


async def read_body(http: HttpRequest, most: int) -> bytes | None:
    """The body of a request; None if it has more than *most* bytes."""
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)


def content_type(http: HttpRequest) -> str:
    """What the body is said to be, without parameters; a form if nothing is said."""
    return http.headers.get("content-type", FORM).partition(";")[0].strip().lower()
