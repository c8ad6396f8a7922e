"""The SMS API as an ASGI application over a PBX, and how it carries out each fault."""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute

from dialplan_sms.sandbox.faults import Fault, Reply
from dialplan_sms.sandbox.inbox import Served
from dialplan_sms.sandbox.pbx import Pbx
from dialplan_sms.sms import api
from dialplan_sms.web.http import app
from dialplan_sms.web.http.connection import TRANSPORT, reset
from dialplan_sms.web.http.request import Request

REDIRECTED = "/redirected"
"""Where Fault.REDIRECT points: this and the path that was asked for. No fault applies there."""

PAGE = "<html><body><h1>Web Interface</h1><p>{}</p></body></html>"
NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x28 this is not HTTP \xff\xfe\r\n\r\n"
PADDING = 100_000
"""Characters that make Fault.HUGE huge."""


def make_app(pbx: Pbx, beside: Sequence[BaseRoute] = ()) -> Starlette:
    """The application that answers for *pbx*; whatever else is asked for is recorded, too."""

    async def originate(http: HttpRequest) -> Response:
        request = await _read(http, pbx)
        if isinstance(request, Response):
            return request
        faulty = not request.path.startswith(REDIRECTED)
        if pbx.spool is None:
            served = pbx.handle(request, faulty=faulty)
        else:  # which waits for a disk
            served = await run_in_threadpool(pbx.handle, request, faulty=faulty)
        return await _answer(http, served, pbx)

    async def nothing_here(http: HttpRequest, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
        request = await _read(http, pbx)
        if isinstance(request, Response):
            return request
        pbx.inbox.add(request)
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
            return HTMLResponse(PAGE.format("Internal Server Error"), 500)
        case Fault.HTML:
            return HTMLResponse(PAGE.format("Please log in."))
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
