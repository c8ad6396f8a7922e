"""A request to our SMS API becomes a Draft, unless it is a loop, and its Outcome the reply."""

import asyncio
import contextlib
import math
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from starlette.responses import JSONResponse, PlainTextResponse, Response

from dialplan_sms.config.config import Sender
from dialplan_sms.host.address import is_loopback, parse
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error, failed, safe_line
from dialplan_sms.sms.service import Service
from dialplan_sms.sms.sms import Draft, Sms
from dialplan_sms.transport.connection import Resolver

_LOOP = error(
    Cause.DENIED,
    "the SMS comes from the PBX that it would go back to: give gsm in the request, or set gsm in"
    " the section of the sender in sms.conf",
)
_ROUND = error(
    Cause.DENIED,
    "the same SMS comes again and again: does the PBX give it back? Then give gsm, or set it in"
    " sms.conf",
)
_PLUS_LOST = re.compile(r"(?:^|,) [0-9]{7}")
_PLUS_ADVICE = " - a + in a request means a space: write %2B, or use curl --data-urlencode"
_MOST = 1000
_UNAVAILABLE = (Cause.OUTBOX, Cause.BUSY, Cause.CONFIG, Cause.INTERNAL)  # another try may do
_PERHAPS = "dialplan-sms does not know whether the SMS was stored: it may be sent"
_FRESH = 60.0  # seconds for which the addresses of a PBX hold
_MOST_ROUNDS, _MINUTE = 5, 60.0  # of one SMS; a sixth is taken for a loop
_NONLOCAL = Path("/proc/sys/net/ipv4/ip_nonlocal_bind")


class Relay:
    """Takes requests from users of ``[http]``, and stores what they ask for."""

    def __init__(self, service: Service, outbox: Outbox, loops: "Loops") -> None:
        self._service = service
        self._outbox = outbox
        self._loops = loops

    async def send(self, form: Mapping[str, str], user: str, address: str) -> Response:
        """Store what *form* (parameters by name) asks for; the reply comes once it is on disk."""
        number, message = form.get("number", ""), form.get("message", "")
        wrong = (
            (not number.strip(", \t\r\n"), api.EMPTY_NUMBER),
            (number.count(",") >= _MOST, f"At most {_MOST} numbers in a request"),
            (not message, "Message should not be empty"),
        )
        reason = next((reason for is_wrong, reason in wrong if is_wrong), "")
        if reason:
            return JSONResponse(api.error(reason))

        config = self._service.load()
        default = config.http.sender if config.http else ""
        draft = Draft(
            number=number,
            message=message,
            gsm=form.get("gsm", ""),
            postpone=form.get("postpone", ""),
            sender=user if user in config.senders else default,
            mode="queue",
            call=f"http:{user}@{address}",
            partly=True,
        )
        ready = self._service.prepare(draft)
        outcome = ready.refused
        if outcome is None:
            try:
                sms, sender, _ = ready.whole
                outcome = await self._returns(sms, sender, address)
                outcome = outcome or await self._outbox.accepted(sms, sender)
            except Exception as failure:  # noqa: BLE001 - a client must get its reply
                outcome = failed(failure)
        handled = self._service.conclude(ready, outcome)
        self._service.log(handled)
        outcome = handled.outcome
        if outcome.cause is Cause.INVALID_NUMBER and _PLUS_LOST.search(number):
            outcome = replace(outcome, reason=outcome.reason + _PLUS_ADVICE)
        return reply(outcome)

    async def _returns(self, sms: Sms, sender: Sender, address: str) -> Outcome | None:
        """Why it is refused as one that comes from where it would go to."""
        if sms.gsm is not None:
            return None
        if await self._loops.is_pbx(address, sender.url):
            return _LOOP
        again = self._loops.again(f"{sender.name}\0{','.join(sms.numbers)}\0{sms.text}")
        return _ROUND if again else None


def reply(outcome: Outcome) -> Response:
    """The API's reply to what became of the SMS."""
    if outcome.status is not Status.ERROR:
        return JSONResponse(api.warning(outcome.failed) if outcome.failed else api.result())
    if outcome.cause is Cause.NO_ANSWER:
        # Not in the API's terms, which have no word for it: an error would mean "not sent".
        return PlainTextResponse(_PERHAPS, 504)
    status = 503 if outcome.cause in _UNAVAILABLE else 200
    return JSONResponse(api.error(safe_line(outcome.reason)[:500] or str(outcome.cause)), status)


class Loops:
    """What shows that an SMS comes from the PBX that it would go back to."""

    def __init__(
        self, resolver: Resolver | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._resolver = resolver or Resolver()
        self._clock = clock
        self._known: dict[str, tuple[float, frozenset[str]]] = {}  # addresses of PBXs, and when
        self._seen: dict[int, deque[float]] = {}  # when each SMS came

    async def is_pbx(self, address: str, url: str) -> bool:
        """Whether *address* is the host of *url*, or both are this host."""
        host, now = urlsplit(url).hostname or "", self._clock()
        asked, pbx = self._known.get(host, (-math.inf, frozenset[str]()))
        if now - asked >= _FRESH:
            # What held before holds on: a name server that is away must not make a loop.
            with contextlib.suppress(OSError):
                found = await asyncio.to_thread(self._resolver.resolve, host, 0, 2.0)
                pbx = frozenset(str(parse(str(each[4][0]))) for each in found)
                self._known[host] = now, pbx
        mine = str(parse(address))
        return mine in pbx or (is_here(mine) and any(map(is_here, pbx)))

    def again(self, sms: str) -> bool:
        """Whether *sms* came _MOST_ROUNDS times within the last minute, whatever address it had."""
        key, now = hash(sms), self._clock()
        if len(self._seen) >= 10_000:
            self._seen = {k: v for k, v in self._seen.items() if v[-1] > now - _MINUTE}
        times = self._seen.setdefault(key, deque(maxlen=_MOST_ROUNDS))
        full = len(times) == _MOST_ROUNDS and times[0] > now - _MINUTE
        if not full:
            times.append(now)
        return full


def is_here(address: str) -> bool:
    """Whether *address* is one of this host's."""
    if _NONLOCAL.exists() and _NONLOCAL.read_text().strip() == "1":
        return is_loopback(address)  # anything can be bound to: it would tell nothing
    try:
        family = socket.AF_INET6 if parse(address).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except (OSError, ValueError):
        return False
    return True
