"""Deadlines that hold whatever a peer does."""

import contextlib
import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable


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
                thread.start()  # raises RuntimeError if the host has no thread left
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
        """Seconds to the next alarm that nobody has cancelled, for ever if there is none.

        Cancelled ones go here, many at a time: to wake for each would cost every call a turn.
        """
        while self._alarms and self._alarms[0][2].cancelled:
            heapq.heappop(self._alarms)
        self._wakes_at = self._alarms[0][0] if self._alarms else math.inf
        return self._wakes_at - self._clock()


class Alarm:
    """One action of a Watchdog."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._action: Callable[[], None] | None = action

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
                # One that fails must not end the thread that the others count on.
                with contextlib.suppress(Exception):
                    self._action()
                self._action = None
