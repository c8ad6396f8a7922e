"""How far a long list is: a bar on a terminal, a line every so often elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import click
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text

from dialplan_sms.cli.interrupt import interruptible
from dialplan_sms.cli.send.view import duration
from dialplan_sms.host.console import Console

_EVERY = 30.0
"""Seconds between two lines."""
_SHORT = 5
"""A list of so few needs no lines."""
_MEASURED = 3600.0
"""Seconds over which the rate is measured: a pace may be a minute."""
_ENDING = "finishing the SMS that is under way; Ctrl-C again ends at once"


def standing(task: Task) -> str:
    """How many SMS have ended, how many of them not well, and how fast they do."""
    words = [f"{task.completed:,.0f} of {task.total:,.0f}"]
    if task.fields["failed"]:
        words.append(f"{task.fields['failed']:,} not accepted")
    if task.speed:
        rate = f"{task.speed:.0f}/s" if task.speed >= 2 else f"{task.speed * 60:.0f}/min"
        words += [rate, f"{duration(task.time_remaining or 0)} left"]
    return ", ".join(words)


class _Standing(ProgressColumn):
    def render(self, task: Task) -> Text:
        if task.fields["interrupted"]:
            return Text(_ENDING, style="yellow")
        return Text(standing(task))


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
        self._bar = Progress(
            BarColumn(20), _Standing(), console=Console(stderr=True), transient=True,
            redirect_stdout=False, redirect_stderr=False, speed_estimate_period=_MEASURED,
            get_time=clock,
        )  # fmt: skip
        self._bar.add_task("", total=total, failed=0, interrupted=False)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it in the block, in which a signal asks for the run's end."""
        with interruptible(self._interrupt), ExitStack() as stack:
            if self._has_bar:
                stack.enter_context(self._bar)
            yield

    def advance(self, failed: bool) -> None:
        """Another SMS has ended."""
        (task,) = self._bar.tasks
        self._bar.update(task.id, advance=1, failed=task.fields["failed"] + failed)
        if self._has_lines and self._clock() >= self._line_at:
            self._line_at = self._clock() + _EVERY
            click.echo(standing(task), err=True)

    def _interrupt(self) -> None:
        self.interrupted = True
        for task in self._bar.tasks:
            task.fields["interrupted"] = True
        if not self._has_bar:
            with suppress(OSError):  # no stream: the signal may have come amid a write to it
                os.write(2, f"\n{_ENDING}\n".encode())
