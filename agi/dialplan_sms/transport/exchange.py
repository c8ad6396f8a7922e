"""One request on its way: what it has done, and its deadlines.

Whether a request went out decides between "certainly not sent" and "may have been sent". No
exception of requests or urllib3 says so (both cases end in ``Connection aborted``): the connection
notes it here, in the Exchange of the thread that sends.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from enum import Enum, auto

from dialplan_sms.transport.deadline import Alarm, Watchdog


class Stage(Enum):
    """How far one request came."""

    RESOLVING = auto()
    CONNECTING = auto()
    SECURING = auto()  # the TLS handshake
    GONE_OUT = auto()  # from here on it may have been processed


class Exchange:
    """One request on its way: its stage and its deadlines.

    *connect_time* bounds name, connection and handshake together: each is given what is left of
    it. *answer_time* bounds what follows after the request has gone out: a watchdog shuts the
    connection down, since each byte restarts a socket's own timeout. Both are seconds, and neither
    lasts beyond *until* on *clock*. *going_out* is called just before the request goes out.
    """

    def __init__(
        self,
        connect_time: float,
        answer_time: float,
        until: float,
        going_out: Callable[[], None],
        watchdog: Watchdog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stage = Stage.RESOLVING
        self.failure: Exception | None = None
        self.timed_out = False
        self._answer_time = answer_time
        self._going_out = going_out
        self._watchdog = watchdog
        self._clock = clock
        self._until = until
        self._connect_by = min(clock() + connect_time, until)
        self._alarm: Alarm | None = None

    def time_to_connect(self) -> float:
        """Seconds left to connect. Raises TimeoutError if there are none."""
        left = self._connect_by - self._clock()
        if left <= 0:
            self.failure = TimeoutError()
            raise self.failure
        return left

    def go_out(self, connection: socket.socket) -> None:
        """Called before each write; after the first, the request may have been processed."""
        if self.stage is Stage.GONE_OUT:
            return
        self.time_to_connect()
        connection.settimeout(None)
        self._alarm = self._watch(connection)
        self._going_out()
        self.stage = Stage.GONE_OUT

    def use_instead(self, connection: socket.socket) -> None:
        """The request goes out by another *connection*: the first had been closed."""
        self.close()
        connection.settimeout(None)
        self._alarm = self._watch(connection)
        self.stage = Stage.GONE_OUT

    def _watch(self, connection: socket.socket) -> Alarm:
        return self._watchdog.at(
            min(self._clock() + self._answer_time, self._until),
            lambda: self._too_late(connection),
        )

    def close(self) -> None:
        """The request has ended; no deadline touches the connection any more."""
        if self._alarm is not None:
            self._alarm.cancel()

    def _too_late(self, connection: socket.socket) -> None:
        self.timed_out = True
        # Not SSLSocket.shutdown: it would take the TLS object from under the reading thread.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


_thread = threading.local()


@contextlib.contextmanager
def carrying(exchange: Exchange) -> Iterator[None]:
    """Connections used by this thread report to *exchange*."""
    _thread.exchange = exchange
    try:
        yield
    finally:
        _thread.exchange = None
        exchange.close()


def current() -> Exchange:
    """The exchange that this thread carries. Raises LookupError if there is none."""
    exchange: Exchange | None = getattr(_thread, "exchange", None)
    if exchange is None:
        raise LookupError("no exchange is under way in this thread")
    return exchange
