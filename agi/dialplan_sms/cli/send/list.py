"""``dialplan-sms send --list``, from the command's options to its exit status."""

import os
import shlex
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import click
from rich.text import Text

from dialplan_sms.cli.send import view
from dialplan_sms.cli.send.journal import Journal
from dialplan_sms.cli.send.listfile import ListError, Result, read_file, read_list
from dialplan_sms.cli.send.plan import ListPlan, plan, read_text
from dialplan_sms.cli.send.run import Run, RunProgress, Todo, remaining
from dialplan_sms.cli.send.single import open_service
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.host.terminal import plain
from dialplan_sms.routes.pbx import SmsApi
from dialplan_sms.sms.service import choose
from dialplan_sms.sms.sms import Draft

INTERRUPTED = 130


def send_list(
    common: Draft,
    config: Config,
    read_input: Callable[[], str],
    file: str,
    journal: Path | None,
    *,
    changed: bool,
    retry_unknown: bool,
    as_json: bool,
    dry_run: bool,
) -> int:
    """Send a list, or show what would be sent; the exit status.

    *common* is what all its SMS share, *read_input* reads standard input, the rest are the
    command's options. Raises Refused for what is wrong with all of them.
    """
    try:
        sender = choose(config, common)
        content, beside = read_file(file)
        piped = file == "-"
        listed = read_list(content, "the list" if piped else file)
        text = read_text(listed.columns, piped, read_input)
        with closing(Journal(journal or beside, dry_run)) as kept:
            found = plan(listed, text, common, sender, config, kept)
            todo = remaining(found.items, kept, retry_unknown)
            job = _Job(config, sender, common.mode or sender.mode, found, kept, todo, as_json)
            if dry_run:
                return job.show()
            if job.is_another and not changed:
                raise job.refusal()
            return job.send(has_text=text is not None)
    except KeyboardInterrupt:
        return INTERRUPTED


