"""The one writer of an outbox: what has gathered is committed together (group commit).

A disk takes some milliseconds for a commit, whatever is in it: one that carries all who wait is
many times as quick as one for each. A caller is answered after the commit, never before; until the
commit begins it can withdraw, and knows then that its work certainly was not done.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from math import inf
from typing import Any, TypeVar

import sqlalchemy as sa

from dialplan_sms.outbox.database import (
    OutboxError,
    explain,
    is_another_file,
    is_conflict,
    is_doubtful,
    is_locked,
    make_private,
    open_engine,
    wait_at_most,
)
from dialplan_sms.outbox.queue import Piece, Queue, Withdrawn, Work
from dialplan_sms.outbox.schema import message, prepare

T = TypeVar("T")

_MOST = 100
"""Pieces of work that begin a transaction."""
_LOOK = 0.5
"""Seconds to wait for a locked SQLite file until it is seen who still waits."""
_COMMIT = (0.5, 30.0)
"""Seconds that a commit may wait for those who read an SQLite file: at least, at most."""
_GATHER = 0.01
"""Seconds from the first piece of a transaction on in which further ones go along."""
_CONFLICTS = 5
"""Tries if another host stores the same at the same time: by the next try it has done so."""
_RECONNECT = 15.0
"""Seconds to try to reach the database again if only it knows whether it has committed."""


class NotKnown(Exception):
    """A commit does not end, or its answer was lost; its text is one line for people."""


class Writer:
    """Runs work on the outbox at *url* in one thread and one connection.

    Raises OutboxError for a URL that is none. The database is opened by the first work, and again
    after each failure: it may come and go.
    """

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self.secret = ""
        self._queue = Queue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection: sa.Connection | None = None

    def submit(self, work: Work[T], patience: float = inf) -> "Future[T]":
        """Have *work* done with the next commit. The Future fails with OutboxError or NotKnown."""
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="writer", daemon=True)
                future = self._queue.add(work, patience)
                try:
                    thread.start()
                except RuntimeError:  # the host has no thread left
                    self._queue.withdraw(future)
                    raise
                self._thread = thread
                return future
            return self._queue.add(work, patience)

    def do(self, work: Work[T], patience: float, grace: float = 0.0) -> T:
        """Have *work* done and committed within *patience* seconds.

        Raises OutboxError if it certainly is not, since it was withdrawn in time or has failed;
        NotKnown if its commit has not ended *grace* seconds later, or was cut off.
        """
        future = self.submit(work, patience)
        try:
            return future.result(patience)
        except FutureTimeout:
            if self._queue.withdraw(future):
                raise OutboxError(
                    f"the outbox did not take it within {patience:.0f} s: is the database locked or"
                    " out of reach?"
                ) from None
        except CancelledError:
            raise OutboxError("the outbox is being closed") from None
        try:
            return future.result(grace)
        except FutureTimeout:
            raise NotKnown("a commit of the outbox does not end") from None

    def close(self, timeout: float = 5.0) -> None:
        """Finish what waits, and end."""
        self._queue.close()
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        while left := self._queue.take(_MOST):
            self._fail(left, OutboxError("the outbox is being closed"))
        self.engine.dispose()

    def _run(self) -> None:
        while True:
            while self._queue.any():
                self._turn()
            with self._starting:  # what comes from now on starts another one
                if not self._queue.any():
                    self._disconnect()
                    self._thread = None
                    return

    def _turn(self) -> None:
        """One transaction with all that waits."""
        if self._connection is not None and is_another_file(self._connection):
            self._disconnect()
        fresh = self._connection is None
        batch: list[Piece] = []
        error, committing = self._transact(batch, lambda: self._queue.take(_MOST))
        if error is None:
            return
        if isinstance(error, Withdrawn):
            self._queue.put_back(batch)
        elif committing and not is_doubtful(error):
            self._fail(batch, explain(error, self.engine.url))
        elif batch:
            self._each_alone(batch, doubtful=committing)
        elif fresh and not is_locked(error):  # else the next turn may have more luck
            self._fail(self._queue.take(_MOST), explain(error, self.engine.url))

    def _transact(
        self, batch: list[Piece], take: Callable[[], list[Piece]]
    ) -> tuple[Exception | None, bool]:
        """Do what *take* gives, and add it to *batch*; what failed, and if that was the commit."""
        results: list[Any] = []
        committing = False
        try:
            connection = self._connect()
            wait_at_most(connection, _LOOK)
            with connection.begin():
                _lock(connection)
                # Only now is work taken. What comes while it is done goes along, or it would wait
                # for two commits; not for long, since who was first waits, too.
                until = time.monotonic() + _GATHER
                while (not batch or time.monotonic() < until) and (more := take()):
                    batch += more
                    results += [piece.work(connection) for piece in more]
                self._seal(batch, connection)
                committing = True
        except Withdrawn as withdrawn:
            return withdrawn, False
        except Exception as error:  # noqa: BLE001 - the writer lives on, those who wait get it
            self._disconnect()
            return error, committing
        for piece, result in zip(batch, results, strict=True):
            piece.future.set_result(result)
        return None, committing

    def _seal(self, batch: list[Piece], connection: sa.Connection) -> None:
        """Begin the commit: nobody can withdraw now, so it must not wait for long."""
        least, most = _COMMIT
        wait_at_most(connection, min(max(self._queue.seal(batch), least), most))

    def _each_alone(self, batch: list[Piece], doubtful: bool) -> None:
        """After a failure: do each piece alone, so that a bad one takes no other along.

        *doubtful* is whether all may have been committed: they are only not known to be, then,
        if the database is out of reach.
        """
        deadline = time.monotonic() + (_RECONNECT if doubtful else 0.0)
        for done, piece in enumerate(batch):
            try:
                self._reconnect(deadline)
            except Exception as error:  # noqa: BLE001
                failure = explain(error, self.engine.url)
                self._fail(batch[done:], NotKnown(str(failure)) if doubtful else failure)
                return
            self._alone(piece, doubtful)

    def _alone(self, piece: Piece, doubtful: bool) -> None:
        for left in reversed(range(_CONFLICTS)):
            once = iter([[piece]])
            error, committing = self._transact([], lambda: next(once, []))  # noqa: B023
            if error is None or isinstance(error, Withdrawn):
                return
            if not (left and is_conflict(error)):
                break
        assert error is not None  # noqa: S101 - for the type checker
        if is_locked(error) and not piece.future.running():
            self._queue.put_back([piece])
            return
        failure = explain(error, self.engine.url)
        unknown = doubtful or (committing and is_doubtful(error))
        self._fail([piece], NotKnown(str(failure)) if unknown else failure)

    def _fail(self, batch: list[Piece], failure: Exception) -> None:
        for piece in batch:
            piece.fail(failure)

    def _reconnect(self, deadline: float) -> sa.Connection:
        while True:
            try:
                return self._connect()
            except Exception:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(0.2)

    def _connect(self) -> sa.Connection:
        if self._connection is None:
            with contextlib.suppress(OSError):  # SQLite says better what is wrong
                make_private(self.engine.url)
            connection = self.engine.connect()
            wait_at_most(connection, _LOOK)
            try:
                with connection.begin():
                    self.secret = prepare(connection)
            except BaseException:
                connection.invalidate()
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.invalidate()
            with contextlib.suppress(Exception):
                connection.close()


def _lock(connection: sa.Connection) -> None:
    """Wait for the right to write, at the beginning of a transaction."""
    if connection.dialect.name == "postgresql":  # SQLite's BEGIN IMMEDIATE has it already
        connection.exec_driver_sql(f"LOCK TABLE {message.name} IN ROW EXCLUSIVE MODE")
