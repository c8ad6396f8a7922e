"""What a PBX makes of a request to its SMS API: request in, reply out, no network.

Source: the vendor's page "How to send SMS from Dialplan using SMS API". It leaves open the texts of
most errors, their HTTP statuses (here 200 and 401) and which numbers a PBX refuses (_DIALLABLE).
"""

import re
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import choice
from threading import Condition, Lock
from typing import Any

from dialplan_sms.sandbox.faults import Fault, Faults, Trouble, magic_trouble
from dialplan_sms.sms import api

# The user, the gateway and the version of the vendor's page.
USERS = {"101": "sms101api"}
GATEWAYS = ("9c7514330001",)
WMS = "6.02.20230306.1"
PACE = 5.0  # seconds that a gateway needs for each SMS (sms-api: Request)
TOKEN_USER = "token"  # noqa: S105 - a company's API key belongs to no user

_PARTIAL = (Trouble(Fault.PARTIAL), Trouble(Fault.PARTIAL, taken=True))
_DIALLABLE = re.compile(r"\+?[0-9*#]{1,32}", re.ASCII)


def wms_version(text: str) -> tuple[int, ...]:
    """``6.02.20230306.1`` as numbers that compare; raises ValueError, its text for people."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9}){1,3}", text):
        raise ValueError(f"{text!r} is not a WMS version such as {WMS}")
    return tuple(int(part) for part in text.split("."))


@dataclass(frozen=True, slots=True)
class Request:
    """One request that arrived completely; *pairs* as received, those of the query string first.

    *user* is whose the credentials are, None if they were missing or wrong.
    """

    method: str
    path: str
    pairs: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    user: str | None = None
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def form(self) -> Mapping[str, str]:
        """By name, the last wins; stripped, since the old recipe sends `` message=…``."""
        return {name.strip(): value for name, value in self.pairs}


@dataclass(frozen=True, slots=True)
class Message:
    """One message that the PBX took: *text* as it goes out, *original* as it was received.

    *gsm* is the gateway (MAC) that sends it; *postpone* is the PBX's local time, None for at once.
    """

    numbers: tuple[str, ...]
    text: str
    original: str
    gsm: str
    postpone: datetime | None
    user: str
    received_at: datetime
    path: str
    method: str


@dataclass(frozen=True, slots=True)
class Served:
    """What came of a request: its reply, what was taken, and the trouble it shall have."""

    request: Request
    reply: Mapping[str, Any]
    status: int = 200
    message: Message | None = None
    trouble: Trouble | None = None


class Inbox:
    """Every request that arrived, with what was taken of it; the last *most* if that is given."""

    def __init__(self, most: int | None = None) -> None:
        self._changed = Condition()
        self._arrived: deque[tuple[Request, Message | None]] = deque(maxlen=most)

    def add(self, request: Request, message: Message | None = None) -> None:
        """Keep a request."""
        with self._changed:
            self._arrived.append((request, message))
            self._changed.notify_all()

    @property
    def requests(self) -> list[Request]:
        """The requests so far, oldest first; a copy."""
        with self._changed:
            return [request for request, _ in self._arrived]

    @property
    def messages(self) -> list[Message]:
        """The messages so far, oldest first; a copy."""
        with self._changed:
            return [message for _, message in self._arrived if message]

    def clear(self) -> None:
        """Forget them all."""
        with self._changed:
            self._arrived.clear()

    def wait(self, *, requests: int = 0, messages: int = 0, timeout: float = 20.0) -> None:
        """Wait until so many have come; raises TimeoutError after *timeout* seconds."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: len(self._arrived) >= requests and len(self.messages) >= messages, timeout
            ):
                raise TimeoutError(
                    f"{len(self.requests)} of {requests} requests and {len(self.messages)} of "
                    f"{messages} messages came within {timeout} s"
                )


