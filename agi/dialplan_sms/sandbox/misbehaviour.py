"""How each fault is carried out on a connection."""

import asyncio
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response

from dialplan_sms.sandbox.faults import Fault, Reply
from dialplan_sms.sandbox.pbx import Handled, Pbx
from dialplan_sms.sms import api
from dialplan_sms.web.http.connection import TRANSPORT, reset

REDIRECTED = "/redirected"
"""Where Fault.REDIRECT points: this and the path that was asked for. No fault applies there."""

PAGE = "<html><body><h1>Web Interface</h1><p>{}</p></body></html>"
NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x28 this is not HTTP \xff\xfe\r\n\r\n"
PADDING = 100_000
"""Characters that make Fault.HUGE huge."""


async def misbehave(http: HttpRequest, handled: Handled, pbx: Pbx) -> Response:
    """Carry out the trouble of *handled*, for as long as it takes; the answer that is left."""
    fault = handled.trouble.fault if handled.trouble else None
    proper = JSONResponse(dict(handled.reply), handled.status)
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
            location = f"{REDIRECTED}{handled.request.path}?{query}".rstrip("?")
            return Response(status_code=302, headers={"Location": location})
        case Reply() | Fault.GARBAGE | Fault.RESET | Fault.CLOSE | Fault.HANG:
            _break(http.scope["extensions"][TRANSPORT], fault)
        case Fault.TRICKLE | Fault.TRICKLE_BODY:
            await _trickle(http.scope["extensions"][TRANSPORT], fault, pbx.trickle)
        case _:
            return proper
    # The server drops an answer to a client that is gone, so any will do.
    while (await http.receive())["type"] != "http.disconnect":
        pass
    return Response()


def _break(transport: Any, fault: Fault | Reply) -> None:
    """Do to the connection what needs no time; HANG is just that nothing is done."""
    match fault:
        case Reply():
            transport.write(fault.wire())
            transport.close()
        case Fault.GARBAGE:
            transport.write(NOT_HTTP)
            transport.close()
        case Fault.RESET:
            reset(transport)
        case Fault.CLOSE:
            # close() would say goodbye on TLS first; a PBX that dies does not.
            transport.abort()


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
