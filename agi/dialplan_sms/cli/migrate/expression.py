"""Asterisk's ``${…}`` and ``$[…]`` inside a text (Asterisk: pbx_variables.c)."""

import re
from collections.abc import Callable, Iterator

NAME = re.compile(r"\$\{(?:GLOBAL\()?(\w+)\)?\}")  # A variable as a whole
READ = re.compile(r"\$\{(?:GLOBAL\()?(\w+)")
_OPENING = re.compile(r"\$(?=[{\[])")
_PAIRS = {"{": "}", "[": "]"}
IF_PLAIN = "; the lines below are right if it is plain text"


class Unclear(Exception):
    """What is not converted, and why; for the admin."""


def closing(text: str, start: int) -> int:
    """Where the ``${`` or ``$[`` at *start* ends (exclusive); -1 if it does not."""
    opens, closes = text[start + 1], _PAIRS[text[start + 1]]
    depth = 0
    for position in range(start + 1, len(text)):
        depth += (text[position] == opens) - (text[position] == closes)
        if not depth:
            return position + 1
    return -1


def parts(text: str) -> Iterator[tuple[bool, str]]:
    """*text* in pieces: whether it is an expression, and the piece."""
    begin = 0
    for found in _OPENING.finditer(text):
        if found.start() >= begin:
            end = closing(text, found.start())
            if end < 0:
                break  # nothing after it closes either, or Asterisk would not read it so
            if begin < found.start():
                yield False, text[begin : found.start()]
            yield True, text[found.start() : end]
            begin = end
    if begin < len(text):
        yield False, text[begin:]


def split(text: str, separator: str) -> list[str]:
    """*text* at each *separator* that stands outside of expressions."""
    found = [""]
    for is_expression, piece in parts(text):
        first, *rest = [piece] if is_expression else piece.split(separator)
        found[-1] += first
        found += rest
    return found


def literal(text: str, mark: str = "") -> str:
    """*text* with *mark* in place of each expression."""
    return "".join(mark if is_expression else piece for is_expression, piece in parts(text))


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
