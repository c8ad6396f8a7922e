"""Deadlines that hold whatever a peer or a resolver does."""

import contextlib
import heapq
import itertools
import math
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

Address = tuple[Any, ...]
"""One entry of socket.getaddrinfo: family, type, protocol, canonical name, socket address."""


class Watchdog:
    """Runs actions at their time, on one thread that starts with the first of them.

    An action must not block. Times are those of *clock*, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._wakes_at = math.inf
        self._order = itertools.count()
        self._thread: threading.Thread | None = None

    def at(self, when: float, action: Callable[[], None]) -> "Alarm":
        """Run *action* at *when* unless the Alarm is cancelled before."""
        alarm = Alarm(action)
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
                thread.start()  # raises RuntimeError where the host has no thread left
                self._thread = thread
            heapq.heappush(self._alarms, (when, next(self._order), alarm))
            if when < self._wakes_at:
                self._wakes_at = when
                self._changed.notify()
        return alarm

    def _watch(self) -> None:
        while True:
            with self._changed:
                while (left := self._time_left()) > 0:
                    self._changed.wait(None if left == math.inf else left)
                alarm = heapq.heappop(self._alarms)[2]
            alarm.ring()

    def _time_left(self) -> float:
        """Seconds to the next alarm that nobody has cancelled, for ever where there is none.

        Cancelled ones go here, many at a time: to wake for each would cost every call a turn.
        """
        while self._alarms and self._alarms[0][2].cancelled:
            heapq.heappop(self._alarms)
        self._wakes_at = self._alarms[0][0] if self._alarms else math.inf
        return self._wakes_at - self._clock()


class Alarm:
    """One action of a Watchdog; ``rang`` tells whether its time came."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._action: Callable[[], None] | None = action
        self.rang = False

    @property
    def cancelled(self) -> bool:
        """Whether it will not ring (any more)."""
        return self._action is None

    def cancel(self) -> None:
        """After this the action does not run, nor is it still running."""
        with self._lock:
            self._action = None

    def ring(self) -> None:
        with self._lock:
            if self._action is not None:
                self.rang = True
                # One that fails must not end the thread that the others count on.
                with contextlib.suppress(Exception):
                    self._action()
                self._action = None


class Resolver:
    """Name resolution with a time limit, which getaddrinfo has not.

    A lookup that takes too long goes on in its thread, and callers who ask for the same name
    meanwhile wait for that one: a dead name server costs one thread a name.
    """

    def __init__(self, lookup: Callable[..., list[Address]] = socket.getaddrinfo) -> None:
        self._lookup = lookup
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], _Lookup] = {}

    def resolve(self, host: str, port: int, timeout: float) -> list[Address]:
        """The addresses of *host*. Raises OSError; TimeoutError after *timeout* seconds."""
        try:
            return self._lookup(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            pass  # a name
        key = (host, port)
        with self._lock:
            lookup = self._running.get(key)
            if lookup is None:
                lookup = _Lookup()
                threading.Thread(
                    target=self._run, args=(key, lookup), name="resolver", daemon=True
                ).start()  # raises RuntimeError where the host has no thread left
                self._running[key] = lookup
        if not lookup.done.wait(timeout):
            raise TimeoutError
        if lookup.error is not None:
            raise OSError(str(lookup.error)) from lookup.error
        return lookup.addresses

    def _run(self, key: tuple[str, int], lookup: "_Lookup") -> None:
        try:
            lookup.addresses = self._lookup(*key, 0, socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - the caller's to handle, in its own thread
            lookup.error = error
        finally:
            with self._lock:
                del self._running[key]
            lookup.done.set()


class _Lookup:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.addresses: list[Address] = []
        self.error: Exception | None = None
