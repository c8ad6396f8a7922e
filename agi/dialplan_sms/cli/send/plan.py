"""The text of a list, with ``{column}``s, and its rows: to the SMS to send. Decided before any is.

In the text ``{{`` and ``}}`` are braces.
"""

import hashlib
import re
import select
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import click

from dialplan_sms.cli.send.journal import Journal
from dialplan_sms.cli.send.listfile import (
    BAD_ROW,
    NUMBER,
    ListError,
    ListFile,
    Result,
    RowResult,
    name_of,
    shown_number,
)
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.sms.outcome import Cause, Refused, safe_line
from dialplan_sms.sms.service import check
from dialplan_sms.sms.sms import Draft, Sms

MESSAGE = "message"
"""The column that holds whole texts."""
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_ANY = r"[\s\S]*"
_PATIENCE = 2.0  # seconds after which a command that reads standard input says so
_SPOILT = (
    (r"[+-]?[0-9]+([.,][0-9]+)?[eE][+-]?[0-9]+", "is rounded by a spreadsheet: give its column the"
     " format Text, type again"),
    (r"\+?[0-9]{6,}[.,]0+", "is written as a quantity, with decimals: give its column the format"
     " Text"),
    (rf"{_ANY}[,;]{_ANY}", "is more than one number: give each a row of its own"),
)  # fmt: skip
"""Numbers as Excel and its like leave them, when they take them for quantities."""
_BARE = re.compile(r"[1-9][0-9]+")
_FOR_ALL = (Cause.CONFIG, Cause.OUTBOX, Cause.UNKNOWN_SENDER)
"""What is wrong with no row in particular."""


@dataclass(frozen=True, slots=True)
class Item:
    """One SMS of a list. The journal knows it by *digest*, the outbox by *stored_as*."""

    line: int
    draft: Draft
    sms: Sms
    digest: str
    stored_as: str

    @property
    def number(self) -> str:
        """As it will go."""
        return self.sms.numbers[0]

    def key(self, resends: int) -> str:
        """Its SMS_KEY if it is sent again so often: the outbox stores it once under that."""
        return f"{self.stored_as} {resends}" if self.stored_as else ""

    def row(self, result: Result, cause: str, reason: str, **more: Any) -> RowResult:
        """What became of it."""
        return RowResult(self.line, self.number, result, cause, reason, more)


@dataclass(frozen=True, slots=True)
class ListPlan:
    """What a list comes to: the SMS to send, and the rows that are not sent, by their lines.

    *digest* changes when any SMS of it does.
    """

    items: Sequence[Item]
    unsent: Sequence[RowResult]
    digest: str = field(repr=False)

    @property
    def rows(self) -> int:
        return len(self.items) + len(self.unsent)

    def count(self, result: Result) -> int:
        """How many rows are not sent for being BAD, or a DUPLICATE."""
        return sum(row.result is result for row in self.unsent)


def columns_in(text: str, columns: Collection[str]) -> list[str]:
    """Those of a list's *columns* that *text* names. Raises ListError for what fits none."""
    tokens = list(_TOKEN.finditer(text))
    for token in tokens:
        brace = token[0][0]
        if token[0] == brace:
            raise ListError(
                f"the text has a single {brace} at character {token.start() + 1}: a brace is"
                f" written {brace * 2}, a column {{name}}"
            )
        if token[1] is not None and name_of(token[1]) not in columns:
            raise ListError(
                f"the text has {{{token[1][:40]}}}, which is no column of the list: it has"
                f" {', '.join(columns)}; a brace is written {{{{"
            )
    return [name_of(token[1]) for token in tokens if token[1] is not None]


def fill(text: str, cells: Mapping[str, str]) -> str:
    """The *text* of one row, which has all its columns."""

    def put(token: re.Match[str]) -> str:
        return token[0][0] if token[1] is None else cells[name_of(token[1])].strip()

    return _TOKEN.sub(put, text)


def read_text(
    columns: Collection[str], is_piped: bool, read_input: Callable[[], str]
) -> str | None:
    """The text for a list with *columns*; None if it is the column ``message``.

    *read_input* reads standard input, unless the list *is_piped* through it. Raises ListError.
    """
    whole, text = MESSAGE in columns, ""
    if not is_piped and not (whole and (sys.stdin is None or sys.stdin.isatty())):
        with suppress(OSError, ValueError):  # it is no file
            if whole and not select.select([sys.stdin], [], [], _PATIENCE)[0]:
                hint = "reading standard input to its end; </dev/null if there is no text"
                click.echo(hint, err=True)
        text = read_input()
    if not text.strip():
        if whole:
            return None
        at = "a column message in the list" if is_piped else "standard input, or a column message"
        raise ListError(f"no text to send: it comes from {at}")
    if MESSAGE not in columns_in(text, columns) and whole:
        # Whichever were taken, it could be the wrong one, for everybody on the list.
        raise ListError(
            "two texts: one on standard input, and the list has a column message. Use {message}"
            " in the text, or rename the column, or add </dev/null"
        )
    return text


