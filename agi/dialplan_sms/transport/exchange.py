"""One request and its answer: how far it came, its deadlines, and the heads of both.

The deadlines hold whatever a peer does. Whether a request went out decides between "certainly not
sent" and "may have been sent". No exception of requests or urllib3 tells it (both cases end in
``Connection aborted``), so the connection notes it here.
"""

import contextlib
import heapq
import itertools
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from enum import Enum, auto
from http.client import (
    SWITCHING_PROTOCOLS,
    HTTPException,
    HTTPResponse,
    LineTooLong,
    UnknownProtocol,
)
from typing import BinaryIO

_LONGEST_LINE = 1 << 16
_MOST_HEADERS = 100
_MOST_BEFORE = 10  # answers with a status of 1xx before the one that counts
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,8}")


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
    lasts beyond *until* (monotonic). *going_out* is called just before the request goes out.
    """

    def __init__(
        self,
        connect_time: float,
        answer_time: float,
        until: float,
        going_out: Callable[[], None],
        watchdog: "Watchdog",
    ) -> None:
        self.stage = Stage.RESOLVING
        self.failure: Exception | None = None
        self.timed_out = False
        self._answer_time = answer_time
        self._going_out = going_out
        self._watchdog = watchdog
        self._until = until
        self._connect_by = min(time.monotonic() + connect_time, until)
        self._alarm: Alarm | None = None

    def time_to_connect(self) -> float:
        """Seconds left to connect. Raises TimeoutError if there are none."""
        left = self._connect_by - time.monotonic()
        if left <= 0:
            self.failure = TimeoutError()
            raise self.failure
        return left

    def go_out(self, connection: socket.socket) -> None:
        """Called just before the request goes out by *connection*."""
        self.time_to_connect()
        self.watch(connection)
        self._going_out()

    def watch(self, connection: socket.socket) -> None:
        """From here on the deadline is that of the answer, and ends *connection*."""
        self.close()
        if connection.gettimeout() is not None:  # to set it is a turn at Python's lock
            connection.settimeout(None)
        self._alarm = self._watchdog.at(
            min(time.monotonic() + self._answer_time, self._until),
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


class Watchdog:
    """Runs actions at their time, on one thread that starts with the first of them.

    An action must not block. Times are monotonic, in seconds.
    """

    def __init__(self) -> None:
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
        return self._wakes_at - time.monotonic()


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


class Answer(HTTPResponse):
    """http.client's, but for how it reads its head, a third of the cost without an e-mail parser.

    The body is still read there. ``headers`` has names in small letters only.
    """

    def begin(self) -> None:
        """Read the head. Raises HTTPException and OSError."""
        for _ in range(_MOST_BEFORE + 1):
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
            headers = _headers(self.fp)
            if not 100 <= status < 200 or status == SWITCHING_PROTOCOLS:
                break  # others precede the answer
        else:
            raise HTTPException("no end of answers before the answer")
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        if self.version == 11 and not version.startswith("HTTP/1."):
            raise UnknownProtocol(version)
        self.status, self.reason = status, reason.strip()
        self.headers = self.msg = headers  # type: ignore[assignment]
        self.chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        length = headers.get("content-length", "")
        known = not self.chunked and length.isascii() and length.isdigit()
        self.length = int(length[:18]) if known else None
        if status in (204, 304) or status < 200:
            self.length = 0
        closing: bool = self._check_close()  # type: ignore[attr-defined]
        self.will_close = closing or (not self.chunked and self.length is None)

    def _read_next_chunk_size(self) -> int:
        """Strictly: http.client takes -1, too, and reads without end then."""
        size = self.fp.readline(_LONGEST_LINE + 1).partition(b";")[0].strip()
        if not _CHUNK.fullmatch(size):
            self.close()
            raise HTTPException("no size of a chunk")
        return int(size, 16)


def _headers(file: BinaryIO) -> dict[str, str]:
    """The headers of an answer by their names in small letters; of several the first."""
    headers: dict[str, str] = {}
    for _ in range(_MOST_HEADERS + 1):
        line = file.readline(_LONGEST_LINE + 1)
        if len(line) > _LONGEST_LINE:
            raise LineTooLong("header line")
        if line in (b"\r\n", b"\n", b""):
            return headers
        name, _, value = line.decode("latin-1").partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    raise HTTPException(f"more than {_MOST_HEADERS} headers")


def request_head(path: str, headers: Iterable[tuple[str, str | bytes]]) -> bytes:
    """The head of a POST. Requests has seen to it that no value holds a newline."""
    head = f"POST {path} HTTP/1.1\r\n".encode()
    for name, value in headers:
        encoded = value if isinstance(value, bytes) else value.encode("latin-1")
        head += b"%b: %b\r\n" % (name.encode(), encoded)
    return head + b"\r\n"
