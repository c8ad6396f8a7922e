"""One request and its answer: how far it came, its deadline, and the head of the answer.

No exception of a socket or of http.client tells "certainly not sent" from "may have been sent", so
two of our own do: Unreached and Unanswered.
"""

import contextlib
import math
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from http.client import HTTPException, HTTPResponse, LineTooLong, UnknownProtocol
from typing import BinaryIO

_LONGEST_LINE = 1 << 16
_MOST_HEADERS = 100
_MOST_BEFORE = 10  # answers with a status of 1xx before the one that counts
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,8}")


class Stage(Enum):
    """How far a connection came."""

    RESOLVING = auto()
    CONNECTING = auto()
    SECURING = auto()  # the TLS handshake


@dataclass(eq=False)
class Unreached(Exception):
    """No connection came about, at which *stage* and *why*: certainly nothing was sent."""

    stage: Stage
    why: Exception


@dataclass(eq=False)
class Unanswered(Exception):
    """It may have been processed; *late* is whether its time was over, *why* what came else."""

    late: bool
    why: Exception


@dataclass(eq=False)
class Deadline:
    """When a connection is shut down (monotonic, in seconds), and whether it was."""

    connection: socket.socket
    at: float
    passed: bool = False


class Watchdog:
    """Holds deadlines, on one thread; a socket's own timeout would begin anew with each byte."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: set[Deadline] = set()
        self._wakes_at = math.inf
        self._is_running = False

    @contextlib.contextmanager
    def watch(self, connection: socket.socket, at: float) -> Iterator[Deadline]:
        """Shut *connection* down *at* that time; the block may put that off, or end before it."""
        deadline = Deadline(connection, at)
        with self._changed:
            if not self._is_running:
                # Raises RuntimeError if the host has no thread left.
                threading.Thread(target=self._run, name="watchdog", daemon=True).start()
                self._is_running = True
            self._watched.add(deadline)
            if at < self._wakes_at:
                self._wakes_at = at
                self._changed.notify()
        try:
            yield deadline
        finally:
            with self._changed:
                self._watched.discard(deadline)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for late in [each for each in self._watched if each.at <= now]:
                    self._watched.remove(late)
                    late.passed = True
                    # Not SSLSocket.shutdown: it would take the TLS object from under the reader.
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(late.connection, socket.SHUT_RDWR)
                # Not woken for each that is met in time: that would cost every call a turn.
                self._wakes_at = min((each.at for each in self._watched), default=math.inf)
                self._changed.wait(min(self._wakes_at - now, threading.TIMEOUT_MAX))


class Answer(HTTPResponse):
    """http.client's, but for its head: without an e-mail parser, a third of the cost.

    ``headers`` has names in small letters only.
    """

    def begin(self) -> None:
        """Read the head. Raises HTTPException and OSError."""
        for _ in range(_MOST_BEFORE + 1):
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
            headers = _headers(self.fp)
            if not 100 <= status < 200 or status == 101:
                break  # others precede the answer; 101 switches protocols
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
        endless = not self.chunked and self.length is None
        self.will_close = endless or self._check_close()  # type: ignore[attr-defined]

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
