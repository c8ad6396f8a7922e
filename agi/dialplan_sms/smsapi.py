"""The route: one SMS to the PBX's SMS API, and its answer as an Outcome."""

import base64
import http.client
import json
import ssl
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import HTTPError

from dialplan_sms import __version__, api
from dialplan_sms.conffile import ConfigError
from dialplan_sms.config import Sender
from dialplan_sms.deadline import Resolver, Watchdog
from dialplan_sms.outcome import Cause, Outcome, Status, error, safe_line, safe_number
from dialplan_sms.sms import Sms
from dialplan_sms.transport import Adapter, Exchange, Stage, carrying

CONNECT_TIME = 3.0
"""Seconds for name, connection and TLS handshake together."""
ANSWER_TIME = 5.0
"""Seconds for each number (sms-api: "the timeout for mass sending is 5 s for each SMS")."""
LARGEST_ANSWER = 64 * 1024
"""Bytes of an answer's body."""


def open_session(
    sender: Sender, resolver: Resolver | None = None, connections: int = 1
) -> requests.Session:
    """A session for the sender's PBX that follows nothing but its adapter: no proxies, no netrc.

    *connections* is how many stay open between SMS.
    Raises ConfigError where ``verify`` names a file without a certificate.
    """
    session = requests.Session()
    session.trust_env = False
    scheme = urlsplit(sender.url).scheme
    try:
        verify = sender.verify if scheme == "https" else None
        adapter = Adapter(verify, resolver or Resolver(), connections)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"[{sender.name}] verify = {sender.verify}: no certificate in PEM format can be read"
            f" from it, {error.strerror or type(error).__name__}"
        ) from None
    session.mount(f"{scheme}://", adapter)
    return session


