"""A list as people save it: a CSV to rows with their lines, and what becomes of them."""

import csv
import io
import os
import re
import stat
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click

from dialplan_sms.cli.main import Misused

NUMBER = "number"  # the column that every list has
BAD_ROW = "BAD_ROW"  # the cause if the row is wrong, and not the SMS in it
_LARGEST = 256 << 20
_DELIMITERS = ",;\t"
_HINT = re.compile(f"(?i)sep=([{_DELIMITERS}])")  # Excel's own
_LONGEST_SHOWN, _MOST_LETTERS = 30, 6


class ListError(Misused):
    """A list that cannot be used at all; says what to do."""


class Result(StrEnum):
    """What became of one row; the journal knows the first three."""

    ACCEPTED = "accepted"  # by the PBX, or by the outbox
    REFUSED = "refused"  # certainly not sent
    UNKNOWN = "unknown"  # it may have been sent
    BAD = "bad"  # it is no SMS
    DUPLICATE = "duplicate"  # the same SMS as an earlier row, which goes out once


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of the row that begins in *line*, and why."""

    line: int
    number: str  # as it goes, or stands there
    result: Result
    cause: str = ""
    reason: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)  # for programs


Row = tuple[int, Mapping[str, str], str]
"""The line in which it begins, the text of each column, and why it is no row; empty if it is."""


def name_of(column: str) -> str:
    """A column's name for comparison: case and spaces at its ends and doubled do not count."""
    return " ".join(column.split()).casefold()


def shown_number(cell: str) -> str:
    """The cell of the number, for people: a text in the wrong column is not shown."""
    cell = cell.strip()
    is_text = len(cell) > _LONGEST_SHOWN or sum(map(str.isalpha, cell)) > _MOST_LETTERS
    return f"{len(cell)} characters" if is_text else cell


def read_file(file: str) -> tuple[bytes, Path | None]:
    """What *file* holds, ``-`` for standard input; its journal, None for a pipe. Or ListError."""
    if file == "-" and sys.stdin is None:
        raise ListError("standard input, which the list comes from, is closed")
    try:
        with click.open_file(file, "rb") as source:
            content = source.read(_LARGEST + 1)
            in_place = file != "-" and stat.S_ISREG(os.fstat(source.fileno()).st_mode)
    except OSError as error:
        raise ListError(f"{file} cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise ListError(f"{file} is larger than {_LARGEST >> 20} MiB")
    return content, Path(f"{file}.journal") if in_place else None


def read_list(content: bytes, name: str) -> tuple[Sequence[str], list[Row]]:
    """The columns of the list in *content*, normalised, and its rows. Raises ListError."""
    lines = list(io.StringIO(_decode(content, name), newline=""))
    hint = _HINT.match("".join(lines[:1]))
    if hint:
        lines[0] = ""
    start = next((at for at, line in enumerate(lines) if line.strip(" \r\n\t,;")), None)
    if start is None:
        raise ListError(f"{name} is empty: its first line names the columns, as number,name")
    header, delimiter, start = _header(lines, start, hint[1] if hint else _DELIMITERS, name)
    rows: list[Row] = []
    while start < len(lines):
        line, wrong = start + 1, ""
        try:
            cells, start = _record(lines, start, delimiter)
        except csv.Error:  # only this line is no row, the next is a new one
            cells, start = [], line
            wrong = "a quote is not closed, or something follows a closed one"
        if any(map(str.strip, cells[len(header) :])):
            wrong = f"has {len(cells)} cells, the first line names {len(header)} columns"
            wrong += ": a cell with a separator in it stands in quotes"
        if wrong or any(map(str.strip, cells)):
            pairs = zip_longest(header, cells, fillvalue="")
            rows.append((line, {column: cell for column, cell in pairs if column}, wrong))
    return tuple(filter(None, header)), rows


def _decode(content: bytes, name: str) -> str:
    is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        if is_utf16:
            raise ListError(f"{name} is damaged UTF-16: save it as CSV UTF-8") from None
        line = content.count(b"\n", 0, error.start) + 1
        # Never guessed: the wrong guess would reach everybody on the list.
        raise ListError(
            f"{name}:{line}: is not UTF-8. In Excel save it as CSV UTF-8; if it is Western"
            f" European: iconv -f WINDOWS-1252 -t UTF-8 {name} > utf8.csv"
        ) from None


def _header(
    lines: Sequence[str], start: int, delimiters: str, name: str
) -> tuple[list[str], str, int]:
    """The columns' names, the delimiter, and the index of the line after them."""
    found: list[tuple[bool, int, list[str], str, int]] = []
    for delimiter in delimiters:
        with suppress(csv.Error):
            cells, end = _record(lines, start, delimiter)
            names = [name_of(cell) for cell in cells]
            found.append((NUMBER in names, len(names), names, delimiter, end))
    if not found:
        raise ListError(f"{name}:{start + 1}: no names of columns: a quote is not closed")
    fits, _, names, delimiter, end = max(found, key=lambda each: each[:2])
    if not fits:
        raise ListError(
            f"{name}:{start + 1}: no column is named number: the first line names the columns,"
            f" here: {', '.join(each[:20] for each in names[:8] if each)}"
        )
    for column in sorted(filter(None, names)):
        if names.count(column) > 1:
            raise ListError(f"{name}:{start + 1}: two columns are named {column[:40]}")
    return names, delimiter, end


def _record(lines: Sequence[str], start: int, delimiter: str) -> tuple[list[str], int]:
    """The cells of one row, and the index of the line after it. Raises csv.Error."""
    # A text has fewer lines, and a quote that is never closed would take all the rest.
    some = iter(lines[start : start + 100])
    reader = csv.reader(some, delimiter=delimiter, strict=True, skipinitialspace=True)
    return next(reader), start + reader.line_num
