"""Work that waits for the writer of an outbox, until its commit begins."""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Work = Callable[[sa.Connection], T]
"""Statements of one transaction; may be run again if that failed, so it does nothing else, and
finds out by itself whether it was committed before (the connection may break in the commit)."""


class Withdrawn(Exception):
    """Somebody has withdrawn what the transaction has done."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Work, and the Future of who waits for it, *until* then in monotonic seconds."""

    work: Work[Any]
    future: Future[Any]
    until: float

    def fail(self, failure: Exception) -> None:
        """Tell who still waits."""
        with contextlib.suppress(InvalidStateError):  # withdrawn
            self.future.set_exception(failure)


class Queue:
    """Pieces in the order in which they came. Who waits for one can withdraw it until seal()."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pieces: list[Piece] = []
        self._closed = False

    def add(self, work: Work[T], patience: float) -> "Future[T]":
        """Have *work* wait for *patience* seconds."""
        future: Future[T] = Future()
        with self._changed:
            self._pieces.append(Piece(work, future, time.monotonic() + patience))
            self._changed.notify()
        return future

    def withdraw(self, future: "Future[Any]") -> bool:
        """Whether it is certain now that its work is not done."""
        with self._changed:  # never in the middle of seal()
            return future.cancel()

    def any(self) -> bool:
        """Wait for work; False if there is none and close() was called."""
        with self._changed:
            while not self._left() and not self._closed:
                self._changed.wait()
            return bool(self._pieces)

    def take(self, most: int) -> list[Piece]:
        """At most *most* of them, the first."""
        with self._changed:
            taken, self._pieces = self._left()[:most], self._pieces[most:]
        return taken

    def put_back(self, batch: list[Piece]) -> None:
        """Have *batch* come first."""
        with self._changed:
            self._pieces[:0] = batch

    def seal(self, batch: list[Piece]) -> float:
        """From here on none of *batch* can be withdrawn; how long all of them wait, in seconds.

        Raises Withdrawn if one was.
        """
        with self._changed:
            if any(piece.future.cancelled() for piece in batch):
                raise Withdrawn
            for piece in batch:
                if not piece.future.running():  # it is running if a commit was cut off before
                    piece.future.set_running_or_notify_cancel()
        return min((piece.until for piece in batch), default=0.0) - time.monotonic()

    def close(self) -> None:
        """Take nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _left(self) -> list[Piece]:
        self._pieces = [each for each in self._pieces if not each.future.cancelled()]
        return self._pieces
