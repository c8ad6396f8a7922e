"""Threads that wait in accept(): as many as the calls to carry at once, and some to say BUSY.

A thread blocked in accept() takes a call 0.1 to 0.7 ms earlier than one that is started for it.
They are started as they are needed, and then stay.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

_SPARE = 4
"""Threads beyond the calls to carry, which tell the rest that all are busy."""


class Capacity:
    """How many calls are under way, of how many at most; all doors of a service share one."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self._changed = threading.Condition()
        self._began: dict[int, float] = {}

    @contextlib.contextmanager
    def call(self) -> Iterator[bool]:
        """Count one call while it lasts; False where it is one too many."""
        me = threading.get_ident()
        with self._changed:
            fits = len(self._began) < self.most
            if fits:
                self._began[me] = self._clock()
        try:
            yield fits
        finally:
            with self._changed:
                if self._began.pop(me, None) is not None and not self._began:
                    self._changed.notify_all()

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return len(self._began)

    @property
    def oldest(self) -> float:
        """Seconds since the oldest call under way began; 0 where there is none."""
        with self._changed:
            return self._clock() - min(self._began.values()) if self._began else 0.0

    def drain(self, timeout: float) -> bool:
        """Wait for the calls under way to end; whether they did."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._began, timeout)


Finish = Callable[[], None]
Serve = Callable[[socket.socket, Any, bool], Finish | None]
"""Serves one connection from an address and closes nothing; False: it is one too many.

What it returns is done once the connection is closed, so that the peer need not wait for it.
"""


class Acceptors:
    """The threads of one listening socket."""

    def __init__(self, listener: socket.socket, serve: Serve, capacity: Capacity) -> None:
        self._listener = listener
        self._serve = serve
        self._capacity = capacity
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._stopping = False
        self._add()

    def stop(self) -> None:
        """Take no further connection; those that are open go on."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() does not
        self._listener.close()

    def _add(self) -> None:
        with self._lock:
            if self._idle > 0 or self._threads >= self._capacity.most + _SPARE:
                return
            self._threads += 1
            self._idle += 1
        try:
            threading.Thread(target=self._run, name="acceptor", daemon=True).start()
        except RuntimeError:  # the host has no thread left: those that there are must do
            with self._lock:
                self._threads -= 1
                self._idle -= 1

    def _run(self) -> None:
        while not self._stopping:
            try:
                connection, address = self._listener.accept()
            except OSError:
                if self._stopping:
                    break
                time.sleep(0.1)  # no file descriptor left: wait for calls to end
                continue
            with self._lock:
                self._idle -= 1
            self._add()
            # What breaks in one call is that call's alone; the thread goes on.
            with contextlib.suppress(Exception), self._capacity.call() as fits:
                with connection:
                    finish = self._serve(connection, address, fits)
                if finish is not None:
                    finish()
            with self._lock:
                self._idle += 1