def plan(
    listed: ListFile,
    text: str | None,
    common: Draft,
    sender: Sender,
    config: Config,
    journal: Journal,
) -> ListPlan:
    """The SMS of *listed*. Raises Refused for what is wrong with all of them.

    *text* is None if the column ``message`` has it; *common* has what all SMS share, the columns
    ``gsm`` and ``postpone`` go before.
    """
    items: dict[str, Item] = {}
    unsent = list(listed.bad)
    named = columns_in(text, listed.columns) if text else []
    outbox = hashlib.blake2b(f"{config.outbox}\n{sender.name}".encode(), digest_size=4).hexdigest()
    for line, cells in listed.rows.items():
        cell, cause, message = cells[NUMBER].strip(), BAD_ROW, "-"
        # Nobody is to read "Dear ,".
        empty = next((name for name in named if not cells[name].strip()), "")
        wrong = [f"{{{empty}}} of the text is empty in this row"] if empty else []
        if not empty:
            message = fill(text, cells) if text else cells[MESSAGE]
        draft = replace(
            common,
            number=cell,
            message=message,
            gsm=cells.get("gsm", "").strip() or common.gsm,
            postpone=cells.get("postpone", "").strip() or common.postpone,
        )
        try:
            sms = _check(draft, sender, config)
        except Refused as refused:
            if refused.cause in _FOR_ALL:
                raise
            cause, wrong = refused.cause, [_reason(refused, cell), *wrong]
        if wrong:
            number = shown_number(cell)
            unsent.append(RowResult(line, number, Result.BAD, cause, "; and ".join(wrong)))
            continue
        when = f"{sms.postpone:%Y%m%d%H%M}" if sms.postpone else ""
        digest = journal.digest("sms", sms.numbers[0], sms.text, sms.gsm or "", when)
        later = sms.postpone is not None and sender.postpone == "here"
        stored = config.outbox and (sms.mode != "wait" or later)
        stored_as = f"list {journal.salt} {outbox} {digest}" if stored else ""
        item = Item(line, draft, sms, digest, stored_as)
        first = items.setdefault(digest, item)
        if first is not item:
            why = f"the same SMS as in line {first.line}, sent once"
            unsent.append(item.row(Result.DUPLICATE, "", why, first=first.line))
    digest = journal.digest("list", *sorted(items))
    minute = datetime.now().replace(second=0, microsecond=0)
    for item in list(items.values()):
        past = item.sms.postpone
        # What is in the journal may have been sent when it was not past.
        if past and past < minute and item.digest not in journal.entries:
            why = f"postpone {past:%d/%m/%Y %H:%M} is in the past"
            unsent.append(item.row(Result.BAD, Cause.INVALID_POSTPONE, why))
            del items[item.digest]
    unsent.sort(key=lambda row: row.line)
    return ListPlan(tuple(items.values()), unsent, digest)


def _check(draft: Draft, sender: Sender, config: Config) -> Sms:
    """The SMS of one row. Raises Refused, also for a number that a spreadsheet spoilt."""
    cell = draft.number
    for pattern, why in _SPOILT:
        if re.fullmatch(pattern, cell):
            raise Refused(Cause.INVALID_NUMBER, f"{cell} {why}")
    sms = check(draft, sender, config, datetime.min)
    number = sms.numbers[0]
    # 4915... for +4915... would reach a stranger, if it can be read as a national number. It is
    # taken for one that lost its + if it is a mobile phone's with it and no mobile's without.
    is_other = _BARE.fullmatch(cell) and number.startswith("+") and number != f"+{cell}"
    if is_other and _is_mobile(f"+{cell}") and not _is_mobile(number):
        why = f"is perhaps +{cell}: a spreadsheet drops the + and 00 but for Text"
        raise Refused(Cause.INVALID_NUMBER, f"{cell} {why}")
    return sms


def _is_mobile(number: str) -> bool:
    import phonenumbers

    try:
        kind = phonenumbers.number_type(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False
    kinds = phonenumbers.PhoneNumberType
    return kind in (kinds.MOBILE, kinds.FIXED_LINE_OR_MOBILE)


def _reason(refused: Refused, cell: str) -> str:
    """It quotes a number; of what may be a text it gives the length."""
    quotes = refused.cause is Cause.INVALID_NUMBER and shown_number(cell) == cell
    reason = refused.reason if quotes else refused.outcome.for_log or refused.reason
    return safe_line(re.sub(" is empty$", r"\g<0>: fill the cell", reason))
