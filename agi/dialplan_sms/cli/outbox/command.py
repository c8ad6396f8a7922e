"""``dialplan-sms outbox``: what is stored, what became of it, and what an admin does about it."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import sqlalchemy as sa
from click.core import ParameterSource

from dialplan_sms.cli.main import config_option
from dialplan_sms.cli.outbox import options, view
from dialplan_sms.cli.outbox.opened import NothingStored, Opened, opened
from dialplan_sms.host.terminal import plain
from dialplan_sms.outbox.history import retention, stored
from dialplan_sms.outbox.history.statistics import overview
from dialplan_sms.outbox.history.stored import Filters
from dialplan_sms.outbox.limits import used
from dialplan_sms.outbox.schema import State
from dialplan_sms.outbox.transitions import RETRIED, cancel, retry

_PORTION = 200
"""SMS that are changed in one transaction."""
_PAUSE = 0.05
"""Seconds between portions, in which a call gets its turn at the database."""


@contextmanager
def _open(
    ctx: click.Context, config: Path | None, sender: str = "", ids: tuple[int, ...] = ()
) -> Iterator[Opened]:
    """Opens the outbox; --config counts before and after the command's name.

    Says where sms.conf has no *sender*: its SMS may be there all the same. *ids* are to be there.
    """
    try:
        with opened(config or ctx.meta.get(__name__)) as box:
            if sender and sender not in box.config.senders:
                known = ", ".join(box.config.senders)
                name = plain(sender[:80])
                line = f"sms.conf has no section {name} (any more), its senders are {known}"
                click.echo(line, err=True)
            yield box
    except NothingStored as nothing:
        if ids:
            raise click.ClickException(f"there is no SMS {ids[0]}: {nothing}") from None
        raise


@click.group(invoke_without_command=True, short_help="List what was sent and what waits.")
@config_option
@options.state(*State)
@options.number
@options.sender
@options.since
@click.option("--most", type=click.IntRange(1), default=50, show_default=True, help="So many.")
@options.as_json
@click.option("--csv", "as_csv", is_flag=True, help="As CSV.")
@click.pass_context
def outbox(
    ctx: click.Context,
    config: Path | None,
    states: tuple[str, ...],
    number: str,
    sender: str,
    since: float | None,
    most: int,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List the SMS of the outbox and its history, newest first.

    Exit status: 0 done, 1 not done or not for all, 2 wrong usage.
    """
    if ctx.invoked_subcommand:
        ctx.meta[__name__] = config
        _refuse_misplaced(ctx)
        return
    if as_json and as_csv:
        raise click.UsageError("--json or --csv, not both")
    try:
        with _open(ctx, config, sender) as box:
            found = box.walk(Filters(states, number, sender, since), most)
            if as_json:
                view.print_json(found)
            elif as_csv:
                view.print_csv(found)
            else:
                view.print_table(list(found), most)
                view.print_overview(box.read(overview))
    except NothingStored:
        if not (as_json or as_csv):
            raise
        (view.print_json if as_json else view.print_csv)([])


def _refuse_misplaced(ctx: click.Context) -> None:
    """A filter before the command would be lost: ``outbox --sender 101 cancel --all``."""
    for name in ctx.params:
        if name != "config" and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"options belong after {ctx.invoked_subcommand}")


@outbox.command()
@click.argument("id_", metavar="ID", type=options.Id())
@config_option
@click.option("--text", is_flag=True, help="With the text, where it is kept.")
@options.as_json
@click.pass_context
def show(ctx: click.Context, id_: int, config: Path | None, text: bool, as_json: bool) -> None:
    """Show one SMS: its numbers, and each try to send it."""
    with _open(ctx, config, ids=(id_,)) as box:
        try:
            sms = box.read(lambda c: stored.show(c, id_))
        except stored.Damaged as damaged:
            raise click.ClickException(str(damaged)) from None
    if sms is None:
        raise click.ClickException(f"there is no SMS {id_}")
    if as_json:
        click.echo(json.dumps(view.as_dict_whole(sms, text), indent=2))
    else:
        view.print_whole(sms, text)


