"""``dialplan-sms send``: one message from the shell, or a list; sending/ does the list."""

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from dialplan_sms.cli.main import config_option
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.console import Console
from dialplan_sms.routes.pbx import SmsApi
from dialplan_sms.sms.outcome import Outcome, Refused, Status, safe_line
from dialplan_sms.sms.parts import parts
from dialplan_sms.sms.service import Service, Store, check, choose
from dialplan_sms.sms.sms import Draft, Sms

_COLOUR = {Status.SUCCESS: "green", Status.QUEUED: "green", Status.WARNING: "yellow"}


@click.command(short_help="Send one SMS or one to each row of a list.")
@click.argument("number", required=False)
@click.argument("misplaced", nargs=-1, metavar="")
@config_option
@click.option("--sender", default="", help="Section of sms.conf; default: default_sender.")
@click.option("--gsm", default="", help="MAC address of the gateway.")
@click.option("--postpone", default="", help="When to send: '14/07/2014 15:35'.")
@click.option(
    "--mode",
    type=click.Choice(["wait", "queue", "fallback"]),
    help="Send now, store, or store only where the PBX is out of reach; default: the sender's.",
)
@click.option("--key", default="", help="A second SMS with the same key is not sent.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent; send nothing.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; of a list a line for each row.")
@click.option(
    "--to-file",
    type=click.Path(),
    metavar="FILE",
    help="A list: CSV with a column number; - is a pipe.",
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path),
    help="Of a list: what has been sent; default: FILE.journal.",
)
@click.option("--retry-unknown", is_flag=True, help="Of a list: also what may have been sent.")
@click.option("--changed", is_flag=True, help="Of a list that has changed: what is new in it.")
def send(
    number: str | None,
    misplaced: tuple[str, ...],
    config: Path | None,
    sender: str,
    gsm: str,
    postpone: str,
    mode: str | None,
    key: str,
    dry_run: bool,
    as_json: bool,
    to_file: str | None,
    journal: Path | None,
    retry_unknown: bool,
    changed: bool,
) -> None:
    """Send one SMS to NUMBER (or several, comma-separated), or one to each row of a list.

    The text comes from standard input, since arguments show in the list of processes:

        echo "Back at 15:00" | dialplan-sms send +39333123456

    In the text for a list, {name} is what the row has in the column name, and {{ is a brace:

        echo "Dear {name}, hello" | dialplan-sms send --to-file list.csv

    A list may be interrupted (Ctrl-C): the same command goes on, and sends none of it twice.

    Exit status: 0 sent or stored, 1 not sent or not to all, 2 wrong usage, 130 interrupted.
    """
    if misplaced or (number and to_file is not None):
        raise click.UsageError(
            "one argument only: several numbers are comma-separated, and the text comes from"
            ' standard input: echo "Hello" | dialplan-sms send NUMBER,NUMBER'
            if misplaced
            else "NUMBER or --to-file, not both"
        )
    gsm, postpone, sender, key = map(_utf8, (gsm, postpone, sender, key))
    if to_file is not None:
        if key:
            raise click.UsageError("each SMS of a list has a key of its own: no --key")
        from dialplan_sms.cli.send.list import Choices, send_list

        choices = Choices(to_file, journal, changed, retry_unknown, as_json, dry_run)
        common = Draft("", "", gsm, postpone, sender, mode or "", call="send", bulk=True)
        raise SystemExit(send_list(choices, common, lambda: _load(config), _text))
    if not number:
        raise click.UsageError("Missing argument 'NUMBER', or --to-file FILE.")
    if journal or retry_unknown or changed:
        raise click.UsageError("--journal, --retry-unknown and --changed go with --to-file")
    draft = Draft(_utf8(number), _text(), gsm, postpone, sender, mode or "", call="send", key=key)
    if dry_run:
        _show(draft, config, as_json)
        return
    opened: list[Callable[[], None]] = []

    def store(loaded: Config) -> Store:
        from dialplan_sms.outbox.store import open_outbox  # 0.4 s that only what needs it pays

        outbox = open_outbox(loaded)
        opened.append(outbox.close)
        return outbox

    def load() -> Config:
        loaded = _load(config)
        loaded.drop_privileges()
        return loaded

    service = Service(load, SmsApi, store=store)
    handled = service.handle(draft)
    service.log(handled)
    for close in opened:
        close()
    (_print_json if as_json else _print)(handled.outcome)
    if handled.outcome.status not in (Status.SUCCESS, Status.QUEUED):
        raise SystemExit(1)


