"""The PBX's answers, in the contract's words. Pure: bytes in, Outcome out."""

import base64
import json
from collections.abc import Collection
from typing import Any

from dialplan_sms.config.config import Sender
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error, safe_line, safe_number

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
    unauthorized = status in (401, 403) or reason.lower() == api.UNAUTHORIZED.lower()
    if unauthorized and kind in (api.ERROR, None):
        said = reason or f"HTTP {status}"
        advice = f"the PBX refuses user {user}: check the name of the section, and its password or"
        return error(Cause.UNAUTHORIZED, f"{advice} token, in sms.conf - {said}", from_pbx=True)
    if kind == api.ERROR and status in _LATER:
        said = reason or f"HTTP {status}"
        return error(Cause.UNREACHABLE, f"the PBX takes nothing now - {said}", from_pbx=True)
    if kind == api.ERROR:
        return error(Cause.REJECTED, reason or "the PBX rejects without a reason", from_pbx=True)
    return error(Cause.BAD_ANSWER, _strange(status, _quoted(location, secrets)), from_pbx=True)


def secrets_of(sender: Sender) -> tuple[str, ...]:
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


def _strange(status: int, location: str) -> str:
    if 300 <= status < 400:
        target = location[:200] or "nowhere"
        return f"HTTP {status} redirects to {target} - check url in sms.conf, {PERHAPS}"
    if status == 404:
        return f"HTTP 404, no SMS API at this path: check url in sms.conf, {PERHAPS}"
    return f"the PBX answered HTTP {status}, but not as the SMS API does: {PERHAPS}"
