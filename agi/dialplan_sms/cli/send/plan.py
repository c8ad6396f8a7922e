"""Rows and a text to the SMS of a list: pure decisions, made before anything is sent."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from dialplan_sms.cli.send.journal import Journal
from dialplan_sms.cli.send.listfile import (
    NUMBER,
    ListFile,
    Result,
    Row,
    RowResult,
    bad_row,
    shown_number,
)
from dialplan_sms.cli.send.template import MESSAGE, Missing, Template
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.sms.outcome import Cause, Refused, safe_line
from dialplan_sms.sms.service import check
from dialplan_sms.sms.sms import Draft, Sms

_ROUNDED = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?[eE][+-]?[0-9]+")
_DECIMAL = re.compile(r"\+?[0-9]{6,}[.,]0+")
_BARE = re.compile(r"[1-9][0-9]+")
_FOR_ALL = (Cause.CONFIG, Cause.OUTBOX, Cause.UNKNOWN_SENDER)
"""What is wrong with no row in particular."""


@dataclass(frozen=True, slots=True)
class Item:
    """One SMS of a list. *digest* is what the journal knows it by."""

    line: int
    draft: Draft
    sms: Sms
    digest: str

    @property
    def number(self) -> str:
        """As it will go."""
        return self.sms.numbers[0]

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


@dataclass(frozen=True, slots=True)
class Planner:
    """Makes the plan of a list.

    *text* is None if the column ``message`` has it; *common* has what all SMS share, the columns
    ``gsm`` and ``postpone`` go before.
    """

    text: Template | None
    common: Draft
    sender: Sender
    config: Config
    journal: Journal

    def plan(self, listed: ListFile, now: datetime) -> ListPlan:
        """The SMS of *listed*. Raises Refused for what is wrong with all of them."""
        items: dict[str, Item] = {}
        unsent = list(listed.bad)
        for row in listed.rows:
            found = self._item(row)
            if isinstance(found, RowResult):
                unsent.append(found)
            elif (first := items.setdefault(found.digest, found)) is not found:
                why = f"the same SMS as in line {first.line}, sent once"
                unsent.append(found.row(Result.DUPLICATE, "", why, first=first.line))
        digest = self.journal.digest("list", *sorted(items))
        minute = now.replace(second=0, microsecond=0)
        for item in list(items.values()):
            when = item.sms.postpone
            # What is in the journal may have been sent when it was not past.
            if when and when < minute and item.digest not in self.journal.entries:
                why = f"postpone {when:%d/%m/%Y %H:%M} is in the past"
                unsent.append(item.row(Result.BAD, Cause.INVALID_POSTPONE, why))
                del items[item.digest]
        unsent.sort(key=lambda row: row.line)
        return ListPlan(tuple(items.values()), unsent, digest)

    def _item(self, row: Row) -> Item | RowResult:
        cell = row.cells.get(NUMBER, "").strip()
        shown = shown_number(cell)
        empty = ""
        try:
            message = self.text.fill(row.cells) if self.text else row.cells[MESSAGE]
        except Missing as missing:
            message, empty = "-", f"{{{missing}}} of the text is empty in this row"
        draft = replace(
            self.common,
            number=cell,
            message=message,
            gsm=row.cells.get("gsm", "").strip() or self.common.gsm,
            postpone=row.cells.get("postpone", "").strip() or self.common.postpone,
        )
        try:
            _refuse_spreadsheet(cell)
            sms = check(draft, self.sender, self.config, datetime.min)
            _refuse_lost_plus(cell, sms.numbers[0])
        except Refused as refused:
            if refused.cause in _FOR_ALL:
                raise
            # The reason quotes a number; of what may be a text it gives the length.
            quotes = refused.cause is Cause.INVALID_NUMBER and shown == cell
            reason = refused.reason if quotes else refused.outcome.for_log or refused.reason
            reason = safe_line(reason.replace("set SMS_NUMBER", "fill the cell"))
            reason += f"; and {empty}" if empty else ""
            return bad_row(row.line, shown, reason, refused.cause)
        if empty:
            return bad_row(row.line, shown, empty)
        when = f"{sms.postpone:%Y%m%d%H%M}" if sms.postpone else ""
        digest = self.journal.digest("sms", sms.numbers[0], sms.text, sms.gsm or "", when)
        return Item(row.line, draft, sms, digest)


def _refuse_spreadsheet(cell: str) -> None:
    """Numbers as Excel and its like leave them, when they take them for quantities."""
    if _ROUNDED.fullmatch(cell):
        _refuse(f"{cell} is rounded by a spreadsheet: give its column the format Text, type again")
    if _DECIMAL.fullmatch(cell):
        _refuse(f"{cell} is written as a quantity, with decimals: give its column the format Text")
    if "," in cell or ";" in cell:
        _refuse(f"{cell} is more than one number: give each a row of its own")


def _refuse_lost_plus(cell: str, number: str) -> None:
    """``4915…`` for ``+4915…`` would reach a stranger, if it can be read as a national number.

    It is taken for one that lost its + if it is a mobile phone's with it and no mobile's without.
    """
    if not _BARE.fullmatch(cell) or not number.startswith("+") or number == f"+{cell}":
        return
    if _is_mobile(f"+{cell}") and not _is_mobile(number):
        _refuse(f"{cell} is perhaps +{cell}: a spreadsheet drops the + and 00 but for Text")


def _is_mobile(number: str) -> bool:
    import phonenumbers

    try:
        kind = phonenumbers.number_type(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False
    kinds = phonenumbers.PhoneNumberType
    return kind in (kinds.MOBILE, kinds.FIXED_LINE_OR_MOBILE)


def _refuse(reason: str) -> None:
    raise Refused(Cause.INVALID_NUMBER, reason)
