"""The route to a PBX, or a gateway: one SMS, and what came of it as an Outcome."""

import base64
import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from urllib.parse import urlencode, urlsplit

import requests

from dialplan_sms import __version__
from dialplan_sms.config.config import Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host import shortage
from dialplan_sms.routes.reply import LARGEST, PERHAPS, answered
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, error
from dialplan_sms.sms.sms import Sms
from dialplan_sms.transport import tls
from dialplan_sms.transport.connection import Pool, Resolver
from dialplan_sms.transport.exchange import Stage, Unanswered, Unreached, Watchdog

CONNECT_TIME = 3.0  # seconds for name, connection and TLS handshake together
# Seconds for each number (sms-api: "the timeout for mass sending is 5 s for each SMS").
ANSWER_TIME = 5.0
_BROKEN_OFF = (RemoteDisconnected, IncompleteRead)


class SmsApi:
    """The SMS API of one sender's PBX: no proxies, no netrc, no redirects, nothing but the PBX.

    Or the gateway of its ``curl``. *connections* is how many stay open between SMS. Raises
    ConfigError if ``verify`` names a file without a certificate.
    """

    def __init__(
        self,
        sender: Sender,
        resolver: Resolver | None = None,
        watchdog: Watchdog | None = None,
        connections: int = 1,
    ) -> None:
        self._sender = sender
        self._secrets = secrets_of(sender)
        self._answered = partial(
            answered,
            who=f"user {sender.name}: check the name of the section, and its password or token, in"
            " sms.conf",
            secrets=self._secrets,
        )
        who = f"Bearer {sender.token}" if sender.token else f"Basic {_basic(sender)}"
        prepared = requests.Request("POST", sender.url).prepare()
        self._head = (
            f"POST {prepared.path_url} HTTP/1.1\r\n"
            f"Host: {urlsplit(sender.url).netloc}\r\n"
            f"User-Agent: dialplan-sms/{__version__}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Authorization: {who}\r\n"
            "Content-Length: "
        ).encode()
        url = urlsplit(str(prepared.url))  # the name of the host encoded by requests
        try:
            peer = tls.peer(
                url.scheme, url.hostname or "", url.port, resolver or Resolver(), sender.verify
            )
        except OSError as error:
            raise ConfigError(
                f"[{sender.name}] verify = {sender.verify}: no certificate in PEM format can be"
                f" read from it, {error.strerror or type(error).__name__}"
            ) from None
        self.pool = Pool(peer, watchdog or Watchdog(), connections)

    def send(
        self, sms: Sms, going_out: Callable[[], None] = lambda: None, until: float | None = None
    ) -> Outcome:
        """Send now, once, and be back by *until*, call_timeout from now if that is None.

        *going_out* is called just before the request leaves this host; what it refuses does not
        leave. Raises that Refused, and nothing for what the PBX or the network does.
        """
        sender = self._sender
        until = time.monotonic() + sender.call_timeout if until is None else until
        if sender.curl is None:
            return self._ask(sms, self._request, going_out, until, self._answered)
        from dialplan_sms.routes import curl  # not for those who have no such sender

        return curl.send(self._ask, sms, sender, self._secrets, going_out, until)

    def _ask(
        self,
        sms: Sms,
        request: Callable[[Sms], bytes],
        going_out: Callable[[], None],
        until: float,
        read: Callable[[int, str, bytes], Outcome],
    ) -> Outcome:
        """Make the one *request* of *sms*, and *read* its answer: status, Location and body.

        Of the body there are at most LARGEST + 1 bytes.
        """
        now = time.monotonic()
        connect_by, answer_time = min(now + CONNECT_TIME, until), ANSWER_TIME * len(sms.numbers)
        try:
            status, headers, answer, cut = self.pool.send(
                request(sms), LARGEST + 1, connect_by, answer_time, until, going_out
            )
        except Refused:
            raise
        except Exception as failure:  # noqa: BLE001 - any of them must become an Outcome
            return failed(failure, self._sender)
        outcome = read(status, headers.get("location", ""), answer)
        if cut and outcome.cause is Cause.BAD_ANSWER:
            return failed(Unanswered(True, TimeoutError()), self._sender)
        return outcome

    def _request(self, sms: Sms) -> bytes:
        form = {
            "number": ",".join(sms.numbers),
            "message": sms.text,
            "gsm": sms.gsm,
            "postpone": sms.postpone and sms.postpone.strftime(api.POSTPONE_FORMAT),
        }
        body = urlencode({name: value for name, value in form.items() if value}).encode()
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)


