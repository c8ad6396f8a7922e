"""How far a long list is: a bar on a terminal, a line every so often elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text

from dialplan_sms.cli.send.ending import Ending
from dialplan_sms.cli.send.view import duration
from dialplan_sms.host.console import Console

_EVERY = 30.0
"""Seconds between two lines."""
_SHORT = 5
"""A list of so few needs no lines."""


class Count:
    """How many of *total* have ended, how many of them not well, and how fast they do."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done = self.failed = 0
        self._clock = clock
        self._first = self._last = self._said = clock()

    def add(self, failed: bool) -> None:
        """Another has ended."""
        self.done += 1
        self.failed += failed
        self._last = self._clock()
        if self.done == 1:
            self._first = self._last

    def due(self) -> bool:
        """Whether it is time for another line."""
        if self._clock() - self._said < _EVERY:
            return False
        self._said = self._clock()
        return True

    def __str__(self) -> str:
        words = [f"{self.done:,} of {self.total:,}"]
        if self.failed:
            words.append(f"{self.failed:,} not accepted")
        # From the first one to the last: so the rest after each is in it, and it does not waver.
        seconds = self._last - self._first
        if self.done > 1 and seconds > 0:
            rate = (self.done - 1) / seconds
            left = (self.total - self.done) / rate - (self._clock() - self._last)
            words.append(f"{rate:.0f}/s" if rate >= 2 else f"{rate * 60:.0f}/min")
            words.append(f"{duration(max(0.0, left))} left")
        return ", ".join(words)


class _Standing(ProgressColumn):
    def __init__(self, counted: Count, end: Ending) -> None:
        super().__init__()
        self._counted = counted
        self._end = end

    def render(self, _: Task) -> Text:
        if self._end.asked:
            return Text("finishing what is under way; Ctrl-C again ends at once", style="yellow")
        return Text(str(self._counted))


@contextmanager
def progress(counted: Count, end: Ending, quiet: bool) -> Iterator[Callable[[bool], None]]:
    """Gives what is to be called as each SMS ends, with whether it failed.

    *quiet* has no lines: a program reads. All of it goes to standard error.
    """
    console = Console(stderr=True)
    # Lines of JSON on the same terminal would be torn by it.
    if not sys.stderr.isatty() or (quiet and sys.stdout.isatty()):

        def add(failed: bool) -> None:
            counted.add(failed)
            if counted.due() and not quiet and counted.total > _SHORT:
                click.echo(str(counted), err=True)

        yield add
        return
    bar = Progress(
        BarColumn(20), _Standing(counted, end), console=console, transient=True,
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
    task = bar.add_task("", total=counted.total)

    def advance(failed: bool) -> None:
        counted.add(failed)
        bar.advance(task)

    with bar:
        end.shows = True
        try:
            yield advance
        finally:
            end.shows = False
