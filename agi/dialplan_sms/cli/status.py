"""``dialplan-sms status``: how the service is doing, in the terminal."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from dialplan_sms.cli.main import config_option
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import Config
from dialplan_sms.daemon import client
from dialplan_sms.host.console import Console
from dialplan_sms.host.terminal import plain
from dialplan_sms.outbox.retry import STALE
from dialplan_sms.sms.outcome import Status

_PATIENCE = 8  # seconds: the service itself gives its database three
Row = tuple[str, str, str]
"""Name, value and colour of a line; one without a value is not shown."""


@click.command(short_help="Show how the running service is doing.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def status(config: Path, as_json: bool) -> None:
    """Show calls, rates, latencies and the last errors of the running service.

    Exit status: 0 it runs, 1 it does not answer.
    """
    loaded = smsconf.load(config)
    figures = _ask(loaded.monitor[0])
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    try:
        _show(figures, loaded)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise click.ClickException(
            "the service tells of itself what this version does not understand: update the older"
            " of the two, then systemctl restart dialplan-sms"
        ) from None


def _ask(address: tuple[str, int]) -> Mapping[str, Any]:
    where, look = "{} port {}".format(*address), "systemctl status dialplan-sms"
    monitor = f"{look}, and monitor in sms.conf"
    try:
        return client.figures(address, _PATIENCE)
    except client.NotOurs:
        why = f"what answers on {where} is not dialplan-sms"
    except ConnectionRefusedError:
        why = f"the service does not run, nothing listens on {where}: {monitor}"
    except TimeoutError:
        why = f"the service does not answer within {_PATIENCE} s on {where}: {look}"
    except OSError as error:
        why = f"no service answers on {where}, {error.strerror or 'no reason given'}: {monitor}"
    raise click.ClickException(why)


def _show(figures: Mapping[str, Any], config: Config) -> None:
    table, console = Table(show_header=False, box=None), Console()
    outbox = figures.get("outbox") or {}
    rows: list[Row] = [
        ("up", _duration(figures["uptime"]), ""),
        ("under way", f"{figures['in_flight']} of {figures['max_calls']} calls", ""),
        ("last minute", f"{figures['last_minute']} calls", ""),
        ("latency", f"half below {_ms(figures['p50'])}, 99% below {_ms(figures['p99'])}", ""),
        *(_of_outbox(outbox, config) if outbox else ()),
    ]
    for name, value, style in rows:
        if value:
            table.add_row(Text(plain(name)), Text(plain(value), style=style))
    for name, count in sorted(figures["calls"].items(), key=lambda item: -item[1]):
        style = "green" if name.startswith((Status.SUCCESS, Status.QUEUED)) else "yellow"
        table.add_row(Text(plain(name), style=style), plain(str(count)))
    console.print(table)
    for title, lines in (
        ("last errors", figures["last_errors"]),
        ("last failures of queued SMS", outbox.get("last_failures")),
    ):
        if lines:
            console.print(Text(f"\n{title}", style="bold"))
            console.print(*(Text(plain(line)) for line in lines), sep="\n", soft_wrap=True)


def _of_outbox(outbox: Mapping[str, Any], config: Config) -> Sequence[Row]:
    names, worked = {"again": "tried again"}, outbox.get("by_workers", {})
    done = [f"{count} {names.get(state, state)}" for state, count in worked.items()]
    by_workers = ("by workers", ", ".join(done) or "nothing yet", "")
    failing = ("on_failure", "; ".join(outbox.get("on_failure", ())), "red")
    if not outbox["works"]:
        return by_workers, failing, ("outbox", "does not work, see the log", "red")
    due = {"pending": f" ({outbox.get('due', 0)} due)"}
    stored = [
        f"{count} {state}{due.get(state, '')}" for state, count in outbox["stored"].items() if count
    ]
    oldest, next_try = outbox.get("oldest_seconds"), outbox.get("next_try_seconds")
    idle, until = outbox["oldest_due_seconds"], outbox.get("held_seconds", {})
    stuck = f"for {_ago(idle)}, is workers = 0 in sms.conf?" if idle > STALE else ""
    again = {
        sender: f", next try {_ahead(seconds)}{config.relief(sender)}"
        for sender, seconds in until.items()
    }
    return (
        by_workers,
        failing,
        ("outbox", ", ".join(stored) or "nothing waits", ""),
        ("oldest", "" if oldest is None else f"was to be sent {_ago(oldest)} ago", ""),
        ("next try", "" if next_try is None else _ahead(next_try), ""),
        ("no worker", stuck, "yellow"),
        *(
            ("held", f"all SMS of sender {sender}: {cause}{again.get(sender, '')}", "red")
            for sender, cause in outbox["held"].items()
        ),
    )


def _ahead(seconds: float) -> str:
    if seconds < 1:
        return "now"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + seconds))
    return f"in {_ago(seconds)}, {when}"


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else _duration(seconds)


def _duration(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    return f"{days} d {hours} h {rest // 60} min" if days else f"{hours} h {rest // 60} min"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
