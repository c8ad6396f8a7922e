"""Asterisk's ``${…}`` and ``$[…]`` inside a text (Asterisk: pbx_variables.c)."""

import re
from collections.abc import Callable, Iterator

NAME = re.compile(r"\$\{(?:GLOBAL\()?(\w+)\)?\}")
"""A variable as a whole."""
READ = re.compile(r"\$\{(?:GLOBAL\()?(\w+)")
_PAIRS = {"{": "}", "[": "]"}


IF_PLAIN = "; the lines below are right if it is plain text"


class Unclear(Exception):
    """What is not converted, and why; for the admin."""


def closing(text: str, start: int) -> int:
    """Where the ``${`` or ``$[`` at *start* ends (exclusive); -1 if it does not."""
    opens, closes = text[start + 1], _PAIRS[text[start + 1]]
    depth = 0
    for position in range(start + 1, len(text)):
        if text[position] == opens:
            depth += 1
        elif text[position] == closes:
            depth -= 1
            if not depth:
                return position + 1
    return -1


def parts(text: str) -> Iterator[tuple[bool, str]]:
    """*text* in pieces: whether it is an expression, and the piece."""
    begin = position = 0
    while (position := text.find("$", position)) >= 0:
        end = closing(text, position) if text[position + 1 : position + 2] in _PAIRS else 0
        if end > 0:
            if begin < position:
                yield False, text[begin:position]
            yield True, text[position:end]
            begin = position = end
        elif end < 0:
            break  # nothing after it closes either, or Asterisk would not read it so
        else:
            position += 1
    if begin < len(text):
        yield False, text[begin:]


def split(text: str, separator: str) -> list[str]:
    """*text* at each *separator* that stands outside of expressions."""
    found = [""]
    for is_expression, piece in parts(text):
        if is_expression:
            found[-1] += piece
        else:
            first, *rest = piece.split(separator)
            found[-1] += first
            found += rest
    return found


def literal(text: str) -> str:
    """*text* without its expressions."""
    return "".join(piece for is_expression, piece in parts(text) if not is_expression)


def resolve(text: str, value: Callable[[str], str | None]) -> str | None:
    """*text* with its ``${NAME}`` replaced; None if one of them is not known."""
    for _ in range(5):
        if "${" not in text and "$[" not in text:
            return text
        for name in dict.fromkeys(NAME.findall(text)):
            known = value(name)
            if known is None:
                return None
            text = text.replace(f"${{{name}}}", known).replace(f"${{GLOBAL({name})}}", known)
    return None if "${" in text or "$[" in text else text
