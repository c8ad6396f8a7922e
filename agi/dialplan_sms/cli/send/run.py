"""The run: sends what is left of a list, one after the other, and knows when to stop.

How far it is shows as a bar on a terminal, and as a line every so often elsewhere.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace

import click
from rich.progress import BarColumn, Progress, TextColumn

from dialplan_sms.cli.main import interruptible
from dialplan_sms.cli.send.journal import Journal, JournalError
from dialplan_sms.cli.send.listfile import Result, RowResult
from dialplan_sms.cli.send.plan import Item
from dialplan_sms.cli.send.view import duration
from dialplan_sms.host.console import Console
from dialplan_sms.outbox.retry import ended
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, Status, safe_line
from dialplan_sms.sms.service import Service

_IN_A_ROW = {
    Cause.UNAUTHORIZED: 1, Cause.CONFIG: 1, Cause.UNKNOWN_SENDER: 1, Cause.OUTBOX: 1,
    Cause.BUSY: 1, Cause.INTERNAL: 1,
    Cause.UNREACHABLE: 3, Cause.NO_ANSWER: 3, Cause.BAD_ANSWER: 3,
    Cause.REJECTED: 10, Cause.NOT_QUEUED: 10,
}  # fmt: skip
"""So many with the same cause, one after the other, are not the row's trouble."""
_TICK = 0.1  # seconds in which a rest ends after a signal
_EVERY = 30.0  # seconds between two lines
_SHORT = 5  # a list of so few needs no lines
_MEASURED = 3600.0  # seconds over which the rate is measured: a pace may be a minute
_ENDING = "finishing the SMS that is under way; Ctrl-C again ends at once"

Todo = Sequence[tuple[Item, int]]
"""SMS to send, each with how often it was sent once more although it may have been sent."""


def remaining(items: Sequence[Item], journal: Journal, retry_unknown: bool) -> Todo:
    """What to send: first what was never tried, for one bad stretch must not stop a list."""
    new: list[tuple[Item, int]] = []
    again: list[tuple[Item, int]] = []
    for item in items:
        entry = journal.entries.get(item.digest)
        if entry is None:
            new.append((item, 0))
        elif entry.result is not Result.ACCEPTED:
            key = item.key(entry.resends)
            # Under the same key the outbox knows whether it has it.
            is_stored_once = key and key == entry.key and not (entry.answered and retry_unknown)
            if entry.result is Result.REFUSED or is_stored_once:
                again.append((item, entry.resends))
            elif retry_unknown:
                again.append((item, entry.resends + 1))
    return new + again


