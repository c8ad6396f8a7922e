"""Asterisk's own style of configuration file: the one reader of it (Asterisk: main/config.c).

``[section](templates)``, ``key = value`` or ``key => value``, ``#include FILE``, ``;`` comments
(``\\;`` is a semicolon) and ``;-- … --;`` comment blocks, one in another, too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_HEADER = re.compile(r"\[([^\]]*)\]\s*(?:\(([^)]*)\))?")
_PAIR = re.compile(r"([^=]*?)\s*=>?\s*(.*)", re.DOTALL)
_INCLUDE = re.compile(r"#\s*(include|tryinclude|exec)\s+(.+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Line:
    """One line; *content* is what is no comment in it, still with ``\\;``.

    *start* is where it begins in the text, after a byte order mark; *commented* is whether that is
    in a comment block.
    """

    number: int
    start: int
    raw: str = field(repr=False)
    content: str = field(repr=False)
    commented: bool = False

    @property
    def text(self) -> str:
        """What it says, with ``;`` for ``\\;``; empty if it is blank or a comment."""
        return self.content.replace("\\;", ";").lstrip("\ufeff").strip()

    @property
    def header(self) -> tuple[str, str] | None:
        """Name and templates of ``[name](templates)``; an exclamation mark makes it one itself."""
        found = _HEADER.match(self.text)
        return (found[1].strip(), found[2] or "") if found else None

    @property
    def pair(self) -> tuple[str, str] | None:
        """Key and value."""
        found = _PAIR.fullmatch(self.text)
        return (found[1], found[2]) if found else None

    @property
    def include(self) -> tuple[str, str] | None:
        """``include``, ``tryinclude`` or ``exec``, and the file."""
        found = _INCLUDE.fullmatch(self.text)
        return (found[1].lower(), found[2].strip().strip('"<>').strip()) if found else None


def lines(text: str) -> Iterator[Line]:
    """The lines of a file; only a newline ends one, and a carriage return before it is not read."""
    start, depth = 0, 0
    for number, whole in enumerate(text.split("\n"), 1):
        raw = whole.rstrip("\r")
        content, after = _without_comment(raw, depth)
        yield Line(number, start + raw.startswith("\ufeff"), raw, content, depth > 0)
        start, depth = start + len(whole) + 1, after


def _without_comment(raw: str, depth: int) -> tuple[str, int]:
    """What is no comment, and in how many comment blocks the next line begins."""
    kept, position = "", 0
    while (semicolon := raw.find(";", position)) >= 0:
        if not depth and semicolon and raw[semicolon - 1] == "\\":
            kept += raw[position : semicolon + 1]
        elif raw.startswith(";--", semicolon) and not raw.startswith(";---", semicolon):
            kept += "" if depth else raw[position:semicolon]
            depth, semicolon = depth + 1, semicolon + 2
        elif depth and raw[max(position, semicolon - 2) : semicolon] == "--":
            depth -= 1
        elif not depth:
            return kept + raw[position:semicolon], 0
        position = semicolon + 1
    return kept + ("" if depth else raw[position:]), depth
