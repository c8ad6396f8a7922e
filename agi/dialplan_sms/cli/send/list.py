"""``dialplan-sms send --to-file``, from the command's options to its exit status."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from dialplan_sms.cli.outbox.options import Misused
from dialplan_sms.cli.send import view
from dialplan_sms.cli.send.ending import AtOnce, ending
from dialplan_sms.cli.send.journal import End, Journal, JournalError
from dialplan_sms.cli.send.listfile import ListError
from dialplan_sms.cli.send.plan import Plan, make_plan, without_past
from dialplan_sms.cli.send.progress import Count, progress
from dialplan_sms.cli.send.run import Handle, Keys, Run, Todo, Told, left
from dialplan_sms.cli.send.source import Source, read_source
from dialplan_sms.cli.send.summary import advice, sum_up
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.terminal import plain
from dialplan_sms.routes.pbx import SmsApi
from dialplan_sms.routes.warm import Routes
from dialplan_sms.sms.outcome import Refused, Status, safe_line
from dialplan_sms.sms.service import Service, Store, choose
from dialplan_sms.sms.sms import Draft, Handled

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Choices:
    """The options of the command for a list."""

    file: str
    journal: Path | None
    changed: bool
    retry_unknown: bool
    as_json: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class _Job:
    """A list to send, and how."""

    choices: Choices
    config: Config
    sender: Sender
    mode: str
    source: Source
    path: Path | None  # of the journal


def send_list(
    choices: Choices, common: Draft, load: Callable[[], Config], read_text: Callable[[], str]
) -> int:
    """Send a list, or show what would be sent; the exit status.

    *common* is what all its SMS share, *read_text* reads standard input.
    """
    try:
        return _prepare(choices, common, load(), read_text)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (JournalError, ConfigError) as error:
        raise click.ClickException(plain(str(error))) from None
    except ListError as error:
        raise Misused(plain(str(error))) from None
    except Refused as refused:
        raise click.ClickException(f"{refused.cause}: {safe_line(refused.reason)}") from None


def _prepare(choices: Choices, common: Draft, config: Config, read_text: Callable[[], str]) -> int:
    sender = choose(config, common)
    source = read_source(choices.file, read_text)
    path = choices.journal or source.journal
    job = _Job(choices, config, sender, common.mode or sender.mode, source, path)
    journal = Journal(path, reading=choices.dry_run)
    try:
        whole = make_plan(source.listed, source.text, common, sender, config, journal.digest)
        plan = without_past(whole, datetime.now(), lambda item: item.digest in journal.entries)
        changed = bool(journal.list) and journal.list != whole.digest
        if choices.dry_run:
            _show(job, plan, journal, changed)
            return int(bool(plan.bad))
        if changed and not choices.changed:
            raise ListError(_explain_change(plan, journal))
        journal.begin(whole.digest)
        return _send(job, plan, journal)
    finally:
        journal.close()


def _explain_change(plan: Plan, journal: Journal) -> str:
    known = sum(item.digest in journal.entries for item in plan.items)
    return (
        f"the list, its text or sms.conf has changed since {journal.path} was begun: of"
        f" {len(plan.items):,} SMS {known:,} were tried before and keep their outcome,"
        f" {len(plan.items) - known:,} are new or changed. To send these: add --changed; who got an"
        " earlier text gets a second SMS then. To begin anew, with another SMS to everybody: remove"
        f" {journal.path}"
    )


def _send(job: _Job, plan: Plan, journal: Journal) -> int:
    as_json = job.choices.as_json
    keys = Keys(journal.salt, job.config, job.sender, job.mode)
    todo = left(plan.items, journal, keys, job.choices.retry_unknown)
    before = journal.counts(item.digest for item in plan.items)[End.ACCEPTED]
    _announce(job, plan, journal, todo)
    failed: list[Told] = []
    queued = 0
    with ending() as end:
        at_once = False
        run = Run(journal, job.sender.pace, lambda: end.asked)
        try:
            with (
                _service(job.config) as handle,
                progress(Count(len(todo)), end, as_json) as advance,
            ):
                for told in run.over(todo, handle):
                    failed += [] if told.end is End.ACCEPTED else [told]
                    queued += told.outcome.status is Status.QUEUED
                    if as_json:
                        view.show_told(told)
                    advance(told.end is not End.ACCEPTED)
        except AtOnce:
            at_once = True
    summary = sum_up(plan, journal, before, queued, failed, run.why, end.asked)
    place = str(job.path or "")
    if as_json:
        view.summary_json(summary, place)
    else:
        view.show_failures(failed)
        view.show_summary(summary, advice(summary, place, _again(job.source)))
    status = INTERRUPTED if end.asked else int(not summary.whole)
    if at_once:  # what is under way is not waited for
        os._exit(status)
    return status


def _announce(job: _Job, plan: Plan, journal: Journal, todo: list[Todo]) -> None:
    as_json = job.choices.as_json
    view.show_unsent(plan, as_json)
    mine = {each.item.digest for each in todo}
    for item in plan.items:
        entry = journal.entries.get(item.digest)
        if entry is not None and entry.end is End.UNKNOWN and item.digest not in mine:
            view.show_left_unknown(item, as_json)
    if as_json:
        return
    long = _how_long(job, len(todo))
    line = f"{len(todo):,} of {view.count(plan.rows, 'row')} to send"
    click.echo(line + (f", {long}" if long else ""), err=True)


def _how_long(job: _Job, number: int) -> str:
    pace = job.sender.pace
    if job.mode == "queue" or not pace or number < 2:
        return ""
    return f"about {view.duration(number * pace)}, a gateway rests {pace:g} s for each (pace)"


def _again(source: Source) -> str:
    given = [each for each in sys.argv[1:] if each not in ("--retry-unknown", "--changed")]
    command = f"dialplan-sms {shlex.join(given)}"
    return f"{command}, with the same text on standard input" if source.text else command


@contextmanager
def _service(config: Config) -> Iterator[Handle]:
    """What sends one SMS and logs it; connections and outbox stay open for all of them."""
    config.drop_privileges()  # only now: list and journal are who runs this's
    opened: list[Store] = []
    closing: list[Callable[[], None]] = []

    def store(loaded: Config) -> Store:
        if not opened:
            from dialplan_sms.outbox.store import (
                open_outbox,  # 0.4 s that only what needs it pays
            )

            outbox = open_outbox(loaded)
            opened.append(outbox)
            closing.append(outbox.close)
        return opened[0]

    def handle(draft: Draft, going_out: Callable[[], None]) -> Handled:
        handled = service.handle(draft, going_out)
        service.log(handled)
        return handled

    service = Service(lambda: config, Routes(1), store=store)
    yield handle
    for close in closing:  # not where it ends at once
        close()


def _show(job: _Job, plan: Plan, journal: Journal, changed: bool) -> None:
    sender, path = job.sender, job.path
    SmsApi(sender)  # whether verify can be used
    keys = Keys(journal.salt, job.config, sender, job.mode)
    todo = left(plan.items, journal, keys, job.choices.retry_unknown)
    ready = {each.item.digest for each in todo}
    ends = journal.counts(item.digest for item in plan.items if item.digest not in ready)
    if job.choices.as_json:
        view.plan_json(plan, ready, ends)
        return
    long = _how_long(job, len(todo))
    known = "none: to be gone on with, a list from a pipe needs --journal FILE"
    if path is not None:
        known = str(path) if journal.list else f"{path}, not begun"
        known += ": the list has changed since, --changed is needed" if changed else ""
    facts = [
        ("sms.conf", str(job.config.path)),
        ("sender", f"{sender.name} at {sender.url}"),
        ("verify", sender.verify if sender.url.startswith("https:") else "not with http"),
        ("mode", job.mode + (f", {long}" if long else "")),
        ("journal", known),
    ]
    view.show_plan(plan, facts, len(todo), ends)
