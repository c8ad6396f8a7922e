"""Lines in and bytes out over file descriptors, each wait bounded."""

import os
import re
import select
import time
from collections.abc import Callable

_LINE = re.compile(rb"\n")
PARAGRAPH = re.compile(rb"\n\r?\n")


class Stream:
    """What Channel reads from and writes to: here the two pipes of a script.

    No wait lasts longer than *patience*, and none beyond *until* (seconds on *clock*); what does
    raises TimeoutError. The descriptors stay the caller's to close.
    """

    def __init__(
        self,
        reader: int,
        writer: int,
        until: float,
        patience: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._until = until
        self._patience = patience
        self._clock = clock
        self._buffer = b""
        self._prepare()

    def readline(self, limit: int) -> bytes:
        """The next line with its newline, or what there is at *limit* bytes or the end."""
        return self._up_to(_LINE, limit)

    def paragraph(self, limit: int) -> bytes:
        """All up to and with the next blank line, or what there is at *limit* or the end."""
        return self._up_to(PARAGRAPH, limit)

    def _up_to(self, end: re.Pattern[bytes], limit: int) -> bytes:
        size = self._gather(end, limit)
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _gather(self, end: re.Pattern[bytes], limit: int) -> int:
        """Read on until *end* is there; how many bytes there are up to it, *limit* or the end."""
        searched = 0
        while not (found := end.search(self._buffer, searched)) and len(self._buffer) < limit:
            searched = max(0, len(self._buffer) - 2)
            chunk = self._read()
            if not chunk:
                break
            self._buffer += chunk
        return min(found.end() if found else len(self._buffer), limit)

    def write(self, data: bytes) -> int:
        """Write all of *data*."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._write(rest) :]
        return len(data)

    def flush(self) -> None:
        """Nothing: what is written is on its way."""

    def _prepare(self) -> None:
        self._readable = select.poll()
        self._readable.register(self._reader, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(self._writer, select.POLLOUT)

    def _read(self) -> bytes:
        self._wait(self._readable)
        return os.read(self._reader, 65536)

    def _write(self, data: memoryview) -> int:
        self._wait(self._writable)
        # No more at once: a pipe that can be written to takes PIPE_BUF bytes without blocking.
        return os.write(self._writer, data[: select.PIPE_BUF])

    def _wait(self, poll: select.poll) -> None:
        if not poll.poll(self._left() * 1000):
            raise TimeoutError

    def _left(self) -> float:
        """Seconds that the next wait may last."""
        left = min(self._patience, self._until - self._clock())
        if left <= 0:
            raise TimeoutError
        return left