class Routes:
    """Gives the route of a sender; *connections* to a PBX stay open between SMS."""

    def __init__(self, connections: int) -> None:
        self._open = partial(
            SmsApi, resolver=Resolver(), watchdog=Watchdog(), connections=connections
        )
        self._lock = threading.Lock()
        self._routes: dict[Sender, SmsApi] = {}

    def __call__(self, sender: Sender) -> SmsApi:
        """The sender's route. Raises ConfigError as SmsApi does."""
        with self._lock:
            if sender not in self._routes:
                self._routes[sender] = self._open(sender)
            return self._routes[sender]

    @property
    def idle_connections(self) -> int:
        """Connections to PBXs that are open and wait for the next SMS."""
        with self._lock:
            return sum(route.pool.idle for route in self._routes.values())

    def keep(self, senders: Collection[Sender]) -> None:
        """Forget the routes of other senders; calls that use one finish on it."""
        with self._lock:
            self._routes = {s: route for s, route in self._routes.items() if s in senders}


def _basic(sender: Sender) -> str:
    """The sender's name and password as they go over the wire; as UTF-8, whatever the script."""
    return base64.b64encode(f"{sender.name}:{sender.password}".encode()).decode()


def secrets_of(sender: Sender) -> tuple[str, ...]:
    """What proves who the sender is, in every form that goes over the wire."""
    all_ = sender.curl.secrets if sender.curl else (sender.token, sender.password, _basic(sender))
    # One or two characters stand in every reason, and hide nothing.
    return tuple(each for each in all_ if len(each) > 2)


def failed(failure: Exception, sender: Sender) -> Outcome:
    """What *failure* of a Pool's send() comes to."""
    match failure:
        case Unanswered(False, HTTPException() as why) if not isinstance(why, _BROKEN_OFF):
            return error(Cause.BAD_ANSWER, f"the answer of the PBX is no HTTP: {PERHAPS}")
        case Unanswered(late, _):
            how = "in time" if late else "but ended the connection"
            plain = sender.url.startswith("http:") and not late
            hint = " - perhaps url needs https" if plain else ""
            return error(Cause.NO_ANSWER, f"the PBX did not answer {how}: {PERHAPS}{hint}")
        case Unreached(stage, why):
            short = shortage(why) or shortage(why.__cause__)
            reason = f"nothing was sent: {short}" if short else _unreachable(stage, why, sender)
            return error(Cause.UNREACHABLE, reason)
    # Neither network nor time: the request could not even be made.
    short = shortage(failure)
    reason = f": {short}" if short else f", the request failed here: {type(failure).__name__}"
    return error(Cause.INTERNAL, f"nothing was sent{reason}")


_LATE = "no connection to {peer} in time: check url, firewall and PBX"
# By how far it came, and whether time was over.
_UNREACHABLE = {
    (Stage.RESOLVING, True):
        "the name {name} was not resolved in time: check the DNS of this host",
    (Stage.RESOLVING, False):
        "the name {name} is unknown: check url in sms.conf and the DNS of this host",
    (Stage.CONNECTING, True): _LATE,
    (Stage.CONNECTING, False): "no connection to {peer}, {why}: check url, firewall and PBX",
    (Stage.SECURING, True): _LATE,
    (Stage.SECURING, False): "no TLS with {peer}: {why}",
}  # fmt: skip


def _unreachable(stage: Stage, failure: Exception, sender: Sender) -> str:
    url = urlsplit(sender.url)
    port = url.port or (443 if url.scheme == "https" else 80)
    why = str(getattr(failure, "strerror", None) or type(failure).__name__)
    return _UNREACHABLE[stage, isinstance(failure, TimeoutError)].format(
        name=url.hostname,
        peer=f"{url.hostname} port {port}",
        why=tls.why_none(failure) if stage is Stage.SECURING else why,
    )
