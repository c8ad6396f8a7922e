"""The text of a list, with ``{column}``s, and its rows: to SMS, all before the first is sent."""

import hashlib
import re
import select
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import click

from dialplan_sms.cli.send.journal import Journal
from dialplan_sms.cli.send.listfile import (
    BAD_ROW,
    NUMBER,
    ListError,
    Result,
    Row,
    RowResult,
    name_of,
    shown_number,
)
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.sms.outcome import Cause, Refused, safe_line
from dialplan_sms.sms.service import check
from dialplan_sms.sms.sms import Draft, Sms

MESSAGE = "message"  # the column that holds whole texts
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_ANY = r"[\s\S]*"
# Numbers as Excel and its like leave them, when they take them for quantities.
_SPOILT = (
    (r"[+-]?[0-9]+([.,][0-9]+)?[eE][+-]?[0-9]+", "is rounded by a spreadsheet: give its column the"
     " format Text, type again"),
    (r"\+?[0-9]{6,}[.,]0+", "is written as a quantity, with decimals: give its column the format"
     " Text"),
    (rf"{_ANY}[,;]{_ANY}", "is more than one number: give each a row of its own"),
)  # fmt: skip
_BARE = re.compile(r"[1-9][0-9]+")
# What is wrong with no row in particular.
_FOR_ALL = (Cause.CONFIG, Cause.OUTBOX, Cause.UNKNOWN_SENDER)


@dataclass(frozen=True, slots=True)
class Item:
    """One SMS of a list. The journal knows it by *digest*, the outbox by *stored_as*."""

    line: int
    number: str  # as it will go
    draft: Draft
    sms: Sms
    digest: str
    stored_as: str

    def key(self, resends: int) -> str:
        """Its SMS_KEY if it is sent again so often: the outbox stores it once under that."""
        return f"{self.stored_as} {resends}" if self.stored_as else ""

    def row(self, result: Result, cause: str, reason: str, **more: Any) -> RowResult:
        return RowResult(self.line, self.number, result, cause, reason, more)


@dataclass(frozen=True, slots=True)
class ListPlan:
    """What a list comes to: the SMS to send by their digests, and the rows that are not sent."""

    items: Mapping[str, Item]
    unsent: Sequence[RowResult]
    digest: str  # changes when any SMS of it does

    @property
    def counts(self) -> Counter[str]:
        """How many rows there are, and how many are not sent for being BAD, or a DUPLICATE."""
        unsent = Counter[str](row.result for row in self.unsent)
        return unsent | Counter(rows=len(self.items) + len(self.unsent))


def columns_in(text: str, columns: Collection[str]) -> list[str]:
    """Those of a list's *columns* that *text* names. Raises ListError for what fits none."""
    named: list[str] = []
    for token in _TOKEN.finditer(text):
        brace, column = token[0][0], token[1]
        if token[0] == brace:
            raise ListError(
                f"the text has a single {brace} at character {token.start() + 1}: a brace is"
                f" written {brace * 2}, a column {{name}}"
            )
        if column is not None:
            named.append(name_of(column))
            if named[-1] not in columns:
                raise ListError(
                    f"the text has {{{column[:40]}}}, which is no column of the list: it has"
                    f" {', '.join(columns)}; a brace is written {{{{"
                )
    return named


def fill(text: str, cells: Mapping[str, str]) -> str:
    """The *text* of one row, which has all its columns."""
    return _TOKEN.sub(
        lambda token: token[0][0] if token[1] is None else cells[name_of(token[1])].strip(), text
    )


def read_text(
    columns: Collection[str], is_piped: bool, read_input: Callable[[], str]
) -> tuple[str, list[str]]:
    """The text for a list, empty if it is the column ``message``; and its columns. Or ListError."""
    whole, text = MESSAGE in columns, ""
    if not is_piped and not (whole and (sys.stdin is None or sys.stdin.isatty())):
        with suppress(OSError, ValueError):  # it is no file
            if whole and not select.select([sys.stdin], [], [], 2.0)[0]:
                click.echo(
                    "reading standard input to its end; </dev/null if there is no text", err=True
                )
        text = read_input()
    if not text.strip():
        if whole:
            return "", []
        at = "a column message in the list" if is_piped else "standard input, or a column message"
        raise ListError(f"no text to send: it comes from {at}")
    named = columns_in(text, columns)
    if whole and MESSAGE not in named:
        # Whichever were taken, it could be the wrong one, for everybody on the list.
        raise ListError(
            "two texts: one on standard input, and the list has a column message. Use {message}"
            " in the text, or rename the column, or add </dev/null"
        )
    return text, named


