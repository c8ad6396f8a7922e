"""The run: sends what is left of a list, one after the other, and knows when to stop."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from dialplan_sms.cli.send.journal import End, Entry, Journal, JournalError
from dialplan_sms.cli.send.plan import Item
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.outbox.retry import AT_MOST_ONCE, decide
from dialplan_sms.sms.outcome import Cause, Outcome, Status
from dialplan_sms.sms.sms import Draft, Handled

_AT_ONCE = (
    Cause.UNAUTHORIZED, Cause.CONFIG, Cause.UNKNOWN_SENDER, Cause.OUTBOX, Cause.BUSY,
    Cause.INTERNAL,
)  # fmt: skip
"""Whatever the next row is, it would end the same."""
_IN_A_ROW = {
    Cause.UNREACHABLE: 3, Cause.NO_ANSWER: 3, Cause.BAD_ANSWER: 3,
    Cause.REJECTED: 10, Cause.NOT_QUEUED: 10,
}  # fmt: skip
"""So many with the same cause, one after the other, are the PBX's trouble and not the row's."""
_TICK = 0.1
"""Seconds in which a rest ends after a signal."""

Handle = Callable[[Draft, Callable[[], None]], Handled]


@dataclass(frozen=True, slots=True)
class Todo:
    """One SMS to send in this run: under which key of the outbox, the how manieth time."""

    item: Item
    key: str
    again: int


def end_of(outcome: Outcome, number: str, gone: bool) -> End:
    """What an outcome comes to for one *number*; *gone* is whether its request went out."""
    if outcome.status is Status.QUEUED:
        return End.ACCEPTED
    if outcome.cause is Cause.INTERNAL and gone:
        return End.UNKNOWN
    verdict = decide(outcome, [number], AT_MOST_ONCE, over=True)
    if verdict.sent:
        return End.ACCEPTED
    return End.UNKNOWN if verdict.unknown else End.REFUSED


class Keys:
    """The SMS_KEY of what the outbox keeps: to store it again under its key stores it once."""

    def __init__(self, salt: str, config: Config, sender: Sender, mode: str) -> None:
        place = hashlib.blake2b(f"{config.outbox}\n{sender.name}".encode(), digest_size=4)
        self._prefix = f"list {salt} {place.hexdigest()}"
        self._outbox = bool(config.outbox)
        self._waits = (mode or sender.mode) == "wait"
        self._here = sender.postpone == "here"

    def of(self, item: Item, again: int) -> str:
        """Empty where the PBX gets it without the outbox."""
        kept = not self._waits or (item.sms.postpone is not None and self._here)
        return f"{self._prefix} {item.digest} {again}" if self._outbox and kept else ""


def left(items: Sequence[Item], journal: Journal, keys: Keys, retry_unknown: bool) -> list[Todo]:
    """What to send: first what was never tried, then what was refused, for one bad stretch is not
    to keep a list from going on."""
    new: list[Todo] = []
    tried: list[Todo] = []
    for item in items:
        entry = journal.entries.get(item.digest)
        if entry is None:
            new.append(Todo(item, keys.of(item, 0), 0))
        elif entry.end is End.REFUSED:
            tried.append(Todo(item, keys.of(item, entry.again), entry.again))
        elif entry.end is End.UNKNOWN and (todo := _unknown(item, entry, keys, retry_unknown)):
            tried.append(todo)
    return new + tried


def _unknown(item: Item, entry: Entry, keys: Keys, retry: bool) -> Todo | None:
    key = keys.of(item, entry.again)
    if key and key == entry.key and not (entry.answered and retry):
        return Todo(item, key, entry.again)  # the outbox knows whether it has it
    if retry:
        return Todo(item, keys.of(item, entry.again + 1), entry.again + 1)
    return None


@dataclass(frozen=True, slots=True)
class Told:
    """How one SMS of the list ended."""

    item: Item
    end: End
    outcome: Outcome


class Run:
    """One run over a list. *why* is why it stopped early, empty where it did not."""

    def __init__(
        self,
        journal: Journal,
        pace: float,
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._journal = journal
        self._pace = pace
        self._stopping = stopping
        self._clock = clock
        self._sleep = sleep
        self._free_at: dict[str | None, float] = {}
        self._streak: tuple[Cause, int] = (Cause.NONE, 0)
        self.why = ""

    def over(self, todo: Sequence[Todo], handle: Handle) -> Iterator[Told]:
        """Send them with *handle*; each is told as it ends.

        Ends early where a signal says so, or where to go on would make no sense.
        """
        for each in todo:
            self._rest(each.item.sms.gsm)
            if self._stopping():
                return
            told = self._send(each, handle)
            if told is None:
                return
            yield told
            if self.why:
                return

    def _send(self, todo: Todo, handle: Handle) -> Told | None:
        item, gone = todo.item, False
        before = self._journal.entries.get(item.digest)

        def going_out() -> None:
            nonlocal gone
            if not gone:
                try:
                    self._journal.going_out(item.digest, item.line, todo.key, todo.again)
                except JournalError as error:
                    self.why = str(error)
                    raise
            gone = True

        outcome = handle(replace(item.draft, key=todo.key), going_out).outcome
        if self.why:
            return None  # the journal broke, so it was not sent
        end = end_of(outcome, item.number, gone)
        if end is End.REFUSED and before is not None and before.end is End.UNKNOWN:
            # This time nothing went out; the first time it may have, whatever is asked for now.
            end = End.UNKNOWN if not gone or todo.again == before.again else end
        try:
            self._journal.ended(item.digest, item.line, end, outcome.cause)
        except JournalError as error:
            self.why = str(error)
        if outcome.status is not Status.QUEUED and gone:
            self._free_at[item.sms.gsm] = self._clock() + self._pace
        self.why = self.why or self._pointless(outcome)
        return Told(item, end, outcome)

    def _pointless(self, outcome: Outcome) -> str:
        """Why no further row is to be tried; empty where one is."""
        cause = outcome.cause
        self._streak = (cause, self._streak[1] + 1 if self._streak[0] is cause else 1)
        if cause in _AT_ONCE:
            return f"{cause} would meet all others, too"
        if cause is Cause.DENIED and outcome.reason.startswith("per_sender"):
            return "the limit per_sender is reached"
        if self._streak[1] >= _IN_A_ROW.get(cause, self._streak[1] + 1):
            return f"{cause} {self._streak[1]} times, one after the other"
        return ""

    def _rest(self, gsm: str | None) -> None:
        while not self._stopping():
            wait = self._free_at.get(gsm, 0.0) - self._clock()
            if wait <= 0:
                return
            self._sleep(min(wait, _TICK))
