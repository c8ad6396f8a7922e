"""The one writer of an outbox: what has gathered is committed together (group commit).

A disk takes some milliseconds for a commit, whatever is in it: one that carries all who wait is
many times as quick as one for each. A caller is answered after the commit, never before; until the
commit begins it can withdraw, and knows then that its work certainly was not done.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from math import inf
from typing import Any

import sqlalchemy as sa

from dialplan_sms.outbox import database
from dialplan_sms.outbox.database import OutboxError, explain
from dialplan_sms.outbox.schema import message
from dialplan_sms.outbox.session import LOOK, Session
from dialplan_sms.outbox.work import Ended, T, Work, do

_MOST = 100  # pieces of work that begin a transaction
_COMMIT = (0.5, 30.0)  # seconds that one may wait for who reads an SQLite file: least, most
_GATHER = 0.01  # seconds from the first piece on in which further ones go along
_CONFLICTS = 5  # tries if another host stores the same at the same time
_RECONNECT = 15.0  # seconds to reach the database again if only it knows what it has committed
_ENDLESS = "a commit of the outbox does not end"


class NotKnown(Exception):
    """A commit does not end, or its answer was lost; its text is one line for people."""


class _Withdrawn(Exception):
    """Somebody has withdrawn what the transaction has done."""


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """Work, and the Future of who waits for it, *until* then in monotonic seconds."""

    work: Work[Any]
    future: Future[Any]
    until: float


class Writer:
    """Runs work on the outbox at *url* in one thread and one connection.

    Raises OutboxError for a URL that is none. The database is opened by the first work, and again
    after each failure: it may come and go.
    """

    def __init__(self, url: str) -> None:
        self.engine = database.open_engine(url)
        self._changed = threading.Condition()
        self._pieces: list[_Piece] = []  # in the order in which they came
        self._closed = False
        self._ended = Ended()
        self._thread: threading.Thread | None = None
        self.session = Session(self.engine)
        self._committing = False  # whether the last transaction came as far as its commit

    def submit(self, work: Work[T], patience: float = inf) -> "Future[T]":
        """Have *work* done with the next commit. The Future fails with OutboxError or NotKnown."""
        return self.submit_all([work], patience)[0]

    def submit_all(self, works: Sequence[Work[T]], patience: float = inf) -> "list[Future[T]]":
        """As submit(), with one commit if none of *works* fails."""
        futures: list[Future[T]] = [Future() for _ in works]
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="writer", daemon=True)
                thread.start()  # raises RuntimeError if the host has no thread left
                self._thread = thread
            until = time.monotonic() + patience
            for work, future in zip(works, futures, strict=True):
                self._pieces.append(_Piece(work, future, until))
            self._changed.notify()
        return futures

    def do(self, work: Work[T], patience: float, grace: float = 0.0) -> T:
        """Have *work* done and committed within *patience* seconds.

        Raises OutboxError if it certainly is not, since it was withdrawn in time or has failed;
        NotKnown if its commit has not ended *grace* seconds later, or was cut off.
        """
        return self.result(self.submit(work, patience), patience, grace)

    def result(self, future: "Future[T]", patience: float, grace: float = 0.0) -> T:
        """What submitted work gives; raises as do()."""
        for seconds in (patience, grace):
            try:
                return future.result(seconds)
            except TimeoutError:
                self._withdraw(future, patience)
        raise NotKnown(_ENDLESS)

    async def done(self, work: Work[T], patience: float, grace: float = 0.0) -> T:
        """As do(), on an event loop."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        future = self.submit(work, patience)
        future.add_done_callback(lambda _: self._ended.tell(loop, ended))
        for seconds in (patience, grace):
            late = loop.call_later(seconds, ended.set)
            await ended.wait()
            late.cancel()
            if future.done():
                return future.result()
            self._withdraw(future, patience)
            ended.clear()
        raise NotKnown(_ENDLESS)

    def _withdraw(self, future: "Future[Any]", patience: float) -> None:
        """Take work back if its commit has not begun. Raises OutboxError if so."""
        with self._changed:  # never in the middle of _seal()
            if not future.cancel():
                return
        raise OutboxError(
            f"the outbox did not take it within {patience:.0f} s: is the database locked or out of"
            " reach?"
        )

    def close(self, timeout: float = 5.0) -> None:
        """Finish what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        while left := self._take():
            self._fail(left, OutboxError("the outbox is being closed"))
        self.engine.dispose()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting())
                if not self._waiting():  # what comes from now on starts another thread
                    self.session.close()
                    self._thread = None
                    return
            self._turn()

    def _waiting(self) -> list[_Piece]:
        self._pieces = [each for each in self._pieces if not each.future.cancelled()]
        return self._pieces

    def _take(self) -> list[_Piece]:
        with self._changed:
            waiting = self._waiting()
            self._pieces = waiting[_MOST:]
        return waiting[:_MOST]

    def _turn(self) -> None:
        """One transaction with all that waits."""
        fresh = self.session.is_closed()
        batch: list[_Piece] = []
        try:
            self._transact(batch)
        except _Withdrawn:
            with self._changed:
                self._pieces[:0] = batch
        except Exception as error:  # noqa: BLE001 - the writer lives on, those who wait get it
            if self._committing and not database.is_doubtful(error):
                self._fail(batch, error)
            elif batch:
                self._each_alone(batch, doubtful=self._committing)
            elif fresh and not database.is_locked(error):  # else the next turn may have more luck
                self._fail(self._take(), error)

    def _transact(self, batch: list[_Piece]) -> None:
        """Do *batch*; if it is empty, add to it, and do, what waits. Raises what failed."""
        gathers = not batch
        self._committing = False
        try:
            connection = self.session.open()
            database.wait_at_most(connection, LOOK)
            with connection.begin():
                if connection.dialect.name == "postgresql":  # as BEGIN IMMEDIATE does on SQLite
                    connection.exec_driver_sql(f"LOCK TABLE {message.name} IN ROW EXCLUSIVE MODE")
                results = do(connection, [piece.work for piece in batch])
                # Only now is work taken. What comes while it is done goes along, or it would wait
                # for two commits; not for long, since who was first waits, too.
                until = time.monotonic() + _GATHER
                while gathers and (not batch or time.monotonic() < until):
                    more = self._take()
                    if not more:
                        break
                    batch += more
                    results += do(connection, [piece.work for piece in more])
                self._seal(batch, connection)
                self._committing = True
        except _Withdrawn:
            raise
        except Exception:
            self.session.close()
            raise
        for piece, result in zip(batch, results, strict=True):
            piece.future.set_result(result)

    def _seal(self, batch: list[_Piece], connection: sa.Connection) -> None:
        """Begin the commit: nobody can withdraw now, so it must not wait for long."""
        with self._changed:
            if any(piece.future.cancelled() for piece in batch):
                raise _Withdrawn
            for piece in batch:
                if not piece.future.running():  # it is running if a commit was cut off before
                    piece.future.set_running_or_notify_cancel()
        left = min((piece.until for piece in batch), default=0.0) - time.monotonic()
        database.wait_at_most(connection, min(max(left, _COMMIT[0]), _COMMIT[1]))

    def _each_alone(self, batch: list[_Piece], doubtful: bool) -> None:
        """After a failure, do each piece alone: so a bad one takes no other along.

        *doubtful* is whether all may have been committed already.
        """
        deadline = time.monotonic() + (_RECONNECT if doubtful else 0.0)
        for done, piece in enumerate(batch):
            try:
                self.session.open(deadline)
            except Exception as error:  # noqa: BLE001
                self._fail(batch[done:], error, doubtful)
                return
            self._alone(piece, doubtful)

    def _alone(self, piece: _Piece, doubtful: bool, tries: int = _CONFLICTS) -> None:
        try:
            self._transact([piece])
        except _Withdrawn:
            return
        except Exception as error:  # noqa: BLE001
            if tries > 1 and database.is_conflict(error):
                self._alone(piece, doubtful, tries - 1)
            elif database.is_locked(error) and not piece.future.running():
                with self._changed:
                    self._pieces.insert(0, piece)
            else:
                cut_off = self._committing and database.is_doubtful(error)
                self._fail([piece], error, doubtful or cut_off)

    def _fail(self, batch: list[_Piece], error: Exception, doubtful: bool = False) -> None:
        """Tell those who still wait."""
        why = explain(error, self.engine.url)
        failure = NotKnown(str(why)) if doubtful else why
        for piece in batch:
            with contextlib.suppress(InvalidStateError):  # withdrawn
                piece.future.set_exception(failure)