@dataclass(frozen=True, slots=True)
class _Job:
    """A list to send, and how."""

    config: Config
    sender: Sender
    mode: str
    plan: ListPlan
    journal: Journal
    todo: Todo
    as_json: bool

    @property
    def is_another(self) -> bool:
        """Whether the journal was begun for another list."""
        return self.journal.list not in ("", self.plan.digest)

    @property
    def how_long(self) -> str:
        pace, number = self.sender.pace, len(self.todo)
        if self.mode == "queue" or not pace or number < 2:
            return ""
        return f", about {view.duration(number * pace)}, a gateway rests {pace:g} s for each (pace)"

    def refusal(self) -> ListError:
        items, path = self.plan.items, self.journal.path
        known = self.journal.results(item.digest for item in items).total()
        return ListError(
            f"this list was sent before, see {path}, and it, its text or sms.conf has changed"
            f" since: {len(items) - known:,} of its {len(items):,} SMS are new or changed. To send"
            " those: add --changed; who got the earlier text gets a second SMS. To send all again:"
            f" remove {path}"
        )

    def show(self) -> int:
        """The dry run."""
        SmsApi(self.sender)  # whether verify can be used
        journal = self.journal
        known = "none: to be continued, a list from a pipe needs --journal FILE"
        if journal.path is not None:
            known = str(journal.path) if journal.list else f"{journal.path}, not begun"
            known += ": the list has changed since, --changed is needed" if self.is_another else ""
        facts = [
            *view.sender_facts(self.config, self.sender),
            ("mode", self.mode + self.how_long),
            ("journal", known),
        ]
        ready = {item.digest for item, _ in self.todo}
        earlier = journal.results(
            each.digest for each in self.plan.items if each.digest not in ready
        )
        view.show_plan(self.plan, facts, self.sender.max_length, ready, earlier, self.as_json)
        return int(self.plan.count(Result.BAD) > 0)

    def send(self, has_text: bool) -> int:
        """Send what is left; *has_text* is whether its text came from standard input."""
        self.journal.begin(self.plan.digest)
        before = self.journal.results(item.digest for item in self.plan.items)[Result.ACCEPTED]
        self._announce()
        self.config.drop_privileges()  # only now: list and journal are those of who runs this
        progress = RunProgress(len(self.todo), self.as_json)
        run = Run(self.journal, self.sender.pace, progress)
        at_once = False
        try:
            with progress.shown(), open_service(lambda: self.config) as service:
                for row in run.over(self.todo, service):
                    if self.as_json:
                        view.show(row, as_json=True)
        except KeyboardInterrupt:  # the second signal
            progress.interrupted = at_once = True
        summary = self._sum_up(run, before, progress.interrupted)
        whole = summary.accepted + summary.duplicates == summary.rows
        if self.as_json:
            view.say_json(summary=vars(summary))
        else:
            for row in sorted(run.failed, key=lambda row: row.line):
                view.show(row, as_json=False)
            given = [each for each in sys.argv[1:] if each not in ("--retry-unknown", "--changed")]
            again = f"dialplan-sms {shlex.join(given)}"
            again += ", with the same text on standard input" if has_text else ""
            _show(summary, whole, again)
        status = INTERRUPTED if progress.interrupted else int(not whole)
        if at_once:  # what is under way is not waited for
            os._exit(status)
        return status

    def _announce(self) -> None:
        for row in self.plan.unsent:
            view.show(row, self.as_json)
        now = {item.digest for item, _ in self.todo}
        for item in self.plan.items:
            entry = self.journal.entries.get(item.digest)
            if entry is not None and entry.result is Result.UNKNOWN and item.digest not in now:
                why = "may have been sent in an earlier run, and is not sent again"
                view.show(item.row(Result.UNKNOWN, "", why, before=True), self.as_json)
        if not self.as_json:
            rows = view.count(self.plan.rows, "row")
            click.echo(f"{len(self.todo):,} of {rows} to send{self.how_long}", err=True)

    def _sum_up(self, run: Run, before: int, interrupted: bool) -> SimpleNamespace:
        """What the list has come to.

        ``before`` of the accepted ones were so in an earlier run, ``queued`` of the others are in
        the outbox, to be sent from there. ``refused`` are certainly not sent, ``refused_before`` of
        them were so in an earlier run and not tried again. ``unknown`` may have been sent, ``left``
        were never tried; ``stopped`` is why the run ended early. ``journal`` is its file or empty.
        """
        results = self.journal.results(item.digest for item in self.plan.items)
        refused = results[Result.REFUSED]
        return SimpleNamespace(
            rows=self.plan.rows,
            accepted=results[Result.ACCEPTED],
            before=before,
            queued=run.queued,
            refused=refused,
            refused_before=refused - sum(row.result is Result.REFUSED for row in run.failed),
            unknown=results[Result.UNKNOWN],
            bad=self.plan.count(Result.BAD),
            duplicates=self.plan.count(Result.DUPLICATE),
            left=len(self.plan.items) - results.total(),
            stopped=run.stopped,
            interrupted=interrupted,
            journal=str(self.journal.path or ""),
        )


def _show(of: SimpleNamespace, whole: bool, again: str) -> None:
    """The summary, and what to do. *again* is the command as it was given."""
    earlier, earlier_refused = (
        f" ({number:,} of them before)" if number else ""
        for number in (of.before, of.refused_before)
    )
    counts = (
        f"{of.accepted:,} accepted{earlier}",
        f"{of.refused:,} refused{earlier_refused}" if of.refused else "",
        f"{of.unknown:,} unknown" if of.unknown else "",
        f"{of.left:,} not tried" if of.left else "",
        view.count(of.bad, "bad row") if of.bad else "",
        view.count(of.duplicates, "duplicate") if of.duplicates else "",
    )
    view.say(
        Text(f"{view.count(of.rows, 'row')}: ", style="bold").append(
            ", ".join(filter(None, counts)), "green" if whole else "yellow"
        )
    )
    rest = of.left or of.refused
    done = of.before and of.before == of.accepted and not (rest or of.unknown)
    mended = "when that is mended, " if of.stopped else ""
    goes_on = of.journal
    lines = (
        (of.stopped, f"stopped: {of.stopped}"),
        (of.queued, f"stored, the worker sends them: {of.queued:,} (see dialplan-sms outbox)"),
        (not goes_on and not whole,
         "this run cannot be continued: a list from a pipe needs --journal FILE"),
        (goes_on and done,
         f"nothing is left to do; to send it to all of them once more, remove {of.journal}"),
        (goes_on and rest,
         f"{mended}the same command goes on, and sends none of them twice: {again}"),
        (goes_on and of.unknown,
         "unknown may have been sent: see the PBX's history; --retry-unknown sends it again"),
        (goes_on and of.bad,
         "bad rows: mend them in the list, and add --changed to the same command"),
    )  # fmt: skip
    for applies, line in lines:
        if applies:
            view.say(plain(line))