def plan(
    rows: Iterable[Row],
    text: str,
    named: Collection[str],
    common: Draft,
    sender: Sender,
    config: Config,
    journal: Journal,
) -> ListPlan:
    """The SMS of a list's *rows*. Raises Refused for what is wrong with all of them.

    *text* names the columns *named*, and is empty if the column ``message`` has it; *common* has
    what all SMS share, the columns ``gsm`` and ``postpone`` go before.
    """
    items: dict[str, Item] = {}
    unsent: list[RowResult] = []
    lines: dict[str, int] = {}  # of each SMS, by its digest
    place = f"{config.outbox}\n{sender.name}".encode()
    outbox = f"list {journal.salt} {hashlib.blake2b(place, digest_size=4).hexdigest()}"
    minute = datetime.now().replace(second=0, microsecond=0)
    for line, cells, broken in rows:
        cell, cause, wrong = cells[NUMBER].strip(), BAD_ROW, broken
        # Nobody is to read "Dear ,".
        empty = next((name for name in named if not cells[name].strip()), "")
        if empty and not broken:
            wrong = f"{{{empty}}} of the text is empty in this row"
        message = fill(text, cells) if text else cells.get(MESSAGE, "")
        draft = replace(
            common,
            number=cell,
            message="-" if wrong else message,
            gsm=cells.get("gsm", "").strip() or common.gsm,
            postpone=cells.get("postpone", "").strip() or common.postpone,
        )
        try:
            sms = None if broken else _check(draft, sender, config)
        except Refused as refused:
            if refused.cause in _FOR_ALL:
                raise
            cause, sms = refused.cause, None
            # It quotes a number; of what may be a text it gives the length.
            quotes = cause is Cause.INVALID_NUMBER and shown_number(cell) == cell
            why = refused.reason if quotes else refused.outcome.for_log or refused.reason
            why = safe_line(re.sub(" is empty$", r"\g<0>: fill the cell", why))
            wrong = f"{why}; and {wrong}" if wrong else why
        if sms is None or wrong:
            unsent.append(RowResult(line, shown_number(cell), Result.BAD, cause, wrong))
            continue
        at = sms.postpone
        when = f"{at:%Y%m%d%H%M}" if at else ""
        number = sms.numbers[0]
        digest = journal.digest("sms", number, sms.text, sms.gsm or "", when)
        stored = config.outbox and (sms.mode != "wait" or bool(at and sender.postpone == "here"))
        item = Item(line, number, draft, sms, digest, f"{outbox} {digest}" if stored else "")
        first = lines.setdefault(digest, line)
        if first != line:
            why = f"the same SMS as in line {first}, sent once"
            unsent.append(item.row(Result.DUPLICATE, "", why, first=first))
        elif at and at < minute and digest not in journal.entries:
            # What is in the journal may have been sent when it was not past.
            why = f"postpone {at:%d/%m/%Y %H:%M} is in the past"
            unsent.append(item.row(Result.BAD, Cause.INVALID_POSTPONE, why))
        else:
            items[digest] = item
    return ListPlan(items, unsent, journal.digest("list", *sorted(lines)))


def _check(draft: Draft, sender: Sender, config: Config) -> Sms:
    """The SMS of one row. Raises Refused, also for a number that a spreadsheet spoilt."""
    cell = draft.number
    for pattern, why in _SPOILT:
        if re.fullmatch(pattern, cell):
            raise Refused(Cause.INVALID_NUMBER, f"{cell} {why}")
    sms = check(draft, sender, config, datetime.min)
    number, whole = sms.numbers[0], f"+{cell}"
    # 4915... for +4915... would reach a stranger, if it can be read as a national number. It is
    # taken for one that lost its + if it is a mobile phone's with it and no mobile's without.
    is_other = _BARE.fullmatch(cell) and number.startswith("+") and number != whole
    if is_other and _is_mobile(whole) and not _is_mobile(number):
        why = f"is perhaps {whole}: a spreadsheet drops the + and 00 but for Text"
        raise Refused(Cause.INVALID_NUMBER, f"{cell} {why}")
    return sms


def _is_mobile(number: str) -> bool:
    import phonenumbers

    kinds = phonenumbers.PhoneNumberType
    with suppress(phonenumbers.NumberParseException):
        kind = phonenumbers.number_type(phonenumbers.parse(number))
        return kind in (kinds.MOBILE, kinds.FIXED_LINE_OR_MOBILE)
    return False
