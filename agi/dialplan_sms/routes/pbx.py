"""The routes: one SMS to the SMS API of its sender's PBX, and the answer as an Outcome."""

import threading
import time
from collections.abc import Callable, Collection
from urllib.parse import urlencode, urlsplit

import requests

from dialplan_sms import __version__
from dialplan_sms.config.config import Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.routes.reply import LARGEST, answered, basic, failed, secrets_of
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Refused
from dialplan_sms.sms.sms import Sms
from dialplan_sms.transport.exchange import Exchange, Watchdog
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
    except OSError as error:
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
        watchdog: Watchdog | None = None,
    ) -> None:
        self._sender = sender
        self.pool = pool or open_pool(sender)
        self._watchdog = watchdog or Watchdog()
        self._secrets = secrets_of(sender)
        who = f"Bearer {sender.token}" if sender.token else f"Basic {basic(sender)}"
        # Made once: requests needs 0.2 ms for it, a copy 0.03.
        self._template = requests.Request(
            "POST",
            sender.url,
            headers={
                "Host": urlsplit(sender.url).netloc,
                "User-Agent": f"dialplan-sms/{__version__}",
                "Content-Type": "application/x-www-form-urlencoded",
                "Authorization": who.encode(),
            },
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
        until = time.monotonic() + sender.call_timeout if until is None else until
        answer_time = ANSWER_TIME * len(sms.numbers)
        exchange = Exchange(CONNECT_TIME, answer_time, until, going_out, self._watchdog)
        try:
            form = urlencode(_form(sms)).encode()
            request = self._template.copy()
            request.body = form
            request.headers["Content-Length"] = str(len(form))
            # Not Session.send: it follows redirects and keeps cookies.
            status, location, body = self.pool.send(request, exchange, LARGEST + 1)
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


def _form(sms: Sms) -> dict[str, str]:
    form = {"number": ",".join(sms.numbers), "message": sms.text}
    if sms.gsm:
        form["gsm"] = sms.gsm
    if sms.postpone:
        form["postpone"] = sms.postpone.strftime(api.POSTPONE_FORMAT)
    return form


class Routes:
    """Gives the route of a sender; *connections* to a PBX stay open between SMS.

    All routes share one watchdog and one resolver.
    """

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._watchdog = Watchdog()
        self._resolver = Resolver()
        self._lock = threading.Lock()
        self._routes: dict[Sender, SmsApi] = {}

    def __call__(self, sender: Sender) -> SmsApi:
        """The sender's route. Raises ConfigError as open_pool does."""
        with self._lock:
            route = self._routes.get(sender)
            if route is None:
                pool = open_pool(sender, self._resolver, self._connections)
                route = SmsApi(sender, pool, self._watchdog)
                self._routes[sender] = route
            return route

    @property
    def idle_connections(self) -> int:
        """Connections to PBXs that are open and wait for the next SMS."""
        with self._lock:
            return sum(route.pool.idle for route in self._routes.values())

    def keep(self, senders: Collection[Sender]) -> None:
        """Forget the routes of other senders; calls that use one finish on it."""
        with self._lock:
            self._routes = {s: route for s, route in self._routes.items() if s in senders}
