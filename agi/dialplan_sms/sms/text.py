"""The text of an SMS: what is normalised, and what is not ours to change."""

import unicodedata

from dialplan_sms.sms.outcome import Cause, Refused


def clean(text: str) -> str:
    """*text* in NFC; tab to space, CR LF to newline, other control characters dropped.

    Lone surrogates (bytes that were no UTF-8) become U+FFFD. Nothing else changes: leading and
    trailing spaces stay.
    """
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    kept = []
    for char in text:
        kind = unicodedata.category(char)
        if kind == "Cs":
            kept.append("\ufffd")
        elif kind != "Cc" or char == "\n":
            kept.append(char)
    return unicodedata.normalize("NFC", "".join(kept))


def shorten(text: str, limit: int, truncate: bool) -> str:
    """*text* if it has at most *limit* characters (code points), else cut or refused."""
    if not text or text.isspace():
        raise Refused(
            Cause.INVALID_MESSAGE,
            "the message is empty: set SMS_MESSAGE, or give sub-sms the name of a variable with it",
        )
    if len(text) <= limit:
        return text
    if not truncate:
        raise Refused(
            Cause.INVALID_MESSAGE,
            f"the message has {len(text)} characters, max_length in sms.conf allows {limit},"
            " long_message = truncate would cut it",
        )
    return _cut(text, limit)


def _cut(text: str, limit: int) -> str:
    """The longest beginning of *text* of whole graphemes (UAX #29) within *limit* code points."""
    import regex  # a cut is rare, the import is not free

    end = 0
    for grapheme in regex.finditer(r"\X", text):
        if grapheme.end() > limit:
            break
        end = grapheme.end()
    return text[: end or limit]
