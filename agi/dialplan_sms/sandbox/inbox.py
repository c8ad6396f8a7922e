"""What arrived and what was taken, apart: one is not the other where things go wrong."""

from collections import deque
from threading import Condition
from typing import Generic, TypeVar

R = TypeVar("R")
M = TypeVar("M")


class Inbox(Generic[R, M]):
    """Every request that arrived and every message that was taken. Threads may share it.

    Only the last *most* of each where it is given: a server that runs for weeks needs a bound.
    """

    def __init__(self, most: int | None = None) -> None:
        self._changed = Condition()
        self._requests: deque[R] = deque(maxlen=most)
        self._messages: deque[M] = deque(maxlen=most)

    def receive(self, request: R) -> None:
        """Keep a request that arrived completely, whatever becomes of it."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def take(self, message: M) -> None:
        """Keep a message that was taken."""
        with self._changed:
            self._messages.append(message)
            self._changed.notify_all()

    @property
    def requests(self) -> list[R]:
        """The requests so far, oldest first; a copy."""
        with self._changed:
            return list(self._requests)

    @property
    def messages(self) -> list[M]:
        """The messages so far, oldest first; a copy."""
        with self._changed:
            return list(self._messages)

    def clear(self) -> None:
        """Forget them all."""
        with self._changed:
            self._requests.clear()
            self._messages.clear()

    def wait(self, *, requests: int = 0, messages: int = 0, timeout: float = 20.0) -> None:
        """Wait until so many have come; raises TimeoutError after *timeout* seconds."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: len(self._requests) >= requests and len(self._messages) >= messages, timeout
            ):
                raise TimeoutError(
                    f"{len(self._requests)} of {requests} requests and {len(self._messages)} of "
                    f"{messages} messages came within {timeout} s"
                )
