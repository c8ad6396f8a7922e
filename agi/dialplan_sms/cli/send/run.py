"""The run: sends what is left of a list, one after the other, and knows when to stop."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace

import click
from rich.progress import BarColumn, Progress, TextColumn

from dialplan_sms.cli.main import interruptible
from dialplan_sms.cli.send.journal import Journal, JournalEntry, JournalError
from dialplan_sms.cli.send.listfile import Result, RowResult
from dialplan_sms.cli.send.plan import Item
from dialplan_sms.cli.send.view import duration
from dialplan_sms.host.console import Console
from dialplan_sms.outbox.retry import ended
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, Status, safe_line
from dialplan_sms.sms.service import Service

# So many with the same cause, one after the other, are not the row's trouble.
_IN_A_ROW = {
    Cause.UNAUTHORIZED: 1, Cause.CONFIG: 1, Cause.UNKNOWN_SENDER: 1, Cause.OUTBOX: 1,
    Cause.BUSY: 1, Cause.INTERNAL: 1,
    Cause.UNREACHABLE: 3, Cause.NO_ANSWER: 3, Cause.BAD_ANSWER: 3,
    Cause.REJECTED: 10, Cause.NOT_QUEUED: 10,
}  # fmt: skip
_EVERY = 30.0  # seconds between two lines
_ENDING = "finishing the SMS that is under way; Ctrl-C again ends at once"

# SMS to send, each with how often it was sent once more although it may have been sent.
Todo = Sequence[tuple[Item, int]]


def remaining(items: Iterable[Item], journal: Journal, retry_unknown: bool) -> Todo:
    """What to send: first what was never tried, for one bad stretch must not stop a list."""
    todo: list[tuple[Item, int]] = []
    for item in items:
        entry = journal.entries.get(item.digest, JournalEntry(Result.REFUSED))
        key, is_unknown = item.key(entry.resends), entry.result is Result.UNKNOWN
        # Under the same key the outbox knows whether it has it.
        is_stored_once = key and key == entry.key and not (entry.answered and retry_unknown)
        if entry.result is Result.REFUSED or (is_unknown and is_stored_once):
            todo.append((item, entry.resends))
        elif is_unknown and retry_unknown:
            todo.append((item, entry.resends + 1))
    return sorted(todo, key=lambda each: each[0].digest in journal.entries)


class RunProgress:
    """How far a run is, on standard error: a bar on a terminal, else a line every so often."""

    def __init__(
        self, total: int, as_json: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.interrupted = False
        # Lines of JSON on the same terminal would be torn by the bar.
        self._has_bar = sys.stderr.isatty() and not (as_json and sys.stdout.isatty())
        self._has_lines = not (self._has_bar or as_json) and total > 5
        self._line_at = clock() + _EVERY
        self._failed = 0
        self._bar = Progress(
            BarColumn(20), TextColumn("{task.description}"), console=Console(stderr=True),
            transient=True, redirect_stdout=False, redirect_stderr=False,
            speed_estimate_period=3600.0, get_time=clock,  # since a pace may be a minute
        )  # fmt: skip
        self._bar.add_task(f"0 of {total:,}", total=total)
        (self._task,) = self._bar.tasks

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it in the block, in which a signal asks for the run's end."""
        with interruptible(self._interrupt), self._bar if self._has_bar else nullcontext():
            yield

    def advance(self, failed: bool) -> None:
        """Another SMS has ended."""
        task = self._task
        self._bar.advance(task.id)
        self._failed += failed
        words = [f"{task.completed:,.0f} of {task.total:,.0f}"]
        words += [f"{self._failed:,} not accepted"] if self._failed else []
        if task.speed:
            rate = f"{task.speed:.0f}/s" if task.speed >= 2 else f"{task.speed * 60:.0f}/min"
            words += [rate, f"{duration(task.time_remaining or 0)} left"]
        task.description = ", ".join(words)
        if self._has_lines and task.get_time() >= self._line_at:
            self._line_at = task.get_time() + _EVERY
            click.echo(task.description, err=True)

    def _interrupt(self) -> None:
        self.interrupted = True
        self._task.description = f"[yellow]{_ENDING}"
        if not self._has_bar:
            with suppress(OSError):  # no stream: the signal may have come amid a write to it
                os.write(2, f"\n{_ENDING}\n".encode())


def run(
    todo: Todo,
    service: Service,
    journal: Journal,
    pace: float,  # seconds that a gateway rests
    progress: RunProgress,
    tell: Callable[[RowResult], None],
) -> str:
    """Send them, *tell* how each ended; say why it ended early, empty if not, or by a signal."""
    free_at: dict[str | None, float] = {}
    last, in_a_row = Cause.NONE, 0
    for item, resends in todo:
        while not progress.interrupted and time.monotonic() < free_at.get(item.sms.gsm, 0.0):
            time.sleep(0.05)  # a rest ends so soon after a signal
        if progress.interrupted:
            break
        before = journal.entries.get(item.digest)
        outcome, stopped = _send(item, resends, service, journal)
        if stopped:
            return stopped  # the journal broke, so it was not sent
        gone = journal.entries.get(item.digest) is not before
        result, cause = _result(outcome, item.number, gone), outcome.cause
        if result is Result.REFUSED and before and not (gone and resends != before.resends):
            # This time nothing went out; the first time it may have, whatever is asked for now.
            result = before.result
        last, in_a_row = cause, in_a_row + 1 if cause is last else 1
        if cause is Cause.DENIED and outcome.reason.startswith("per_sender"):
            stopped = "the limit per_sender is reached"
        elif in_a_row == _IN_A_ROW.get(cause):
            times = f"{in_a_row} times, one after the other"
            stopped = f"{cause} {times if in_a_row > 1 else 'would meet all others, too'}"
        try:
            journal.ended(item.digest, item.line, result, cause)
        except JournalError as error:
            stopped = str(error)
        if gone and outcome.status is not Status.QUEUED:
            free_at[item.sms.gsm] = time.monotonic() + pace
        tell(
            item.row(result, cause, safe_line(outcome.reason), status=outcome.status, id=outcome.id)
        )
        progress.advance(result is not Result.ACCEPTED)
        if stopped:
            return stopped
    return ""


def _send(item: Item, resends: int, service: Service, journal: Journal) -> tuple[Outcome, str]:
    """How it ended; and why the journal could not be told before that its request goes out."""
    before, broken, key = journal.entries.get(item.digest), "", item.key(resends)

    def going_out() -> None:
        nonlocal broken
        if journal.entries.get(item.digest) is before:  # else it has been told
            try:
                journal.going_out(item.digest, item.line, key, resends)
            except JournalError as error:
                broken = str(error)
                raise Refused(Cause.INTERNAL, broken) from None

    handled = service.handle(replace(item.draft, key=key), going_out)
    service.log(handled)
    return handled.outcome, broken


def _result(outcome: Outcome, number: str, gone: bool) -> Result:
    """What an outcome comes to for one *number*; *gone* is whether its request went out."""
    verdict = ended(outcome, [number])
    if outcome.status is Status.QUEUED or verdict.sent:
        return Result.ACCEPTED
    is_unknown = verdict.unknown or (outcome.cause is Cause.INTERNAL and gone)
    return Result.UNKNOWN if is_unknown else Result.REFUSED
