"""A value of the old request's body, and how the dialplan writes what its author meant."""

import re
from collections.abc import Callable

from dialplan_sms.migrate.expression import parts, split

KNOWN = ("message", "number", "gsm", "postpone")

_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_URIENCODE = re.compile(r"(?s)\$\{URIENCODE\((.*)\)\}", re.IGNORECASE)
_BY_HAND = re.compile(r"\$\{(?:STR)?REPLACE\((\w+),\s+,(?:\+|%20)\)\}", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(\w+)\}")


class Unclear(Exception):
    """What cannot be converted, and why; for the admin."""


class Incomplete(Unclear):
    """What ends too early: perhaps a ``;`` of the text cut it."""


def fields(body: str) -> dict[str, str]:
    """The parameters of a form, undecoded.

    An ``&`` that no parameter of the API follows belongs to the text: nobody encoded it.
    """
    found: dict[str, str] = {}
    current = ""
    for item in split(body, "&"):
        name, equals, value = item.partition("=")
        if equals and name.strip() in KNOWN:
            current = name.strip()
            found[current] = value
        elif current == "message":
            found[current] += f"&{item}"
        elif item.strip():
            raise Unclear(f"{name.strip()[:40]} is no parameter of the SMS API")
    for needed in ("number", "message"):
        if not found.get(needed, "").strip():
            raise Unclear(f"the request has no {needed}")
    return found


def written(name: str, value: str, literals: Callable[[str], list[str]], encoded: bool) -> str:
    """*value* of the parameter *name* as Set() takes it.

    *encoded* is whether it was form-encoded on its way, as CURL()'s body is. *literals* has the
    values that a variable is given in the dialplan.
    """
    value = _utf8(value)
    if name != "message":
        value = value.strip()
    plus = "+" if name == "number" or not encoded or _is_text(name, value) else " "
    pieces = []
    for is_expression, piece in parts(value):
        if is_expression:
            pieces.append(_expression(piece, literals) if encoded else _escaped(piece))
        elif not encoded:
            pieces.append(_literal(piece))
        else:
            leading = plus == " " and not pieces and re.match(r"\+\d", piece) is not None
            spaced = piece.replace("+", plus)
            pieces.append(_literal(decoded("+" + spaced[1:] if leading else spaced)))
    text = "".join(pieces)
    return text if name == "message" else text.strip()


def _is_text(name: str, value: str) -> bool:
    """Whether a ``+`` is a plus.

    In a text with spaces nobody has encoded anything, so a plus was meant, though CURL() made a
    space of it. In one without any, the plus signs are its spaces.
    """
    literal = "".join(piece for is_expression, piece in parts(value) if not is_expression)
    return name == "message" and any(char in literal.strip() for char in " \t")


def decoded(text: str) -> str:
    """*text* with its ``%XX`` read, where they can be an encoding.

    A single escaped letter or digit is none, since no encoder writes it ("100%41"), nor are bytes
    that are no UTF-8 ("20%de").
    """
    return _ESCAPES.sub(_unescaped, text)


def _unescaped(found: re.Match[str]) -> str:
    content = bytes.fromhex(found[0].replace("%", ""))
    if len(content) == 1 and content.isalnum():
        return found[0]
    try:
        return content.decode()
    except UnicodeDecodeError:
        return found[0]


def _expression(piece: str, literals: Callable[[str], list[str]]) -> str:
    wrapped = _URIENCODE.fullmatch(piece)
    if wrapped:
        return _escaped(wrapped[1])
    by_hand = _BY_HAND.fullmatch(piece)
    if by_hand:
        return f"${{{by_hand[1]}}}"
    if "REPLACE(" in piece.upper() and re.search(r"%[0-9A-Fa-f]{2}", piece):
        raise Unclear(f"{piece[:60]} encodes the text: give the text itself")
    variable = _VARIABLE.fullmatch(piece)
    if variable and any(decoded(value) != value for value in literals(variable[1])):
        return f"${{URIDECODE({piece})}}"
    return _escaped(piece)


def _utf8(text: str) -> str:
    """*text*, with bytes that are no UTF-8 read as Latin-1 (as Windows has it)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        content = text.encode("utf-8", "surrogateescape")
        try:
            return content.decode("cp1252")
        except UnicodeDecodeError:
            return content.decode("latin-1")
    return text


def _escaped(text: str) -> str:
    return text.replace(";", "\\;")


def _literal(text: str) -> str:
    """Text that Set() in a line of a file keeps: no expression, no comment, no second line."""
    text = re.sub(r"\r\n?", "\n", text)
    text = "".join(char for char in text if char in "\n\t" or char.isprintable() or char > "\x9f")
    text = re.sub(r"\$(?=[{\[])", "${URIDECODE(%24)}", _escaped(text))
    return text.replace("\n", "${URIDECODE(%0A)}")
