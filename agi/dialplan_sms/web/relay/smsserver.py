"""The HTTP SMS server of a service: the door through which other programs send.

A WMS with "Curl SMS send enabled", an old dialplan's CURL() line, any client of the SMS API.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from dialplan_sms.config.http import Http
from dialplan_sms.host.address import is_in, is_loopback, parse
from dialplan_sms.sms import api
from dialplan_sms.sms.log import Repeated
from dialplan_sms.sms.outcome import Cause, error
from dialplan_sms.web.http.app import FORM, content_type, make_app, read_pairs
from dialplan_sms.web.http.browser import is_browser
from dialplan_sms.web.http.listener import Address, listen
from dialplan_sms.web.http.login import Login, TooMany, Unknown
from dialplan_sms.web.http.server import WebServer
from dialplan_sms.web.relay.openapi import describe
from dialplan_sms.web.relay.relay import HttpReply, Relay, reply

_AT_ONCE = 16
"""Requests that are carried at once; each waits for a commit that many share."""
_WAITING = 256
"""Requests under way; one more is told that the service is busy."""
_NAMED = re.compile(
    r"\[?([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(?:\]:[0-9]+)?\]?|([0-9.]+)(?::[0-9]+)?"
)
"""An address, with a port or without."""
_BUSY = error(Cause.BUSY, "too many requests at once: try again")
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="SMS", charset="UTF-8"'}
"""Programs may wait for it before they log in (wget, PowerShell); no browser gets as far."""
_NO_BROWSER = "A browser cannot send: this address is for programs"
_NO_FORM = (
    "The body has neither number nor message: send it as application/x-www-form-urlencoded, not as"
    " JSON or multipart/form-data"
)


class SmsServer:
    """Listens as *http* says, and has *relay* answer; *page* is what the page answers on, if any,
    and *close* ends it.

    *conf* gives the section as it is now: users and networks may change. Raises ListenError, and
    OSError and ssl.SSLError if certificate and key are none.
    """

    def __init__(
        self,
        http: Http,
        conf: Callable[[], Http],
        relay: Relay,
        login: Login,
        repeated: Repeated,
        page: Sequence[BaseRoute] = (),
        close: Callable[[], None] | None = None,
    ) -> None:
        self._conf = conf
        self._relay = relay
        self._repeated = repeated
        self._close = close
        self._login = login
        self._carrying = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="relay")
        self._under_way = 0
        self._description = describe(bool(page))
        beside = [Route("/openapi.json", self._describe), *page]
        app = make_app(self._originate, self._elsewhere, beside=beside)
        app.add_exception_handler(Exception, self._broken)
        self._listeners: list[socket.socket] = []
        try:
            for host, port in http.listen:
                self._listeners.append(
                    listen(Address(host, port), "set listen in [http] of sms.conf")
                )
            self._web = WebServer(
                self._door(app), self._listeners,
                Path(http.certificate) if http.certificate else None,
                Path(http.key) if http.key else None,
                name="http",
                admits=self._admits,
                note=repeated,
            )  # fmt: skip
        except BaseException:
            for listener in self._listeners:
                listener.close()
            raise

    def start(self) -> None:
        """Answer from now on."""
        self._web.start()

    def stop(self, patience: float) -> None:
        """Listen no more; requests under way may end within *patience* seconds."""
        self._web.stop(patience)
        self._login.close()
        if self._close is not None:
            self._close()
        self._carrying.shutdown(wait=False, cancel_futures=True)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        return [listener.getsockname()[:2] for listener in self._listeners]

    def _admits(self, host: str) -> bool:
        """Whether a peer may connect at all; who is refused is logged and counted."""
        conf = self._conf()
        if _may_send(host, conf) or is_in(host, conf.proxy):
            return True
        self._repeated("HTTP: {} is not in allow of [http] in sms.conf", host)
        return False

    def _door(self, app: Any) -> Any:
        """*app* for those who may come in, with the address of the client behind a proxy."""

        async def enter(scope: Any, receive: Any, send: Any) -> None:
            conf = self._conf()
            address = _client(scope, conf)
            if address is not None and _may_send(address, conf):
                scope["client"] = (address, 0)
                await app(scope, receive, send)
                return
            text = f"{address} is not in allow of [http] in sms.conf"
            if address is None:
                text = "The proxy does not say in X-Forwarded-For for whom it asks"
            await JSONResponse(api.error(text), 403, {"Connection": "close"})(scope, receive, send)

        return enter

    async def _originate(self, http: HttpRequest) -> Response:
        if is_browser(http.headers):
            return JSONResponse(api.error(_NO_BROWSER), 403)
        assert http.client is not None  # noqa: S101 - the door has set it
        try:
            user = await self._login.user(http.headers.get("authorization"), http.client.host)
        except Unknown:
            close = {"Connection": "close"}  # whatever it would send is not read
            return JSONResponse(api.error(api.UNAUTHORIZED), 401, _CHALLENGE | close)
        except TooMany:
            wait = {"Retry-After": "60", "Connection": "close"}
            return JSONResponse(api.error("Too many wrong passwords: wait a minute"), 429, wait)
        pairs = await read_pairs(http)
        if isinstance(pairs, Response):
            return pairs
        form = {name.strip(): value for name, value in pairs}
        if not form.keys() & {"number", "message"} and _has_other_body(http, form):
            return JSONResponse(api.error(_NO_FORM), 415)
        if any("\ufffd" in value for value in form.values()):
            return JSONResponse(api.error("The request is not UTF-8, or not URL-encoded"), 400)
        answer = await self._carry(form, user, http.client.host)
        if answer.status == 504:
            return PlainTextResponse(answer.json["reason"], 504)
        return JSONResponse(dict(answer.json), answer.status)

    async def _carry(self, form: Mapping[str, str], user: str, address: str) -> HttpReply:
        if self._under_way >= _WAITING:
            return reply(_BUSY)
        self._under_way += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._carrying, self._relay.send, form, user, address)
        finally:
            self._under_way -= 1

    async def _describe(self, _: HttpRequest) -> Response:
        return JSONResponse(self._description)

    async def _elsewhere(self, _: HttpRequest, failure: Exception) -> Response:
        assert isinstance(failure, HTTPException)  # noqa: S101 - for the type checker
        text = f"{failure.detail}: the SMS API is {api.PATH}"
        return JSONResponse(api.error(text), failure.status_code, failure.headers)

    async def _broken(self, _: HttpRequest, __: Exception) -> Response:
        # The server notes what it was.
        return JSONResponse(api.error("dialplan-sms broke: its log says more"), 500)


def _has_other_body(http: HttpRequest, form: Mapping[str, str]) -> bool:
    """Whether there is a body that is no form, though it may be declared as one."""
    if any(name.startswith(("{", "[")) for name in form):
        return True
    body = http.headers.get("content-length", "0") != "0" or "transfer-encoding" in http.headers
    return http.method == "POST" and body and content_type(http) != FORM


def _may_send(address: str, conf: Http) -> bool:
    return is_loopback(address) or is_in(address, conf.allow)


def _client(scope: Mapping[str, Any], conf: Http) -> str | None:
    """Who sends: the peer, or whom a proxy names that we believe; None if it names nobody."""
    address = str(scope["client"][0]) if scope.get("client") else ""
    named = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    if not named or not is_in(address, conf.proxy):
        return address
    for each in reversed(b",".join(named).decode("latin-1").split(",")):
        found = _NAMED.fullmatch(each.strip())
        try:
            address = str(parse((found[1] or found[2]) if found else ""))
        except ValueError:
            return None
        if not is_in(address, conf.proxy):
            break
    return address
