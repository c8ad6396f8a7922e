"""The history of what was sent at once: no call waits for it, so it is written in heaps."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from dialplan_sms.outbox.retry import Verdict
from dialplan_sms.outbox.schema import State, attempt, message, now, number
from dialplan_sms.outbox.statements import Entry
from dialplan_sms.outbox.waiting import Work
from dialplan_sms.outbox.writer import Writer
from dialplan_sms.sms.outcome import Outcome

_EVERY = 0.5
"""Seconds for which records gather: alone, each would cost its call a third of all it costs."""
_AT_ONCE = 50
"""Records in a commit: a call that stores an SMS meanwhile waits for no more than these."""
_MOST = 10_000
"""Records that wait for a database which is away; later ones are not kept."""


@dataclass(frozen=True, slots=True)
class Record:
    """An SMS that has been sent, or not, at *at* on the monotonic clock."""

    entry: Entry
    outcome: Outcome
    verdict: Verdict
    at: float


class Recorder:
    """Writes records through *writer*; *failed* is told what is wrong, "" when all is well."""

    def __init__(self, writer: Writer, failed: Callable[[str], None]) -> None:
        self._writer = writer
        self._failed = failed
        self._waiting: deque[Record] = deque()
        self._again: deque[Work[None]] = deque(maxlen=_MOST)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def add(self, record: Record) -> None:
        """Have it written soon. Never raises."""
        if len(self._waiting) < _MOST:
            self._waiting.append(record)
        self._begin()

    def _begin(self) -> None:
        if self._thread is None:
            with self._lock, suppress(RuntimeError):  # no thread left: the next one tries again
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="recorder", daemon=True)
                    thread.start()
                    self._thread = thread

    def at_once(self, work: Work[None]) -> None:
        """Have *work* done with the next commit, or with a later one where that fails."""

        def ended(done: "Future[None]") -> None:
            if done.exception() is not None:
                self._again.append(work)
                self._begin()

        with suppress(RuntimeError):  # no thread left: the call goes on
            self._writer.submit(work).add_done_callback(ended)

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, and end."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        while self._again:
            work = self._again.popleft()
            try:
                self._writer.submit(work).result(60.0)
            except Exception as failure:  # noqa: BLE001
                self._again.appendleft(work)
                self._failed(str(failure))
                return
        while self._waiting:
            records = [self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_ONCE))]
            future: Future[None] = self._writer.submit(partial(_write, records))
            try:
                future.result(60.0)
            except Exception as failure:  # noqa: BLE001 - a history that breaks stops no SMS
                self._waiting.extendleft(reversed(records))
                self._failed(str(failure))
                return
            self._failed("")


def _write(records: list[Record], connection: sa.Connection) -> None:
    """Write *records* with as few statements as there are tables, those that are not yet."""
    at = float(connection.scalar(sa.select(now())) or 0.0)
    tokens = [record.entry.token for record in records]
    by_token = sa.select(message.c.token, message.c.id).where(message.c.token.in_(tokens))
    stored = {row.token for row in connection.execute(by_token)}
    records = [record for record in records if record.entry.token not in stored]
    if not records:
        return
    since = at - time.monotonic()
    rows = []
    for record in records:
        entry, when = record.entry, since + record.at
        rows.append(
            {"created": when, "due": when, "ended": at, "state": _state(record.verdict),
             "mode": entry.mode, "priority": entry.priority, "sender": entry.sender,
             "gsm": entry.gsm, "chars": entry.chars, "postpone": entry.postpone,
             "call": entry.call, "caller": entry.caller, "token": entry.token,
             "fingerprint": entry.fingerprint, "attempts": 1, "cause": record.outcome.cause,
             "reason": record.outcome.reason[:1000]}
        )  # fmt: skip
    connection.execute(message.insert(), rows)
    ids = {row.token: row.id for row in connection.execute(by_token)}
    numbers, attempts = [], []
    for record in records:
        id_, when = ids[record.entry.token], since + record.at
        for state, those in _states(record.verdict):
            numbers += [
                {"message_id": id_, "number": each, "state": state, "created": when}
                for each in those
            ]
        attempts.append(
            {"message_id": id_, "at": when, "numbers": len(record.entry.numbers),
             "status": record.outcome.status, "cause": record.outcome.cause,
             "reason": record.outcome.reason[:1000]}
        )  # fmt: skip
    connection.execute(number.insert(), numbers)
    connection.execute(attempt.insert(), attempts)


def _states(verdict: Verdict) -> list[tuple[State, tuple[str, ...]]]:
    return [
        (State.UNKNOWN, verdict.unknown), (State.FAILED, verdict.failed),
        (State.SENT, verdict.sent),
    ]  # fmt: skip


def _state(verdict: Verdict) -> State:
    """The worst of its numbers'."""
    return next((state for state, those in _states(verdict) if those), State.UNKNOWN)
