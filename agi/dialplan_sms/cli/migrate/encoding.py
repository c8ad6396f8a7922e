"""A value of the old request's body, and how the dialplan writes what its author meant."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress

from dialplan_sms.cli.migrate.dialplan import IF_PLAIN, Unclear, literal, parts, refuse_if
from dialplan_sms.cli.migrate.request import PARAMETERS

_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_BY_HAND = re.compile(r"\A\$\{(?:STR)?REPLACE\((\w+),\s+,(?:\+|%20)\)\}\Z", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(?P<whole>(GLOBAL\()?(?P<name>\w+)(?(2)\)))(?P<cut>:[^}]*)?\}")
_FUNCTION = re.compile(r"\$\{(\w+)\((.*)\)(?::[^()]*)?\}", re.DOTALL)
_NUMBER = re.compile(r"\$\{(?:URIDECODE\(\$\{)?(?:GLOBAL\()?(\w+)\)?(.?)|\$")

# Variables that Asterisk itself sets, and functions that tell what it knows: plain text.
_OF_ASTERISK = {
    "ACCOUNTCODE", "CHANNEL", "CONTEXT", "DATETIME", "DIALEDPEERNAME", "DIALEDPEERNUMBER",
    "DIALEDTIME", "DIALSTATUS", "ANSWEREDTIME", "EPOCH", "EXTEN", "HANGUPCAUSE", "INVALID_EXTEN",
    "LINKEDID", "PRIORITY", "QUEUESTATUS", "SYSTEMNAME", "TIMESTAMP", "UNIQUEID", "VMSTATUS",
}  # fmt: skip
_BRINGS = {"URIENCODE": "%", **dict.fromkeys((
    "CALLERID", "CDR", "CHANNEL", "CONNECTEDLINE", "DEVICE_STATE", "EXTENSION_STATE", "FIELDQTY",
    "LEN", "MATH", "QUEUE_MEMBER", "QUEUE_WAITING_COUNT", "RAND", "REDIRECTING", "STRFTIME",
), "stray")}  # fmt: skip
# Functions that take the name of a variable, and give of its text; and those of their arguments.
_NAMING = {"CUT", "POP", "REPLACE", "SHIFT", "STRREPLACE"}
_PASSING = {"FILTER", "IF", "QUOTE", "TOLOWER", "TOUPPER", "TRIM", "URIDECODE", *_NAMING}

# All values that a variable may have: here, or anywhere; raises Unclear if nobody can say.
Given = Callable[[str, bool], list[str]]


def values(fields: Mapping[str, str], given: Given, encoded: bool) -> dict[str, str]:
    """The values of Set(SMS_…) for the parameters of a request. Raises Unclear."""
    there = {name: fields[name] for name in PARAMETERS if fields.get(name, "").strip()}
    refuse_if(*((n not in there, f"the request has no {n}") for n in ("number", "message")))
    found = {name: written(name, value, given, encoded) for name, value in there.items()}
    refuse_if(
        (any(len(each.encode("utf-8", "replace")) > 8000 for each in found.values()),
         "the text is longer than Asterisk takes in one line")
    )  # fmt: skip
    return found


def written(name: str, value: str, given: Given, encoded: bool) -> str:
    """*value* of the parameter *name*, form-encoded or not, as Set() takes it. Raises Unclear."""
    value = _utf8(value) if name == "message" else _utf8(value).strip()
    plus = "+" if name == "number" or not encoded or _is_text(name, value) else " "
    text = ""
    for is_expression, piece in parts(value):
        if is_expression:
            text += _expression(name, piece, given, plus, encoded)
        else:
            # A plus before the first digit is that of a number.
            spaced = re.sub(r"\+" if text else r"(?!\A\+\d)\+", plus, piece)
            text += _literal(decoded(spaced) if encoded else piece)
    return text if name == "message" else text.strip()


def as_it_stands(value: str, encoded: bool) -> str:
    """*value* for a person to look at: decoded, its expressions as they are."""
    return "".join(
        piece.replace(";", "\\;") if is_expression or not encoded else _literal(decoded(piece))
        for is_expression, piece in parts(_utf8(value))
    ).strip()


def _is_text(name: str, value: str) -> bool:
    """Whether a ``+`` is a plus, as in a text with spaces: nobody has encoded that."""
    return name == "message" and any(char in literal(value).strip() for char in " \t")


def decoded(text: str) -> str:
    """*text* with its ``%XX`` read, if they can be an encoding: not "100%41", not "20%de"."""
    return _ESCAPES.sub(lambda found: _unescaped(found[0]) or found[0], text)


def _unescaped(escapes: str) -> str:
    """What they stand for; empty for what no encoder writes: one letter or digit, no UTF-8."""
    content = bytes.fromhex(escapes.replace("%", ""))
    text = content.decode("utf-8", "ignore")
    is_whole = text.encode() == content
    return text if is_whole and (len(content) > 1 or not content.isalnum()) else ""


def _expression(name: str, piece: str, given: Given, plus: str, encoded: bool) -> str:
    if encoded:
        function = _FUNCTION.fullmatch(piece)
        if function and function[1].upper() == "URIENCODE":
            return function[2].replace(";", "\\;")
        piece = _BY_HAND.sub(r"${\1}", piece)
    signs = _signs(piece, given, frozenset())
    if "+" in signs and plus != "+":
        raise Unclear(
            f"{piece[:60]} holds a +, which the PBX read as a space: give it the text itself, with"
            " spaces, or %2B for a plus"
        )
    if not encoded or "%" not in signs:
        return piece.replace(";", "\\;")
    variable = _VARIABLE.fullmatch(piece)
    cut = (variable and variable["cut"]) or ""
    # Cut after decoding, as was meant. What a number's or another cut was to drop is not known.
    known = re.fullmatch(r"(?::0:\d+)?" if name == "message" else "", cut)
    if variable and known and "stray" not in signs:
        return f"${{URIDECODE(${{{variable['whole']}}}){cut}}}"
    raise Unclear(f"{piece[:60]} holds an encoded text: give the text itself")


def _signs(piece: str, given: Given, seen: frozenset[str]) -> set[str]:
    """What *piece* may bring of an encoding: ``%`` for %XX, and ``+``; Unclear if it is not known.

    "stray" is what URIDECODE() would garble: "% de" and "100%41", which it reads, too, a bracket,
    at which it ends, and any text of a caller's.
    """
    variable, function = _VARIABLE.fullmatch(piece), _FUNCTION.fullmatch(piece)
    name, arguments = (function[1].upper(), function[2]) if function else ("", "")
    if name in _BRINGS:
        return {_BRINGS[name]}
    found, texts = {"+"} if "+" in literal(arguments) else set(), [arguments]
    if piece.startswith("$["):
        texts = ["".join(each for is_expression, each in parts(piece[2:-1]) if is_expression)]
    elif variable or name in _NAMING:
        held = variable["name"] if variable else arguments.partition(",")[0].strip()
        known = held in seen or held in _OF_ASTERISK
        texts = [] if known else given(held, bool(seen))
        found |= {"stray"} if held in _OF_ASTERISK else set()
        found |= {"%"} if name.endswith("REPLACE") and "%" in arguments else set()
        seen = seen | {held}
    elif name not in _PASSING:
        raise Unclear(f"whether {piece[:60]} comes encoded cannot be seen{IF_PLAIN}")
    found = found.union(*(_value_signs(text, given, seen) for text in texts))
    return found - {"%"} | {"stray"} if name == "URIDECODE" else found


def _value_signs(value: str, given: Given, seen: frozenset[str]) -> set[str]:
    """The same of a text; a ``+`` in one with spaces is one, as in _is_text()."""
    within = (_signs(piece, given, seen) for is_expression, piece in parts(value) if is_expression)
    text = literal(value, " ")
    encoded = [_unescaped(escapes) for escapes in _ESCAPES.findall(text)]
    other = {"%", ")"}.intersection(_ESCAPES.sub("", text))
    plain = re.sub(r'^[\s"]*\+(?=\d)', "", literal(value))
    signs = {
        "%": any(encoded),
        "stray": other or not all(encoded),
        "+": "+" in plain and not _is_text("message", value),
    }
    return {sign for sign, found in signs.items() if found}.union(*within)


def may_lack_code(item: str, given: Given) -> bool:
    """Whether a number may come without + or 00: as it stands, or out of its variable."""
    found = _NUMBER.match(item.strip())
    values = [] if found else [item]
    if found and found[2] == "}" and found[1] not in _OF_ASTERISK:
        with suppress(Unclear):  # as what stood in URIENCODE() may be
            values = given(found[1], False)
    plain = (decoded(value).strip(' \t"').removeprefix("${URIENCODE(") for value in values)
    return not values or not all(value.startswith(("+", "00")) for value in plain)


def _utf8(text: str) -> str:
    """*text*, with bytes that are no UTF-8 read as Latin-1 (as Windows has it)."""
    is_utf8 = re.search("[\udc80-\udcff]", text) is None
    return text if is_utf8 else text.encode("utf-8", "surrogateescape").decode("cp1252", "ignore")


def _literal(text: str) -> str:
    """Text that Set() in a line of a file keeps: no expression, no comment, no second line."""
    lines = re.sub(r"\r\n?", "\n", text)
    kept = "".join(char for char in lines if char in "\n\t" or char.isprintable() or char > "\x9f")
    plain = re.sub(r"\$(?=[{\[])", "${URIDECODE(%24)}", kept.replace(";", "\\;"))
    return plain.replace("\n", "${URIDECODE(%0A)}")
