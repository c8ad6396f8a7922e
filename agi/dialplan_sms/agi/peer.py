"""A connection that a door has let in: what it has to say first, and who serves it then."""

import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from dialplan_sms.agi.stream import SocketStream

PATIENCE = 3.0
"""Seconds in all that a peer has to say what it wants."""
_AT_ONCE = 0.01
"""Seconds that the thread which took a connection waits for more of it."""

Finish = Callable[[], None]
Serve = Callable[[str], Finish | None]
"""Serves one connection, and closes nothing; its argument is the objection to tell, if any.

What it returns is done once the connection is closed, so that the peer need not wait for it.
"""
Enter = Callable[[], AbstractContextManager[bool]]
"""Counts a connection while it is served: Capacity.call()."""


class Peer:
    """One that need not say anything first."""

    def __init__(self, connection: socket.socket, serve: Serve, enter: Enter) -> None:
        self.connection = connection
        self.serve = serve
        self.enter = enter

    def has_spoken(self, wait: bool = True) -> bool:
        """Whether it has said what it wants; waits some milliseconds for it, or not at all."""
        return True


class PeerWithHead(Peer):
    """One that says what it wants in lines up to a blank one, over TCP.

    It is served from ``stream``, which holds them: AGI's environment, or the head of a request.
    One that says more than *longest* bytes, or ends early, has spoken, too.
    """

    def __init__(
        self,
        connection: socket.socket,
        address: str,
        serve: Callable[["PeerWithHead", str], Finish | None],
        enter: Enter,
        longest: int,
    ) -> None:
        super().__init__(connection, lambda objection: serve(self, objection), enter)
        self.address = address
        self.began = time.monotonic()
        self._longest = longest
        self.stream = SocketStream(connection, self.began + 2 * _AT_ONCE, _AT_ONCE)

    @property
    def is_late(self) -> bool:
        """Whether its time to say what it wants is over."""
        return time.monotonic() > self.began + PATIENCE

    def has_spoken(self, wait: bool = True) -> bool:
        if not wait:
            self.connection.setblocking(False)
            self.stream.allow(self.began + PATIENCE + 1, PATIENCE)
        return self.stream.has_paragraph(self._longest)

    def answer(self, until: float, patience: float = 5.0) -> SocketStream:
        """The stream for what is to be said now."""
        self.connection.setblocking(True)
        self.stream.allow(until, patience)
        return self.stream
