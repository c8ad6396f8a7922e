"""The SMS API as an ASGI application over a PBX, without a server: mount it wherever one runs."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from dialplan_sms import api
from dialplan_sms.sandbox.misbehaviour import REDIRECTED, misbehave
from dialplan_sms.sandbox.pbx import Pbx
from dialplan_sms.sandbox.request import MAX_BODY, Request, form_pairs

METHODS = ("GET", "POST")
FORM = "application/x-www-form-urlencoded"


def make_app(pbx: Pbx) -> Starlette:
    """The application that answers for *pbx*; whatever else is asked for is recorded, too."""

    async def originate(http: HttpRequest) -> Response:
        if http.method not in METHODS:  # Starlette lets HEAD through wherever GET may go
            raise HTTPException(405, headers={"Allow": ", ".join(METHODS)})
        request = await _read(http, pbx)
        if isinstance(request, Response):
            return request
        handled = pbx.handle(request, faulty=not request.path.startswith(REDIRECTED))
        if handled.trouble is not None:
            return await misbehave(http, handled, pbx)
        return JSONResponse(dict(handled.reply), handled.status)

    async def nothing_here(http: HttpRequest, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
        request = await _read(http, pbx)
        if isinstance(request, Response):
            return request
        pbx.inbox.receive(request)
        page = f"<html><body><h1>{error.status_code} {error.detail}</h1></body></html>"
        return HTMLResponse(page, error.status_code, error.headers)

    paths = (api.PATH, api.OLD_PATH, REDIRECTED + api.PATH, REDIRECTED + api.OLD_PATH)
    app = Starlette(
        routes=[Route(path, originate, methods=METHODS) for path in paths],
        exception_handlers={404: nothing_here, 405: nothing_here},
    )
    app.router.redirect_slashes = False
    return app


async def _read(http: HttpRequest, pbx: Pbx) -> Request | Response:
    """The request once all of it is here, or the answer to one that is too long or broken off."""
    body = bytearray()
    try:
        async for chunk in http.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return JSONResponse(api.error("Request is too large"), 413)
    except ClientDisconnect:
        return Response()
    pairs = form_pairs(http.scope["query_string"])
    content_type = http.headers.get("content-type", FORM).partition(";")[0].strip().lower()
    if http.method == "POST" and content_type == FORM:
        pairs += form_pairs(bytes(body))
    return Request(
        method=http.method,
        path=http.scope["path"],
        pairs=pairs,
        user=pbx.authorize(http.headers.get("authorization")),
    )