@dataclass
class Pbx:
    """A PBX: its users and tokens, its gateways (MACs), its version, its faults, what it took.

    *spool* puts a message where it waits to be sent, and says whether it is there. *watch* is told
    of every request to the API, one after the other, before its answer goes out.
    """

    users: Mapping[str, str] = field(default_factory=lambda: dict(USERS), repr=False)
    tokens: Collection[str] = field(default=(), repr=False)
    gateways: Sequence[str] = GATEWAYS
    wms: str = WMS
    faults: Faults = field(default_factory=Faults)
    inbox: Inbox = field(default_factory=Inbox)
    slow: float = 1.5  # seconds that Fault.SLOW waits
    trickle: float = 0.2  # seconds between the bytes of Fault.TRICKLE and Fault.TRICKLE_BODY
    spool: Callable[[Message], bool] | None = None
    watch: Callable[[Served], None] = lambda _: None
    watching: Lock = field(default_factory=Lock, init=False, repr=False)

    def authorize(self, header: str | None) -> str | None:
        """The user that an ``Authorization`` *header* proves, or None."""
        from dialplan_sms.web.login import read_basic  # not for the command's --help

        scheme, _, token = (header or "").strip().partition(" ")
        if scheme.lower() == "bearer":
            return TOKEN_USER if token.strip() in self.tokens else None
        name, password = read_basic(header or "")
        return name if self.users.get(name) == password else None

    def handle(self, request: Request, *, faulty: bool = True) -> Served:
        """Give *request* its trouble if *faulty*, take its message, and say what came of it.

        Of a request without the right credentials, a magic number brings no trouble about.
        """
        trouble = self.faults.next() if faulty else None
        if trouble is None and faulty and request.user is not None:
            trouble = next(filter(None, map(magic_trouble, _numbers(request.form))), None)
        served = self._serve(request, trouble)
        message = served.message
        if message is not None and self.spool is not None and not self.spool(message):
            named = served.reply["result"] if served.reply["type"] == api.WARNING else ()
            refused = dict.fromkeys((*named, *message.numbers))
            served = replace(served, reply=api.warning(list(refused)), message=None)
        self.inbox.add(request, served.message)
        with self.watching:
            self.watch(served)
        return served

    def _serve(self, request: Request, trouble: Trouble | None) -> Served:
        """The reply to *request*, and the message that *trouble* lets the PBX take."""
        fault = trouble.fault if trouble else None
        if request.user is None or fault is Fault.UNAUTHORIZED:
            return Served(request, api.error(api.UNAUTHORIZED), 401, trouble=trouble)
        form = request.form
        numbers, text, gsm = _numbers(form), form.get("message", ""), form.get("gsm", "").strip()
        date = form.get("postpone", "").strip()
        postpone = None
        with suppress(ValueError):
            postpone = datetime.strptime(date, api.POSTPONE_FORMAT)
        recent = wms_version(self.wms) >= wms_version(WMS)
        longest = api.MAX_LENGTH if recent else api.OLD_MAX_LENGTH
        wrong = (
            (not numbers, api.EMPTY_NUMBER),
            (not text, "Message should not be empty"),
            (len(text) > longest, f"Message should not be longer than {longest} characters"),
            (gsm and gsm not in self.gateways, "GSM gateway not found"),
            (date and not postpone, "Postpone should be a date such as 14/07/2014 15:35"),
            (fault is Fault.REJECT, "SMS sending is not allowed"),
        )
        reason = next((reason for is_wrong, reason in wrong if is_wrong), "")
        if reason:
            return Served(request, api.error(reason), trouble=trouble)
        refused = [each for each in numbers if not (self.gateways and _DIALLABLE.fullmatch(each))]
        if fault is Fault.PARTIAL:
            magic = [each for each in numbers if magic_trouble(each) in _PARTIAL]
            refused += magic or numbers[-1:]
        refused = list(dict.fromkeys(refused))  # each is named once
        left = tuple(number for number in numbers if number not in refused)
        message = None
        if left and (trouble is None or trouble.takes):
            message = Message(
                numbers=left,
                text=re.sub(f"[{re.escape(api.REPLACED)}]", " ", text) if recent else text,
                original=text,
                gsm=gsm or choice(self.gateways),
                postpone=postpone,
                user=request.user,
                received_at=request.received_at,
                path=request.path,
                method=request.method,
            )
        reply = api.warning(refused) if refused else api.result()
        return Served(request, reply, message=message, trouble=trouble)


def _numbers(form: Mapping[str, str]) -> list[str]:
    return [number for part in form.get("number", "").split(",") if (number := part.strip())]
