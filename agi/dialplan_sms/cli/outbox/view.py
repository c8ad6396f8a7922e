"""How the outbox is shown, whatever others put there: tables for 80 columns, JSON, CSV."""

import csv
import io
import json
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from rich.table import Column, Table
from rich.text import Text

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.host.console import Console
from dialplan_sms.host.terminal import plain
from dialplan_sms.outbox.history.statistics import Overview
from dialplan_sms.outbox.history.stored import Stored, iso
from dialplan_sms.outbox.limits import Rate, Usage
from dialplan_sms.outbox.retry import STALE
from dialplan_sms.outbox.schema import State
from dialplan_sms.sms.outcome import NOBODY_KNOWS

_COLOUR: Mapping[str, str] = {
    State.SENT: "green",
    State.FAILED: "red",
    State.EXPIRED: "red",
    State.UNKNOWN: "yellow",
    State.CANCELLED: "bright_black",
}
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_FIELDS = (
    "id created state sender to mode due ended attempts cause reason chars gsm postpone call caller"
    " parts parts_from"
).split()


def cell(value: object) -> str:
    """*value* for a CSV: a spreadsheet must not take it for a formula."""
    text = "" if value is None else plain(str(value))
    return f"'{text}" if text[:1] in tuple("=+-@") and not _NUMBER.fullmatch(text) else text


def _minute(at: float | None) -> str:
    return (iso(at) or "-")[:16].replace("T", " ")


def as_dict(sms: Stored) -> dict[str, Any]:
    """One SMS without its text, for JSON and CSV."""
    values = {name: getattr(sms, name) for name in _FIELDS if name != "to"}
    times = {name: iso(getattr(sms, name)) for name in ("created", "due", "ended")}
    return values | times | {"to": [to for to, _ in sms.numbers]}


def as_dict_whole(sms: Stored, with_text: bool) -> dict[str, Any]:
    """One SMS with the state of each number and its tries, for JSON."""
    return as_dict(sms) | {
        "to": [{"number": to, "state": state} for to, state in sms.numbers],
        "planned": iso(sms.planned),
        "held": {"cause": sms.held, "until": iso(sms.free_at)} if sms.held else None,
        "on_failure": sms.told,
        "tries": [each._asdict() | {"at": iso(each.at)} for each in sms.tries],
        "text_kept": sms.text is not None,
        **({"text": sms.text} if with_text else {}),
    }


def print_json(found: Iterable[Stored]) -> None:
    """A JSON array, one SMS a line, as they come."""
    click.echo("[", nl=False)
    for index, sms in enumerate(found):
        click.echo(("," if index else "") + "\n" + json.dumps(as_dict(sms)), nl=False)
    click.echo("\n]")


def print_csv(found: Iterable[Stored]) -> None:
    """A header and one line an SMS, as they come."""
    table = csv.DictWriter(sys.stdout or io.StringIO(), _FIELDS, lineterminator="\n")
    table.writeheader()
    for sms in found:
        values = as_dict(sms) | {"to": " ".join(to for to, _ in sms.numbers)}
        table.writerow({name: cell(value) for name, value in values.items()})


def _fold(text: str, style: str = "") -> Text:
    return Text(plain(text), style=style, overflow="fold")


def _table(*columns: str, **options: Any) -> Table:
    headers = (Column(name, overflow="fold") for name in columns)
    return Table(*headers, box=None, pad_edge=False, **options)


def print_table(found: Sequence[Stored], limit: int, note: str) -> None:
    """The newest of the outbox, a line each, and the *note* below."""
    table = _table("id", "stored", "sender", "to", "state", "cause, due")
    table.columns[0].justify = "right"
    for sms in found:
        first = sms.numbers[0][0] if sms.numbers else "-"
        more = f" +{len(sms.numbers) - 1}" if len(sms.numbers) > 1 else ""
        parts = f" parts {sms.parts}, not {sms.parts_from}" if sms.parts_from else ""
        table.add_row(
            str(sms.id), _minute(sms.created), _fold(sms.sender), _fold(first + more),
            _fold(sms.state, _COLOUR.get(sms.state, "")),
            _fold((f"due {_minute(sms.due)}" if sms.later else sms.cause) + parts),
        )  # fmt: skip
    Console().print(table)
    if len(found) == limit:
        Console().print(f"the newest {limit}: --limit N shows more", soft_wrap=True)
    Console().print(_fold(note, "bright_black"))
    _print_zone()


