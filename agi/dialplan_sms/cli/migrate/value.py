"""A value of the old request's body, and how the dialplan writes what its author meant."""

import re
from collections.abc import Callable

from dialplan_sms.cli.migrate.expression import closing, parts, split

KNOWN = ("message", "number", "gsm", "postpone")

_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_URIENCODE = re.compile(r"(?s)\$\{URIENCODE\((.*)\)\}", re.IGNORECASE)
_BY_HAND = re.compile(r"\$\{(?:STR)?REPLACE\((\w+),\s+,(?:\+|%20)\)\}", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(?P<whole>GLOBAL\((?P<name>\w+)\)|(?P<plain>\w+))(?P<cut>:[^}]*)?\}")
_DECODED = re.compile(r"\$\{URIDECODE\(([^$+]*)\)\}", re.IGNORECASE)
_NAMES = re.compile(r"(?:\{|(?<!CALLERID)(?<!CHANNEL)(?<!CDR)\()(\w+)")
"""Names of variables, which some functions take, too."""
_FROM_START = re.compile(r":0:\d+")

Literals = Callable[[str], list[str]]
"""The values that a variable is given anywhere in the dialplan."""


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
            if current in found:
                raise Unclear(f"the request has {current} twice: leave one")
            found[current] = value
        elif current == "message":
            found[current] += f"&{item}"
        elif item.strip():
            raise Unclear(f"{name.strip()[:40]} is no parameter of the SMS API")
    for needed in ("number", "message"):
        if not found.get(needed, "").strip():
            raise Unclear(f"the request has no {needed}")
    return found


def written(name: str, value: str, literals: Literals, encoded: bool) -> str:
    """*value* of the parameter *name* as Set() takes it.

    *encoded* is whether it was form-encoded on its way, as CURL()'s body is. Raises Unclear.
    """
    value = _utf8(value)
    if name != "message":
        value = value.strip()
    plus = "+" if name == "number" or not encoded or _is_text(name, value) else " "
    pieces = []
    for is_expression, piece in parts(value):
        if is_expression:
            pieces.append(_expression(name, piece, literals, plus) if encoded else _escaped(piece))
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


def _left(found: re.Match[str]) -> str:
    """What decoding leaves."""
    return found[0] if _unescaped(found) == found[0] else ""


def _expression(name: str, piece: str, literals: Literals, plus: str) -> str:
    wrapped = _URIENCODE.fullmatch(piece)
    if wrapped:
        return _escaped(wrapped[1])
    by_hand = _BY_HAND.fullmatch(piece)
    if by_hand:
        piece = f"${{{by_hand[1]}}}"
    elif "REPLACE(" in piece.upper() and re.search(r"%[0-9A-Fa-f]{2}", piece):
        raise Unclear(f"{piece[:60]} encodes the text: give the text itself")
    signs = _signs(piece, literals, frozenset())
    if "+" in signs and plus != "+":
        raise Unclear(
            f"{piece[:60]} holds a +, which the PBX read as a space: give it the text itself, with"
            " spaces, or %2B for a plus"
        )
    if "%" not in signs:
        return _escaped(piece)
    variable = _VARIABLE.fullmatch(piece)
    cut = (variable and variable["cut"]) or ""
    # Cut after decoding, as was meant. What a number's or another cut was to drop is not known.
    known = not cut or (name == "message" and _FROM_START.fullmatch(cut))
    if variable and known and "stray" not in signs:
        return f"${{URIDECODE(${{{variable['whole']}}}){cut}}}"
    raise Unclear(f"{piece[:60]} holds an encoded text: give the text itself")


def _signs(piece: str, literals: Literals, seen: frozenset[str]) -> set[str]:
    """What the expression *piece* may bring of an encoding: ``%`` for %XX, and ``+``.

    "stray" is a percent sign that URIDECODE(), which reads "% de" and "100%41", too, would garble.
    It errs to the side of too much: a variable that is named counts, whatever becomes of it.
    """
    if _URIENCODE.fullmatch(piece):
        return {"%"}
    whole = re.fullmatch(r"(?is)\$\{URIDECODE\((.*)\)\}", piece)
    if whole:
        return _value_signs(whole[1], literals, seen) - {"%"}
    kept = _DECODED.sub("", piece)
    found = {"%"} if re.search(r"URIENCODE\(|%[0-9A-F]{2}", kept, re.IGNORECASE) else set()
    if "+" in _without_sums(kept):
        found.add("+")
    for variable in set(_NAMES.findall(kept)) - seen:
        for given in literals(variable):
            found |= _value_signs(given, literals, seen | {variable})
    return found


def _value_signs(value: str, literals: Literals, seen: frozenset[str]) -> set[str]:
    """The same of a variable's value; a ``+`` in a text with spaces is one, as in _is_text()."""
    found: set[str] = set()
    literal = ""
    for is_expression, piece in parts(value):
        if is_expression:
            found |= _signs(piece, literals, seen)
        else:
            literal += piece
            found |= {"%"} if decoded(piece) != piece else set()
            found |= {"stray"} if "%" in _ESCAPES.sub(_left, piece) else set()
    if "+" in re.sub(r'^[\s"]*\+(?=\d)', "", literal) and not _is_text("message", literal):
        found.add("+")
    return found


def _without_sums(piece: str) -> str:
    """*piece* without its ``$[…]``, in which a ``+`` adds."""
    while (start := piece.find("$[")) >= 0:
        end = closing(piece, start)
        piece = piece[:start] + (piece[end:] if end > 0 else "")
    return re.sub(r"(?i)\$\{MATH\([^()]*\)\}", "", piece)


def given_literally(value: str) -> str:
    """The text of *value*, however it is encoded."""
    wrapped = _URIENCODE.fullmatch(value.strip(' \t"'))
    return decoded(wrapped[1] if wrapped else value).strip(' \t"')


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
