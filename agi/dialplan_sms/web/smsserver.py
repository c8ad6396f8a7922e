"""The HTTP SMS server of a service: the door through which other programs send, and the page."""

import asyncio
import json
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dialplan_sms import __version__
from dialplan_sms.config.config import Config
from dialplan_sms.config.http import Http
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.address import is_in, is_loopback, parse
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.sms import api
from dialplan_sms.sms.service import Service
from dialplan_sms.web.body import READERS, read_other
from dialplan_sms.web.form import FORM, content_type, read_pairs
from dialplan_sms.web.login import Login, TooMany, Unknown
from dialplan_sms.web.relay import Loops, Relay
from dialplan_sms.web.server import Address, WebServer, listen

PATHS = (api.PATH, api.OLD_PATH)
_WAITING = 256  # requests under way; one more is told that the service is busy
# An address, with a port or without.
_NAMED = re.compile(
    r"\[?([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(?:\]:[0-9]+)?\]?|([0-9.]+)(?::[0-9]+)?"
)
# Programs may wait for it before they log in (wget, PowerShell); no browser gets as far.
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="SMS", charset="UTF-8"'}
_CLOSE = {"Connection": "close"}  # what follows is not read
_NO_BROWSER = "A browser cannot send: this address is for programs"
_NOT_READ = (
    f"The body is neither {FORM} nor {' nor '.join(READERS)}, or its Content-Type says another type"
)
_OF_BROWSERS = {"sec-fetch-site", "origin", "upgrade-insecure-requests"}  # nobody else's


class SmsServer:
    """The server of ``[http]``, as that is when somebody asks. Raises ConfigError and OSError."""

    def __init__(self, service: Service, load: Callable[[], Config], outbox: Outbox) -> None:
        http = load().http
        assert http is not None  # noqa: S101 - the caller has checked that
        self._load = load
        self._nobody = replace(http, users={}, allow=(), proxy=())
        self._repeated = service.repeated
        self._relay = Relay(service, outbox, Loops())
        self._login = Login(lambda: self._conf().users, service.note)
        self._waiting = asyncio.Semaphore(_WAITING)
        self._until_stopped = ExitStack()
        self._until_stopped.callback(self._login.close)
        page: list[Route] = []
        if http.page:
            from dialplan_sms.web.board import Board
            from dialplan_sms.web.page import Page

            board = Board(outbox, lambda: [s.name for s in load().senders.values() if s.keep_text])
            self._until_stopped.callback(board.close)
            page = Page(board, self._login).routes()
        described = Route("/openapi.json", JSONResponse(describe(http.page)), methods=["GET"])
        self._app = Starlette(
            routes=[described, *page],
            exception_handlers={HTTPException: _refuse, Exception: _break},
        )
        self._app.router.redirect_slashes = False
        tls = _tls(load().path, http.certificate, http.key) if http.certificate else None
        elsewhere = "set listen in [http] of sms.conf"
        listeners = [listen(Address(*each), elsewhere) for each in http.listen]
        self._web = WebServer(self, listeners, tls, admits=self._admits, note=service.repeated)
        if tls is None and not all(is_loopback(host) for host, _ in http.listen):
            service.note(
                "HTTP: without certificate, passwords and texts can be read on the network"
            )

    def start(self) -> None:
        """Answer from now on."""
        self._web.start()

    def stop(self, patience: float) -> None:
        """Listen no more; requests under way may end within *patience* seconds."""
        self._web.stop(patience)
        self._until_stopped.close()

    def _conf(self) -> Http:
        """The section as it is now; if it is gone, nobody may send any more."""
        return self._load().http or self._nobody

    def _admits(self, host: str) -> bool:
        """Whether a peer may connect at all; who is refused is logged and counted."""
        conf = self._conf()
        if _may_send(host, conf) or is_in(host, conf.proxy):
            return True
        self._repeated("HTTP: {} is not in allow of [http] in sms.conf", host)
        return False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Whoever may come in has its own address from here on, though it is behind a proxy."""
        conf = self._conf()
        address = _client(scope, conf)
        if address is not None and _may_send(address, conf):
            scope["client"] = (address, 0)
            app = self._send if scope["path"] in PATHS else self._app
            await app(scope, receive, send)
            return
        text = f"{address} is not in allow of [http] in sms.conf"
        if address is None:
            text = "The proxy does not say in X-Forwarded-For for whom it asks"
        await JSONResponse(api.error(text), 403, _CLOSE)(scope, receive, send)

    async def _send(self, scope: Any, receive: Any, send: Any) -> None:
        """The SMS API, without starlette's routing: that takes as long as the rest of the door."""
        http = Request(scope, receive)
        try:
            response = await self._originate(http)
        except HTTPException as failure:
            response = await _refuse(http, failure)
        except Exception as failure:
            await (await _break(http, failure))(scope, receive, send)
            raise
        await response(scope, receive, send)

    async def _originate(self, http: Request) -> Response:
        if http.method not in ("GET", "POST"):
            raise HTTPException(405, "Method Not Allowed", {"Allow": "GET, POST"})
        address = http.scope["client"][0]
        if is_browser(http.headers):
            raise HTTPException(403, _NO_BROWSER)
        try:
            user = await self._login.user(http.headers.get("authorization"), address)
        except Unknown:
            raise HTTPException(401, api.UNAUTHORIZED, _CHALLENGE | _CLOSE) from None
        except TooMany:
            wait = {"Retry-After": "60"} | _CLOSE
            raise HTTPException(
                429, "Too many wrong passwords or tokens: wait a minute", wait
            ) from None
        pairs = await read_pairs(http, read_other)
        form = {name.strip(): value for name, value in pairs}
        if len(form) < len(pairs) and "number" in form:
            form["number"] = ",".join(value for name, value in pairs if name.strip() == "number")
        if not form.keys() & {"number", "message"} and _has_other_body(http, form):
            raise HTTPException(415, _NOT_READ)
        if any("\ufffd" in value for value in form.values()) and content_type(http) not in READERS:
            raise HTTPException(400, "The request is not UTF-8, or not URL-encoded")
        if self._waiting.locked():
            raise HTTPException(503, "too many requests at once: try again")
        async with self._waiting:
            return await self._relay.send(form, user, address)


