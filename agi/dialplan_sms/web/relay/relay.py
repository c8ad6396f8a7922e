"""A request to our SMS API becomes a Draft, and its Outcome the API's reply. Knows no HTTP."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.http import Http
from dialplan_sms.sms import api
from dialplan_sms.sms.destinations import refuse_place
from dialplan_sms.sms.log import Handled
from dialplan_sms.sms.numbers import read_numbers
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, Status, safe_line
from dialplan_sms.sms.service import Service, choose
from dialplan_sms.sms.sms import Draft
from dialplan_sms.web.relay.loops import Rounds

EMPTY_MESSAGE = "Message should not be empty"
_LOOP = Refused(
    Cause.DENIED,
    "the SMS comes from the PBX that it would go back to: give gsm in the request, or set gsm in"
    " the section of the sender in sms.conf",
)
_ROUND = Refused(
    Cause.DENIED,
    "the same SMS comes again and again: does the PBX give it back? Then give gsm, or set it in"
    " sms.conf",
)
_PLUS_LOST = re.compile(r" [0-9]{7}")
_MOST = 1000
_TOO_MANY = f"At most {_MOST} numbers in a request"
_UNAVAILABLE = (Cause.OUTBOX, Cause.BUSY, Cause.CONFIG, Cause.INTERNAL)
"""What another try may mend."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the client is told: the API's JSON, and the HTTP status."""

    json: Mapping[str, Any]
    status: int = 200


_PERHAPS = "dialplan-sms does not know whether the SMS was stored: it may be sent"


class Relay:
    """Takes requests from users of ``[http]``, and stores what they ask for.

    *load* gives the configuration; *loops* whether an address is that of a sender's PBX.
    """

    def __init__(
        self, service: Service, load: Callable[[], Config], loops: Callable[[str, str], bool]
    ) -> None:
        self._service = service
        self._load = load
        self._loops = loops
        self._rounds = Rounds()

    def send(self, form: Mapping[str, str], user: str, address: str) -> Reply:
        """Store what *form* (parameters by name) asks for; blocks until it is on the disk.

        The numbers that cannot be sent to are named in a warning, and the others are sent.
        """
        number = form.get("number", "")
        if not number.strip(", \t\r\n"):
            return Reply(api.error(api.EMPTY_NUMBER))
        if number.count(",") >= _MOST:
            return Reply(api.error(_TOO_MANY))
        if not form.get("message", ""):
            return Reply(api.error(EMPTY_MESSAGE))
        config = self._load()
        draft = Draft(
            number=number,
            message=form["message"],
            gsm=form.get("gsm", ""),
            postpone=form.get("postpone", ""),
            sender=_sender(config, user),
            mode="queue",
            call=f"http:{user}@{address}",
        )
        refused: Sequence[str] = ()
        try:
            sender = choose(config, draft)
            if not draft.gsm.strip() and not sender.gsm:
                if self._loops(address, sender.url):
                    raise _LOOP
                if self._rounds.again(f"{sender.name}\0{number}\0{draft.message}"):
                    raise _ROUND
            good, refused, why = sort(number, sender)
            if not good:
                raise why or Refused(Cause.INVALID_NUMBER, api.EMPTY_NUMBER)
        except Refused as refusal:
            handled = Handled(draft, None, draft.sender, refusal.outcome, 0.0)
        else:
            if why is not None:
                self._service.note(f"HTTP: {why.outcome.for_log or why.cause}, of {draft.call}")
            handled = self._service.handle(replace(draft, number=",".join(good)))
        self._service.log(handled)
        return reply(handled.outcome, refused)


def sort(text: str, sender: Sender) -> tuple[list[str], list[str], Refused | None]:
    """The numbers of *text* that *sender* can send to, those that it cannot, and the first why.

    The latter stand as the client wrote them, at most 40 characters of each.
    """
    good: dict[str, None] = {}
    wrong: dict[str, None] = {}
    why: Refused | None = None
    for item in text.split(","):
        if not item.strip():
            continue
        try:
            numbers = read_numbers(item, sender.country, sender.short_numbers)
            refuse_place(numbers, sender)
            good |= dict.fromkeys(numbers)
        except Refused as refusal:
            why = why or (_plus(refusal) if _PLUS_LOST.match(item) else refusal)
            wrong[item.strip()[:40]] = None
    return list(good), list(wrong), why


def _plus(refused: Refused) -> Refused:
    """As *refused*, with what a client overlooked that wrote a + into a form as it is."""
    advice = " - a + in a request means a space: write %2B, or use curl --data-urlencode"
    return Refused(refused.cause, refused.reason + advice, refused.outcome.for_log)


def reply(outcome: Outcome, refused: Sequence[str] = ()) -> Reply:
    """The API's reply to what became of the SMS; *refused* are numbers that it did not go to."""
    if outcome.status in (Status.SUCCESS, Status.QUEUED):
        return Reply(api.warning(refused) if refused else api.result())
    if outcome.status is Status.WARNING:
        return Reply(api.warning([*refused, *outcome.failed]))
    status = 503 if outcome.cause in _UNAVAILABLE else 200
    if outcome.cause is Cause.NO_ANSWER:
        # Not in the API's terms, which have no word for it: an error would mean "not sent".
        return Reply({"reason": _PERHAPS}, 504)
    return Reply(api.error(safe_line(outcome.reason)[:500] or str(outcome.cause)), status)


def _sender(config: Config, user: str) -> str:
    """Who sends for *user*: the sender of that name, else that of ``[http]``, else the default."""
    http: Http | None = config.http
    return user if user in config.senders else (http.sender if http else "")
