"""Threads that wait in accept(): as many as the calls to carry at once, and some to say BUSY.

A thread blocked in accept() takes a call 0.1 to 0.7 ms earlier than one that is started for it.
They are started as they are needed, and some then stay: the kernel sets a file descriptor aside
for each that waits.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from dialplan_sms.agi.visit import Visit
from dialplan_sms.host.shortage import shortage
from dialplan_sms.sms.log import Repeated

SPARE = 4
"""Threads beyond the calls to carry, which tell the rest that all are busy."""
_WAITING = 8
"""Threads that wait for the next connection, and do not end after a call."""
_PAUSE = 0.1
"""Seconds to wait for what is short."""
_FULL = "the service carries as many calls as max_calls in sms.conf allows"


class Closed(Exception):
    """The service has ended, as far as calls go."""


class Capacity:
    """How many calls are under way, of how many at most; the doors of a service share one."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.reserve = max(1, most // 4)
        """As many more have room that come from this host's own user: see HandOver."""
        self._clock = clock
        self._changed = threading.Condition()
        self._began: dict[int, float] = {}
        self._closed = False

    @contextlib.contextmanager
    def call(self, reserve: bool = False) -> Iterator[bool]:
        """Count one call while it lasts; False where it is one too many. Raises Closed."""
        me = threading.get_ident()
        with self._changed:
            if self._closed:
                raise Closed
            fits = len(self._began) < self.most + (self.reserve if reserve else 0)
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
        """Wait for the calls under way to end, and take none from then on; whether they did."""
        with self._changed:
            drained = self._changed.wait_for(lambda: not self._began, timeout)
            self._closed = True
            return drained


class Later(Protocol):
    """Where a connection waits that has not said what it wants: the Lobby."""

    def take(self, visit: Visit) -> None:
        """Have it served later, or closed."""

    def give_way(self) -> bool:
        """Close the oldest that waits, whose descriptor is needed; False where none does."""

    @property
    def crowded(self) -> bool:
        """Whether so many wait that most who come say nothing: they get not even milliseconds."""


class Crew:
    """Threads, at most *most*, each of which takes one visit and serves it before the next.

    Raises OSError where not even the first can be started.
    """

    def __init__(self, most: int, counted: Repeated, later: Later) -> None:
        self._most = most
        self._counted = counted
        self._later = later
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._stopping = False
        short = self._add()
        if short:
            raise OSError(short)

    def _next(self) -> Visit | None:
        """Wait for a visit; None for one that is not let in. Raises OSError where none comes."""
        raise NotImplementedError

    def _add(self) -> str:
        """See to it that one waits for the next visit; why that cannot be, else empty."""
        with self._lock:
            if self._idle > 0 or self._threads >= self._most:
                return ""
            self._threads += 1
            self._idle += 1
        try:
            threading.Thread(target=self._run, name="acceptor", daemon=True).start()
        except RuntimeError as error:  # the host has no thread left
            with self._lock:
                self._threads -= 1
                self._idle -= 1
            return shortage(error) or str(error)
        return ""

    def _run(self) -> None:
        staying = True
        while staying:
            try:
                visit = self._next()
            except OSError as error:
                if self._stopping:
                    break
                self._counted("connections wait: {}", shortage(error) or error.strerror)
                if not self._later.give_way():
                    time.sleep(_PAUSE)
                continue
            if visit is None:
                continue
            with self._lock:
                self._idle -= 1
            short = self._add()
            # What breaks in one call is that call's alone; the thread goes on.
            with contextlib.suppress(Exception):
                self._attend(visit, short)
            with self._lock:
                staying = self._idle < _WAITING
                self._idle += staying
                self._threads -= not staying

    def _attend(self, visit: Visit, short: str) -> None:
        """Serve *visit*; *short* is why nobody waits for the next one meanwhile."""
        if self._later.crowded:
            visit.wait()
        if not visit.has_said():
            self._later.take(visit)
            return
        if short:
            self._counted("calls are told BUSY: {}", short)
        # Closed first of all, that the peer need not wait for the rest; here, where all else fails.
        with visit.connection, visit.enter() as fits:
            with visit.connection:
                finish = visit.serve(short or ("" if fits else _FULL))
            if finish is not None:
                finish()


Door = Callable[[socket.socket, Any], Visit | None]
"""What becomes of a connection from an address; None: it is not let in."""


class Acceptors(Crew):
    """The threads of one listening socket."""

    def __init__(
        self, listener: socket.socket, door: Door, most: int, counted: Repeated, later: Later
    ) -> None:
        self._listener = listener
        self._door = door
        super().__init__(most + SPARE, counted, later)

    def stop(self) -> None:
        """Take no further connection; those that are open go on."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() does not
        self._listener.close()

    def _next(self) -> Visit | None:
        connection, address = self._listener.accept()
        try:
            visit = self._door(connection, address)
        except Exception:  # noqa: BLE001 - as in a call
            visit = None
        if visit is None:
            connection.close()
        return visit
