"""The one writer of an outbox: what has gathered is committed together (group commit).

A disk takes some milliseconds for a commit, whatever is in it: one that carries all who wait is
many times as quick as one for each. Who waits is answered after the commit, never before.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

import sqlalchemy as sa

from dialplan_sms.database import (
    OutboxError,
    explain,
    is_conflict,
    is_doubtful,
    lock,
    make_private,
    open_engine,
    prepare,
)

T = TypeVar("T")
Work = Callable[[sa.Connection], T]
"""Statements of one transaction; may be run again where that failed, so it does nothing else, and
finds out by itself whether it was committed before (the connection may break in the commit)."""

_Waiting = tuple[Work[Any], Future[Any]]

_MOST = 500
"""Pieces of work in one transaction."""
_GATHER = 0.01
"""Seconds from the first piece of a transaction on in which further ones go along."""
_CONFLICTS = 5
"""Tries where another host stores the same at the same time: it has done so at the next."""
_RECONNECT = 15.0
"""Seconds to try to reach the database again where only it knows whether it has committed."""


class NotKnown(Exception):
    """The commit does not end, or its answer was lost: nobody can know yet."""


class Writer:
    """Runs work on the outbox at *url* in one thread and one connection.

    Raises OutboxError for a URL that is none. The database is opened by the first work, and again
    after each failure, so that it may come and go.
    """

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self.secret = ""
        self.opened = 0  # how often: another database may be there each time
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._thread: threading.Thread | None = None
        self._connection: sa.Connection | None = None
        self._stopping = False

    def submit(self, work: Work[T]) -> "Future[T]":
        """Have *work* done with the next commit. The Future fails with OutboxError or NotKnown."""
        future: Future[T] = Future()
        with self._changed:
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._run, name="writer", daemon=True)
                thread.start()  # raises RuntimeError where the host has no thread left
                self._thread = thread
            self._waiting.append((work, future))
            self._changed.notify()
        return future

    def do(self, work: Work[T], patience: float, grace: float = 0.0) -> T:
        """Have *work* done and committed within *patience* seconds.

        Raises OutboxError where it certainly is not, since it was withdrawn in time or has failed;
        NotKnown where its commit has not ended *grace* seconds later, or was cut off.
        """
        future = self.submit(work)
        try:
            return future.result(patience)
        except FutureTimeout:
            if future.cancel():
                raise OutboxError(
                    f"the outbox did not take it within {patience:.0f} s: is the database locked or"
                    " out of reach?"
                ) from None
        except CancelledError:
            raise OutboxError("the outbox is being closed") from None
        try:
            return future.result(grace)
        except FutureTimeout:
            raise NotKnown from None

    def close(self, timeout: float = 5.0) -> None:
        """Finish what waits, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        self._fail(self._take(), OutboxError("the outbox is being closed"))
        self.engine.dispose()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait()
                if not self._waiting:
                    break
            self._turn()
        self._disconnect()

    def _turn(self) -> None:
        """One transaction with all that waits."""
        fresh = self._connection is None
        batch: list[_Waiting] = []
        results: list[Any] = []
        try:
            connection = self._connect()
            with connection.begin():
                lock(connection)
                # Only now is work taken: until then, who waits can withdraw it. What comes while it
                # is done goes along, or it would wait for two commits; not for long, since who was
                # first waits, too.
                until = time.monotonic() + _GATHER
                while (not batch or time.monotonic() < until) and (more := self._take()):
                    batch += more
                    results += [work(connection) for work, _ in more]
        except Exception as error:  # noqa: BLE001 - the writer lives on, those who wait are told
            self._disconnect()
            if batch:
                self._each_alone(batch, doubtful=len(results) == len(batch) and is_doubtful(error))
            elif fresh:  # else the connection had gone stale, which the next turn's has not
                self._fail(self._take(), explain(error, self.engine.url))
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)

    def _each_alone(self, batch: list[_Waiting], doubtful: bool) -> None:
        """After a failure: one that is bad takes no other along.

        *doubtful* is whether all may have been committed: they are only not known to be, then,
        where the database is out of reach.
        """
        deadline = time.monotonic() + (_RECONNECT if doubtful else 0.0)
        for done, (work, future) in enumerate(batch):
            try:
                self._reconnect(deadline)
            except Exception as error:  # noqa: BLE001
                failure = explain(error, self.engine.url)
                self._fail(batch[done:], NotKnown(str(failure)) if doubtful else failure)
                return
            self._alone(work, future, doubtful)

    def _alone(self, work: Work[Any], future: Future[Any], doubtful: bool) -> None:
        for left in reversed(range(_CONFLICTS)):
            committing = False
            try:
                connection = self._connect()
                with connection.begin():
                    result = work(connection)
                    committing = True
            except Exception as error:  # noqa: BLE001
                self._disconnect()
                if left and is_conflict(error):
                    continue
                failure = explain(error, self.engine.url)
                unknown = doubtful or (committing and is_doubtful(error))
                future.set_exception(NotKnown(str(failure)) if unknown else failure)
            else:
                future.set_result(result)
            return

    def _fail(self, batch: list[_Waiting], failure: Exception) -> None:
        for _, future in batch:
            future.set_exception(failure)

    def _reconnect(self, deadline: float) -> sa.Connection:
        while True:
            try:
                return self._connect()
            except Exception:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(0.2)

    def _take(self) -> list[_Waiting]:
        with self._changed:
            taken, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        return [each for each in taken if each[1].set_running_or_notify_cancel()]

    def _connect(self) -> sa.Connection:
        if self._connection is None:
            with contextlib.suppress(OSError):  # SQLite says better what is wrong
                make_private(self.engine.url)
            connection = self.engine.connect()
            try:
                with connection.begin():
                    self.secret = prepare(connection)
            except BaseException:
                connection.invalidate()
                connection.close()
                raise
            self._connection = connection
            self.opened += 1
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.invalidate()
            with contextlib.suppress(Exception):
                connection.close()
