"""The stand-in as a running server: the SMS API over a PBX, and how it carries out each fault."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, request_response

from dialplan_sms.sandbox.certificate import LOOPBACK, kept, self_signed
from dialplan_sms.sandbox.faults import Fault, Reply, Trouble
from dialplan_sms.sandbox.pbx import PACE, Inbox, Pbx, Request, Served
from dialplan_sms.sms import api
from dialplan_sms.web.connection import TRANSPORT, reset
from dialplan_sms.web.form import read_pairs
from dialplan_sms.web.server import Address, WebServer, listen, parse_address

if TYPE_CHECKING:
    from dialplan_sms.sandbox.page import SandboxPage

# Where Fault.REDIRECT points: this and the path that was asked for. No fault applies there.
REDIRECTED = "/redirected"
PAGE = "<html><body><h1>{}</h1>{}</body></html>"
NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x28 this is not HTTP \xff\xfe\r\n\r\n"
# Faults that are another answer.
ANSWERS: dict[object, Response] = {
    Fault.SERVER_ERROR: HTMLResponse(
        PAGE.format("Web Interface", "<p>Internal Server Error</p>"), 500
    ),
    Fault.HTML: HTMLResponse(PAGE.format("Web Interface", "<p>Please log in.</p>")),
    Fault.HUGE: JSONResponse({**api.result(), "padding": "x" * 100_000}),
}
# Faults that are none: what comes first, what goes on for ever, and how the connection ends.
BREAKS: dict[object, tuple[bytes, bytes, Callable[[Any], object]]] = {
    Fault.HANG: (b"", b"", lambda _: None),
    Fault.RESET: (b"", b"", reset),
    # close() would say goodbye on TLS first; a PBX that dies does not.
    Fault.CLOSE: (b"", b"", lambda transport: transport.abort()),
    Fault.GARBAGE: (NOT_HTTP, b"", lambda transport: transport.close()),
    Fault.TRICKLE: (b"HTTP/1.1 200 OK\r\nX-Trickle: ", b".", lambda _: None),
    Fault.TRICKLE_BODY: (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n",
        b" ", lambda _: None,
    ),
}  # fmt: skip


class Sandbox(Inbox):
    """A stand-in PBX on a free loopback port, to be used with ``with``; and its inbox.

    *certificate_file* gets the certificate, to be trusted as a CA file, else a temporary one; with
    *keep_certificate* it is that of the user's cache folder. *keep* is how many requests are kept
    at most, None for all; *pbx* are the fields of `Pbx`. With *spool* its GSM gateways send what
    was taken, each one SMS in *pace* seconds, and a page shows that; *note* is told if it cannot be
    used. Raises ValueError for a bad option, ListenError, and OutboxError without a place for it.
    """

    def __init__(
        self,
        tls: bool = True,
        *,
        listen: str = "127.0.0.1:0",
        certificate_file: Path | None = None,
        keep_certificate: bool = False,
        keep_alive: int = 5,
        keep: int | None = None,
        spool: bool = False,
        pace: float = PACE,
        note: Callable[[str], None] = lambda _: None,
        **pbx: Any,
    ) -> None:
        super().__init__(keep)
        self.pbx = Pbx(inbox=self, **pbx)
        self.tls = tls
        self.address = parse_address(listen)
        self.page: SandboxPage | None = None
        hosts = dict.fromkeys([*LOOPBACK, self.address.reachable.host])
        self._self_signed = kept(hosts, note) if tls and keep_certificate else self_signed(hosts)
        self.fingerprint = self._self_signed.fingerprint
        self._certificate_file = certificate_file
        self._keep_alive = keep_alive
        self._spooling = (pace, note) if spool else None
        self._until_closed = ExitStack()
        self._context: ssl.SSLContext | None = None
        self._opened = 0
        self._web: WebServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen; after `stop`, on the same port and with the same certificate."""
        if self._web is not None:
            return
        listener = self._until_closed.enter_context(listen(self.address))
        self.address = Address(self.address.host, listener.getsockname()[1])
        if self.tls and self._context is None:
            self._context = self._tls()
        if self._spooling and self.page is None:
            # SQLAlchemy and jinja2 are not for those who need no spool.
            from dialplan_sms.sandbox.page import SandboxPage
            from dialplan_sms.sandbox.spool import Spool

            self.spool = Spool(self.pbx.gateways, *self._spooling, self._until_closed)
            self.page = SandboxPage(self.pbx, self.spool, self.address)
            self.pbx.spool = self.spool.take
        app = make_app(self.pbx, self.page.routes() if self.page else ())
        self._web = WebServer(app, [listener], self._context, self._keep_alive)
        self._web.start()

    def stop(self) -> None:
        """Stop listening and drop every connection; the records stay, and the gateways go on."""
        if self._web is not None:
            self._web.stop()
            self._opened += self._web.opened
            self._web = None

    def close(self) -> None:
        """Stop, and remove the temporary files."""
        self.stop()
        self._until_closed.close()
        self.page = self._context = None

    def _tls(self) -> ssl.SSLContext:
        made = TemporaryDirectory(prefix="dialplan-sms-sandbox-")
        folder = Path(self._until_closed.enter_context(made))
        self.certificate = self._certificate_file or folder / "certificate.pem"
        self.certificate.write_bytes(self._self_signed.pem)
        key = folder / "key.pem"
        key.touch(mode=0o600)
        key.write_bytes(self._self_signed.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        return context

    @property
    def url(self) -> str:
        """Where it listens, without a path: ``https://127.0.0.1:8443``."""
        return f"{'https' if self.tls else 'http'}://{self.address.reachable}"

    @property
    def connections(self) -> int:
        """How many TCP connections were opened so far, failed TLS handshakes included."""
        return self._opened + (self._web.opened if self._web else 0)

    @property
    def fault(self) -> Fault | Reply | Trouble | None:
        """What the next request gets. Set it for every request from now on; None: all is well."""
        trouble = self.pbx.faults.current
        return trouble.fault if trouble and not trouble.taken else trouble

    @fault.setter
    def fault(self, fault: Fault | Reply | Trouble | None) -> None:
        self.pbx.faults.set(Trouble(fault) if isinstance(fault, Fault | Reply) else fault)

    def fail(self, fault: Fault | Reply | Trouble, times: int | None = 1) -> None:
        """Give the next *times* requests *fault* (None: all), after those already arranged."""
        self.pbx.faults.add(fault if isinstance(fault, Trouble) else Trouble(fault), times)

    def clear(self) -> None:
        """Forget requests, messages, connections and faults."""
        super().clear()
        self.pbx.faults.set(None)
        self._opened = -(self._web.opened if self._web else 0)


def make_app(pbx: Pbx, beside: Sequence[BaseRoute] = ()) -> Starlette:
    """The application that answers for *pbx*; whatever else is asked for is recorded, too."""

    async def answer(http: HttpRequest) -> Response:
        user = pbx.authorize(http.headers.get("authorization"))
        request = Request(http.method, http.scope["path"], await read_pairs(http), user)
        path = request.path.removeprefix(REDIRECTED)
        known = path in (api.PATH, api.OLD_PATH)
        if not known or request.method not in ("GET", "POST"):
            pbx.inbox.add(request)
            status, name = (405, "Method Not Allowed") if known else (404, "Not Found")
            allowed = {"Allow": "GET, POST"} if known else {}
            return HTMLResponse(PAGE.format(f"{status} {name}", ""), status, allowed)
        # A spool waits for a disk.
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
    if fault is Fault.SLOW:
        await asyncio.sleep(pbx.slow)
    if fault is Fault.REDIRECT:
        query = http.scope["query_string"].decode("latin-1")
        location = f"{REDIRECTED}{served.request.path}?{query}".rstrip("?")
        return Response(status_code=302, headers={"Location": location})
    first, endless, end = BREAKS.get(fault, (b"", b"", None))
    if isinstance(fault, Reply):
        first, end = fault.wire(), BREAKS[Fault.GARBAGE][2]
    if end is None:
        return ANSWERS.get(fault) or JSONResponse(dict(served.reply), served.status)
    transport = http.scope["extensions"][TRANSPORT]
    transport.write(first)
    while endless and not transport.is_closing():
        transport.write(endless)
        await asyncio.sleep(pbx.trickle)
    end(transport)
    # The server drops an answer to a client that is gone, so any will do.
    while (await http.receive())["type"] != "http.disconnect":
        pass
    return Response()
