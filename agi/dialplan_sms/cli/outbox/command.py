"""``dialplan-sms outbox``: what is stored, what became of it, and what an admin does about it."""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa
from click.core import ParameterSource

from dialplan_sms.cli.main import Misused, Value, config_option
from dialplan_sms.cli.outbox import view
from dialplan_sms.cli.outbox.opened import Opened, elsewhere, explain_empty, opened
from dialplan_sms.config import values
from dialplan_sms.host.terminal import plain
from dialplan_sms.outbox.history import retention, stored
from dialplan_sms.outbox.history.statistics import overview
from dialplan_sms.outbox.history.stored import Filters
from dialplan_sms.outbox.limits import used
from dialplan_sms.outbox.schema import State
from dialplan_sms.outbox.transitions import RETRIED, cancel, retry

_PORTION = 200  # SMS that are changed in one transaction
_PAUSE = 0.05  # seconds between portions, in which a call gets its turn at the database


def _id(value: str) -> int:
    if re.fullmatch(r"[0-9]{1,19}", value) and 0 < int(value) < 2**63:
        return int(value)
    raise Misused(f"{value[:80]} is no ID: see dialplan-sms outbox")


def _seconds(text: str) -> float:
    """``15m`` as 900.0."""
    # 90 may be meant as days, and purge would delete all but 90 s.
    values.must(not text.strip().isdigit())
    return values.duration(text.strip())


def _digits(text: str) -> str:
    digits = re.sub(r"[ ()./+-]", "", text).removeprefix("00")
    values.must(not text or re.fullmatch(r"[0-9*#]{1,32}", digits))
    return digits


def _state(*states: State) -> Callable[[Any], Any]:
    choice = click.Choice([*map(str, states)])
    return click.option("--state", "states", multiple=True, type=choice, help="May be repeated.")


_ids = click.argument("ids", metavar="[ID]...", nargs=-1, type=_id)
_as_json = click.option("--json", "as_json", is_flag=True, help="As JSON.")
_time = Value("TIME", _seconds, "{} is no time as 30s, 15m, 24h or 7d")
_number = click.option(
    "--number", default="", help="In one of its numbers.",
    type=Value("DIGITS", _digits, "{} is no number, nor some digits of one"),
)  # fmt: skip
_sender = click.option("--sender", default="", help="Section of sms.conf.")
_since = click.option("--since", type=_time, help="Stored within 30s, 15m, 24h or 7d.")


@click.group(invoke_without_command=True, short_help="List what was sent and what waits.")
@config_option
@_state(*State)
@_number
@_sender
@_since
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="So many.")
@click.option("--most", "limit", type=click.IntRange(1), default=50, hidden=True)  # in 0.1
@_as_json
@click.option("--csv", "as_csv", is_flag=True, help="As CSV.")
def outbox(config: Path, limit: int, as_json: bool, as_csv: bool, **chosen: Any) -> None:
    """List the SMS of the outbox and its history, newest first.

    Exit status: 0 done, 1 not done or not for all, 2 wrong usage.
    """
    ctx = click.get_current_context()
    if ctx.invoked_subcommand:
        # A filter before the command would be lost: outbox --sender 101 cancel --all.
        sources = {ctx.get_parameter_source(name) for name in ctx.params if name != "config"}
        if sources != {ParameterSource.DEFAULT}:
            raise click.UsageError(f"options belong after {ctx.invoked_subcommand}")
        # --config counts before and after the command's name.
        ctx.default_map = {ctx.invoked_subcommand: {"config": str(config)}}
        return
    if as_json and as_csv:
        raise click.UsageError("--json or --csv, not both")
    filters = Filters(**chosen)
    print_all = view.print_json if as_json else view.print_csv
    say = (lambda _: print_all(())) if as_json or as_csv else click.echo
    with opened(config, filters.sender, say=say) as box:
        found = box.walk(filters, limit)
        if as_json or as_csv:
            print_all(found)
            return
        if shown := list(found):
            view.print_table(shown, limit, elsewhere(box.config))
        else:
            click.echo(f"no SMS. {explain_empty(box.config)}")
        view.print_overview(box.reader.do(overview), box.config)


outbox.add_command(
    click.Command(
        "list", params=outbox.params, callback=outbox.callback,
        help="List the SMS, newest first: the same as outbox alone.",
    )
)  # fmt: skip


