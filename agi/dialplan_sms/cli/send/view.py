"""What an admin sees of SMS that are sent: dry runs, bad rows, failures, the summary; JSON.

No text, but in the dry run of a list. What a list holds may be meant to do harm on a terminal.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from dialplan_sms.cli.send.journal import Result
from dialplan_sms.cli.send.listfile import BadRow
from dialplan_sms.cli.send.plan import Duplicate, Item, ListPlan
from dialplan_sms.cli.send.run import Done
from dialplan_sms.cli.send.summary import Summary
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.host.console import Console
from dialplan_sms.host.terminal import plain
from dialplan_sms.sms.outcome import safe_line
from dialplan_sms.sms.parts import parts
from dialplan_sms.sms.sms import Sms

_FIRST = 10
"""Rows of the table in the dry run."""
Facts = list[tuple[str, str]]


def say(line: str | Text) -> None:
    """*line* on standard output, however long; if nobody reads it, what is under way goes on."""
    try:
        if isinstance(line, Text):
            Console(soft_wrap=True).print(line)
        else:
            click.echo(line)
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def say_json(**values: Any) -> None:
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


# One row or SMS.


def show_unsent(plan: ListPlan, as_json: bool) -> None:
    """The rows that are not sent, whatever happens, in the list's order."""
    unsent: list[BadRow | Duplicate] = [*plan.bad, *plan.duplicates]
    for row in sorted(unsent, key=lambda each: each.line):
        if isinstance(row, Duplicate):
            if as_json:
                say_json(line=row.line, number=row.number, result="duplicate", first=row.first)
                continue
            why = f"the same SMS as in line {row.first}, sent once"
            _failure(row.line, row.number, "duplicate", "", why, "yellow")
        elif as_json:
            say_json(line=row.line, number=plain(row.number), result="bad", cause=row.cause,
                     reason=plain(row.reason))  # fmt: skip
        else:
            _failure(row.line, row.number, "bad row", row.cause, row.reason)


def say_done(done: Done) -> None:
    """One SMS as it ended, for programs."""
    outcome = done.outcome
    say_json(line=done.item.line, number=done.item.number, result=done.result,
             status=outcome.status, cause=outcome.cause, reason=safe_line(outcome.reason),
             id=outcome.id)  # fmt: skip


def show_failures(failed: Sequence[Done]) -> None:
    """Those that were not accepted in this run, in the list's order."""
    for done in sorted(failed, key=lambda each: each.item.line):
        outcome = done.outcome
        colour = "yellow" if done.result is Result.UNKNOWN else "red"
        reason = safe_line(outcome.reason)
        _failure(done.item.line, done.item.number, done.result, outcome.cause, reason, colour)


def show_left_unknown(item: Item, as_json: bool) -> None:
    """One that may have been sent in an earlier run."""
    if as_json:
        say_json(line=item.line, number=item.number, result=Result.UNKNOWN, before=True)
        return
    why = "may have been sent in an earlier run, and is not sent again"
    _failure(item.line, item.number, Result.UNKNOWN, "", why, "yellow")


def _failure(
    line: int, number: str, what: str, cause: str, reason: str, colour: str = "red"
) -> None:
    text = Text(f"line {line:>5}  {plain(number) or '-':<16} ")
    text.append(f"{what:<9} ", style=colour)
    say(text.append(plain(f"{cause}: {reason}" if cause else reason)))


# The summary.


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


# Dry runs.


def sender_facts(config: Config, sender: Sender) -> Facts:
    """Which sender sends, as the dry run shows it."""
    return [
        ("sms.conf", str(config.path)),
        ("sender", f"{sender.name} at {sender.url}"),
        ("verify", sender.verify if sender.url.startswith("https:") else "not with http"),
    ]


def show_facts(console: Console, facts: Facts) -> None:
    """Names and values, one below the other."""
    if not console.is_terminal:
        console.width = max(console.width, 1000)  # a fingerprint is to be copied whole
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts:
        table.add_row(Text(name, style="bold"), Text(plain(value), overflow="fold"))
    console.print(table)


def sms_values(sms: Sms) -> dict[str, Any]:
    """An SMS without numbers and text, for programs."""
    part = parts(sms.text)
    return {
        "characters": len(sms.text), "coding": part.coding, "units": part.units,
        "parts": part.count, "replaced": sms.replaced, "cut_from": sms.cut_from, "gsm": sms.gsm,
        "postpone": sms.postpone.isoformat() if sms.postpone else None,
    }  # fmt: skip


def show_plan(
    plan: ListPlan, facts: Facts, sender: Sender, ready: int, results: Mapping[Result, int]
) -> None:
    """The dry run of a list, for people; *results* of those that are not *ready* to be sent."""
    rows = f"{count(plan.rows, 'row')}: {ready:,} to send, {results[Result.ACCEPTED]:,} accepted"
    rows += " before"
    if results[Result.UNKNOWN]:
        rows += f", {results[Result.UNKNOWN]:,} unknown"
    rows += f", {count(len(plan.bad), 'bad row')}, {count(len(plan.duplicates), 'duplicate')}"
    console = Console()
    show_facts(console, [*facts, ("list", rows), *_text_facts(plan.items, sender.max_length)])
    if plan.items:
        console.print()
        console.print(_first(plan.items))
        first = plan.items[0]
        console.print(Text(f"\nthe text of line {first.line}:", style="bold"))
        console.print(Text("\n".join(map(plain, first.sms.text.split("\n")))))
    if plan.bad or plan.duplicates:
        console.print()
        show_unsent(plan, as_json=False)
    console.print("\ndry run: nothing was sent")


def _text_facts(items: Sequence[Item], max_length: int) -> Facts:
    if not items:
        return []
    lengths = [len(item.sms.text) for item in items]
    each = [parts(item.sms.text) for item in items]
    codings = Counter(one.coding for one in each)
    kinds = ", ".join(f"{number:,} in {coding}" for coding, number in sorted(codings.items()))
    facts = [
        ("text", f"{min(lengths)} to {max(lengths)} characters of {max_length}"),
        ("parts", f"{sum(one.count for one in each):,} for {len(each):,} SMS ({kinds})"),
    ]
    cut = sum(bool(item.sms.cut_from) for item in items)
    if cut:
        facts.append(("cut", f"{count(cut, 'text')} (long_message = truncate)"))
    replaced = [item.sms.replaced for item in items if item.sms.replaced]
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


def say_plan(plan: ListPlan, ready: Collection[str], results: Mapping[Result, int]) -> None:
    """The dry run of a list, for programs; *ready* are the digests of what is to be sent."""
    for item in plan.items:
        result = "ready" if item.digest in ready else "before"
        say_json(line=item.line, number=item.number, result=result, text=item.sms.text,
                 **sms_values(item.sms))  # fmt: skip
    show_unsent(plan, as_json=True)
    say_json(
        summary={
            "rows": plan.rows, "ready": len(ready), "before": results[Result.ACCEPTED],
            "unknown": results[Result.UNKNOWN], "bad": len(plan.bad),
            "duplicates": len(plan.duplicates),
            "parts": sum(parts(item.sms.text).count for item in plan.items), "dry_run": True,
        }
    )  # fmt: skip
