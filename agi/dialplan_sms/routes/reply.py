"""The PBX's reply, or why there is none, in the contract's words: what was sent, and who knows.

Pure: an Outcome of bytes, or of an exception.
"""

import base64
import json
import ssl
from collections.abc import Collection
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

from dialplan_sms.config.config import Sender
from dialplan_sms.host import shortage
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error, safe_line, safe_number
from dialplan_sms.transport.exchange import Exchange, Stage

LARGEST = 64 * 1024
"""Bytes of an answer's body."""
_LATER = (429, 503)
"""Another try may do: so answers another dialplan-sms that is busy, or whose outbox is away."""
PERHAPS = "it may have been sent"


def answered(
    status: int, location: str, body: bytes, user: str = "", secrets: Collection[str] = ()
) -> Outcome:
    """The PBX's reply in the contract's words: by its ``type`` first, then by the HTTP status.

    A hostile PBX that echoes one of the *secrets* does not get it into the call.
    """
    if len(body) > LARGEST:
        return error(Cause.BAD_ANSWER, f"the answer, HTTP {status}, exceeds 64 KiB: {PERHAPS}")
    reply = _decode(body)
    kind = reply.get("type")
    reason = _quoted(str(reply.get("reason") or ""), secrets)
    if kind == api.RESULT and reply.get("result") == api.SUCCESS:
        return Outcome(Status.SUCCESS)
    if kind == api.WARNING:
        failed = tuple(n for n in _numbers(reply.get("result")) if n not in secrets)
        reason = reason or "the PBX warns without a reason"
        return Outcome(Status.WARNING, Cause.NOT_QUEUED, reason, failed, from_pbx=True)
    said = reason or f"HTTP {status}"
    unauthorized = status in (401, 403) or reason.lower() == api.UNAUTHORIZED.lower()
    if unauthorized and kind in (api.ERROR, None):
        advice = f"the PBX refuses user {user}: check the name of the section, and its password or"
        return error(Cause.UNAUTHORIZED, f"{advice} token, in sms.conf - {said}", from_pbx=True)
    if kind == api.ERROR and status in _LATER:
        return error(Cause.UNREACHABLE, f"the PBX takes nothing now - {said}", from_pbx=True)
    if kind == api.ERROR:
        return error(Cause.REJECTED, reason or "the PBX rejects without a reason", from_pbx=True)
    return error(Cause.BAD_ANSWER, _strange(status, _quoted(location, secrets)), from_pbx=True)


def basic(sender: Sender) -> str:
    """The sender's name and password as they go over the wire; as UTF-8, whatever the script."""
    return base64.b64encode(f"{sender.name}:{sender.password}".encode()).decode()


def secrets_of(sender: Sender) -> tuple[str, ...]:
    """What proves who the sender is, in every form that goes over the wire."""
    # One or two characters stand in every reason, and hide nothing.
    every = (sender.token, sender.password, basic(sender))
    return tuple(secret for secret in every if len(secret) > 2)


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


def _strange(status: int, location: str) -> str:
    if 300 <= status < 400:
        target = location[:200] or "nowhere"
        return f"HTTP {status} redirects to {target} - check url in sms.conf, {PERHAPS}"
    if status == 404:
        return f"HTTP 404, no SMS API at this path: check url in sms.conf, {PERHAPS}"
    return f"the PBX answered HTTP {status}, but not as the SMS API does: {PERHAPS}"


def failed(exchange: Exchange, failure: Exception, sender: Sender) -> Outcome:
    """What *failure* of the request in *exchange* comes to."""
    if exchange.stage is not Stage.GONE_OUT:
        told = exchange.failure or failure
        short = shortage(told) or shortage(told.__cause__)
        if exchange.failure is None:
            # Neither network nor time: the request could not even be made.
            why = short or f"the request failed here: {type(failure).__name__}"
            return error(Cause.INTERNAL, f"nothing was sent{':' if short else ','} {why}")
        why = f"nothing was sent: {short}" if short else _unreachable(exchange.stage, told, sender)
        return error(Cause.UNREACHABLE, why)
    broken_off = isinstance(failure, RemoteDisconnected | IncompleteRead)
    if isinstance(failure, HTTPException) and not (exchange.timed_out or broken_off):
        return error(Cause.BAD_ANSWER, f"the answer of the PBX is no HTTP: {PERHAPS}")
    how = "in time" if exchange.timed_out else "but ended the connection"
    plain = not exchange.timed_out and sender.url.startswith("http:")
    hint = " - perhaps url needs https" if plain else ""
    return error(Cause.NO_ANSWER, f"the PBX did not answer {how}: {PERHAPS}{hint}")


_LATE = "no connection to {peer} in time: check url, firewall and PBX"
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
"""By how far it came, and whether time was over."""


def _unreachable(stage: Stage, failure: Exception, sender: Sender) -> str:
    parts = urlsplit(sender.url)
    name, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    why = str(getattr(failure, "strerror", None) or type(failure).__name__)
    if stage is Stage.SECURING:
        why = _why_no_tls(failure)
    reason = _UNREACHABLE[stage, isinstance(failure, TimeoutError)]
    return reason.format(name=name, peer=f"{name} port {port}", why=why)


def _why_no_tls(failure: Exception) -> str:
    if isinstance(failure, ssl.SSLCertVerificationError):
        return (
            f"the certificate is not trusted, {safe_line(failure.verify_message)}: set verify in"
            " sms.conf to its CA file or to its sha256: fingerprint"
        )
    text = str(failure)
    if "Fingerprints did not match" in text:
        found = text.rpartition("got ")[2].strip(" \"')")
        return (
            f"the certificate has another fingerprint than verify in sms.conf, sha256:{found}"
            " - take it over only if you know why it changed"
        )
    what = getattr(failure, "reason", None) or type(failure).__name__
    return f"{safe_line(str(what))} - perhaps url needs http or another port"
