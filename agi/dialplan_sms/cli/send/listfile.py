"""A list as people save it: the bytes of a CSV to rows, each with the line that it begins in."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_DELIMITERS = ",;\t"
_MOST_LINES = 100
"""Lines of one row: a text has fewer, and a quote that is never closed would take all the rest."""
_LONGEST_SHOWN, _MOST_LETTERS = 30, 6
NUMBER = "number"


class ListError(Exception):
    """A list that cannot be used at all; says what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the text of each column, by the column's name as ``name_of`` gives it."""

    line: int
    cells: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that is not sent, and why. *number* is its number as it stands there, if it is one."""

    line: int
    number: str
    cause: str
    reason: str


BAD_ROW = "BAD_ROW"
"""The cause where it is the row and not what it holds."""


@dataclass(frozen=True, slots=True)
class ListFile:
    """*columns* as the header has them, normalised."""

    columns: tuple[str, ...]
    rows: Sequence[Row]
    bad: Sequence[Bad]


def name_of(column: str) -> str:
    """A column's name for comparison: case and spaces at its ends and doubled do not count."""
    return " ".join(column.split()).casefold()


def shown_number(cell: str) -> str:
    """What stands where a number should, for people: a text in the wrong column is not shown."""
    cell = cell.strip()
    is_text = len(cell) > _LONGEST_SHOWN or sum(map(str.isalpha, cell)) > _MOST_LETTERS
    return f"{len(cell)} characters" if is_text else cell


def read_list(content: bytes, name: str) -> ListFile:
    """The list in *content*; *name* is for the errors. Raises ListError."""
    lines = list(io.StringIO(_decode(content, name), newline=""))
    start = 0
    delimiters = _DELIMITERS
    if lines and lines[0].lower().startswith("sep=") and lines[0][4:5] in tuple(_DELIMITERS):
        delimiters, start = lines[0][4], 1  # Excel's own hint
    while start < len(lines) and not lines[start].strip(" \r\n\t,;"):
        start += 1
    if start == len(lines):
        raise ListError(f"{name} is empty: its first line names the columns, as number,name")
    header, delimiter, end = _header(lines, start, delimiters, name)
    rows: list[Row] = []
    bad: list[Bad] = []
    for line, cells in _records(lines, end, delimiter):
        if isinstance(cells, str):
            bad.append(Bad(line, "", BAD_ROW, cells))
        elif any(cell.strip() for cell in cells):
            found = _row(line, cells, header)
            (rows if isinstance(found, Row) else bad).append(found)  # type: ignore[arg-type]
    return ListFile(tuple(filter(None, header)), rows, bad)


def _decode(content: bytes, name: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError:
            raise ListError(f"{name} is damaged UTF-16: save it as CSV UTF-8") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        # Never guessed: the wrong guess would reach everybody on the list.
        raise ListError(
            f"{name}:{line}: is not UTF-8. In Excel save it as CSV UTF-8; where it is Western"
            f" European: iconv -f WINDOWS-1252 -t UTF-8 {name} > utf8.csv"
        ) from None


def _header(
    lines: Sequence[str], start: int, delimiters: str, name: str
) -> tuple[list[str], str, int]:
    """The columns' names, the delimiter, and the index of the line after them."""
    found: list[tuple[bool, int, list[str], str, int]] = []
    for delimiter in delimiters:
        cells, end = _record(lines, start, delimiter)
        if not isinstance(cells, str):
            names = [name_of(cell) for cell in cells]
            found.append((NUMBER in names, len(names), names, delimiter, end))
    if not found:
        raise ListError(f"{name}:{start + 1}: no names of columns: a quote is not closed")
    fits, _, names, delimiter, end = max(found, key=lambda each: each[:2])
    if not fits:
        shown = ", ".join(each[:20] for each in names[:8] if each)
        raise ListError(
            f"{name}:{start + 1}: no column is named number: the first line names the columns,"
            f" here: {shown}"
        )
    twice = sorted(each for each, count in Counter(names).items() if each and count > 1)
    if twice:
        raise ListError(f"{name}:{start + 1}: two columns are named {twice[0][:40]}")
    return names, delimiter, end


def _records(
    lines: Sequence[str], start: int, delimiter: str
) -> Iterator[tuple[int, list[str] | str]]:
    """The rows from the line with index *start* on: their first line's number and their cells.

    A string in place of the cells is why that one line is no row; the next line is a new one.
    """
    while start < len(lines):
        cells, end = _record(lines, start, delimiter)
        yield start + 1, cells
        start = end


def _record(lines: Sequence[str], start: int, delimiter: str) -> tuple[list[str] | str, int]:
    some = iter(lines[start : start + _MOST_LINES])
    reader = csv.reader(some, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        cells = next(reader)
    except StopIteration:
        return [], start + 1
    except csv.Error:
        return "a quote is not closed, or something follows a closed one", start + 1
    return cells, start + max(1, reader.line_num)


def _row(line: int, cells: Sequence[str], header: Sequence[str]) -> Row | Bad:
    named = {name: cell for name, cell in zip(header, cells, strict=False) if name}
    extra = [cell for cell in cells[len(header) :] if cell.strip()]
    if extra:
        reason = f"has {len(cells)} cells, the first line names {len(header)} columns"
        reason += ": a cell with a separator in it stands in quotes"
        return Bad(line, shown_number(named.get(NUMBER, "")), BAD_ROW, reason)
    missing = {name: "" for name in header[len(cells) :] if name}
    return Row(line, {**named, **missing})