@outbox.command("retry")
@click.argument("ids", metavar="[ID]...", nargs=-1, type=options.Id())
@config_option
@options.state(*RETRIED)
@options.number
@options.sender
@options.since
@click.pass_context
def retry_(
    ctx: click.Context,
    ids: tuple[int, ...],
    config: Path | None,
    states: tuple[str, ...],
    number: str,
    sender: str,
    since: float | None,
) -> None:
    """Try SMS again: those with ID, or those in a --state.

    Only to the numbers that did not get it. An SMS that is "unknown" may come twice.
    """
    if bool(ids) == bool(states) or (ids and (number or sender or since is not None)):
        raise click.UsageError("which? ID..., or --state with or without other filters")
    with _open(ctx, config, sender, ids) as box:
        _change(box, ids, Filters(states, number, sender, since), retry, "pending again")


@outbox.command("cancel")
@click.argument("ids", metavar="[ID]...", nargs=-1, type=options.Id())
@config_option
@options.number
@options.sender
@options.since
@options.no_state
@click.option("--all", "every", is_flag=True, help="All that wait.")
@click.pass_context
def cancel_(
    ctx: click.Context,
    ids: tuple[int, ...],
    config: Path | None,
    number: str,
    sender: str,
    since: float | None,
    every: bool,
) -> None:
    """Do not send SMS that wait, postponed ones too: those with ID, or all that fit."""
    filtered = bool(number or sender or since is not None)
    if bool(ids) + filtered + every != 1:
        raise click.UsageError("which? ID..., or --number, --sender and --since, or --all")
    with _open(ctx, config, sender, ids) as box:
        keeping = [each.name for each in box.config.senders.values() if each.keep_text]
        pending = Filters((State.PENDING,), number, sender, since)
        _change(box, ids, pending, lambda c, some: cancel(c, some, keeping), "cancelled")


def _change(
    box: Opened,
    ids: tuple[int, ...],
    filters: Filters,
    change: Callable[[sa.Connection, list[int]], dict[int, str]],
    done: str,
) -> None:
    """Apply *change* in portions, and say what it did."""
    # All are found first: what is changed meanwhile does not fit the filters any more.
    chosen = list(ids) or [sms.id for sms in box.walk(filters, 10**9)]
    count, refused = 0, 0
    for start in range(0, len(chosen), _PORTION):
        if start:
            time.sleep(_PAUSE)
        portion = list(dict.fromkeys(chosen[start : start + _PORTION]))
        for id_, why in box.do(lambda c: change(c, portion)).items():  # noqa: B023
            count, refused = count + (not why), refused + bool(why)
            if why:
                click.echo(f"{id_}: {plain(why)}", err=True)
    click.echo(f"{count} {done}")
    if refused:
        raise SystemExit(1)


@outbox.command()
@config_option
@click.option(
    "--older",
    callback=options.seconds,
    metavar="TIME",
    help="Ended longer ago, as 90d; default: retention of sms.conf.",
)
@click.pass_context
def purge(ctx: click.Context, config: Path | None, older: float | None) -> None:
    """Delete the history of SMS that have ended; what waits stays.

    Limits are counted on the history: what is deleted does not count any more.
    """
    total = 0
    with _open(ctx, config) as box:
        age = box.config.retention if older is None else older
        while portion := box.do(lambda c: retention.purge(c, age)):
            total += portion
            time.sleep(_PAUSE)
    click.echo(f"{total} deleted")


@outbox.command()
@config_option
@options.as_json
@click.pass_context
def limits(ctx: click.Context, config: Path | None, as_json: bool) -> None:
    """Show how much of each limit is used: the sender's, its busiest numbers and callers."""
    with _open(ctx, config) as box:
        uses = [
            (sender.name, use, rate)
            for sender in box.config.senders.values()
            for use, rate in box.read(lambda c: used(c, sender))  # noqa: B023
        ]
    if as_json:
        click.echo(json.dumps([view.limit_dict(*each) for each in uses], indent=2))
    elif uses:
        view.print_limits(uses)
    else:
        click.echo("no sender of sms.conf has per_sender, per_number or per_caller")
