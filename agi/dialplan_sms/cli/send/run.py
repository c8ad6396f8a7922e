"""The run: sends what is left of a list, one after the other, and knows when to stop."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from dialplan_sms.cli.send.journal import Journal, JournalEntry, JournalError
from dialplan_sms.cli.send.listfile import Result, RowResult
from dialplan_sms.cli.send.plan import Item
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.outbox.retry import AT_MOST_ONCE, decide
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, Status, safe_line
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
"""Sends one SMS; calls the second argument just before that can have an effect."""
KeyOf = Callable[[Item, int], str]
"""The SMS_KEY of an SMS that was sent again so often; empty if the outbox does not keep it."""


@dataclass(frozen=True, slots=True)
class Todo:
    """One SMS to send in this run. *key* and *resends* are those of its JournalEntry."""

    item: Item
    key: str
    resends: int


def keys(salt: str, config: Config, sender: Sender, mode: str) -> KeyOf:
    """The keys of what the outbox keeps: to store an SMS again under its key stores it once."""
    place = hashlib.blake2b(f"{config.outbox}\n{sender.name}".encode(), digest_size=4).hexdigest()

    def key_of(item: Item, resends: int) -> str:
        later = item.sms.postpone is not None and sender.postpone == "here"
        if config.outbox and (mode != "wait" or later):
            return f"list {salt} {place} {item.digest} {resends}"
        return ""

    return key_of


def remaining(
    items: Sequence[Item], journal: Journal, key_of: KeyOf, retry_unknown: bool
) -> list[Todo]:
    """What to send: first what was never tried, for one bad stretch must not stop a list."""
    new: list[Todo] = []
    again: list[Todo] = []
    for item in items:
        entry = journal.entries.get(item.digest)
        if entry is None:
            new.append(Todo(item, key_of(item, 0), 0))
        elif entry.result is not Result.ACCEPTED:
            again += _again(item, entry, key_of, retry_unknown)
    return new + again


def _again(item: Item, entry: JournalEntry, key_of: KeyOf, retry_unknown: bool) -> list[Todo]:
    key = key_of(item, entry.resends)
    # Under the same key the outbox knows whether it has it.
    is_stored_once = key and key == entry.key and not (entry.answered and retry_unknown)
    if entry.result is Result.REFUSED or is_stored_once:
        return [Todo(item, key, entry.resends)]
    if retry_unknown:
        return [Todo(item, key_of(item, entry.resends + 1), entry.resends + 1)]
    return []


class Run:
    """One run over a list.

    *stopped* is why it ended early, empty if it did not; *failed* are those that were not accepted,
    *queued* is how many are in the outbox.
    """

    def __init__(self, journal: Journal, pace: float, interrupted: Callable[[], bool]) -> None:
        self._journal = journal
        self._pace = pace
        self._interrupted = interrupted
        self._free_at: dict[str | None, float] = {}
        self._streak: tuple[Cause, int] = (Cause.NONE, 0)
        self.stopped = ""
        self.failed: list[RowResult] = []
        self.queued = 0

    def over(self, todo: Sequence[Todo], handle: Handle) -> Iterator[RowResult]:
        """Send them with *handle*, and say how each ended.

        Ends early if a signal says so, or if to go on would make no sense.
        """
        for each in todo:
            self._rest(each.item.sms.gsm)
            if self._interrupted():
                return
            row = self._send(each, handle)
            if row is not None:
                yield row
            if self.stopped:
                return

    def _send(self, todo: Todo, handle: Handle) -> RowResult | None:
        item, gone = todo.item, False
        before = self._journal.entries.get(item.digest)

        def going_out() -> None:
            nonlocal gone
            if not gone:
                try:
                    self._journal.going_out(item.digest, item.line, todo.key, todo.resends)
                except JournalError as error:
                    self.stopped = str(error)
                    raise Refused(Cause.INTERNAL, self.stopped) from None
            gone = True

        outcome = handle(replace(item.draft, key=todo.key), going_out).outcome
        if self.stopped:
            return None  # the journal broke, so it was not sent
        result = _result(outcome, item.number, gone)
        if result is Result.REFUSED and before is not None and before.result is Result.UNKNOWN:
            # This time nothing went out; the first time it may have, whatever is asked for now.
            is_new = gone and todo.resends != before.resends
            result = result if is_new else Result.UNKNOWN
        try:
            self._journal.ended(item.digest, item.line, result, outcome.cause)
        except JournalError as error:
            self.stopped = str(error)
        if outcome.status is not Status.QUEUED and gone:
            self._free_at[item.sms.gsm] = time.monotonic() + self._pace
        self.stopped = self.stopped or self._pointless(outcome)
        reason = safe_line(outcome.reason)
        row = item.row(result, outcome.cause, reason, status=outcome.status, id=outcome.id)
        self.queued += outcome.status is Status.QUEUED
        self.failed += [] if result is Result.ACCEPTED else [row]
        return row

    def _pointless(self, outcome: Outcome) -> str:
        """Why no further row is to be tried; empty if one is."""
        cause = outcome.cause
        self._streak = (cause, self._streak[1] + 1 if self._streak[0] is cause else 1)
        if cause in _AT_ONCE:
            return f"{cause} would meet all others, too"
        if cause is Cause.DENIED and outcome.reason.startswith("per_sender"):
            return "the limit per_sender is reached"
        if self._streak[1] == _IN_A_ROW.get(cause):
            return f"{cause} {self._streak[1]} times, one after the other"
        return ""

    def _rest(self, gsm: str | None) -> None:
        while not self._interrupted():
            wait = self._free_at.get(gsm, 0.0) - time.monotonic()
            if wait <= 0:
                return
            time.sleep(min(wait, _TICK))


def _result(outcome: Outcome, number: str, gone: bool) -> Result:
    """What an outcome comes to for one *number*; *gone* is whether its request went out."""
    if outcome.status is Status.QUEUED:
        return Result.ACCEPTED
    if outcome.cause is Cause.INTERNAL and gone:
        return Result.UNKNOWN
    verdict = decide(outcome, [number], AT_MOST_ONCE, over=True)
    if verdict.sent:
        return Result.ACCEPTED
    return Result.UNKNOWN if verdict.unknown else Result.REFUSED
