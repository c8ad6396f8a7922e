"""What an admin sees of SMS that are sent: rows, the summary, dry runs; for people and programs."""

import json
import os
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.table import Column, Table
from rich.text import Text

from dialplan_sms.cli.send.listfile import Result, RowResult
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.host.console import Console
from dialplan_sms.host.terminal import plain
from dialplan_sms.sms.parts import Parts, parts
from dialplan_sms.sms.sms import Sms

if TYPE_CHECKING:  # a single SMS does without
    from dialplan_sms.cli.send.plan import Item, ListPlan

Facts = list[tuple[str, str]]  # names and values
_FIRST = 10  # rows of the table in the dry run
_UNITS = ((172800, "d", 86400, "h", 3600), (3600, "h", 3600, "min", 60), (60, "min", 60, "s", 1))


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


def sender_facts(config: Config, sender: Sender) -> Facts:
    """Which sender sends, as a dry run shows it."""
    return [
        ("sms.conf", str(config.path)),
        ("sender", f"{sender.name} at {sender.url}"),
        ("verify", sender.verify if sender.url.startswith("https:") else "not with http"),
        ("backup", sender.backup),
    ]


def show_facts(console: Console, facts: Facts) -> None:
    """*facts* that have a value, one below the other."""
    if not console.is_terminal:
        console.width = max(console.width, 1000)  # a fingerprint is to be copied whole
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts:
        if value:
            table.add_row(Text(name, style="bold"), Text(plain(value), overflow="fold"))
    console.print(table)


def replaced(characters: str) -> str:
    """What the PBX makes of *characters*; empty for none."""
    return f"the PBX may replace with spaces: {' '.join(characters)}" if characters else ""


def sms_values(sms: Sms) -> dict[str, Any]:
    """An SMS without numbers and text, for programs."""
    part = parts(sms.text)
    return {
        "characters": len(sms.text), "coding": part.coding, "units": part.units,
        "parts": part.count, "parts_from": sms.parts_from, "replaced": sms.replaced,
        "cut_from": sms.cut_from, "gsm": sms.gsm,
        "postpone": sms.postpone.isoformat() if sms.postpone else None,
    }  # fmt: skip


def count(number: int, what: str) -> str:
    """``1 bad row``, ``1,200 bad rows``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """A time for people, to two units."""
    whole = round(seconds)
    for least, name, size, smaller, of in _UNITS:
        if whole >= least:
            return f"{whole // size} {name} {whole % size // of} {smaller}"
    return f"{whole} s"


def show(row: RowResult, as_json: bool) -> None:
    """One row and what became of it."""
    number, reason = plain(row.number), plain(row.reason)
    if as_json:
        say_json(line=row.line, number=number, result=row.result, cause=row.cause, reason=reason,
                 **row.more)  # fmt: skip
        return
    result = "bad row" if row.result is Result.BAD else row.result
    colour = "red" if row.result in (Result.BAD, Result.REFUSED) else "yellow"
    why = f"{row.cause}: {reason}" if row.cause else reason
    line = f"line {row.line:>5}  {number or '-':<16} "
    say(Text.assemble(line, (f"{result:<9} ", colour), why))


def show_plan(
    plan: "ListPlan",
    facts: Facts,
    max_length: int,
    ready: Collection[str],
    earlier: Mapping[Result, int],
    as_json: bool,
) -> None:
    """The dry run of a list; *ready* are digests to be sent, *earlier* the results of the rest."""
    console, items, counts = Console(), [*plan.items.values()], plan.counts
    each = [parts(item.sms.text) for item in items]
    if as_json:
        for item in items:
            result = "ready" if item.digest in ready else "before"
            say_json(line=item.line, number=item.number, result=result, text=item.sms.text,
                     **sms_values(item.sms))  # fmt: skip
    else:
        rows = (
            f"{len(ready):,} to send",
            f"{earlier[Result.ACCEPTED]:,} accepted before",
            f"{earlier[Result.UNKNOWN]:,} unknown" if earlier[Result.UNKNOWN] else "",
            count(counts[Result.BAD], "bad row"),
            count(counts[Result.DUPLICATE], "duplicate"),
        )
        whole = f"{count(counts['rows'], 'row')}: {', '.join(filter(None, rows))}"
        texts = _text_facts([item.sms for item in items], each, max_length) if items else []
        show_facts(console, [*facts, ("list", whole), *texts])
        if items:
            console.print("", _first(items), sep="\n")
            console.print(Text(f"\nthe text of line {items[0].line}:", style="bold"))
            console.print(Text("\n".join(map(plain, items[0].sms.text.split("\n")))))
        if plan.unsent:
            console.print()
    for row in plan.unsent:
        show(row, as_json)
    if as_json:
        say_json(
            summary={
                "rows": counts["rows"], "ready": len(ready), "before": earlier[Result.ACCEPTED],
                "unknown": earlier[Result.UNKNOWN], "bad": counts[Result.BAD],
                "duplicates": counts[Result.DUPLICATE], "parts": sum(one.count for one in each),
                "dry_run": True,
            }
        )  # fmt: skip
    else:
        console.print("\ndry run: nothing was sent")


def _text_facts(every: Sequence[Sms], each: Sequence[Parts], max_length: int) -> Facts:
    lengths = [len(sms.text) for sms in every]
    before = sum(sms.parts_from or one.count for sms, one in zip(every, each, strict=True))
    codings = Counter(one.coding for one in each)
    kinds = ", ".join(f"{number:,} in {coding}" for coding, number in sorted(codings.items()))
    total = sum(one.count for one in each)
    cut = sum(bool(sms.cut_from) for sms in every)
    spoilt = [sms.replaced for sms in every if sms.replaced]
    note = f"{replaced(''.join(sorted(set().union(*spoilt))))} in {count(len(spoilt), 'text')}"
    return [
        ("text", f"{min(lengths)} to {max(lengths)} characters of {max_length}"),
        ("parts", f"{total:,} for {len(each):,} SMS ({kinds})"),
        ("as given", f"{before:,} parts" if before != total else ""),
        ("cut", f"{count(cut, 'text')} (long_message = truncate)" if cut else ""),
        ("note", note if spoilt else ""),
    ]


def _first(items: "Sequence[Item]") -> Table:
    more = f"… and {len(items) - _FIRST:,} more: --json shows all" if len(items) > _FIRST else None
    table = Table(
        Column("line", justify="right", overflow="fold"),
        Column("to", overflow="fold"),
        Column("characters", justify="right", overflow="fold"),
        Column("parts", overflow="fold"),
        Column("may be replaced", overflow="fold"),
        box=None, pad_edge=False, caption=more, caption_justify="left",
    )  # fmt: skip
    for item in items[:_FIRST]:
        sms = item.sms
        values = (item.line, item.number, len(sms.text), parts(sms.text), " ".join(sms.replaced))
        table.add_row(*(Text(str(value)) for value in values))
    return table
