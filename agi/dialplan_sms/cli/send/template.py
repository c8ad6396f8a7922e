"""A text with ``{column}``s, ``{{`` and ``}}`` for braces."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from dialplan_sms.cli.send.listfile import ListError, name_of

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Missing(Exception):
    """A row's cell that the text needs is empty; its message is the column's name."""


@dataclass(frozen=True, slots=True)
class Template:
    """*pieces* are literal text and columns' names in turn, beginning and ending with text."""

    pieces: tuple[str, ...] = field(repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns in it, each once."""
        return tuple(dict.fromkeys(self.pieces[1::2]))

    def fill(self, cells: Mapping[str, str]) -> str:
        """The text of one row. Raises Missing for an empty cell: nobody is to read "Dear ,"."""
        filled = list(self.pieces)
        for at in range(1, len(filled), 2):
            value = cells.get(filled[at], "").strip()
            if not value:
                raise Missing(filled[at])
            filled[at] = value
        return "".join(filled)


def parse(text: str, columns: Collection[str]) -> Template:
    """The template in *text* on a list with *columns*. Raises ListError for what fits no column."""
    pieces, literal, end = [], "", 0
    for token in _TOKEN.finditer(text):
        literal += text[end : token.start()]
        end = token.end()
        if token[1] is None:
            if len(token[0]) == 1:
                raise ListError(
                    f"the text has a single {token[0]} at character {token.start() + 1}: a brace is"
                    f" written {token[0] * 2}, a column {{name}}"
                )
            literal += token[0][0]
            continue
        name = name_of(token[1])
        if name not in columns:
            known = ", ".join(columns)
            raise ListError(
                f"the text has {{{token[1][:40]}}}, which is no column of the list: it has {known};"
                " a brace is written {{"
            )
        pieces += [literal, name]
        literal = ""
    return Template((*pieces, literal + text[end:]))
