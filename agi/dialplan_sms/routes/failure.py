"""Why a request got no answer, in the contract's words: certainly not sent, or nobody knows."""

import http.client
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError

from dialplan_sms.config.config import Sender
from dialplan_sms.host.shortage import shortage
from dialplan_sms.sms.outcome import Cause, Outcome, error, safe_line
from dialplan_sms.transport.exchange import Exchange, Stage


def failed(exchange: Exchange, failure: Exception, sender: Sender) -> Outcome:
    if exchange.stage is not Stage.GONE_OUT:
        short = next(filter(None, map(shortage, _chain(exchange.failure or failure))), "")
        if short:
            cause = Cause.INTERNAL if exchange.failure is None else Cause.UNREACHABLE
            return error(cause, f"nothing was sent: {short}")
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
