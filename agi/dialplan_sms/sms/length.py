"""How long a text may be: gsm7, max_length, max_parts and long_message of sms.conf.

Loaded only for a text that is too long, and for senders that have gsm7 or max_parts.
"""

import re
import unicodedata
from bisect import bisect_left
from typing import Any

from dialplan_sms.config.config import Sender
from dialplan_sms.sms.outcome import Cause, Refused
from dialplan_sms.sms.parts import GSM, parts

_TYPOGRAPHIC = str.maketrans({
    **dict.fromkeys("‘’‚‛′´`‹›", "'"),
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    "…": "...", "‥": "..", "·": ".", "•": "*",
    **dict.fromkeys(map(chr, (0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)), " "),
    # Soft hyphen, zero-width space, word joiner, byte order mark: not seen, and not missed.
    **dict.fromkeys("\u00ad\u200b\u2060\ufeff", ""),
})  # fmt: skip
_ACCENTS = re.compile(r"(?<=[^\W\d_])[\u0300-\u0333\u0339-\u036f]+")  # but for strokes: s̶o̶l̶d̶
_LINK = re.compile(r"(\b(?:\w+://|www\.)\S*[\w/])", re.IGNORECASE)


def fit(whole: str, sender: Sender) -> dict[str, Any]:
    """What an Sms has of *whole* as *sender* sends it: text, cut_from, parts and parts_from.

    Raises Refused if it is too long and is not to be cut.
    """
    fitting = _fitting(whole, sender)
    text = fitting or _cut(whole, sender)
    before, after = parts(whole).count, parts(text).count
    counts = {"parts": after, "parts_from": before} if before != after else {}
    return {"text": text, "cut_from": None if fitting else len(whole), **counts}


def _fitting(text: str, sender: Sender) -> str | None:
    """*text* as it goes out: in GSM-7, else as it is; None if both are too long."""
    longest, most = sender.max_length, sender.max_parts
    ways = (in_gsm7(text, sender.gsm7), text)
    fitting = (each for each in ways if not most or parts(each).count <= most)
    return next((each for each in fitting if len(each) <= longest), None)


def in_gsm7(text: str, how: str) -> str:
    """*text* in GSM-7, if *how* (a value of ``gsm7``) makes it so, in no more parts; else itself.

    Only characters that GSM-7 lacks are changed, and none of a link.
    """
    if how == "keep" or GSM.issuperset(text):
        return text
    pieces = enumerate(_LINK.split(text))  # every second is a link
    changed = "".join(each if at % 2 else _changed(each, how) for at, each in pieces)
    good = GSM.issuperset(changed) and changed.strip()
    return changed if good and parts(changed).count <= parts(text).count else text


def _changed(text: str, how: str) -> str:
    text = text.translate(_TYPOGRAPHIC)
    if how == "plain":
        from anyascii import anyascii  # only for who asks for it

        latin = ("LATIN SMALL", "LATIN CAPITAL")
        text = "".join(
            anyascii(char)
            if char not in GSM and unicodedata.name(char, "").startswith(latin)
            else char
            for char in _ACCENTS.sub("", text)
        )
    return text


def _cut(whole: str, sender: Sender) -> str:
    """The longest beginning of whole graphemes (UAX #29) that fits. Raises Refused if not asked."""
    if sender.long_message != "truncate":
        raise Refused(Cause.INVALID_MESSAGE, _too_long(in_gsm7(whole, sender.gsm7), sender))
    import regex  # a cut is rare, the import is not free

    ends = [found.end() for found in regex.finditer(r"\X", whole)]
    if _fitting(whole[: ends[0]], sender) is None:  # a grapheme may be of any length
        ends = [*range(1, len(whole) + 1)]
    after = bisect_left(ends, True, key=lambda end: _fitting(whole[:end], sender) is None)
    return _fitting(whole[: ends[after - 1]], sender) or ""


def _too_long(text: str, sender: Sender) -> str:
    found, how = parts(text), sender.gsm7
    others = sorted({*(text if how == "keep" else _changed(text, how))} - GSM)
    what, key, most = f"takes {found.count} parts in {found.coding}", "max_parts", sender.max_parts
    if len(text) > sender.max_length:
        what, key, most = f"has {len(text)} characters", "max_length", sender.max_length
    elif len(others) == 1:
        what += f", as U+{ord(others[0]):04X} {unicodedata.name(others[0], '')} is not in GSM-7"
    return (
        f"the message {what}, {key} in sms.conf allows {most}, long_message = truncate would cut it"
    )
