"""Where a list and its text come from: a file, a pipe, standard input."""

import os
import select
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click

from dialplan_sms.cli.send.listfile import ListError, ListFile, read_list
from dialplan_sms.cli.send.template import Template, parse

MESSAGE = "message"
"""The column that holds whole texts."""
_LARGEST = 256 << 20
_PATIENCE = 2.0
"""Seconds after which it is said that standard input is waited for."""


@dataclass(frozen=True, slots=True)
class Source:
    """A list, and its text where that is not the column ``message``.

    *journal* is the file beside it; None where the list comes from a pipe.
    """

    name: str
    listed: ListFile = field(repr=False)
    text: Template | None = field(repr=False)
    journal: Path | None


def read_source(file: str, read_text: Callable[[], str]) -> Source:
    """The list in *file*, ``-`` for standard input; *read_text* reads that. Raises ListError."""
    piped = file == "-"
    name = "the list" if piped else file
    content, in_place = _read(file)
    listed = read_list(content, name)
    text = None if piped else _text(listed, read_text)
    if text is None and MESSAGE not in listed.columns:
        where = "a column message in the list" if piped else "standard input, or a column message"
        raise ListError(f"no text to send: it comes from {where}")
    return Source(name, listed, text, Path(f"{file}.journal") if in_place else None)


def _read(file: str) -> tuple[bytes, bool]:
    """The bytes, and whether they can be read again."""
    try:
        if file == "-":
            if sys.stdin is None:
                raise ListError("standard input, which the list comes from, is closed")
            content, in_place = sys.stdin.buffer.read(_LARGEST + 1), False
        else:
            with open(file, "rb") as opened:
                content = opened.read(_LARGEST + 1)
                in_place = stat.S_ISREG(os.fstat(opened.fileno()).st_mode)
    except OSError as error:
        raise ListError(f"{file} cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise ListError(f"{file} is larger than {_LARGEST >> 20} MiB")
    return content, in_place


def _text(listed: ListFile, read_text: Callable[[], str]) -> Template | None:
    whole = MESSAGE in listed.columns
    if whole and (sys.stdin is None or sys.stdin.isatty()):
        return None
    if whole:
        _say_that_it_waits()
    text = read_text()
    if not text.strip():
        return None
    template = parse(text, listed.columns)
    if whole and MESSAGE not in template.columns:
        # Whichever were taken, it could be the wrong one, for everybody on the list.
        raise ListError(
            "two texts: one on standard input, and the list has a column message. Use {message} in"
            " the text, or rename the column, or add </dev/null"
        )
    return template


def _say_that_it_waits() -> None:
    try:
        ready, _, _ = select.select([sys.stdin], [], [], _PATIENCE)
    except (OSError, ValueError):
        return
    if not ready:
        click.echo("reading standard input to its end; </dev/null where no text is there", err=True)
