"""What an admin sees of a list: bad rows, the dry run, failures, the summary; lines of JSON.

No text, but in the dry run. What a list holds may be meant to do harm on a terminal.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from dialplan_sms.cli.send.journal import End
from dialplan_sms.cli.send.listfile import Bad
from dialplan_sms.cli.send.plan import Duplicate, Item, Plan
from dialplan_sms.cli.send.run import Told
from dialplan_sms.cli.send.summary import Summary
from dialplan_sms.host.console import Console
from dialplan_sms.host.terminal import plain
from dialplan_sms.sms.outcome import safe_line
from dialplan_sms.sms.parts import parts

_FIRST = 10
"""Rows of the table in the dry run."""


def say(line: str | Text) -> None:
    """*line* on standard output, however long; where nobody reads, the run goes on."""
    try:
        if isinstance(line, Text):
            Console(soft_wrap=True).print(line)
        else:
            click.echo(line)
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def as_json(**values: Any) -> None:
    say(json.dumps(values))


def count(number: int, what: str) -> str:
    """``1 bad row``, ``1,200 bad rows``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """A time for people, to two units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def show_unsent(plan: Plan, json_: bool) -> None:
    """The rows that are not sent, whatever happens, in the list's order."""
    unsent: list[Bad | Duplicate] = [*plan.bad, *plan.duplicates]
    for row in sorted(unsent, key=lambda each: each.line):
        if isinstance(row, Duplicate):
            if json_:
                as_json(line=row.line, number=row.number, result="duplicate", first=row.first)
                continue
            why = f"the same SMS as in line {row.first}, sent once"
            _failure(row.line, row.number, "duplicate", "", why, "yellow")
        elif json_:
            as_json(line=row.line, number=plain(row.number), result="bad", cause=row.cause,
                    reason=plain(row.reason))  # fmt: skip
        else:
            _failure(row.line, row.number, "bad row", row.cause, row.reason)


def show_told(told: Told) -> None:
    """One SMS as it ended, for programs."""
    outcome = told.outcome
    as_json(line=told.item.line, number=told.item.number, result=told.end, status=outcome.status,
            cause=outcome.cause, reason=safe_line(outcome.reason), id=outcome.id)  # fmt: skip


def show_failures(failed: Sequence[Told]) -> None:
    """Those that were not accepted in this run, in the list's order."""
    for told in sorted(failed, key=lambda each: each.item.line):
        outcome = told.outcome
        colour = "yellow" if told.end is End.UNKNOWN else "red"
        reason = safe_line(outcome.reason)
        _failure(told.item.line, told.item.number, told.end, outcome.cause, reason, colour)


def show_left_unknown(item: Item, json_: bool) -> None:
    """One that may have been sent in an earlier run."""
    if json_:
        as_json(line=item.line, number=item.number, result=End.UNKNOWN, before=True)
        return
    why = "may have been sent in an earlier run, and is not sent again"
    _failure(item.line, item.number, End.UNKNOWN, "", why, "yellow")


def _failure(
    line: int, number: str, what: str, cause: str, reason: str, colour: str = "red"
) -> None:
    text = Text(f"line {line:>5}  {plain(number) or '-':<16} ")
    text.append(f"{what:<9} ", style=colour)
    say(text.append(plain(f"{cause}: {reason}" if cause else reason)))


def show_summary(summary: Summary, advice: Iterable[str]) -> None:
    """The counts in one line, and what to do."""
    counts = [f"{summary.accepted:,} accepted{_before(summary.before)}"]
    for number, what in (
        (summary.refused, f"refused{_before(summary.refused_before)}"),
        (summary.unknown, "unknown"), (summary.left, "not tried"),
    ):  # fmt: skip
        counts += [f"{number:,} {what}"] if number else []
    counts += [count(summary.bad, "bad row")] if summary.bad else []
    counts += [count(summary.duplicates, "duplicate")] if summary.duplicates else []
    colour = "green" if summary.whole else "yellow"
    say(Text(f"{count(summary.rows, 'row')}: ", style="bold").append(", ".join(counts), colour))
    for line in advice:
        say(plain(line))


