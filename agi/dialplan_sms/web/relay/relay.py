"""A request to our SMS API becomes a Draft, and its Outcome the API's reply. Knows no HTTP."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, Status, safe_line
from dialplan_sms.sms.service import Service
from dialplan_sms.sms.sms import Draft, Sms
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
_PLUS_LOST = re.compile(r"(?:^|,) [0-9]{7}")
_PLUS_ADVICE = " - a + in a request means a space: write %2B, or use curl --data-urlencode"
_MOST = 1000
_TOO_MANY = f"At most {_MOST} numbers in a request"
_UNAVAILABLE = (Cause.OUTBOX, Cause.BUSY, Cause.CONFIG, Cause.INTERNAL)
"""What another try may mend."""
_PERHAPS = "dialplan-sms does not know whether the SMS was stored: it may be sent"


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What the client is told: the API's JSON, and the HTTP status."""

    json: Mapping[str, Any]
    status: int = 200


class Relay:
    """Takes requests from users of ``[http]``, and stores what they ask for.

    *loops* says whether an address is that of a sender's PBX.
    """

    def __init__(self, service: Service, loops: Callable[[str, str], bool]) -> None:
        self._service = service
        self._loops = loops
        self._rounds = Rounds()

    def send(self, form: Mapping[str, str], user: str, address: str) -> HttpReply:
        """Store what *form* (parameters by name) asks for; blocks until it is on the disk.

        The numbers that cannot be sent to are named in a warning, and the others are sent.
        """
        number = form.get("number", "")
        if not number.strip(", \t\r\n"):
            return HttpReply(api.error(api.EMPTY_NUMBER))
        if number.count(",") >= _MOST:
            return HttpReply(api.error(_TOO_MANY))
        if not form.get("message", ""):
            return HttpReply(api.error(EMPTY_MESSAGE))

        def refuse_loops(sms: Sms, sender: Sender) -> None:
            if sms.gsm is None and self._loops(address, sender.url):
                raise _LOOP
            if sms.gsm is None and self._rounds.again(f"{sender.name}\0{number}\0{sms.text}"):
                raise _ROUND

        draft = Draft(
            number=number,
            message=form["message"],
            gsm=form.get("gsm", ""),
            postpone=form.get("postpone", ""),
            sender=_sender(self._service.load(), user),
            mode="queue",
            call=f"http:{user}@{address}",
            partly=True,
        )
        handled = self._service.handle(draft, veto=refuse_loops)
        self._service.log(handled)
        outcome = handled.outcome
        if outcome.cause is Cause.INVALID_NUMBER and _PLUS_LOST.search(number):
            outcome = replace(outcome, reason=outcome.reason + _PLUS_ADVICE)
        return reply(outcome)


def reply(outcome: Outcome) -> HttpReply:
    """The API's reply to what became of the SMS."""
    if outcome.status is not Status.ERROR:
        return HttpReply(api.warning(outcome.failed) if outcome.failed else api.result())
    status = 503 if outcome.cause in _UNAVAILABLE else 200
    if outcome.cause is Cause.NO_ANSWER:
        # Not in the API's terms, which have no word for it: an error would mean "not sent".
        return HttpReply({"reason": _PERHAPS}, 504)
    return HttpReply(api.error(safe_line(outcome.reason)[:500] or str(outcome.cause)), status)


def _sender(config: Config, user: str) -> str:
    """Who sends for *user*: the sender of that name, else that of ``[http]``, else the default."""
    return user if user in config.senders else config.http.sender if config.http else ""
