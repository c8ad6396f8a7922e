"""What the page asks of an outbox, and what it changes there. Blocks: called in threads.

What its address asks for is not trusted.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

import sqlalchemy as sa

from dialplan_sms.outbox import transitions
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.history import search, statistics
from dialplan_sms.outbox.history.reader import HistoryReader
from dialplan_sms.outbox.history.search import Place, Portion
from dialplan_sms.outbox.history.statistics import Overview
from dialplan_sms.outbox.history.stored import Filters, Stored
from dialplan_sms.outbox.schema import State
from dialplan_sms.outbox.store import PATIENCE, Outbox
from dialplan_sms.outbox.writer import NotKnown

T = TypeVar("T")
ROWS = 50  # SMS on one page of the list
HOURS = 24
_AN_HOUR = 3600.0
_SEARCH = 0.08  # seconds after which a search shows what it has
_COUNT = 0.06  # seconds after which hours are left for later
_SHARE = 0.05  # of the time: so much may be taken by counting figures again
_PLACE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,17})?|1e\+300)_([0-9]{1,18})")
# How each value of an address has to look, and what is said of one that does not.
_RIGHT = {
    "state": (re.compile("|".join(State)), f"State is one of {', '.join(State)}."),
    "number": (
        re.compile(r"(?=.*[0-9*#])[0-9*#()./ +\-]{1,60}"),
        "Number is a phone number or some of its digits.",
    ),
    "sender": (re.compile(r"[^\0]{1,200}"), "Sender is the name of a section of sms.conf."),
    "before": (_PLACE, "That is no place in the list: begin at the newest."),
}


@dataclass(frozen=True, slots=True)
class Query:
    """The filters of the list as typed, where to go on, and what is wrong with them."""

    state: str = ""
    number: str = ""
    sender: str = ""
    before: str = ""
    wrong: tuple[str, ...] = ()

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "Query":
        """That of the fields of a query string; a value that is wrong is left out."""
        values, wrong = {}, []
        for name, (right, says) in _RIGHT.items():
            typed = given.get(name, "").strip()
            if right.fullmatch(typed):
                values[name] = typed
            elif typed:
                wrong.append(says)
        return cls(**values, wrong=tuple(wrong))

    @property
    def filtered(self) -> bool:
        """Whether anything narrows the list."""
        return bool(self.state or self.number or self.sender)

    @property
    def place(self) -> Place | None:
        """Where to go on."""
        found = _PLACE.fullmatch(self.before)
        return (float(found[1]), int(found[2])) if found else None

    def at(self, place: Place | None) -> str:
        """The query string of the list below *place*, or from the newest."""
        values = {name: getattr(self, name) for name in _RIGHT}
        values["before"] = f"{place[0]!r}_{place[1]}" if place else ""
        return urlencode({name: value for name, value in values.items() if value})

    @property
    def here(self) -> str:
        """The query string of this very list."""
        return self.at(self.place)


class Hour(NamedTuple):
    """How many were sent in the hour from *since* on, by the clock; None: not counted yet."""

    since: float
    clock: str  # 14:00
    sent: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """How the outbox is doing; ``hours`` from the oldest, ``causes`` most first."""

    overview: Overview
    hours: tuple[Hour, ...]
    causes: Mapping[str, int]
    senders: tuple[str, ...]
    complete: bool  # whether every hour is counted


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
        self._as_of = ""  # the change as of which the figures are

    def changes(self) -> str:
        """Another one after each change of the outbox, and at least each minute.

        And again another one once the figures that are shown then, kept from before a change, are
        to be counted again.
        """
        now, as_of, figures = self._change_now(), self._as_of, self._figures
        if figures is None or (figures.complete and time.monotonic() >= self._stale):
            as_of = now  # as they will be
        return f"{now} {int(self._clock() / 60)} {as_of}"

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

    def search(self, query: Query) -> Portion:
        """At most ROWS SMS, newest first; fewer, and where to go on, if it takes long."""
        filters = Filters((query.state,) if query.state else (), query.number, query.sender)
        end, place = time.monotonic() + _SEARCH, query.place
        found: list[Stored] = []
        to: dict[int, tuple[str, int]] = {}
        while True:
            portion = self.read(
                lambda c: search.search(c, filters, ROWS - len(found), place)  # noqa: B023
            )
            found += portion.found
            to |= portion.to
            place = portion.place
            if place is None or len(found) >= ROWS or time.monotonic() > end:
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
                began, as_of, hours = time.monotonic(), self._change_now(), self._hours()
                complete = all(hour.sent is not None for hour in hours)
                since = self._clock() - HOURS * _AN_HOUR
                self._figures = Figures(
                    self.read(statistics.overview),
                    hours,
                    self.read(lambda c: statistics.causes(c, since)),
                    tuple(self.read(search.senders)),
                    complete,
                )
                now = time.monotonic()
                self._stale = now + (now - began) / _SHARE if complete else now
                # While hours are left, the next look counts more of them, though nothing changes.
                self._as_of = as_of if complete else str(began)
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
        first = _begin(now - (HOURS - 1) * _AN_HOUR)
        starts = [first + each * _AN_HOUR for each in range(HOURS)]
        self._over = {at: kept for at, kept in self._over.items() if at >= first}
        hours, below = [], self.read(lambda c: statistics.first_try(c, now + _AN_HOUR))
        for start in reversed(starts):
            kept = self._over.get(start)
            if kept is None and time.monotonic() < end:
                kept = self.read(lambda c: _count(c, start, below))  # noqa: B023
                if start + _AN_HOUR + 60 < now:  # what ended in it is written by now
                    self._over[start] = kept
            if kept is not None:
                below = kept[0]
            clock = time.strftime("%H:%M", time.localtime(start))
            hours.append(Hour(start, clock, kept and kept[1]))
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