def _before(number: int) -> str:
    return f" ({number:,} of them before)" if number else ""


def summary_json(summary: Summary, journal: str) -> None:
    as_json(summary={**asdict(summary), "journal": journal})


def show_plan(
    plan: Plan, facts: Sequence[tuple[str, str]], ready: int, ends: Mapping[End, int]
) -> None:
    """The dry run of a list, for people; *ends* of those that are not *ready* to be sent."""
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = f"{count(plan.rows, 'row')}: {ready:,} to send, {ends[End.ACCEPTED]:,} accepted before"
    if ends[End.UNKNOWN]:
        rows += f", {ends[End.UNKNOWN]:,} unknown"
    rows += f", {count(len(plan.bad), 'bad row')}, {count(len(plan.duplicates), 'duplicate')}"
    for name, value in [*facts, ("list", rows), *_text_facts(plan)]:
        table.add_row(Text(name, style="bold"), Text(plain(value), overflow="fold"))
    console = Console()
    console.print(table)
    if plan.items:
        console.print()
        console.print(_first(plan.items))
        first = plan.items[0]
        console.print(Text(f"\nthe text of line {first.line}:", style="bold"))
        console.print(Text("\n".join(map(plain, first.sms.text.split("\n")))))
    if plan.bad or plan.duplicates:
        console.print()
        show_unsent(plan, json_=False)
    console.print("\ndry run: nothing was sent")


def _text_facts(plan: Plan) -> list[tuple[str, str]]:
    if not plan.items:
        return []
    lengths = [len(item.sms.text) for item in plan.items]
    each = [parts(item.sms.text) for item in plan.items]
    codings = Counter(one.coding for one in each)
    kinds = ", ".join(f"{number:,} in {coding}" for coding, number in sorted(codings.items()))
    facts = [
        ("text", f"{min(lengths)} to {max(lengths)} characters of {plan.sender.max_length}"),
        ("parts", f"{sum(one.count for one in each):,} for {len(each):,} SMS ({kinds})"),
    ]
    cut = sum(bool(item.sms.cut_from) for item in plan.items)
    if cut:
        facts.append(("cut", f"{count(cut, 'text')} (long_message = truncate)"))
    replaced = [item.sms.replaced for item in plan.items if item.sms.replaced]
    if replaced:
        chars = " ".join(sorted(set("".join(replaced))))
        note = f"the PBX may replace with spaces: {chars} in {count(len(replaced), 'text')}"
        facts.append(("note", note))
    return facts


def _first(items: Sequence[Item]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("line", "to", "characters", "parts", "may be replaced"):
        right = name in ("line", "characters")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for item in items[:_FIRST]:
        sms = item.sms
        values = (item.line, item.number, len(sms.text), parts(sms.text), " ".join(sms.replaced))
        table.add_row(*(Text(str(value)) for value in values))
    if len(items) > _FIRST:
        table.caption = f"… and {len(items) - _FIRST:,} more: --json shows all"
        table.caption_justify = "left"
    return table


def plan_json(plan: Plan, ready: Collection[str], ends: Mapping[End, int]) -> None:
    """The dry run of a list, for programs."""
    for item in plan.items:
        sms, part = item.sms, parts(item.sms.text)
        as_json(
            line=item.line, number=item.number,
            result="ready" if item.digest in ready else "before",
            characters=len(sms.text), coding=part.coding, units=part.units, parts=part.count,
            replaced=sms.replaced, cut_from=sms.cut_from, gsm=sms.gsm,
            postpone=sms.postpone.isoformat() if sms.postpone else None, text=sms.text,
        )  # fmt: skip
    show_unsent(plan, json_=True)
    as_json(
        summary={
            "rows": plan.rows, "ready": len(ready), "before": ends[End.ACCEPTED],
            "unknown": ends[End.UNKNOWN], "bad": len(plan.bad), "duplicates": len(plan.duplicates),
            "parts": sum(parts(item.sms.text).count for item in plan.items), "dry_run": True,
        }
    )  # fmt: skip
