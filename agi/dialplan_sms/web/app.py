"""The one HTTP application: the SMS API's paths, and what is mounted beside them.

What answers there is the caller's: a relay in production, a stand-in PBX in the sandbox.
"""

from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from dialplan_sms import api
from dialplan_sms.web.request import MAX_BODY, Pairs, form_pairs

METHODS = ("GET", "POST")
PATHS = (api.PATH, api.OLD_PATH)
FORM = "application/x-www-form-urlencoded"

Answer = Callable[[HttpRequest], Awaitable[Response]]
Failure = Callable[[HttpRequest, Exception], Awaitable[Response]]


def make_app(
    originate: Answer,
    elsewhere: Failure,
    paths: Sequence[str] = PATHS,
    beside: Sequence[BaseRoute] = (),
) -> Starlette:
    """The application: *originate* answers on *paths*, *elsewhere* where there is nothing."""

    async def only_get_and_post(http: HttpRequest) -> Response:
        if http.method not in METHODS:  # Starlette lets HEAD through wherever GET may go
            raise HTTPException(405, headers={"Allow": ", ".join(METHODS)})
        return await originate(http)

    app = Starlette(
        routes=[*(Route(path, only_get_and_post, methods=METHODS) for path in paths), *beside],
        exception_handlers={404: elsewhere, 405: elsewhere},
    )
    app.router.redirect_slashes = False
    return app


async def read_pairs(http: HttpRequest) -> Pairs | Response:
    """The parameters, once all of the request is here: those of the query string first.

    Or the answer to a request that is too long or broken off.
    """
    body = bytearray()
    try:
        async for chunk in http.stream():
            body += chunk
            if len(body) > MAX_BODY:
                # Closed: who goes on sending is not listened to.
                close = {"Connection": "close"}
                return JSONResponse(api.error("Request is too large"), 413, close)
    except ClientDisconnect:
        return Response(status_code=400)
    pairs = form_pairs(http.scope["query_string"])
    content_type = http.headers.get("content-type", FORM).partition(";")[0].strip().lower()
    if http.method == "POST" and content_type == FORM:
        pairs += form_pairs(bytes(body))
    return pairs
