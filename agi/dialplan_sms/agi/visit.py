"""A connection that a door has let in: what it is to be asked, and who serves it then."""

import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from dialplan_sms.agi.socketstream import SocketStream

PATIENCE = 3.0
"""Seconds in all that a peer has to say what it wants."""
_AT_ONCE = 0.01
"""Seconds that the thread which took a connection waits for more of it."""

Finish = Callable[[], None]
Serve = Callable[[str], Finish | None]
"""Serves one connection, and closes nothing; not empty: what there is against it, to be told.

What it returns is done once the connection is closed, so that the peer need not wait for it.
"""
Enter = Callable[[], AbstractContextManager[bool]]
"""Counts it while it is served: Capacity.call()."""


class Visit:
    """One that need not say anything first."""

    def __init__(self, connection: socket.socket, serve: Serve, enter: Enter) -> None:
        self.connection = connection
        self.serve = serve
        self.enter = enter

    def has_said(self) -> bool:
        """Whether it has said what it wants; waits some milliseconds at most."""
        return True

    def wait(self) -> None:
        """Have has_said() not wait from now on, and ask it again when more has come."""


class Paragraph(Visit):
    """One that says what it wants in lines up to a blank one, over TCP.

    It is served from ``stream``, which holds them: AGI's environment, or the head of a request.
    """

    def __init__(
        self,
        connection: socket.socket,
        peer: str,
        serve: Callable[["Paragraph", str], Finish | None],
        enter: Enter,
        longest: int,
    ) -> None:
        super().__init__(connection, lambda objection: serve(self, objection), enter)
        self.peer = peer
        self.began = time.monotonic()
        self.longest = longest
        self.stream = SocketStream(connection, self.began + 2 * _AT_ONCE, _AT_ONCE)

    @property
    def late(self) -> bool:
        """Whether its time to say what it wants is over."""
        return time.monotonic() > self.began + PATIENCE

    def has_said(self) -> bool:
        """As above. True, too, for one that says too much, or will say no more."""
        return self.stream.has_paragraph(self.longest)

    def wait(self) -> None:
        """As above."""
        self.connection.setblocking(False)
        self.stream.allow(self.began + PATIENCE + 1, PATIENCE)

    def go(self, until: float, patience: float = 5.0) -> SocketStream:
        """The stream for what is to be said now."""
        self.connection.setblocking(True)
        self.stream.allow(until, patience)
        return self.stream
