"""The HTTP SMS server of a service: the door through which other programs send.

A WMS with "Curl SMS send enabled", an old dialplan's CURL() line, any client of the SMS API.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from dialplan_sms import api
from dialplan_sms.httpconf import Http
from dialplan_sms.outcome import Cause, error
from dialplan_sms.web.app import make_app, read_pairs
from dialplan_sms.web.listener import Address, listen
from dialplan_sms.web.login import Login, TooMany, Unknown
from dialplan_sms.web.openapi import describe
from dialplan_sms.web.relay import Relay, Reply, reply
from dialplan_sms.web.server import WebServer

_AT_ONCE = 16
"""Requests that are carried at once; each waits for a commit that many share."""
_WAITING = 256
"""Requests under way; one more is told that the service is busy."""
_NAMED = re.compile(
    r"\[?([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(?:\]:[0-9]+)?\]?|([0-9.]+)(?::[0-9]+)?"
)
"""An address, with a port or without."""
_QUIET = 60.0
"""Seconds between two lines about peers that may not connect."""
_BUSY = error(Cause.BUSY, "too many requests at once: try again")
_PLAIN = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="SMS", charset="UTF-8"'}


class SmsServer:
    """Listens as *http* says, and has *relay* answer; *page* is what the page answers on, if any,
    and *close* ends it.

    *conf* gives the section as it is now: users and networks may change. Raises ListenError, and
    OSError and ssl.SSLError where certificate and key are none.
    """

    def __init__(
        self,
        http: Http,
        conf: Callable[[], Http | None],
        relay: Relay,
        note: Callable[[str], None],
        page: Sequence[BaseRoute] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self._first = http
        self._now = conf
        self._relay = relay
        self._note = note
        self._close = close
        self._login = Login(lambda: self._conf().users, note)
        self._carrying = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="relay")
        self._under_way = 0
        self._refused = float("-inf")
        self._description = describe(page is not None)
        beside: list[BaseRoute] = [Route("/openapi.json", self._describe)]
        if page is not None:
            beside.append(Mount("/", self._guarded(Router(list(page), redirect_slashes=False))))
        app = make_app(self._originate, self._elsewhere, beside=beside)
        app.add_exception_handler(Exception, self._broken)
        self._listeners = []
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

    def _conf(self) -> Http:
        """The section as it is now; where it is gone, nobody may send any more."""
        return self._now() or replace(self._first, users={}, allow=(), proxy=())

    def _admits(self, host: str) -> bool:
        """Whether a peer may connect at all; who is refused is logged once in a while."""
        conf = self._conf()
        if _is_in(host, conf.allow, loopback=True) or _is_in(host, conf.proxy):
            return True
        if time.monotonic() - self._refused > _QUIET:
            self._refused = time.monotonic()
            self._note(f"HTTP: {host} is not in allow of [http] in sms.conf")
        return False

    def _door(self, app: Any) -> Any:
        """*app* for those who may come in, with the address of the client behind a proxy."""

        async def enter(scope: Any, receive: Any, send: Any) -> None:
            conf = self._conf()
            address = _client(scope, conf)
            if address is not None and _is_in(address, conf.allow, loopback=True):
                scope["client"] = (address, 0)
                await app(scope, receive, send)
                return
            text = f"{address} is not in allow of [http] in sms.conf"
            if address is None:
                text = "The proxy does not say in X-Forwarded-For for whom it asks"
            await JSONResponse(api.error(text), 403, {"Connection": "close"})(scope, receive, send)

        return enter

    def _guarded(self, app: Any) -> Any:
        """*app* for users alone; who it is stands in the scope."""

        async def ask(scope: Any, receive: Any, send: Any) -> None:
            http = HttpRequest(scope)
            try:
                scope["user"] = await self._user(http)
            except (Unknown, TooMany) as failure:
                many = isinstance(failure, TooMany)
                answer = PlainTextResponse(
                    "Too many wrong passwords: wait a minute" if many else "Wrong user or password",
                    429 if many else 401,
                    _PLAIN | ({"Retry-After": "60"} if many else _CHALLENGE),
                )
                await answer(scope, receive, send)
            else:
                await app(scope, receive, send)

        return ask

    async def _user(self, http: HttpRequest) -> str:
        assert http.client is not None  # noqa: S101 - the door has set it
        return await self._login.user(http.headers.get("authorization"), http.client.host)

    async def _originate(self, http: HttpRequest) -> Response:
        if _is_of_another_site(http):
            return JSONResponse(api.error("A page of another site cannot send"), 403)
        try:
            user = await self._user(http)
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
        if any("\ufffd" in value for value in form.values()):
            return JSONResponse(api.error("The request is not UTF-8, or not URL-encoded"), 400)
        assert http.client is not None  # noqa: S101
        answer = await self._carry(form, user, http.client.host)
        if answer.status == 504:
            return PlainTextResponse(answer.json["reason"], 504)
        return JSONResponse(dict(answer.json), answer.status)

    async def _carry(self, form: Mapping[str, str], user: str, address: str) -> Reply:
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

    async def _broken(self, _: HttpRequest, failure: Exception) -> Response:
        name = type(failure).__name__
        self._note(f"HTTP: dialplan-sms broke, {name}: please report this line")
        return JSONResponse(api.error("dialplan-sms broke: its log says more"), 500)


def _is_of_another_site(http: HttpRequest) -> bool:
    """Whether a browser asks for a page that is not ours: it would use its user's login."""
    site, origin = http.headers.get("sec-fetch-site"), http.headers.get("origin")
    if site is not None and site != "same-origin":
        return True
    host = http.headers.get("host", "").lower()
    return origin is not None and origin.lower().partition("://")[2] != host


def _client(scope: Mapping[str, Any], conf: Http) -> str | None:
    """Who sends: the peer, or whom a proxy names that we believe; None where it names nobody."""
    address = str(scope["client"][0]) if scope.get("client") else ""
    named = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    if not named or not _is_in(address, conf.proxy):
        return address
    for each in reversed(b",".join(named).decode("latin-1").split(",")):
        found = _NAMED.fullmatch(each.strip())
        try:
            parsed = ip_address((found[1] or found[2]) if found else "")
        except ValueError:
            return None
        address = str(getattr(parsed, "ipv4_mapped", None) or parsed)
        if not _is_in(address, conf.proxy):
            break
    return address


def _is_in(address: str, networks: tuple[Any, ...], loopback: bool = False) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return (loopback and found.is_loopback) or any(found in network for network in networks)
