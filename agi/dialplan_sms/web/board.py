"""What the page asks of an outbox, and what it changes there. Blocks: called in threads."""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

import sqlalchemy as sa

from dialplan_sms.outbox import transitions
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.history import search, statistics
from dialplan_sms.outbox.history.reader import HistoryReader
from dialplan_sms.outbox.history.search import Place, Portion
from dialplan_sms.outbox.history.statistics import Overview
from dialplan_sms.outbox.history.stored import Filters
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
        typed = {name: given.get(name, "").strip() for name in _RIGHT}
        right = {name: it for name, it in typed.items() if _RIGHT[name][0].fullmatch(it)}
        wrong = [_RIGHT[name][1] for name, it in typed.items() if it and name not in right]
        return cls(**right, wrong=tuple(wrong))

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
        before = f"{place[0]!r}_{place[1]}" if place else ""
        values = {"state": self.state, "number": self.number, "sender": self.sender}
        return urlencode({name: it for name, it in (values | {"before": before}).items() if it})


class Hour(NamedTuple):
    """How many were sent in the hour from *since* on, by the clock; None: not counted yet."""

    since: float
    clock: str  # 14:00
    sent: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """How the outbox is doing; ``hours`` from the oldest, ``causes`` most first."""

    overview: Overview
    hours: list[Hour]
    causes: Mapping[str, int]
    senders: list[str]
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
        """Another one after each change of the outbox, each minute, and once figures are stale."""
        now, as_of, figures = self._ready(self._reader.changes), self._as_of, self._figures
        if figures is None or (figures.complete and time.monotonic() >= self._stale):
            as_of = now  # as they will be
        return f"{now} {int(self._clock() / 60)} {as_of}"

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """What *work* finds. Raises OutboxError."""
        return self._ready(lambda: self._reader.do(work))

    def _ready(self, look: Callable[[], T]) -> T:
        """What a *look* finds, once there is something to look at."""
        try:
            return look()
        except OutboxError:
            if self._made:
                raise
        with contextlib.suppress(NotKnown):  # the writer makes the tables
            self._writer.do(lambda _: None, 1.0)
            self._made = True
        return look()

    def search(self, query: Query) -> Portion:
        """At most ROWS SMS, newest first; fewer, and where to go on, if it takes long."""
        filters = Filters((query.state,) if query.state else (), query.number, query.sender)
        found, end = Portion((), query.place, {}), time.monotonic() + _SEARCH
        while True:
            more = self.read(
                lambda c: search.search(c, filters, ROWS - len(found.found), found.place)  # noqa: B023
            )
            found = Portion(found.found + more.found, more.place, {**found.to, **more.to})
            if more.place is None or len(found.found) >= ROWS or time.monotonic() > end:
                return found

    def change(self, what: str, id_: int) -> str:
        """Have an SMS tried again (``retry``) or ended (``cancel``): why not, empty if so."""
        keeping = self._keeping()
        changes: dict[str, Callable[[sa.Connection], str]] = {
            "retry": lambda c: transitions.retry(c, id_),
            "cancel": lambda c: transitions.cancel(c, id_, keeping),
        }
        try:
            return self._writer.do(changes[what], PATIENCE)
        except NotKnown:
            raise OutboxError(
                "the outbox does not say whether that was done: look again in a minute"
            ) from None

    def figures(self) -> Figures:
        """Counts and charts, at most some seconds old."""
        with self._lock:
            if self._figures is None or time.monotonic() >= self._stale:
                began, as_of = time.monotonic(), self._ready(self._reader.changes)
                hours, since = self._hours(), self._clock() - HOURS * _AN_HOUR
                complete = all(hour.sent is not None for hour in hours)
                overview, senders = self.read(statistics.overview), self.read(search.senders)
                causes = self.read(lambda c: statistics.causes(c, since))
                self._figures = Figures(overview, hours, causes, senders, complete)
                now = time.monotonic()
                self._stale = now + (now - began) / _SHARE if complete else now
                # While hours are left, the next look counts more of them, though nothing changes.
                self._as_of = as_of if complete else str(began)
            return self._figures

    def close(self) -> None:
        """Close its connections; the outbox stays open."""
        self._reader.close()

    def _hours(self) -> list[Hour]:
        """The last hours, counted from the newest for as long as it may take."""
        now, end = self._clock(), time.monotonic() + _COUNT
        oldest = datetime.fromtimestamp(now - (HOURS - 1) * _AN_HOUR)  # on the clock on the wall
        first = oldest.replace(minute=0, second=0, microsecond=0).timestamp()
        self._over = {at: kept for at, kept in self._over.items() if at >= first}
        hours: list[Hour] = []
        below = self.read(lambda c: statistics.first_try(c, now + _AN_HOUR))
        for each in reversed(range(HOURS)):
            start = first + each * _AN_HOUR
            kept = self._over.get(start)
            if kept is None and time.monotonic() < end:
                kept = self.read(partial(_count, since=start, below=below))
                if start + _AN_HOUR + 60 < now:  # what ended in it is written by now
                    self._over[start] = kept
            below, sent = kept or (below, None)
            hours.insert(0, Hour(start, time.strftime("%H:%M", time.localtime(start)), sent))
        return hours


def _count(connection: sa.Connection, since: float, below: int) -> tuple[int, int]:
    """The first try since *since*, and how many of those from it to *below* were taken."""
    first = statistics.first_try(connection, since, below)
    return first, statistics.sent(connection, first, below)
