"""What the page reads of an outbox, and what it changes there. Blocks: called in threads."""

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa

from dialplan_sms.outbox import transitions
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.history import search, statistics
from dialplan_sms.outbox.history.reader import HistoryReader
from dialplan_sms.outbox.history.search import Place, Portion
from dialplan_sms.outbox.history.statistics import Overview
from dialplan_sms.outbox.history.stored import Filters, Stored
from dialplan_sms.outbox.store import PATIENCE, Outbox
from dialplan_sms.outbox.writer import NotKnown

T = TypeVar("T")
HOURS = 24
_AN_HOUR = 3600.0
_SEARCH = 0.08  # seconds after which a search shows what it has
_COUNT = 0.06  # seconds after which hours are left for later
_SHARE = 0.05  # of the time: so much may be taken by counting figures again


@dataclass(frozen=True, slots=True)
class Hour:
    """How many were sent in the hour from *since* on; None: not counted yet."""

    since: float
    sent: int | None

    @property
    def clock(self) -> str:
        """When it began: ``14:00``."""
        return time.strftime("%H:%M", time.localtime(self.since))


@dataclass(frozen=True, slots=True)
class Figures:
    """How the outbox is doing; ``hours`` from the oldest, ``causes`` most first."""

    overview: Overview
    hours: tuple[Hour, ...]
    causes: Mapping[str, int]
    senders: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every hour is counted."""
        return all(hour.sent is not None for hour in self.hours)


class Board:
    """The page's side of *outbox*; *keeping* names the senders who keep their texts."""

    def __init__(
        self,
        outbox: Outbox,
        keeping: Callable[[], Collection[str]] = lambda: (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._writer = outbox.writer
        self._keeping = keeping
        self._clock = clock
        self._reader = HistoryReader(outbox.writer.engine.url)
        self._made = False  # whether the tables are known to be there
        self._lock = threading.Lock()
        self._over: dict[float, tuple[int, int]] = {}  # first try and count of hours that are over
        self._figures: Figures | None = None
        self._stale = 0.0
        self._counted = (0, "")  # how many times something new was counted, and as of which change

    def changes(self) -> str:
        """Another one after each change of the outbox, and at least each minute.

        And again another one once the figures that are shown then, kept from before a change, are
        to be counted again.
        """
        now = self._change_now()
        times, as_of = self._counted
        if as_of != now and time.monotonic() >= self._stale:
            times, as_of = times + 1, now  # so they will be
        return f"{now} {int(self._clock() / 60)} {times} {as_of}"

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """What *work* finds. Raises OutboxError."""
        try:
            found = self._reader.do(work)
        except OutboxError:
            if self._made:
                raise
            with contextlib.suppress(NotKnown):  # the writer makes the tables
                self._writer.do(lambda _: None, 1.0)
            found = self._reader.do(work)
        self._made = True
        return found

    def search(self, filters: Filters, most: int, place: Place | None = None) -> Portion:
        """At most *most* SMS, newest first; fewer, and where to go on, if it takes long."""
        end = time.monotonic() + _SEARCH
        found: list[Stored] = []
        to: dict[int, tuple[str, int]] = {}
        while True:
            portion = self.read(
                lambda c: search.search(c, filters, most - len(found), place)  # noqa: B023
            )
            found += portion.found
            to |= portion.to
            place = portion.place
            if place is None or len(found) >= most or time.monotonic() > end:
                return Portion(tuple(found), place, to)

    def retry(self, id_: int) -> str:
        """Have an SMS tried again: why not; empty if so."""
        return self._change(lambda c: transitions.retry(c, id_))

    def cancel(self, id_: int) -> str:
        """End an SMS that waits: why not; empty if so."""
        keeping = self._keeping()
        return self._change(lambda c: transitions.cancel(c, id_, keeping))

    def figures(self) -> Figures:
        """Counts and charts, at most some seconds old."""
        with self._lock:
            if self._figures is None or time.monotonic() >= self._stale:
                began = time.monotonic()
                as_of = self._change_now()
                self._figures = Figures(
                    self.read(statistics.overview),
                    self._hours(),
                    self.read(lambda c: statistics.causes(c, self._clock() - HOURS * _AN_HOUR)),
                    tuple(self.read(search.senders)),
                )
                took = time.monotonic() - began
                complete = self._figures.complete
                self._stale = time.monotonic() + (took / _SHARE if complete else 0.0)
                times, before = self._counted
                # "" is like no change: while hours are left, the next look counts more of them.
                self._counted = (times + (as_of != before), as_of if complete else "")
            return self._figures

    def close(self) -> None:
        """Close its connections; the outbox stays open."""
        self._reader.close()

    def _change_now(self) -> str:
        if not self._made:
            self.read(search.senders)
        return self._reader.changes()

    def _hours(self) -> tuple[Hour, ...]:
        """The last hours, counted from the newest for as long as it may take."""
        now, end = self._clock(), time.monotonic() + _COUNT
        first = now - (HOURS - 1) * _AN_HOUR
        starts = [_begin(first) + each * _AN_HOUR for each in range(HOURS)]
        self._over = {at: kept for at, kept in self._over.items() if at >= starts[0]}
        hours, below = [], self.read(lambda c: statistics.first_try(c, now + _AN_HOUR))
        for start in reversed(starts):
            kept = self._over.get(start)
            if kept is None and time.monotonic() < end:
                kept = self.read(lambda c: _count(c, start, below))  # noqa: B023
                if start + _AN_HOUR + 60 < now:  # what ended in it is written by now
                    self._over[start] = kept
            if kept is None:
                hours.append(Hour(start, None))
                continue
            hours.append(Hour(start, kept[1]))
            below = kept[0]
        return tuple(reversed(hours))

    def _change(self, work: Callable[[sa.Connection], str]) -> str:
        try:
            return self._writer.do(work, PATIENCE)
        except NotKnown:
            raise OutboxError(
                "the outbox does not say whether that was done: look again in a minute"
            ) from None


def _count(connection: sa.Connection, since: float, below: int) -> tuple[int, int]:
    """The first try since *since*, and how many of those from it to *below* were taken."""
    first = statistics.first_try(connection, since, below)
    return first, statistics.sent(connection, first, below)


def _begin(at: float) -> float:
    """When the hour of *at* began, by the clock on the wall."""
    wall = time.localtime(at)
    return at - wall.tm_min * 60 - wall.tm_sec - at % 1
