"""``dialplan-sms status``: how the service is doing, in the terminal."""

import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dialplan_sms import config as smsconf
from dialplan_sms.cli import config_option
from dialplan_sms.conffile import ConfigError
from dialplan_sms.delivery import STALE
from dialplan_sms.outcome import Status

_LARGEST = 1 << 20


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def status(config: Path | None, as_json: bool) -> None:
    """Show calls, rates, latencies and the last errors of the running service.

    Exit status: 0 it runs, 1 it does not answer.
    """
    try:
        addresses = smsconf.load(smsconf.find(str(config) if config else None)).monitor
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    figures = _ask(*addresses[0])
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        _show(figures)


def _ask(host: str, port: int) -> Mapping[str, Any]:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/status")
        figures = json.loads(connection.getresponse().read(_LARGEST))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise click.ClickException(
            f"no service answers on {host} port {port}, {type(error).__name__}:"
            " systemctl status dialplan-sms"
        ) from None
    finally:
        connection.close()
    if not isinstance(figures, dict):
        raise click.ClickException(f"what answers on {host} port {port} is not dialplan-sms")
    return figures


def _show(figures: Mapping[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("up", _duration(figures["uptime"]))
    table.add_row("under way", f"{figures['in_flight']} of {figures['max_calls']} calls")
    table.add_row("last minute", f"{figures['last_minute']} calls")
    table.add_row("latency", f"half below {_ms(figures['p50'])}, 99% below {_ms(figures['p99'])}")
    for name, value, style in _outbox(figures.get("outbox")):
        table.add_row(name, Text(value, style=style))
    for name, count in sorted(figures["calls"].items(), key=lambda item: -item[1]):
        style = "green" if name.startswith((Status.SUCCESS, Status.QUEUED)) else "yellow"
        table.add_row(Text(name, style=style), str(count))
    console = Console(highlight=False)
    console.print(table)
    if figures["last_errors"]:
        console.print("\n[bold]last errors[/]")
        for line in figures["last_errors"]:
            console.print(Text(line))


def _outbox(outbox: Mapping[str, Any] | None) -> Iterator[tuple[str, str, str]]:
    if outbox is None:
        return
    if not outbox["works"]:
        yield "outbox", "does not work, see the log", "red"
        return
    counts = [f"{count} {state}" for state, count in outbox["stored"].items() if count]
    yield "outbox", ", ".join(counts) or "nothing waits", ""
    if outbox["oldest_due_seconds"] > STALE:
        yield "oldest due", f"{outbox['oldest_due_seconds']:.0f} s ago", "yellow"
    for sender, cause in outbox["held"].items():
        yield "held", f"all SMS of sender {sender}: {cause}", "red"


def _duration(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    return f"{days} d {hours} h {rest // 60} min" if days else f"{hours} h {rest // 60} min"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
