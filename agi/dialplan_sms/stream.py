"""Lines in and bytes out over two file descriptors, each wait bounded."""

import os
import select
import time
from collections.abc import Callable


class Stream:
    """What Channel reads from and writes to: a socket's descriptor twice, or a script's two pipes.

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
        self._buffer = bytearray()
        self._readable = select.poll()
        self._readable.register(reader, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(writer, select.POLLOUT)

    def readline(self, limit: int) -> bytes:
        """The next line with its newline, or what there is at *limit* bytes or the end."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0 and len(self._buffer) < limit:
            searched = len(self._buffer)
            self._wait(self._readable)
            chunk = os.read(self._reader, 65536)
            if not chunk:
                break
            self._buffer += chunk
        size = min(end + 1 if end >= 0 else len(self._buffer), limit)
        line = bytes(self._buffer[:size])
        del self._buffer[:size]
        return line

    def write(self, data: bytes) -> int:
        """Write all of *data*."""
        rest = memoryview(data)
        while rest:
            self._wait(self._writable)
            # No more at once: a pipe that can be written to takes PIPE_BUF bytes without blocking.
            rest = rest[os.write(self._writer, rest[: select.PIPE_BUF]) :]
        return len(data)

    def flush(self) -> None:
        """Nothing: what is written is on its way."""

    def _wait(self, poll: select.poll) -> None:
        left = min(self._patience, self._until - self._clock())
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError
