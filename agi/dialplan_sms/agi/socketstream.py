"""The stream of a TCP connection; apart from that of pipes, since scripts need not import this."""

import os
import socket
import struct
import time
from collections.abc import Callable

from dialplan_sms.agi.stream import PARAGRAPH, Stream


class SocketStream(Stream):
    """A Stream over a blocking TCP socket, whose waits the kernel bounds.

    That takes one system call a wait in place of two, and with them half of the turns that the
    service's threads take at Python's lock, which is most of what a call costs.

    Asterisk writes its environment in some 25 lines, each by itself, and Nagle's algorithm sends
    the next packet once the last is acknowledged. On a connection that listen_tcp() took, the
    first is acknowledged only when it has been read: the other lines then come in one packet in
    place of 24, and a call takes 20 packets on the loopback device in place of 51.
    """

    def __init__(
        self,
        connection: socket.socket,
        until: float,
        patience: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        file = connection.fileno()
        super().__init__(file, file, until, patience, clock)

    def allow(self, until: float, patience: float) -> None:
        """Have the next waits end by *until* and after *patience*, whatever held before."""
        self._until, self._patience = until, patience

    def has_paragraph(self, limit: int) -> bool:
        """Whether paragraph() would not wait any longer; what came is kept for it."""
        try:
            self._gather(PARAGRAPH, limit)
        except TimeoutError:
            return False
        except OSError:
            return True  # it is gone: the next read says so
        return True

    def _prepare(self) -> None:
        self._bounds: dict[int, float] = {}  # by option, as the kernel has it
        self._reads = 0

    def _read(self) -> bytes:
        self._bound(socket.SO_RCVTIMEO)
        self._reads += 1
        if self._reads == 2:
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        try:
            return os.read(self._reader, 65536)
        except BlockingIOError:
            raise TimeoutError from None

    def _write(self, data: memoryview) -> int:
        self._bound(socket.SO_SNDTIMEO)
        try:
            return os.write(self._writer, data)
        except BlockingIOError:
            raise TimeoutError from None

    def _bound(self, option: int) -> None:
        left = self._left()
        if self._bounds.get(option) != left:
            self._bounds[option] = left
            whole = int(left)
            fraction = max(1, int((left - whole) * 1e6))  # all zero would mean no bound at all
            self._connection.setsockopt(
                socket.SOL_SOCKET, option, struct.pack("ll", whole, fraction)
            )