@outbox.command()
@click.argument("id_", metavar="ID", type=_id)
@config_option
@click.option("--text", is_flag=True, help="With the text, if it is kept.")
@_as_json
def show(id_: int, config: Path, text: bool, as_json: bool) -> None:
    """Show one SMS: its numbers, and each try to send it."""
    with opened(config, ids=(id_,)) as box:
        sms = box.reader.do(lambda c: stored.show(c, id_))
    if sms is None:
        raise click.ClickException(f"there is no SMS {id_}")
    if as_json:
        click.echo(json.dumps(view.as_dict_whole(sms, text), indent=2))
    else:
        view.print_whole(sms, text, box.config.senders.get(sms.sender))


@outbox.command("retry")
@_ids
@config_option
@_state(*RETRIED)
@_number
@_sender
@_since
def retry_(ids: tuple[int, ...], config: Path, **chosen: Any) -> None:
    """Try SMS again: those with ID, or those in a --state.

    Only to the numbers that did not get it. An SMS that is "unknown" may come twice.
    """
    filters = Filters(**chosen)
    if bool(ids) == bool(filters.states) or (ids and filters != Filters()):
        raise click.UsageError("which? ID..., or --state with or without other filters")
    with opened(config, filters.sender, ids) as box:
        _change(box, ids, filters, retry, "pending again")


def _refuse_state(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> None:
    if value:
        raise Misused("cancel takes what is pending, and no --state: --all cancels all of it")


@outbox.command("cancel")
@_ids
@config_option
@_number
@_sender
@_since
@click.option("--state", multiple=True, hidden=True, expose_value=False, callback=_refuse_state)
@click.option("--all", "every", is_flag=True, help="All that wait.")
def cancel_(ids: tuple[int, ...], config: Path, every: bool, **chosen: Any) -> None:
    """Do not send SMS that wait, postponed ones too: those with ID, or all that fit."""
    filters = Filters(**chosen)
    if bool(ids) + (filters != Filters()) + every != 1:
        raise click.UsageError("which? ID..., or --number, --sender and --since, or --all")
    with opened(config, filters.sender, ids) as box:
        keeping = [each.name for each in box.config.senders.values() if each.keep_text]
        filters = replace(filters, states=(State.PENDING,))
        _change(box, ids, filters, lambda c, id_: cancel(c, id_, keeping), "cancelled")


def _change(
    box: Opened, ids: Sequence[int], filters: Filters,
    change: Callable[[sa.Connection, int], str], done: str,
) -> None:  # fmt: skip
    """Apply *change* to *ids*, else to what *filters* find, in portions, and say what it did."""
    # All are found before any is changed: from then on it matches no more.
    every = list(dict.fromkeys(ids or (sms.id for sms in box.walk(filters, 10**9))))
    refused = 0
    for start in range(0, len(every), _PORTION):
        with box.engine.begin() as connection:
            told = {id_: change(connection, id_) for id_ in every[start : start + _PORTION]}
        for id_, why in told.items():
            if why:
                refused += 1
                click.echo(f"{id_}: {plain(why)}", err=True)
        time.sleep(_PAUSE)
    click.echo(f"{len(every) - refused} {done}")
    if refused:
        raise SystemExit(1)


@outbox.command()
@config_option
@click.option(
    "--older", type=_time, help="Ended longer ago, as 90d; default: retention of sms.conf."
)
def purge(config: Path, older: float | None) -> None:
    """Delete the history of SMS that have ended; what waits stays.

    Limits are counted on the history: what is deleted does not count any more.
    """
    total, portion = 0, 1
    with opened(config) as box:
        age = box.config.retention if older is None else older
        while portion:
            with box.engine.begin() as connection:
                portion = retention.purge(connection, age)
            total += portion
            time.sleep(_PAUSE)
    click.echo(f"{total} deleted")


@outbox.command()
@config_option
@_as_json
def limits(config: Path, as_json: bool) -> None:
    """Show how much of each limit is used: the sender's, its busiest numbers and callers."""
    with opened(config) as box:
        uses = [
            (sender.name, use, rate)
            for sender in box.config.senders.values()
            for use, rate in box.reader.do(lambda c: used(c, sender))  # noqa: B023
        ]
    if as_json:
        click.echo(json.dumps([view.limit_dict(*each) for each in uses], indent=2))
    elif uses:
        view.print_limits(uses)
    else:
        click.echo("no sender of sms.conf has per_sender, per_number or per_caller")
