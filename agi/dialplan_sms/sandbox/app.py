"""The SMS API as an ASGI application over a PBX, and how it carries out each fault."""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, request_response

from dialplan_sms.sandbox.faults import Fault, Reply
from dialplan_sms.sandbox.pbx import Pbx, Request, Served
from dialplan_sms.sms import api
from dialplan_sms.web.http.connection import TRANSPORT, reset
from dialplan_sms.web.http.form import read_pairs

# Where Fault.REDIRECT points: this and the path that was asked for. No fault applies there.
REDIRECTED = "/redirected"
PAGE = "<html><body><h1>{}</h1>{}</body></html>"
NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x28 this is not HTTP \xff\xfe\r\n\r\n"
PADDING = 100_000  # characters that make Fault.HUGE huge


def make_app(pbx: Pbx, beside: Sequence[BaseRoute] = ()) -> Starlette:
    """The application that answers for *pbx*; whatever else is asked for is recorded, too."""

    async def answer(http: HttpRequest) -> Response:
        request = Request(
            method=http.method,
            path=http.scope["path"],
            pairs=await read_pairs(http),
            user=pbx.authorize(http.headers.get("authorization")),
        )
        path = request.path.removeprefix(REDIRECTED)
        if path not in (api.PATH, api.OLD_PATH):
            pbx.inbox.add(request)
            return HTMLResponse(PAGE.format("404 Not Found", ""), 404)
        if request.method not in ("GET", "POST"):
            pbx.inbox.add(request)
            page = PAGE.format("405 Method Not Allowed", "")
            return HTMLResponse(page, 405, {"Allow": "GET, POST"})
        if pbx.spool is None:
            served = pbx.handle(request, faulty=path == request.path)
        else:  # which waits for a disk
            served = await run_in_threadpool(pbx.handle, request, faulty=path == request.path)
        return await _answer(http, served, pbx)

    async def refuse(_: HttpRequest, failure: Any) -> Response:
        return JSONResponse(api.error(failure.detail), failure.status_code, failure.headers)

    app = Starlette(routes=beside, exception_handlers={HTTPException: refuse})
    app.router.redirect_slashes = False
    app.router.default = request_response(answer)
    return app


async def _answer(http: HttpRequest, served: Served, pbx: Pbx) -> Response:
    """The answer; if the request has trouble, what that leaves of it, however long it takes."""
    fault = served.trouble.fault if served.trouble else None
    proper = JSONResponse(dict(served.reply), served.status)
    transport = http.scope["extensions"][TRANSPORT]
    match fault:
        case Fault.SLOW:
            await asyncio.sleep(pbx.slow)
            return proper
        case Fault.SERVER_ERROR:
            return HTMLResponse(PAGE.format("Web Interface", "<p>Internal Server Error</p>"), 500)
        case Fault.HTML:
            return HTMLResponse(PAGE.format("Web Interface", "<p>Please log in.</p>"))
        case Fault.HUGE:
            return JSONResponse({**api.result(), "padding": "x" * PADDING})
        case Fault.REDIRECT:
            query = http.scope["query_string"].decode("latin-1")
            location = f"{REDIRECTED}{served.request.path}?{query}".rstrip("?")
            return Response(status_code=302, headers={"Location": location})
        case Reply() | Fault.GARBAGE:
            transport.write(NOT_HTTP if isinstance(fault, Fault) else fault.wire())
            transport.close()
        case Fault.RESET:
            reset(transport)
        case Fault.CLOSE:
            # close() would say goodbye on TLS first; a PBX that dies does not.
            transport.abort()
        case Fault.TRICKLE | Fault.TRICKLE_BODY:
            await _trickle(transport, fault, pbx.trickle)
        case Fault.HANG:
            pass
        case _:
            return proper
    # The server drops an answer to a client that is gone, so any will do.
    while (await http.receive())["type"] != "http.disconnect":
        pass
    return Response()


async def _trickle(transport: Any, fault: Fault, seconds: float) -> None:
    if fault is Fault.TRICKLE:
        start, endless = b"HTTP/1.1 200 OK\r\nX-Trickle: ", b"."
    else:
        transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n"
        )
        start, endless = b"", b" "
    position = 0
    while not transport.is_closing():
        transport.write(start[position : position + 1] or endless)
        position += 1
        await asyncio.sleep(seconds)
