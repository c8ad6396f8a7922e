"""The HTTP SMS server as a service opens it."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from starlette.routing import BaseRoute

from dialplan_sms.config.config import Config
from dialplan_sms.config.http import Http
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.address import is_loopback
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.sms.service import Service
from dialplan_sms.web.http.listener import ListenError
from dialplan_sms.web.http.login import Login
from dialplan_sms.web.relay.loops import Loops
from dialplan_sms.web.relay.relay import Relay
from dialplan_sms.web.relay.smsserver import SmsServer


def open_server(service: Service, load: Callable[[], Config], outbox: Outbox) -> SmsServer:
    """The server that ``[http]`` describes, not yet started. Raises ConfigError and OSError."""
    config = load()
    http = config.http
    assert http is not None  # noqa: S101 - the caller has checked that
    page: list[BaseRoute] = []
    close = None

    def conf() -> Http:
        """The section as it is now; if it is gone, nobody may send any more."""
        return load().http or replace(http, users={}, allow=(), proxy=())

    def users() -> Mapping[str, str]:
        return conf().users

    login = Login(users, service.note)
    if http.page:
        from dialplan_sms.web.http.session import Sessions
        from dialplan_sms.web.page.board import Board
        from dialplan_sms.web.page.page import page as make_page

        board = Board(outbox, lambda: [s.name for s in load().senders.values() if s.keep_text])
        page, close = make_page(board, sessions=Sessions(login, users)), board.close
    if http.certificate:
        _check_key(config.path, http.certificate, http.key)
    relay = Relay(service, load, Loops())
    try:
        server = SmsServer(http, conf, relay, login, service.counted, page, close)
    except ListenError as error:
        raise OSError(str(error)) from None
    beyond = not all(is_loopback(host) for host, _ in http.listen)
    if beyond and not http.certificate:
        service.note("HTTP: without certificate, passwords and texts can be read on the network")
    return server


def _check_key(conf: Path, certificate: str, key: str) -> None:
    def ask() -> str:
        raise ConfigError(f"{conf}: the key of [http] is encrypted: it must be one without")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, ask)
    except OSError as error:
        why = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise ConfigError(
            f"{conf}: certificate and key of [http] cannot be used, {why}: they must be files in"
            " PEM format that belong together and that this user can read"
        ) from None
