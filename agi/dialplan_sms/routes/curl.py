"""The route to an HTTP gateway by the curl line of its manual: what goes out, and its answer.

One number a request, unless the sender has a ``list``: of each it is known what became of it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from functools import partial
from secrets import token_hex
from urllib.parse import quote, unquote

import regex

from dialplan_sms.config.config import Sender
from dialplan_sms.config.curl import HOLDER, Curl
from dialplan_sms.routes.reply import LARGEST, LATER, PERHAPS, answered, quoted, strange
from dialplan_sms.sms import log
from dialplan_sms.sms.outcome import NOBODY_KNOWS, Cause, Outcome, Refused, Status, error
from dialplan_sms.sms.sms import Sms

_PATTERN_TIME = 0.5  # seconds that a pattern may take on an answer, which may mean harm
_STOPS = (Cause.UNREACHABLE, Cause.UNAUTHORIZED, Cause.INTERNAL)  # for the other numbers, too


def send(
    ask: Callable[..., Outcome],
    sms: Sms,
    sender: Sender,
    secrets: Collection[str],
    going_out: Callable[[], None],
    until: float,
) -> Outcome:
    """Send now, by as many requests as it takes, each made by *ask* (SmsApi). Raises Refused."""
    if sms.postpone is not None and sms.postpone > datetime.now():
        raise Refused(
            Cause.INVALID_POSTPONE,
            "a gateway of curl keeps no SMS for later: set outbox in the general section of"
            " sms.conf",
        )
    request = partial(build, sender=sender, key=sms.key or token_hex(16))
    request(sms)  # what it refuses does not go to the first numbers only
    tried: dict[tuple[str, ...], Outcome] = {}
    for numbers in [sms.numbers] if sender.separator else [(number,) for number in sms.numbers]:
        one = replace(sms, numbers=numbers)
        # From the second on, the call knows already that something is out.
        going_out = (lambda: None) if tried else going_out
        outcome = ask(one, request, going_out, until, partial(read, sender, secrets, one))
        said = outcome.reason.replace("PBX", "gateway").replace("check url", "check the URL")
        tried[numbers] = outcome if outcome.from_pbx else replace(outcome, reason=said)
        if outcome.cause in _STOPS:
            break
    return tried[sms.numbers] if sms.numbers in tried else together(sms.numbers, tried)


def together(numbers: tuple[str, ...], tried: dict[tuple[str, ...], Outcome]) -> Outcome:
    """The outcome for all *numbers* of those that were *tried*; the rest certainly got nothing."""
    sent = {some: each for some, each in tried.items() if each.status is Status.SUCCESS}
    doubtful = {some: each for some, each in tried.items() if each.cause in NOBODY_KNOWS}
    if len(sent) == len(numbers):
        reasons = ", ".join(filter(None, (each.reason for each in sent.values())))
        return Outcome(Status.SUCCESS, reason=reasons)
    worst = next(iter(doubtful.values()), [each for each in tried.values() if each.cause][-1])
    if not sent:
        return replace(worst, failed=numbers if worst.status is Status.WARNING else ())
    unknown = tuple(number for some in doubtful for number in some)
    return Outcome(
        Status.WARNING,
        worst.cause if unknown else Cause.NOT_QUEUED,
        f"{', '.join(unknown)}: {worst.reason}" if unknown else worst.reason,
        tuple(number for number in numbers if number not in unknown and (number,) not in sent),
        from_pbx=True,  # the reason has numbers in it, as only the words of a peer have
        unknown=unknown,
    )


def build(sms: Sms, sender: Sender, key: str) -> bytes:
    """The request to all numbers of *sms*; *key* makes ``{ID}``. Raises Refused."""
    line: Curl = sender.curl  # type: ignore[assignment]
    to = sender.separator.join(sms.numbers)
    given = {
        "{TO_NUMBER}": to,
        "{TO_DIGITS}": to.replace("+", ""),
        "{MESSAGE}": sms.text.encode("utf-8", "replace").decode(),
        "{GSM}": sms.gsm or "",
        "{ID}": hashlib.sha256(f"{key} {to}".encode()).hexdigest()[:32],
    }

    def put(template: str, in_json: bool = False) -> str:
        made = {h: json.dumps(v)[1:-1] if in_json else quote(v, safe="") for h, v in given.items()}
        return HOLDER.sub(lambda found: made[found[0]], template)

    head, body = put(line.head), put(line.body or "", (line.body or "").lstrip()[:1] in {"{", "["})
    # Some gateways take %2F for a slash, and a backslash, too.
    path = unquote(head.split(" ", 2)[1].partition("?")[0])
    if {".", ".."} & {*re.split(r"[/\\]", path)}:
        raise Refused(Cause.INVALID_MESSAGE, "this text would be another path at the gateway")
    length = "" if line.body is None else f"Content-Length: {len(body.encode())}\r\n"
    return f"{head}{length}\r\n{body}".encode()


def read(
    sender: Sender, secrets: Collection[str], sms: Sms, status: int, location: str, body: bytes
) -> Outcome:
    """The answer to the request of *sms*: by its status, then by the sender's patterns."""
    who = f"who asks: check user, password and keys in curl of {sender.name}"
    if len(body) > LARGEST or not sender.success:
        return answered(status, location, body, who, secrets)
    text = body.decode("utf-8-sig", "replace")
    said = quoted(text, secrets)[:200] or f"HTTP {status}"
    try:
        taken, refused, named = (
            regex.search(each, text, concurrent=True, timeout=_PATTERN_TIME) if each else None
            for each in (sender.success, sender.refusal, sender.gateway_id)
        )
    except TimeoutError:
        taken = refused = named = None
        said = "a pattern in sms.conf takes too long on the answer"
    if taken and not refused and 200 <= status < 300:
        id_ = quoted(named[bool(named.re.groups)] or "", secrets)[:64] if named else ""
        repeats = any(number.lstrip("+") in id_ for number in sms.numbers)
        has_id = id_ and not repeats and not log.repeats(id_, sms.text)
        return Outcome(Status.SUCCESS, reason=f"id {id_} at the gateway" if has_id else "")
    why = f"HTTP {status}, and neither success nor failed of sms.conf is in the answer: "
    why = strange(status, quoted(location, secrets)) if 300 <= status < 400 else why
    cases = (
        (status in (401, 403), Cause.UNAUTHORIZED, f"the gateway refuses {who} - {said}"),
        (status in LATER, Cause.UNREACHABLE, f"the gateway takes nothing now - {said}"),
        (refused, Cause.REJECTED, said),
        (True, Cause.BAD_ANSWER, f"{why}{PERHAPS} - {said}"),
    )
    return next(error(cause, reason, from_pbx=True) for fits, cause, reason in cases if fits)
