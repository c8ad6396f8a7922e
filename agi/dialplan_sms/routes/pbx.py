"""The route: one SMS to the PBX's SMS API, and its answer as an Outcome."""

import ssl
import time
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from dialplan_sms import __version__
from dialplan_sms.config.config import Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.routes.failure import failed
from dialplan_sms.routes.reply import LARGEST, answered, secrets_of
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Refused
from dialplan_sms.sms.sms import Sms
from dialplan_sms.transport.deadline import Watchdog
from dialplan_sms.transport.exchange import Exchange
from dialplan_sms.transport.pool import Pool
from dialplan_sms.transport.resolver import Resolver

CONNECT_TIME = 3.0
"""Seconds for name, connection and TLS handshake together."""
ANSWER_TIME = 5.0
"""Seconds for each number (sms-api: "the timeout for mass sending is 5 s for each SMS")."""


def open_pool(sender: Sender, resolver: Resolver | None = None, connections: int = 1) -> Pool:
    """The way to the sender's PBX: no proxies, no netrc, no redirects, nothing but the PBX.

    *connections* is how many stay open between SMS.
    Raises ConfigError if ``verify`` names a file without a certificate.
    """
    try:
        return Pool(sender.url, sender.verify, resolver or Resolver(), connections)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"[{sender.name}] verify = {sender.verify}: no certificate in PEM format can be read"
            f" from it, {error.strerror or type(error).__name__}"
        ) from None


class SmsApi:
    """The SMS API of one sender's PBX."""

    def __init__(
        self,
        sender: Sender,
        pool: Pool | None = None,
        clock: Callable[[], float] = time.monotonic,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._sender = sender
        self._pool = pool or open_pool(sender)
        self._clock = clock
        self._watchdog = watchdog or Watchdog(clock)
        self._secrets = secrets_of(sender)
        # Made once: requests needs 0.2 ms for it, a copy 0.03.
        self._template = requests.Request(
            "POST",
            sender.url,
            headers={
                "Host": urlsplit(sender.url).netloc,
                "User-Agent": f"dialplan-sms/{__version__}",
                "Content-Type": "application/x-www-form-urlencoded",
            },
            auth=_Bearer(sender.token) if sender.token else _basic(sender),
        ).prepare()

    def send(
        self,
        sms: Sms,
        going_out: Callable[[], None] = lambda: None,
        until: float | None = None,
    ) -> Outcome:
        """Send now, once, and be back by *until*, call_timeout from now if that is None.

        *going_out* is called just before the request leaves this host; what it refuses does not
        leave. Raises that Refused, and nothing for what the PBX or the network does.
        """
        sender = self._sender
        until = self._clock() + sender.call_timeout if until is None else until
        exchange = Exchange(
            connect_time=CONNECT_TIME,
            answer_time=ANSWER_TIME * len(sms.numbers),
            until=until,
            going_out=going_out,
            watchdog=self._watchdog,
            clock=self._clock,
        )
        try:
            status, location, body = self._post(sms, exchange)
        except Refused:
            raise
        except Exception as failure:  # noqa: BLE001 - any of them must become an Outcome
            return failed(exchange, failure, sender)
        finally:
            exchange.close()
        outcome = answered(status, location, body, sender.name, self._secrets)
        if exchange.timed_out and outcome.cause is Cause.BAD_ANSWER:
            return failed(exchange, TimeoutError(), sender)  # cut at the deadline
        return outcome

    @property
    def idle_connections(self) -> int:
        """Connections to the PBX that are open and not in use."""
        return self._pool.idle

    def _post(self, sms: Sms, exchange: Exchange) -> tuple[int, str, bytes]:
        body = urlencode(_form(sms)).encode()
        request = self._template.copy()
        request.body = body
        request.headers["Content-Length"] = str(len(body))
        # Not Session.send: it follows redirects and keeps cookies.
        return self._pool.send(request, exchange, LARGEST + 1)


def _form(sms: Sms) -> dict[str, str]:
    form = {"number": ",".join(sms.numbers), "message": sms.text}
    if sms.gsm:
        form["gsm"] = sms.gsm
    if sms.postpone:
        form["postpone"] = sms.postpone.strftime(api.POSTPONE_FORMAT)
    return form


class _Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}".encode()  # type: ignore[assignment]
        return request


def _basic(sender: Sender) -> AuthBase:
    # As bytes: requests would encode a str as Latin-1 and fail on the rest of Unicode.
    return HTTPBasicAuth(sender.name.encode(), sender.password.encode())
