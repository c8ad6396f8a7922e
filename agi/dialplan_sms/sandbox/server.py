"""The stand-in as a running server."""

import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

from dialplan_sms.sandbox.app import make_app
from dialplan_sms.sandbox.certificate import LOOPBACK, kept, self_signed
from dialplan_sms.sandbox.faults import Fault, Reply, Trouble
from dialplan_sms.sandbox.pbx import PACE, Inbox, Pbx
from dialplan_sms.web.http.listener import Address, listen, parse_address
from dialplan_sms.web.http.server import WebServer

if TYPE_CHECKING:
    from dialplan_sms.sandbox.page import SandboxPage
    from dialplan_sms.sandbox.spool import Spool


class Sandbox(Inbox):
    """A stand-in PBX on a free loopback port, to be used with ``with``; and its inbox.

    *listen* is ``HOST:PORT``, port 0 for a free one; *certificate_file* gets the certificate (PEM,
    to be trusted as a CA file), else it lies in a temporary folder; with *keep_certificate* it is
    that of the user's cache folder; *keep_alive* is how many seconds an idle connection stays open;
    *keep* is how many requests and messages are kept at most, None for all; the rest, such as
    *users*, *tokens* and *gateways*, are the fields of `Pbx`.

    With *spool* its simulated GSM gateways send what was taken, each one SMS in *pace* seconds, and
    a page shows that; *note* is told if spool or cache cannot be used. Raises ValueError for a bad
    option, ListenError if it cannot listen, OutboxError if the spool has no place.
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
        self.certificate = certificate_file or Path()
        self.page: SandboxPage | None = None
        self._certificate_file = certificate_file
        hosts = dict.fromkeys([*LOOPBACK, self.address.reachable.host])
        self._self_signed = kept(hosts, note) if tls and keep_certificate else self_signed(hosts)
        self.fingerprint = self._self_signed.fingerprint
        self._keep_alive = keep_alive
        self._spools = spool
        self._pace = pace
        self._note = note
        self._until_closed = ExitStack()
        self._context: ssl.SSLContext | None = None
        self._opened = 0
        self._web: WebServer | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen; after `stop`, on the same port and with the same certificate."""
        if self._web is not None:
            return
        if self.tls and self._context is None:
            self._context = self._tls()
        if self._spools and self.page is None:
            # SQLAlchemy and jinja2 are not for those who need no spool.
            from dialplan_sms.sandbox.page import SandboxPage
            from dialplan_sms.sandbox.spool import Spool
            from dialplan_sms.web.page.board import Board

            spool = self._spool = Spool(self.pbx.gateways, self._pace, self._note)
            self._until_closed.callback(spool.close)
            board = Board(spool.outbox, lambda: spool.gateways)
            self._until_closed.callback(board.close)
            self.page = SandboxPage(self.pbx, spool, board, self.address)
            self.pbx.spool = spool.take
        listener = listen(self.address)
        self.address = Address(self.address.host, listener.getsockname()[1])
        app = make_app(self.pbx, self.page.routes if self.page else ())
        self._web = WebServer(app, [listener], self._context, self._keep_alive)
        self._web.start()

    def stop(self) -> None:
        """Stop listening and drop every connection; the records stay, and the gateways go on."""
        web, self._web = self._web, None
        if web is not None:
            web.stop()
            self._opened += web.opened

    def close(self) -> None:
        """Stop, and remove the temporary files."""
        self.stop()
        self._until_closed.close()
        self.page = self._context = None

    def _tls(self) -> ssl.SSLContext:
        """Certificate and key are put into files, from which TLS libraries read them."""
        temporary = TemporaryDirectory(prefix="dialplan-sms-sandbox-")
        folder = Path(self._until_closed.enter_context(temporary))
        self.certificate = self._certificate_file or folder / "certificate.pem"
        self.certificate.write_bytes(self._self_signed.pem)
        key = folder / "key.pem"
        key.touch(mode=0o600)
        key.write_bytes(self._self_signed.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        return context

    @property
    def spool(self) -> "Spool":
        """What was taken and is sent by the gateways; while it runs with *spool*."""
        if self.page is None:
            raise RuntimeError("this sandbox has no spool, or does not run")
        return self._spool

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
        trouble = fault if isinstance(fault, Trouble) else Trouble(fault)
        self.pbx.faults.add(trouble, times)

    def clear(self) -> None:
        """Forget requests, messages, connections and faults."""
        super().clear()
        self.pbx.faults.set(None)
        self._opened = -(self._web.opened if self._web else 0)