def _utf8(text: str) -> str:
    """*text* without the surrogates by which Python marks bytes that are no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text() -> str:
    if sys.stdin is None:
        raise click.ClickException("the text of the SMS comes from standard input, which is closed")
    if sys.stdin.isatty():
        click.echo("Text of the SMS; end it with Ctrl-D on a line of its own:", err=True)
    # The shell's own newline at the end is no part of the text.
    return sys.stdin.buffer.read().decode("utf-8", "replace").removesuffix("\n")


def _load(path: Path | None) -> Config:
    return smsconf.load(smsconf.find(str(path) if path else None))


def _print(outcome: Outcome) -> None:
    line = Text(str(outcome.status), style=_COLOUR.get(outcome.status, "red"))
    if outcome.cause:
        line.append(f" {outcome.cause}", style="default")
    if outcome.id:
        line.append(f", id {outcome.id}", style="default")
    if outcome.reason:
        line.append(f": {safe_line(outcome.reason)}", style="default")
    if outcome.failed:
        line.append(f" (not accepted: {', '.join(outcome.failed)})", style="default")
    try:
        Console(soft_wrap=True).print(line)
        sys.stdout.flush()
    except OSError:
        # Nobody reads; the exit status must still tell what became of the SMS.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _print_json(outcome: Outcome) -> None:
    values = {"status": outcome.status, "cause": outcome.cause, "reason": outcome.reason}
    try:
        click.echo(json.dumps(values | {"failed": outcome.failed, "id": outcome.id}))
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _show(draft: Draft, path: Path | None, as_json: bool) -> None:
    try:
        loaded = _load(path)
        sender = choose(loaded, draft)
        sms = check(draft, sender, loaded, datetime.now())
        SmsApi(sender)  # whether verify can be used
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    except Refused as refused:
        raise click.ClickException(f"{refused.cause}: {safe_line(refused.reason)}") from None
    if as_json:
        click.echo(json.dumps(_as_dict(sms, sender, draft)))
        return
    table = Table(show_header=False, box=None)
    for name, value in [("sms.conf", str(loaded.path)), *_rows(sms, sender, draft)]:
        table.add_row(Text(name, style="bold"), Text(value, overflow="fold"))
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 1000)  # a fingerprint is to be copied whole
    console.print(table)


def _rows(sms: Sms, sender: Sender, draft: Draft) -> list[tuple[str, str]]:
    rows = [
        ("sender", f"{sender.name} at {sender.url}"),
        ("verify", sender.verify if sender.url.startswith("https:") else "not with http"),
        ("to", ", ".join(sms.numbers)),
        ("text", f"{len(sms.text)} characters of {sender.max_length}"),
        ("parts", str(parts(sms.text))),
        ("gateway", sms.gsm or "the PBX chooses"),
        ("mode", draft.mode or sender.mode),
        ("when", f"{sms.postpone:%d/%m/%Y %H:%M}" if sms.postpone else "now"),
    ]
    if draft.key:
        rows.append(("key", draft.key))
    if sms.cut_from:
        rows.append(("cut", f"{sms.cut_from - len(sms.text)} characters (long_message = truncate)"))
    if sms.replaced:
        rows.append(("note", f"the PBX may replace with spaces: {' '.join(sms.replaced)}"))
    rows.append(("", "dry run: nothing was sent"))
    return rows


def _as_dict(sms: Sms, sender: Sender, draft: Draft) -> dict[str, object]:
    part = parts(sms.text)
    return {
        "sender": sender.name, "numbers": sms.numbers, "characters": len(sms.text),
        "coding": part.coding, "units": part.units, "parts": part.count, "replaced": sms.replaced,
        "cut_from": sms.cut_from, "gsm": sms.gsm, "mode": draft.mode or sender.mode,
        "postpone": sms.postpone.isoformat() if sms.postpone else None, "dry_run": True,
    }  # fmt: skip
