"""The SMS API as an ASGI application over a PBX, without a server: mount it wherever one runs."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute

from dialplan_sms.sandbox.misbehaviour import REDIRECTED, misbehave
from dialplan_sms.sandbox.pbx import Pbx
from dialplan_sms.web.http import app
from dialplan_sms.web.http.request import Request


def make_app(pbx: Pbx, beside: Sequence[BaseRoute] = ()) -> Starlette:
    """The application that answers for *pbx*; whatever else is asked for is recorded, too."""

    async def originate(http: HttpRequest) -> Response:
        request = await _read(http, pbx)
        if isinstance(request, Response):
            return request
        faulty = not request.path.startswith(REDIRECTED)
        if pbx.spool is None:
            handled = pbx.handle(request, faulty=faulty)
        else:  # which waits for a disk
            handled = await run_in_threadpool(pbx.handle, request, faulty=faulty)
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

    paths = (*app.PATHS, *(REDIRECTED + path for path in app.PATHS))
    return app.make_app(originate, nothing_here, paths, beside)


async def _read(http: HttpRequest, pbx: Pbx) -> Request | Response:
    """The request once all of it is here, or the answer to one that is too long."""
    pairs = await app.read_pairs(http)
    if isinstance(pairs, Response):
        return pairs
    return Request(
        method=http.method,
        path=http.scope["path"],
        pairs=pairs,
        user=pbx.authorize(http.headers.get("authorization")),
    )