class RunProgress:
    """How far a run over *total* SMS is; on standard error.

    *as_json* has no lines: a program reads.
    """

    def __init__(
        self, total: int, as_json: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.interrupted = False
        # Lines of JSON on the same terminal would be torn by the bar.
        self._has_bar = sys.stderr.isatty() and not (as_json and sys.stdout.isatty())
        self._has_lines = not (self._has_bar or as_json or total <= _SHORT)
        self._clock = clock
        self._line_at = clock() + _EVERY
        self._failed = 0
        self._bar = Progress(
            BarColumn(20), TextColumn("{task.description}"), console=Console(stderr=True),
            transient=True, redirect_stdout=False, redirect_stderr=False,
            speed_estimate_period=_MEASURED, get_time=clock,
        )  # fmt: skip
        self._bar.add_task(f"0 of {total:,}", total=total)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it in the block, in which a signal asks for the run's end."""
        with interruptible(self._interrupt), self._bar if self._has_bar else nullcontext():
            yield

    def advance(self, failed: bool) -> None:
        """Another SMS has ended."""
        (task,) = self._bar.tasks
        self._bar.advance(task.id)
        self._failed += failed
        words = [f"{task.completed:,.0f} of {task.total:,.0f}"]
        words += [f"{self._failed:,} not accepted"] if self._failed else []
        if task.speed:
            rate = f"{task.speed:.0f}/s" if task.speed >= 2 else f"{task.speed * 60:.0f}/min"
            words += [rate, f"{duration(task.time_remaining or 0)} left"]
        task.description = ", ".join(words)
        if self._has_lines and self._clock() >= self._line_at:
            self._line_at = self._clock() + _EVERY
            click.echo(task.description, err=True)

    def _interrupt(self) -> None:
        self.interrupted = True
        (task,) = self._bar.tasks
        task.description = f"[yellow]{_ENDING}"
        if not self._has_bar:
            with suppress(OSError):  # no stream: the signal may have come amid a write to it
                os.write(2, f"\n{_ENDING}\n".encode())


class Run:
    """One run over a list.

    *stopped* is why it ended early, empty if it did not; *failed* are those that were not accepted,
    *queued* is how many are in the outbox.
    """

    def __init__(self, journal: Journal, pace: float, progress: RunProgress) -> None:
        self._journal = journal
        self._pace = pace
        self._progress = progress
        self._free_at: dict[str | None, float] = {}
        self._streak: tuple[Cause, int] = (Cause.NONE, 0)
        self.stopped = ""
        self.failed: list[RowResult] = []
        self.queued = 0

    def over(self, todo: Todo, service: Service) -> Iterator[RowResult]:
        """Send them by *service*, and say how each ended.

        Ends early if a signal says so, or if to go on would make no sense.
        """
        for item, resends in todo:
            free_at = self._free_at.get(item.sms.gsm, 0.0)
            while not self._progress.interrupted and (wait := free_at - time.monotonic()) > 0:
                time.sleep(min(wait, _TICK))
            if self._progress.interrupted:
                return
            yield from self._send(item, resends, service)
            if self.stopped:
                return

    def _send(self, item: Item, resends: int, service: Service) -> Iterator[RowResult]:
        before, key, gone = self._journal.entries.get(item.digest), item.key(resends), False

        def going_out() -> None:
            nonlocal gone
            if not gone:
                try:
                    self._journal.going_out(item.digest, item.line, key, resends)
                except JournalError as error:
                    self.stopped = str(error)
                    raise Refused(Cause.INTERNAL, self.stopped) from None
            gone = True

        handled = service.handle(replace(item.draft, key=key), going_out)
        service.log(handled)
        outcome = handled.outcome
        if self.stopped:
            return  # the journal broke, so it was not sent
        result = _result(outcome, item.number, gone)
        if result is Result.REFUSED and before is not None and before.result is Result.UNKNOWN:
            # This time nothing went out; the first time it may have, whatever is asked for now.
            is_new = gone and resends != before.resends
            result = result if is_new else Result.UNKNOWN
        self.stopped = self._pointless(outcome)
        try:
            self._journal.ended(item.digest, item.line, result, outcome.cause)
        except JournalError as error:
            self.stopped = str(error)
        queued = outcome.status is Status.QUEUED
        if gone and not queued:
            self._free_at[item.sms.gsm] = time.monotonic() + self._pace
        self.queued += queued
        reason = safe_line(outcome.reason)
        row = item.row(result, outcome.cause, reason, status=outcome.status, id=outcome.id)
        self.failed += [] if result is Result.ACCEPTED else [row]
        yield row
        self._progress.advance(result is not Result.ACCEPTED)

    def _pointless(self, outcome: Outcome) -> str:
        """Why no further row is to be tried; empty if one is."""
        cause = outcome.cause
        self._streak = (cause, self._streak[1] + 1 if self._streak[0] is cause else 1)
        if cause is Cause.DENIED and outcome.reason.startswith("per_sender"):
            return "the limit per_sender is reached"
        most = _IN_A_ROW.get(cause)
        if self._streak[1] != most:
            return ""
        more = "would meet all others, too" if most == 1 else f"{most} times, one after the other"
        return f"{cause} {more}"


def _result(outcome: Outcome, number: str, gone: bool) -> Result:
    """What an outcome comes to for one *number*; *gone* is whether its request went out."""
    verdict = ended(outcome, [number])
    if outcome.status is Status.QUEUED or verdict.sent:
        return Result.ACCEPTED
    is_unknown = verdict.unknown or (outcome.cause is Cause.INTERNAL and gone)
    return Result.UNKNOWN if is_unknown else Result.REFUSED
