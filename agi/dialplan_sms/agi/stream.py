"""Lines in and bytes out over file descriptors, each wait bounded."""

import os
import re
import select
import socket
import struct
import time

LINE = re.compile(rb"\n")
PARAGRAPH = re.compile(rb"\n\r?\n")  # up to and with a blank line


class Stream:
    """What Channel reads from and writes to: here the two pipes of a script, the caller's to close.

    A wait beyond *patience* (seconds) or *until* (time.monotonic()) raises TimeoutError.
    """

    def __init__(self, reader: int, writer: int, until: float, patience: float = 5.0) -> None:
        self._reader = reader
        self._writer = writer
        self.until = until
        self.patience = patience
        self._buffer = b""

    def up_to(self, end: re.Pattern[bytes], limit: int) -> bytes:
        """All up to and with *end*, or what there is at *limit* bytes or the end of the stream."""
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

    def write(self, data: bytes) -> None:
        """Write all of *data*."""
        rest = memoryview(data)
        while rest:
            self._wait(self._writer, select.POLLOUT)
            try:
                # A pipe that can be written to takes so many bytes without blocking, and no more.
                rest = rest[os.write(self._writer, rest[: select.PIPE_BUF]) :]
            except BlockingIOError:
                raise TimeoutError from None

    def _read(self) -> bytes:
        self._wait(self._reader, select.POLLIN)
        try:
            return os.read(self._reader, 65536)
        except BlockingIOError:
            raise TimeoutError from None

    def _wait(self, file: int, event: int) -> None:
        poll = select.poll()
        poll.register(file, event)
        if not poll.poll(self._left() * 1000):
            raise TimeoutError

    def _left(self) -> float:
        """Seconds that the next wait may last."""
        left = min(self.patience, self.until - time.monotonic())
        if left <= 0:
            raise TimeoutError
        return left


class SocketStream(Stream):
    """A Stream over a blocking TCP socket, whose waits the kernel bounds.

    That takes one system call a wait in place of two, and half of the turns at Python's lock, which
    is most of what a call costs. Asterisk writes its environment in some 25 lines, and Nagle's
    algorithm sends the next packet once the last is acknowledged. Here the first is acknowledged
    only when it has been read: the others then come in one packet in place of 24.
    """

    def __init__(self, connection: socket.socket, until: float, patience: float = 5.0) -> None:
        super().__init__(connection.fileno(), connection.fileno(), until, patience)
        self._connection = connection
        self._bounds: dict[int, float] = {}  # by option, as the kernel has it
        self._reads = 0

    def has_paragraph(self, limit: int) -> bool:
        """Whether up_to(PARAGRAPH) would not wait any longer; what came is kept for it."""
        try:
            self._gather(PARAGRAPH, limit)
        except OSError as error:  # if it is gone, the next read says so
            return not isinstance(error, TimeoutError)
        return True

    def _wait(self, file: int, event: int) -> None:
        if event == select.POLLIN:
            self._reads += 1
            if self._reads == 2:
                self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        option = socket.SO_RCVTIMEO if event == select.POLLIN else socket.SO_SNDTIMEO
        left = self._left()
        if self._bounds.get(option) != left:
            self._bounds[option] = left
            # In microseconds; 0 would mean no bound at all.
            bound = struct.pack("ll", *divmod(max(1, int(left * 1_000_000)), 1_000_000))
            self._connection.setsockopt(socket.SOL_SOCKET, option, bound)