async def _refuse(_: Request, failure: Any) -> Response:
    text = failure.detail
    if failure.status_code in (404, 405):
        text += f": the SMS API is {api.PATH}"
    return JSONResponse(api.error(text), failure.status_code, failure.headers)


async def _break(_: Request, __: Exception) -> Response:
    # The server notes what it was.
    return JSONResponse(api.error("dialplan-sms broke: its log says more"), 500)


def describe(page: bool) -> dict[str, Any]:
    """What the server answers, as an OpenAPI description; with *page* what that answers, too."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("openapi.json").read_text())
    found["info"]["version"] = __version__
    paths = found["paths"]
    paths[api.OLD_PATH] = {
        method: each | {"operationId": f"{each['operationId']}ByOldPath"}
        for method, each in paths[api.PATH].items()
    }
    if not page:
        found["paths"] = {path: paths[path] for path in (*PATHS, "/openapi.json")}
    return found


def is_browser(headers: Headers) -> bool:
    """Whether it is a browser that asks: any page can have its visitor's browser do so.

    Old ones, and all over plain HTTP, tell it by their name and language alone. PowerShell has such
    a name, and some programs a language, but none has both.
    """
    names = set(headers.keys())
    named = "accept-language" in names and headers.get("user-agent", "").startswith("Mozilla/")
    return named or not _OF_BROWSERS.isdisjoint(names)


def _has_other_body(http: Request, form: Mapping[str, str]) -> bool:
    """Whether there is a body that is not read, though it may be declared as a form."""
    if any(name.startswith(("{", "[")) for name in form):
        return True
    body = http.headers.get("content-length", "0") != "0" or "transfer-encoding" in http.headers
    return http.method == "POST" and body and content_type(http) not in (FORM, *READERS)


def _may_send(address: str, conf: Http) -> bool:
    return is_loopback(address) or is_in(address, conf.allow)


def _client(scope: Mapping[str, Any], conf: Http) -> str | None:
    """Who sends: the peer, or whom a proxy names that we believe; None if it names nobody."""
    address = str(scope["client"][0])
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


def _tls(conf: Path, certificate: str, key: str) -> ssl.SSLContext:
    def ask() -> str:
        raise ConfigError(f"{conf}: the key of [http] is encrypted: it must be one without")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, ask)
    except OSError as error:
        why = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise ConfigError(
            f"{conf}: certificate and key of [http] cannot be used, {why}: they must be files in"
            " PEM format that belong together and that this user can read"
        ) from None
    return context
