"""The route to an HTTP gateway by the curl line of its manual: what goes out, and its answer.

One number a request, unless the sender has a ``list``: of each it is known what became of it.
"""

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from functools import partial
from secrets import token_hex
from urllib.parse import quote

import regex

from dialplan_sms import __version__
from dialplan_sms.config.config import Sender
from dialplan_sms.config.curl import HOLDER
from dialplan_sms.routes.reply import LARGEST, LATER, PERHAPS, answered, quoted, strange
from dialplan_sms.sms import log
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, Status, error
from dialplan_sms.sms.sms import Sms

_PATTERN_TIME = 0.5  # seconds that a pattern may take on an answer, which may mean harm
_LONGEST_ID = 64
# What holds for the other numbers, too.
_STOPS = (Cause.UNREACHABLE, Cause.UNAUTHORIZED, Cause.INTERNAL)
_DOUBTFUL = (Cause.NO_ANSWER, Cause.BAD_ANSWER)

Read = Callable[[int, str, bytes], Outcome]
Ask = Callable[[Sms, Callable[[Sms], bytes], Callable[[], None], float, Read], Outcome]


def send(
    ask: Ask,
    sms: Sms,
    sender: Sender,
    secrets: Collection[str],
    going_out: Callable[[], None],
    until: float,
) -> Outcome:
    """Send now, by as many requests as it takes, each made by *ask*. Raises Refused."""
    if sms.postpone is not None and sms.postpone > datetime.now():
        raise Refused(
            Cause.INVALID_POSTPONE,
            "a gateway of curl keeps no SMS for later: set outbox in the general section of"
            " sms.conf",
        )
    key = sms.key or token_hex(16)
    request = partial(build, sender=sender, key=key)
    request(sms)  # what it refuses does not go to the first numbers only
    each = [sms.numbers] if sender.separator else [(number,) for number in sms.numbers]
    tried: dict[tuple[str, ...], Outcome] = {}
    for numbers in each:
        one = replace(sms, numbers=numbers)
        told = going_out if not tried else _nothing
        outcome = ask(one, request, told, until, partial(read, sender, secrets, one))
        if not outcome.from_pbx:
            said = outcome.reason.replace("PBX", "gateway").replace("check url", "check the URL")
            outcome = replace(outcome, reason=said)
        tried[numbers] = outcome
        if outcome.cause in _STOPS:
            break
    return together(sms.numbers, tried)


def _nothing() -> None:
    """The call knows already that something has gone out."""


def together(numbers: tuple[str, ...], tried: dict[tuple[str, ...], Outcome]) -> Outcome:
    """The outcome for all *numbers* of those that were *tried*; the rest certainly got nothing."""
    last = [*tried.values()][-1]
    if len(tried) == 1 and numbers in tried:
        return last
    sent = [n for some, each in tried.items() if each.status is Status.SUCCESS for n in some]
    doubtful = {some: each for some, each in tried.items() if each.cause in _DOUBTFUL}
    unknown = tuple(number for some in doubtful for number in some)
    bad = [each for each in tried.values() if each.status is not Status.SUCCESS]
    if not bad:
        reason = ", ".join(filter(None, (each.reason for each in tried.values())))
        return replace(last, reason=reason)
    if not sent:
        return next(iter(doubtful.values()), bad[-1])
    failed = tuple(number for number in numbers if number not in {*sent, *unknown})
    reason = bad[-1].reason
    cause = Cause.NOT_QUEUED
    if doubtful:
        first = next(iter(doubtful.values()))
        cause, reason = first.cause, f"{', '.join(unknown)}: {first.reason}"
    # Of the peer's words or not, it may have numbers in it.
    return Outcome(Status.WARNING, cause, reason, failed, from_pbx=True, unknown=unknown)


