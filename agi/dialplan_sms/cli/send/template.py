"""The text of a list, with ``{column}``s, and ``{{`` and ``}}`` for braces."""

import re
import select
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import click

from dialplan_sms.cli.send.listfile import ListError, name_of

MESSAGE = "message"
"""The column that holds whole texts."""
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PATIENCE = 2.0
"""Seconds after which a command that reads standard input says so."""


class Missing(Exception):
    """A row's cell that the text needs is empty; its message is the column's name."""


@dataclass(frozen=True, slots=True)
class Template:
    """*pieces* are a literal text and the name of the column after it, empty for none, each."""

    pieces: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns in it, each once."""
        return tuple(dict.fromkeys(column for _, column in self.pieces if column))

    def fill(self, cells: Mapping[str, str]) -> str:
        """The text of one row. Raises Missing for an empty cell: nobody is to read "Dear ,"."""
        filled = ""
        for literal, column in self.pieces:
            value = cells.get(column, "").strip()
            if column and not value:
                raise Missing(column)
            filled += literal + value
        return filled


def parse(text: str, columns: Collection[str]) -> Template:
    """The template in *text* on a list with *columns*. Raises ListError for what fits no column."""
    pieces, end = [], 0
    for token in _TOKEN.finditer(text):
        literal, brace = text[end : token.start()], token[0][0]
        end = token.end()
        if token[0] == brace:
            raise ListError(
                f"the text has a single {brace} at character {token.start() + 1}: a brace is"
                f" written {brace * 2}, a column {{name}}"
            )
        if token[1] is None:
            pieces.append((literal + brace, ""))
        elif (name := name_of(token[1])) in columns:
            pieces.append((literal, name))
        else:
            raise ListError(
                f"the text has {{{token[1][:40]}}}, which is no column of the list: it has"
                f" {', '.join(columns)}; a brace is written {{{{"
            )
    return Template((*pieces, (text[end:], "")))


def read_template(
    columns: Collection[str], is_piped: bool, read_text: Callable[[], str]
) -> Template | None:
    """The text for a list with *columns*; None if it is the column ``message``.

    *read_text* reads standard input, unless the list *is_piped* through it. Raises ListError.
    """
    whole = MESSAGE in columns
    text = ""
    if not is_piped and not (whole and (sys.stdin is None or sys.stdin.isatty())):
        if whole:
            _say_that_it_waits()
        text = read_text()
    if text.strip():
        template = parse(text, columns)
        if whole and MESSAGE not in template.columns:
            # Whichever were taken, it could be the wrong one, for everybody on the list.
            raise ListError(
                "two texts: one on standard input, and the list has a column message. Use {message}"
                " in the text, or rename the column, or add </dev/null"
            )
        return template
    if not whole:
        where = (
            "a column message in the list" if is_piped else "standard input, or a column message"
        )
        raise ListError(f"no text to send: it comes from {where}")
    return None


def _say_that_it_waits() -> None:
    try:
        ready, _, _ = select.select([sys.stdin], [], [], _PATIENCE)
    except (OSError, ValueError):
        return
    if not ready:
        click.echo("reading standard input to its end; </dev/null if there is no text", err=True)
