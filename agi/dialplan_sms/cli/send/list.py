"""``dialplan-sms send --list``, from the command's options to its exit status."""

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import click
from rich.text import Text

from dialplan_sms.cli.send import journal, view
from dialplan_sms.cli.send.journal import Journal
from dialplan_sms.cli.send.listfile import ListError, Result, RowResult, read_file, read_list
from dialplan_sms.cli.send.plan import ListPlan, plan, read_text
from dialplan_sms.cli.send.run import RunProgress, Todo, remaining, run
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
    journal_file: Path | None,
    *,
    changed: bool,
    retry_unknown: bool,
    as_json: bool,
    dry_run: bool,
) -> int:
    """Send a list, or show what would be sent; the exit status.

    *common* is what all its SMS share. Raises Refused for what is wrong with all of them.
    """
    try:
        sender = choose(config, common)
        content, beside = read_file(file)
        piped = file == "-"
        columns, rows = read_list(content, "the list" if piped else file)
        text, named = read_text(columns, piped, read_input)
        with journal.opened(journal_file or beside, dry_run) as kept:
            found = plan(rows, text, named, common, sender, config, kept)
            todo = remaining(found.items.values(), kept, retry_unknown)
            mode, rest = common.mode or sender.mode, ""
            if mode != "queue" and sender.pace and len(todo) > 1:
                takes = view.duration(len(todo) * sender.pace)
                rest = f", about {takes}, a gateway rests {sender.pace:g} s for each (pace)"
            another = kept.list not in ("", found.digest)
            if dry_run:
                SmsApi(sender)  # whether verify can be used
                known = "none: to be continued, a list from a pipe needs --journal FILE"
                if kept.path is not None:
                    known = str(kept.path) if kept.list else f"{kept.path}, not begun"
                    known += ": the list has changed since, --changed is needed" if another else ""
                facts = [
                    *view.sender_facts(config, sender), ("mode", mode + rest), ("journal", known)
                ]  # fmt: skip
                ready = {item.digest for item, _ in todo}
                earlier = kept.results(found.items.keys() - ready)
                view.show_plan(found, facts, sender.max_length, ready, earlier, as_json)
                return int(found.counts[Result.BAD] > 0)
            if another and not changed:
                new, path = len(found.items) - kept.results(found.items).total(), kept.path
                raise ListError(
                    f"this list was sent before, see {path}, and it, its text or sms.conf has"
                    f" changed since: {new:,} of its {len(found.items):,} SMS are new or changed."
                    " To send those: add --changed; who got the earlier text gets a second SMS. To"
                    f" send all again: remove {path}"
                )
            _announce(found, kept, todo, rest, as_json)
            return _send(found, todo, kept, config, sender, as_json, bool(text))
    except KeyboardInterrupt:
        return INTERRUPTED


def _announce(found: ListPlan, kept: Journal, todo: Todo, rest: str, as_json: bool) -> None:
    """What is not sent, and how much is; *rest* is how long that takes."""
    for row in found.unsent:
        view.show(row, as_json)
    now = {item.digest for item, _ in todo}
    for digest, item in found.items.items():
        if digest not in now and kept.entries[digest].result is Result.UNKNOWN:
            why = "may have been sent in an earlier run, and is not sent again"
            view.show(item.row(Result.UNKNOWN, "", why, before=True), as_json)
    if not as_json:
        rows = view.count(found.counts["rows"], "row")
        click.echo(f"{len(todo):,} of {rows} to send{rest}", err=True)


def _send(
    found: ListPlan,
    todo: Todo,
    kept: Journal,
    config: Config,
    sender: Sender,
    as_json: bool,
    has_text: bool,
) -> int:
    """Send what is left, sum it up; the exit status."""
    kept.begin(found.digest)
    before = kept.results(found.items)[Result.ACCEPTED]
    config.drop_privileges()  # only now: list and journal are those of who runs this
    progress = RunProgress(len(todo), as_json)
    told: list[RowResult] = []
    stopped, at_once = "", False

    def tell(row: RowResult) -> None:
        told.append(row)
        if as_json:
            view.show(row, as_json=True)

    try:
        with progress.shown(), open_service(lambda: config) as service:
            stopped = run(todo, service, kept, sender.pace, progress, tell)
    except KeyboardInterrupt:  # the second signal
        progress.interrupted = at_once = True
    results, counts = kept.results(found.items), found.counts
    of = SimpleNamespace(
        rows=counts["rows"],
        accepted=results[Result.ACCEPTED],
        before=before,  # of the accepted ones, in an earlier run
        queued=sum(row.more["status"] == "QUEUED" for row in told),  # the outbox sends them
        refused=results[Result.REFUSED],  # certainly not sent
        refused_before=results[Result.REFUSED] - sum(row.result is Result.REFUSED for row in told),
        unknown=results[Result.UNKNOWN],  # may have been sent
        bad=counts[Result.BAD],
        duplicates=counts[Result.DUPLICATE],
        left=len(found.items) - results.total(),  # never tried
        stopped=stopped,
        interrupted=progress.interrupted,
        journal=str(kept.path or ""),
    )
    whole = of.accepted + of.duplicates == of.rows
    if as_json:
        view.say_json(summary=vars(of))
    else:
        for row in sorted(told, key=lambda row: row.line):
            if row.result is not Result.ACCEPTED:
                view.show(row, as_json=False)
        _show(of, whole, has_text)
    status = INTERRUPTED if progress.interrupted else int(not whole)
    if at_once:  # what is under way is not waited for
        os._exit(status)
    return status


def _show(of: SimpleNamespace, whole: bool, has_text: bool) -> None:
    """The summary, and what to do; *has_text* is whether it came from standard input."""
    given = [each for each in sys.argv[1:] if each not in ("--retry-unknown", "--changed")]
    again = f"dialplan-sms {shlex.join(given)}"
    again += ", with the same text on standard input" if has_text else ""
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
    lines = (
        (of.stopped, f"stopped: {of.stopped}"),
        (of.queued, f"stored, the worker sends them: {of.queued:,} (see dialplan-sms outbox)"),
        (not of.journal and not whole,
         "this run cannot be continued: a list from a pipe needs --journal FILE"),
        (of.journal and done,
         f"nothing is left to do; to send it to all of them once more, remove {of.journal}"),
        (of.journal and rest,
         f"{mended}the same command goes on, and sends none of them twice: {again}"),
        (of.journal and of.unknown,
         "unknown may have been sent: see the PBX's history; --retry-unknown sends it again"),
        (of.journal and of.bad,
         "bad rows: mend them in the list, and add --changed to the same command"),
    )  # fmt: skip
    for applies, line in lines:
        if applies:
            view.say(plain(line))