def _print_zone() -> None:
    now = datetime.now().astimezone()
    zone = f"{now:%Z} (UTC{now:%z})" if now.utcoffset() else "UTC"
    Console().print(_fold(f"times are local, now {zone}", "bright_black"))


def print_overview(figures: Overview, config: Config) -> None:
    """What is not ended, who is held, and whether a worker is missing."""
    lines = [_fold(", ".join(f"{count} {state}" for state, count in figures.counts.items()))]
    for sender, cause in figures.held.items():
        again = _minute(time.time() + figures.held_for[sender])
        waits = f"sender {sender} waits: {cause}, next try {again}{config.relief(sender)}"
        lines += [_fold(waits, "yellow")]
    if figures.waits > STALE:
        stuck = f"no worker took an SMS for {figures.waits / 60:.0f} min: is the service running?"
        lines += [_fold(stuck, "red")]
    Console().print(*lines, sep="\n")


def print_whole(sms: Stored, with_text: bool, sender: Sender | None) -> None:
    """One SMS with all that is known of it, *sender* being what sms.conf has of its sender."""
    kept = "kept, --text shows it" if sms.text is not None else "not kept"
    waits = f"all SMS of sender {sms.sender} wait, {sms.held}: the next try is {iso(sms.free_at)}"
    if sender and sender.backup and not any(each.cause in NOBODY_KNOWS for each in sms.tries):
        overdue = iso((sms.planned or sms.created) + sender.backup_after)
        waits += f"; {sender.backup} may have it from {overdue} on"
    lines = Text("\n", overflow="fold")
    states = (_fold(f"{to} ").append(plain(was), _COLOUR.get(was, "")) for to, was in sms.numbers)
    rows: Sequence[tuple[str, str | Text | None]] = (
        ("id", str(sms.id)),
        ("state", " ".join(filter(None, (sms.state, sms.cause)))),
        ("reason", sms.reason),
        ("waits", waits if sms.held else ""),
        ("sender", sms.sender),
        ("mode", sms.mode),
        ("stored", iso(sms.created)),
        ("due", iso(sms.due) if sms.ended is None else ""),
        ("ended", iso(sms.ended)),
        ("on_failure", sms.told),
        ("gateway", sms.gsm),
        ("postpone", sms.postpone),
        ("call", sms.call),
        ("caller", sms.caller),
        ("text", f"{sms.chars} characters, {kept}"),
        ("parts", f"{sms.parts}, as given {sms.parts_from}" if sms.parts_from else ""),
        ("text", lines.join(map(_fold, (sms.text or "").split("\n"))) if with_text else ""),
        ("to", lines.join(states)),
        ("tries", lines.join(map(_try, sms.tries))),
    )
    table = _table(show_header=False)
    for name, value in rows:
        if value:
            table.add_row(
                Text(name, style="bold"), value if isinstance(value, Text) else _fold(value)
            )
    Console().print(table)


def _try(each: Any) -> Text:
    what = " ".join(filter(None, (each.status, each.cause, each.via and f"via {each.via}")))
    why = f", {each.reason}" if each.reason else ""
    return _fold(f"{iso(each.at)} to {each.numbers}: {what}{why}")


def limit_dict(sender: str, use: Usage, rate: Rate) -> dict[str, Any]:
    """The use of one limit, for JSON."""
    return {
        "sender": sender, "rule": use.rule, "whose": use.whose, "used": use.used, "of": rate.count,
        "seconds": rate.seconds, "ends": iso(use.oldest + rate.seconds) if use.used else None,
    }  # fmt: skip


def print_limits(uses: Iterable[tuple[str, Usage, Rate]]) -> None:
    """The use of all limits, a line each."""
    table = _table("sender", "limit", "whose", "used", "frees up")
    for sender, use, rate in uses:
        table.add_row(
            _fold(sender), f"{use.rule} = {rate}",
            _fold(use.whose if use.whose and use.rule != "per_sender" else "-"),
            Text(f"{use.used} of {rate.count}", style="red" if use.used >= rate.count else ""),
            _minute(use.oldest + rate.seconds) if use.used else "-",
        )  # fmt: skip
    Console().print(table)
    _print_zone()
