"""``dialplan-sms send --to-file``, from the command's options to its exit status."""

import os
import shlex
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import click

from dialplan_sms.cli.send import view
from dialplan_sms.cli.send.journal import Journal
from dialplan_sms.cli.send.listfile import ListError, Result, read_file, read_list
from dialplan_sms.cli.send.plan import ListPlan, Planner
from dialplan_sms.cli.send.progress import RunProgress
from dialplan_sms.cli.send.run import Run, Todo, keys, remaining
from dialplan_sms.cli.send.single import open_service
from dialplan_sms.cli.send.summary import advice, sum_up
from dialplan_sms.cli.send.template import read_template
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.routes.pbx import SmsApi
from dialplan_sms.sms.service import choose
from dialplan_sms.sms.sms import Draft

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The options of the command for a list."""

    file: str
    journal: Path | None
    changed: bool
    retry_unknown: bool
    as_json: bool
    dry_run: bool


def send_list(
    options: ListOptions, common: Draft, config: Config, read_text: Callable[[], str]
) -> int:
    """Send a list, or show what would be sent; the exit status.

    *common* is what all its SMS share, *read_text* reads standard input. Raises Refused for what is
    wrong with all of them.
    """
    try:
        sender = choose(config, common)
        content, beside = read_file(options.file)
        piped = options.file == "-"
        listed = read_list(content, "the list" if piped else options.file)
        text = read_template(listed.columns, piped, read_text)
        with closing(Journal(options.journal or beside, options.dry_run)) as journal:
            plan = Planner(text, common, sender, config, journal).plan(listed, datetime.now())
            job = _ListJob(options, config, sender, common.mode or sender.mode, plan, journal)
            if options.dry_run:
                return job.show()
            job.refuse_change()
            return job.send(text is not None)
    except KeyboardInterrupt:
        return INTERRUPTED


@dataclass(frozen=True, slots=True)
class _ListJob:
    """A list to send, and how."""

    options: ListOptions
    config: Config
    sender: Sender
    mode: str
    plan: ListPlan
    journal: Journal

    @property
    def changed(self) -> bool:
        """Whether the journal was begun for another list."""
        return self.journal.list not in ("", self.plan.digest)

    @property
    def todo(self) -> list[Todo]:
        """What is left to send."""
        key_of = keys(self.journal.salt, self.config, self.sender, self.mode)
        return remaining(self.plan.items, self.journal, key_of, self.options.retry_unknown)

    def refuse_change(self) -> None:
        if not self.changed or self.options.changed:
            return
        items, path = self.plan.items, self.journal.path
        known = sum(item.digest in self.journal.entries for item in items)
        raise ListError(
            f"the list, its text or sms.conf has changed since {path} was begun: of"
            f" {len(items):,} SMS, {known:,} tried before (the outcome stays),"
            f" {len(items) - known:,} new or changed. To send these: add --changed; who got an"
            " earlier text gets a second SMS then. To begin anew, with another SMS to everybody:"
            f" remove {path}"
        )

    def send(self, has_text: bool) -> int:
        """Send what is left; *has_text* is whether its text came from standard input."""
        as_json = self.options.as_json
        self.journal.begin(self.plan.digest)
        todo = self.todo
        before = self.journal.results(item.digest for item in self.plan.items)[Result.ACCEPTED]
        self._announce(todo)
        self.config.drop_privileges()  # only now: list and journal are those of who runs this
        progress = RunProgress(len(todo), as_json)
        run = Run(self.journal, self.sender.pace, lambda: progress.interrupted)
        at_once = False
        try:
            with progress.shown(), open_service(lambda: self.config) as handle:
                for row in run.over(todo, handle):
                    if as_json:
                        view.show(row, as_json)
                    progress.advance(row.result is not Result.ACCEPTED)
        except KeyboardInterrupt:  # the second signal
            at_once = True
        interrupted = progress.interrupted or at_once
        summary = sum_up(self.plan, self.journal, before, run, interrupted)
        if as_json:
            view.say_json(summary=asdict(summary))
        else:
            for row in sorted(run.failed, key=lambda row: row.line):
                view.show(row, as_json)
            view.show_summary(summary, advice(summary, _command(has_text)))
        status = INTERRUPTED if interrupted else int(not summary.whole)
        if at_once:  # what is under way is not waited for
            os._exit(status)
        return status

    def _announce(self, todo: list[Todo]) -> None:
        as_json = self.options.as_json
        for row in self.plan.unsent:
            view.show(row, as_json)
        mine = {each.item.digest for each in todo}
        for item in self.plan.items:
            entry = self.journal.entries.get(item.digest)
            if entry is not None and entry.result is Result.UNKNOWN and item.digest not in mine:
                why = "may have been sent in an earlier run, and is not sent again"
                view.show(item.row(Result.UNKNOWN, "", why, before=True), as_json)
        if not as_json:
            line = f"{len(todo):,} of {view.count(self.plan.rows, 'row')} to send"
            click.echo(line + self._how_long(len(todo)), err=True)

    def _how_long(self, number: int) -> str:
        pace = self.sender.pace
        if self.mode == "queue" or not pace or number < 2:
            return ""
        return f", about {view.duration(number * pace)}, a gateway rests {pace:g} s for each (pace)"

    def show(self) -> int:
        """The dry run."""
        SmsApi(self.sender)  # whether verify can be used
        plan, journal = self.plan, self.journal
        ready = {each.item.digest for each in self.todo}
        results = journal.results(item.digest for item in plan.items if item.digest not in ready)
        if self.options.as_json:
            view.say_plan(plan, ready, results)
        else:
            known = "none: to be continued, a list from a pipe needs --journal FILE"
            if journal.path is not None:
                known = str(journal.path) if journal.list else f"{journal.path}, not begun"
                known += ": the list has changed since, --changed is needed" if self.changed else ""
            facts = [
                *view.sender_facts(self.config, self.sender),
                ("mode", self.mode + self._how_long(len(ready))),
                ("journal", known),
            ]
            view.show_plan(plan, facts, self.sender, len(ready), results)
        return int(plan.count(Result.BAD) > 0)


def _command(has_text: bool) -> str:
    """The command that goes on with the list."""
    given = [each for each in sys.argv[1:] if each not in ("--retry-unknown", "--changed")]
    again = " with the same text on standard input"
    return f"dialplan-sms {shlex.join(given)}" + (f",{again}" if has_text else "")
