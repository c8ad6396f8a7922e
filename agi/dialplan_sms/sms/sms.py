"""One SMS: as a door got it (Draft), as it is sent (Sms), and what became of it (Handled)."""

import json
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dialplan_sms.config import values
from dialplan_sms.config.config import Sender
from dialplan_sms.sms import api
from dialplan_sms.sms.numbers import read_numbers
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, misplaced


@dataclass(frozen=True, slots=True)
class Draft:
    """What a door was given, unread; an empty string is "not given".

    ``call`` names the call in the log (Asterisk's uniqueid), ``caller`` is the channel's caller ID
    number, ``key`` makes a second SMS of it the same as the first; ``bulk`` lets others go before
    it while it is stored; ``partly`` sends to the numbers that are right if others are not;
    ``refused`` is what the door itself objects to.
    """

    number: str = ""
    message: str = field(default="", repr=False)
    gsm: str = ""
    postpone: str = ""
    sender: str = ""
    mode: str = ""
    call: str = ""
    caller: str = ""
    key: str = ""
    bulk: bool = False
    partly: bool = False
    refused: Refused | None = None


@dataclass(frozen=True, slots=True)
class Sms:
    """One SMS, ready to send.

    ``numbers`` are distinct; ``gsm`` is 12 lower-case hex digits or None for the PBX's choice;
    ``postpone`` is local time to the minute or None for now; ``cut_from`` is the length in
    characters that the text had before ``long_message = truncate`` cut it. ``parts`` is how many
    SMS the text takes on the air, ``parts_from`` how many it took as it was given, both None if
    ``gsm7`` and a cut have left that as it was. ``left_out`` are the numbers of a Draft with
    ``partly`` that it does not go to, as they were written, and ``objection`` is why; ``to_pbx`` is
    whether the SMS API takes it. The rest is as in Draft.
    """

    numbers: tuple[str, ...]
    text: str = field(repr=False)
    gsm: str | None = None
    postpone: datetime | None = None
    cut_from: int | None = None
    parts: int | None = None
    parts_from: int | None = None
    mode: str = "wait"
    call: str = ""
    caller: str = ""
    key: str = ""
    bulk: bool = False
    left_out: tuple[str, ...] = ()
    objection: Refused | None = None
    to_pbx: bool = True

    @property
    def replaced(self) -> str:
        """The characters of the text that the PBX replaces with a space (sms-api: Request)."""
        return "".join(char for char in api.REPLACED if self.to_pbx and char in self.text)


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a Draft; *sender* is empty if there is none, *sms* None if it was refused."""

    call: str
    sender: str
    sms: Sms | None
    outcome: Outcome
    seconds: float


def compose(draft: Draft, sender: Sender, now: datetime) -> Sms:
    """The SMS that *draft* asks for, by the rules of *sender*; *now* is local. Raises Refused."""
    good, left_out, objection = read_numbers(draft.number, sender, draft.partly)
    _refuse_reply(draft.message)
    whole = clean(draft.message)
    if not whole or whole.isspace():
        advice = ": set SMS_MESSAGE, or give sub-sms the name of a variable with it"
        raise Refused(Cause.INVALID_MESSAGE, "the message is empty", advice=advice)
    text: dict[str, Any] = {"text": whole}
    if len(whole) > sender.max_length or sender.gsm7 != "keep" or sender.max_parts:
        from dialplan_sms.sms.length import fit  # rare, and the import is not free

        text = fit(whole, sender)
    gsm = read_gsm(draft.gsm) if draft.gsm.strip() else sender.gsm
    return Sms(
        numbers=good,
        **text,
        gsm=gsm if sender.curl is None or sender.curl.takes_gsm else None,
        postpone=read_postpone(draft.postpone, now) if draft.postpone.strip() else None,
        mode=draft.mode or sender.mode,
        call=draft.call,
        caller=draft.caller,
        key=draft.key,
        bulk=draft.bulk,
        left_out=left_out,
        objection=objection,
        to_pbx=sender.is_pbx,
    )


def read_gsm(text: str) -> str:
    """The MAC address of a gateway as the API wants it: ``9c7514330001``."""
    try:
        return values.gsm(text)
    except values.Bad:
        why = "is no MAC address of a gateway, 12 hex digits as 9c7514330001"
        raise misplaced(Cause.INVALID_GSM, "gsm", text, why, _COMMAS) from None


_COMMAS = ", in AGI perhaps the rest of a text with commas: use SMS_MESSAGE"


def read_postpone(text: str, now: datetime) -> datetime:
    """The local time to send at; the minute that *now* is in still counts as now."""
    for form in (api.POSTPONE_FORMAT, "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"):
        with suppress(ValueError):
            when = datetime.strptime(text.strip(), form)
            if when < now.replace(second=0, microsecond=0):
                raise Refused(
                    Cause.INVALID_POSTPONE, f"postpone {when:%d/%m/%Y %H:%M} is in the past"
                )
            return when
    why = "is no date as 14/07/2014 15:35 or 2014-07-14 15:35"
    raise misplaced(Cause.INVALID_POSTPONE, "postpone", text, why, _COMMAS)


def _refuse_reply(message: str) -> None:
    """The old CURL() recipe leaves the API's JSON reply in ``message``: never send that."""
    if not message.lstrip().startswith("{"):
        return
    reply = None
    with suppress(ValueError, RecursionError):
        reply = json.loads(message)
    if isinstance(reply, dict) and reply.get("type") in (api.RESULT, api.WARNING, api.ERROR):
        why = "the message is a reply of the SMS API, as the CURL recipe leaves it in message"
        raise Refused(Cause.INVALID_MESSAGE, why, advice=": set SMS_MESSAGE to the text")


def clean(text: str) -> str:
    """*text* in NFC; tab to space, CR LF to newline, other control characters dropped.

    Lone surrogates (bytes that were no UTF-8) become U+FFFD. Nothing else changes: leading and
    trailing spaces stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").translate(_CLEAN))


# For str.translate: Unicode's categories Cc and Cs.
_CLEAN: dict[int, str | None] = {
    **dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)]),
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
    ord("\t"): " ",
    ord("\r"): "\n",
    ord("\n"): "\n",
}