class SmsApi:
    """The SMS API of one sender's PBX."""

    def __init__(
        self,
        sender: Sender,
        session: requests.Session | None = None,
        clock: Callable[[], float] = time.monotonic,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._sender = sender
        self._session = session or open_session(sender)
        self._clock = clock
        self._watchdog = watchdog or Watchdog(clock)
        self._auth: AuthBase = _Bearer(sender.token) if sender.token else _basic(sender)

    def send(
        self,
        sms: Sms,
        going_out: Callable[[], None] = lambda: None,
        until: float | None = None,
    ) -> Outcome:
        """Send now, once, and be back by *until*, call_timeout from now where that is None.

        *going_out* is called just before the request leaves this host. Never raises for what the
        PBX or the network does.
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
        with carrying(exchange):
            try:
                status, location, body = self._post(sms)
            except Exception as failure:  # noqa: BLE001 - any of them must become an Outcome
                outcome = _failed(exchange, failure, sender)
            else:
                outcome = answered(status, location, body, sender.name, _secrets(sender))
                if exchange.timed_out and outcome.cause is Cause.BAD_ANSWER:
                    outcome = _failed(exchange, TimeoutError(), sender)  # cut at the deadline
        return outcome

    def _post(self, sms: Sms) -> tuple[int, str, bytes]:
        request = requests.Request(
            "POST",
            self._sender.url,
            headers={
                "User-Agent": f"dialplan-sms/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            data=_form(sms),
            auth=self._auth,
        ).prepare()
        # Not Session.send: it keeps cookies and costs more.
        response = self._session.get_adapter(self._sender.url).send(request, stream=True)
        try:
            body = response.raw.read(LARGEST_ANSWER + 1, decode_content=False)
        finally:
            response.close()
        return response.status_code, response.headers.get("Location", ""), body


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


def answered(
    status: int, location: str, body: bytes, user: str = "", secrets: Collection[str] = ()
) -> Outcome:
    """The PBX's reply in the contract's words: by its ``type`` first, then by the HTTP status.

    A hostile PBX that echoes one of the *secrets* does not get it into the call.
    """
    if len(body) > LARGEST_ANSWER:
        return error(Cause.BAD_ANSWER, f"the answer, HTTP {status}, exceeds 64 KiB: {_PERHAPS}")
    reply = _decode(body)
    kind = reply.get("type")
    reason = _quoted(str(reply.get("reason") or ""), secrets)
    if kind == api.RESULT and reply.get("result") == api.SUCCESS:
        return Outcome(Status.SUCCESS)
    if kind == api.WARNING:
        failed = tuple(n for n in _numbers(reply.get("result")) if n not in secrets)
        reason = reason or "the PBX warns without a reason"
        return Outcome(Status.WARNING, Cause.NOT_QUEUED, reason, failed, from_pbx=True)
    unauthorized = status in (401, 403) or reason.lower() == api.UNAUTHORIZED.lower()
    if unauthorized and kind in (api.ERROR, None):
        said = reason or f"HTTP {status}"
        advice = f"the PBX refuses user {user}: check the name of the section and its secret"
        return error(Cause.UNAUTHORIZED, f"{advice} in sms.conf - {said}", from_pbx=True)
    if kind == api.ERROR:
        return error(Cause.REJECTED, reason or "the PBX rejects without a reason", from_pbx=True)
    return error(Cause.BAD_ANSWER, _strange(status, _quoted(location, secrets)), from_pbx=True)


def _secrets(sender: Sender) -> tuple[str, ...]:
    """What proves who the sender is, in every form that goes over the wire."""
    basic = base64.b64encode(f"{sender.name}:{sender.password}".encode()).decode()
    # One or two characters stand in every reason, and hide nothing.
    return tuple(each for each in (sender.token, sender.password, basic) if len(each) > 2)


def _quoted(text: str, secrets: Collection[str]) -> str:
    """What the PBX says, on one line and without the secrets."""
    for secret in secrets:
        text = text.replace(secret, " xxx ")
    line = safe_line(text)
    for secret in filter(None, map(safe_line, secrets)):
        line = line.replace(secret, "xxx")
    return line


def _decode(body: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return reply if isinstance(reply, dict) else {}


def _numbers(result: object) -> tuple[str, ...]:
    items = result if isinstance(result, list) else []
    # A bool is an int, and no number.
    named = (str(item) for item in items if type(item) in (str, int))
    return tuple(number for number in map(safe_number, named) if number)


_PERHAPS = "it may have been sent"


def _strange(status: int, location: str) -> str:
    if 300 <= status < 400:
        target = location[:200] or "nowhere"
        return f"HTTP {status} redirects to {target} - check url in sms.conf, {_PERHAPS}"
    if status == 404:
        return f"HTTP 404, no SMS API at this path: check url in sms.conf, {_PERHAPS}"
    return f"the PBX answered HTTP {status}, but not as the SMS API does: {_PERHAPS}"


def _failed(exchange: Exchange, failure: Exception, sender: Sender) -> Outcome:
    if exchange.stage is not Stage.GONE_OUT:
        if exchange.failure is None:
            # Neither network nor time: the request could not even be made.
            name = type(failure).__name__
            return error(Cause.INTERNAL, f"nothing was sent, the request failed here: {name}")
        return error(Cause.UNREACHABLE, _unreachable(exchange, sender))
    if not exchange.timed_out and any(_garbled(link) for link in _chain(failure)):
        return error(Cause.BAD_ANSWER, "the answer of the PBX is no HTTP: it may have been sent")
    how = "in time" if exchange.timed_out else "but ended the connection"
    hint = "" if exchange.timed_out or sender.url.startswith("https:") else _HTTPS_HINT
    return error(Cause.NO_ANSWER, f"the PBX did not answer {how}: it may have been sent{hint}")


_HTTPS_HINT = " - perhaps url needs https"


def _chain(failure: BaseException) -> Iterator[BaseException]:
    """*failure* and all that it was raised from, urllib3's ``args`` included."""
    pending: list[object] = [failure]
    seen: set[int] = set()
    while pending:
        link = pending.pop()
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            yield link
            pending += [link.__cause__, link.__context__, getattr(link, "reason", None)]
            pending += link.args if isinstance(link, HTTPError | OSError) else ()


def _garbled(link: BaseException) -> bool:
    broken_off = (http.client.RemoteDisconnected, http.client.IncompleteRead)
    return isinstance(link, http.client.HTTPException) and not isinstance(link, broken_off)


def _unreachable(exchange: Exchange, sender: Sender) -> str:
    parts = urlsplit(sender.url)
    peer = parts.hostname or ""
    late = isinstance(exchange.failure, TimeoutError)
    if exchange.stage is Stage.RESOLVING:
        if late:
            return f"the name {peer} was not resolved in time: check the DNS of this host"
        return f"the name {peer} is unknown: check url in sms.conf and the DNS of this host"
    peer += f" port {parts.port or (443 if parts.scheme == 'https' else 80)}"
    if late:
        return f"no connection to {peer} in time: check url, firewall and PBX"
    cause = _root(exchange.failure)
    if exchange.stage is Stage.CONNECTING:
        what = getattr(cause, "strerror", None) or type(cause).__name__
        return f"no connection to {peer}, {what}: check url, firewall and PBX"
    return f"no TLS with {peer}: {_why_no_tls(cause)}"


def _root(failure: Exception | None) -> BaseException | None:
    if failure is None:
        return None
    links = list(_chain(failure))
    return next((link for link in links if isinstance(link, ssl.SSLError)), links[-1])


def _why_no_tls(cause: BaseException | None) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the certificate is not trusted, {safe_line(cause.verify_message)}: set verify in"
            " sms.conf to its CA file or to its sha256: fingerprint"
        )
    text = str(cause)
    if "Fingerprints did not match" in text:
        found = text.rpartition("got ")[2].strip(" \"')")
        return (
            f"the certificate has another fingerprint than verify in sms.conf, sha256:{found}"
            " - take it over only if you know why it changed"
        )
    what = getattr(cause, "reason", None) or type(cause).__name__
    return f"{safe_line(str(what))} - perhaps url needs http or another port"
