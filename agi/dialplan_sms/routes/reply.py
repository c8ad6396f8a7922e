"""What an answer of the SMS API says, as an Outcome; and how words of a peer are repeated."""

import contextlib
import json
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import unquote

from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error, safe_line, safe_number

LARGEST = 64 * 1024  # bytes of an answer's body
# Another try may do: so answers another dialplan-sms that is busy, or whose outbox is away.
LATER = (429, 503)
PERHAPS = "it may have been sent"


def answered(
    status: int, location: str, body: bytes, who: str = "", secrets: Collection[str] = ()
) -> Outcome:
    """The PBX's reply in the contract's words: by its ``type`` first, then by the HTTP status.

    *who* says who asks, and what to check if the PBX refuses that. A hostile PBX that echoes one of
    the *secrets* does not get it into the call.
    """
    if len(body) > LARGEST:
        return error(Cause.BAD_ANSWER, f"the answer, HTTP {status}, exceeds 64 KiB: {PERHAPS}")
    reply: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        reply = json.loads(body)
    reply = reply if isinstance(reply, dict) else {}
    reason = quoted(str(reply.get("reason") or ""), secrets)
    said = reason or f"HTTP {status}"
    unauthorized = status in (401, 403) or reason.lower() == api.UNAUTHORIZED.lower()
    match reply.get("type"), reply.get("result"):
        case api.RESULT, api.SUCCESS:
            return Outcome(Status.SUCCESS)
        case api.WARNING, result:
            # A bool is an int, and no number.
            named = [n for n in result if type(n) in (str, int)] if type(result) is list else []
            missed = tuple(n for n in map(safe_number, map(str, named)) if n and n not in secrets)
            reason = reason or "the PBX warns without a reason"
            return Outcome(Status.WARNING, Cause.NOT_QUEUED, reason, missed, from_pbx=True)
        case ((api.ERROR | None), _) if unauthorized:
            cause, why = Cause.UNAUTHORIZED, f"the PBX refuses {who} - {said}"
        case api.ERROR, _ if status in LATER:
            cause, why = Cause.UNREACHABLE, f"the PBX takes nothing now - {said}"
        case api.ERROR, _:
            cause, why = Cause.REJECTED, reason or "the PBX rejects without a reason"
        case _:
            cause, why = Cause.BAD_ANSWER, strange(status, quoted(location, secrets)) + PERHAPS
    return error(cause, why, from_pbx=True)


def quoted(text: str, secrets: Collection[str]) -> str:
    """What the PBX says, on one line and without the secrets."""
    for secret in secrets:
        text = text.replace(secret, " xxx ")
    line = safe_line(text)
    for secret in filter(None, map(safe_line, secrets)):
        line = line.replace(secret, "xxx")
    if {*"\\%&"} & {*text}:  # as JSON, a URL and HTML escape what is in them
        from html import unescape  # which most answers do without

        plain = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda code: chr(int(code[1], 16)), text)
        plain = unquote(unescape(plain.replace("\\", "")))
        if any(secret in each for secret in secrets for each in (plain, plain.replace("+", " "))):
            return "the answer repeats a secret of sms.conf"
    return line


def strange(status: int, location: str) -> str:
    if 300 <= status < 400:
        return f"HTTP {status} redirects to {location[:200] or 'nowhere'} - check url in sms.conf, "
    if status == 404:
        return "HTTP 404, no SMS API at this path: check url in sms.conf, "
    return f"the PBX answered HTTP {status}, but not as the SMS API does: "
