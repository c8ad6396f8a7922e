"""The history of what calls sent themselves, written in batches."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from dialplan_sms.outbox.retry import Verdict
from dialplan_sms.outbox.schema import Row, attempt, message, now, number
from dialplan_sms.outbox.transitions import numbers_in, of_all, why
from dialplan_sms.outbox.work import Work
from dialplan_sms.outbox.writer import Writer
from dialplan_sms.sms.outcome import Outcome

_EVERY = 0.5  # seconds for which records gather: alone, each costs a third of what a call does
_AT_ONCE = 50  # records in a commit: a call that stores an SMS meanwhile waits for no more
_MOST = 10_000  # records that wait for a database which is away; later ones are not kept


@dataclass(frozen=True, slots=True)
class Record:
    """An SMS that a call has sent, or not, at *at* on the monotonic clock."""

    row: Row
    outcome: Outcome
    verdict: Verdict
    at: float


class Recorder:
    """Writes records through *writer*, in batches: no call waits for its history."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._records: deque[Record] = deque()
        self._again: deque[Work[None]] = deque(maxlen=_MOST)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def add(self, record: Record) -> None:
        """Have it written soon. Never raises."""
        if len(self._records) < _MOST:
            self._records.append(record)
        self._begin()

    def at_once(self, work: Work[None]) -> None:
        """Have *work* done with the next commit, or with a later one if that fails."""

        def ended(done: "Future[None]") -> None:
            if done.exception() is not None:
                self._again.append(work)
                self._begin()

        with suppress(RuntimeError):  # no thread left: the call goes on
            self._writer.submit(work).add_done_callback(ended)

    def close(self, timeout: float = 5.0) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _begin(self) -> None:
        with self._lock, suppress(RuntimeError):  # no thread left: the next one tries again
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="recorder", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        while self._again or self._records:
            if self._again:
                work = self._again.popleft()
            else:
                count = min(len(self._records), _AT_ONCE)
                work = partial(_write, batch=[self._records.popleft() for _ in range(count)])
            try:
                self._writer.submit(work).result(60.0)
            except Exception:  # noqa: BLE001 - a history that breaks stops no SMS
                self._again.appendleft(work)
                return


def _write(connection: sa.Connection, batch: Sequence[Record]) -> None:
    """Store those of *batch* that are not yet, with as few statements as there are tables."""
    at = float(connection.scalar(sa.select(now())) or 0.0)
    since = at - time.monotonic()
    these = message.c.token.in_([each.row["token"] for each in batch])
    by_token = sa.select(message.c.token, message.c.id).where(these)
    stored = {found.token for found in connection.execute(by_token)}
    new = [each for each in batch if each.row["token"] not in stored]
    if not new:
        return
    rows = [
        {**each.row, "created": since + each.at, "due": since + each.at, "ended": at,
         "state": of_all({state for _, state in numbers_in(each.verdict)}), "attempts": 1,
         **why(each.outcome)}
        for each in new
    ]  # fmt: skip
    connection.execute(message.insert(), rows)
    ids = {found.token: found.id for found in connection.execute(by_token)}
    numbers, attempts = [], []
    for each in new:
        id_, when = ids[each.row["token"]], since + each.at
        mine = [
            {"message_id": id_, "number": to, "state": state, "created": when}
            for to, state in numbers_in(each.verdict)
        ]  # fmt: skip
        numbers += mine
        attempts.append(
            {"message_id": id_, "at": when, "numbers": len(mine), "status": each.outcome.status,
             "via": each.outcome.via, **why(each.outcome)}
        )  # fmt: skip
    connection.execute(number.insert(), numbers)
    connection.execute(attempt.insert(), attempts)