def build(sms: Sms, sender: Sender, key: str) -> bytes:
    """The request to all numbers of *sms*; *key* makes ``{ID}``. Raises Refused."""
    line = sender.curl
    assert line is not None  # noqa: S101 - for mypy
    to = sender.separator.join(sms.numbers)
    id_ = hashlib.sha256(f"{key} {to}".encode()).hexdigest()[:32]
    given = {
        "{TO_NUMBER}": to,
        "{TO_DIGITS}": to.replace("+", ""),
        "{MESSAGE}": sms.text.encode("utf-8", "replace").decode(),
        "{GSM}": sms.gsm or "",
        "{ID}": id_,
    }

    def put(template: str, encode: Callable[[str], str]) -> str:
        return HOLDER.sub(lambda found: encode(given[found[0]]), template)

    in_url, in_header = partial(quote, safe=""), partial(quote, safe="+")
    target = put(line.target, in_url)
    if {".", ".."} & {*target.partition("?")[0].split("/")}:
        raise Refused(Cause.INVALID_MESSAGE, "this text would be another path at the gateway")
    body = put(line.body or "", _in_json if line.is_json else in_url).encode()
    length = f"Content-Length: {len(body)}\r\n" if line.body is not None else ""
    agent = "" if "\nuser-agent:" in f"\n{line.head}".lower() else _AGENT
    head = (
        f"{line.method} {target} HTTP/1.1\r\nHost: {line.origin.partition('://')[2]}\r\n"
        f"{agent}{put(line.head, in_header)}{length}\r\n"
    )
    return head.encode() + body


_AGENT = f"User-Agent: dialplan-sms/{__version__}\r\n"


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def read(
    sender: Sender, secrets: Collection[str], sms: Sms, status: int, location: str, body: bytes
) -> Outcome:
    """The answer to the request of *sms*: by its status, then by the sender's patterns."""
    if not sender.success or len(body) > LARGEST:
        outcome = answered(status, location, body, sender.name, secrets)
        if outcome.cause is Cause.UNAUTHORIZED:
            said = outcome.reason.rpartition(" - ")[2]
            return replace(outcome, reason=f"{_REFUSES.format(sender.name)} - {said}")
        return outcome
    text = body.decode("utf-8", "replace")
    said = quoted(text, secrets)[:200] or f"HTTP {status}"
    if status in (401, 403):
        return error(Cause.UNAUTHORIZED, f"{_REFUSES.format(sender.name)} - {said}", from_pbx=True)
    if status in LATER:
        return error(Cause.UNREACHABLE, f"the gateway takes nothing now - {said}", from_pbx=True)
    try:
        if sender.refusal and _found(sender.refusal, text):
            return error(Cause.REJECTED, said, from_pbx=True)
        if 200 <= status < 300 and _found(sender.success, text):
            id_ = _id(sender, secrets, sms, text)
            return Outcome(Status.SUCCESS, reason=f"id {id_} at the gateway" if id_ else "")
    except TimeoutError:
        said = "a pattern in sms.conf takes too long on the answer"
    why = (
        strange(status, quoted(location, secrets))
        if 300 <= status < 400
        else (f"HTTP {status}, and neither success nor failed of sms.conf is in the answer: ")
    )
    return error(Cause.BAD_ANSWER, f"{why}{PERHAPS} - {said}", from_pbx=True)


_REFUSES = "the gateway refuses who asks: check user, password and keys in curl of {}"


def _found(pattern: str, text: str) -> "regex.Match[str] | None":
    return regex.search(pattern, text, timeout=_PATTERN_TIME)


def _id(sender: Sender, secrets: Collection[str], sms: Sms, text: str) -> str:
    """The gateway's own id of the SMS; empty if it may be its text, or its number."""
    found = _found(sender.gateway_id, text) if sender.gateway_id else None
    if found is None:
        return ""
    id_ = quoted(found[1 if found.re.groups else 0] or "", secrets)[:_LONGEST_ID]
    repeats = any(number.lstrip("+") in id_ for number in sms.numbers)
    return "" if repeats or log.repeats(id_, sms.text) else id_
