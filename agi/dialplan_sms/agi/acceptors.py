"""Threads that wait in accept(): as many as the calls to carry at once, and some to say BUSY.

A thread blocked in accept() takes a call 0.1 to 0.7 ms earlier than one that is started for it.
They are started as they are needed, and some then stay: the kernel sets a file descriptor aside
for each that waits.

Who has not said yet what it wants is no call: it takes neither a thread nor the room of a call.
Asterisk says all of it at once, so that such a peer is on a slow network, or no Asterisk.
"""

import contextlib
import resource
import select
import socket
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from dialplan_sms.agi.stream import SocketStream
from dialplan_sms.host import shortage
from dialplan_sms.sms.log import Repeated

PATIENCE = 3.0  # seconds in all that a peer has to say what it wants
_AT_ONCE = 0.01  # seconds that the thread which took a connection waits for more of it
_SPARE = 4  # threads beyond the calls to carry, which tell the rest that all are busy
_WAITING = 8  # threads that wait for the next connection, and do not end after a call
_PAUSE = 0.1  # seconds to wait for what is short
_FULL = "the service carries as many calls as max_calls in sms.conf allows"
_MOST_SILENT = 4096
# Silent peers from which on nobody is given even milliseconds: most who come say nothing.
_CROWD = 8
_TICK = 0.5  # seconds between two looks at whose time is over


class Peer:
    """A connection that a door has let in.

    Over TCP it says first what it wants, in at most *longest* bytes up to a blank line: AGI's
    environment, or the head of a request. One that says more, or ends early, has spoken, too. It is
    served from ``stream``, which holds that.

    *serve* is given the objection to tell, if any, and may close the connection; *enter* counts it
    while it is served: Capacity.call().
    """

    def __init__(
        self,
        connection: socket.socket,
        serve: Callable[["Peer", str], None],
        enter: Callable[[], contextlib.AbstractContextManager[bool]],
        address: str = "",
        longest: int = 0,
    ) -> None:
        self.connection = connection
        self.serve = serve
        self.enter = enter
        self.address = address
        self.began = time.monotonic()
        self.stream = SocketStream(connection, self.began + 2 * _AT_ONCE, _AT_ONCE)
        self._longest = longest

    def has_spoken(self, wait: bool = True) -> bool:
        """Whether it has said what it wants; waits some milliseconds for it, or not at all."""
        if self._longest and not wait:
            self.connection.setblocking(False)
            self.stream.allow(self.began + PATIENCE + 1, PATIENCE)
        return not self._longest or self.stream.has_paragraph(self._longest)

    def answer(self, until: float, patience: float = 5.0) -> SocketStream:
        """The stream for what is to be said now."""
        self.connection.setblocking(True)
        self.stream.allow(until, patience)
        return self.stream


class _Threads:
    """Threads, for *most* calls at once, each of which serves a peer before it takes the next.

    *next_peer* waits for one; it raises OSError if none can come. Raises OSError if not even the
    first thread can be started.
    """

    def __init__(
        self,
        next_peer: Callable[[], Peer],
        most: int,
        counted: Repeated,
        silent: "SilentPeers",
    ) -> None:
        self._next = next_peer
        self._most = most + _SPARE
        self._counted = counted
        self._silent = silent
        self._lock = threading.Lock()
        self._threads = self._idle = 0
        self._stopping = False
        if short := self._add():
            raise OSError(short)

    def _add(self) -> str:
        """See to it that one waits for the next peer; why that cannot be, else empty."""
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
                peer = self._next()
            except OSError as error:
                if self._stopping:
                    break
                self._counted("connections wait: {}", shortage(error) or error.strerror)
                if not self._silent.drop_oldest():
                    time.sleep(_PAUSE)
                continue
            with self._lock:
                self._idle -= 1
            short = self._add()
            # What breaks in one call is that call's alone; the thread goes on.
            with contextlib.suppress(Exception):
                self._attend(peer, short)
            with self._lock:
                staying = self._idle < _WAITING
                self._idle += staying
                self._threads -= not staying

    def _attend(self, peer: Peer, short: str) -> None:
        """Serve *peer*; *short* is why nobody waits for the next one meanwhile."""
        if not peer.has_spoken(wait=len(self._silent.waiting) < _CROWD):
            self._silent.take(peer)
            return
        if short:
            self._counted("calls are told BUSY: {}", short)
        with peer.connection, peer.enter() as fits:
            peer.serve(peer, short or ("" if fits else _FULL))


class SilentPeers(_Threads):
    """Holds some thousand peers that have not said yet what they want: one thread hears them all.

    One that speaks is served by threads of its own, *calls* at once. One that is late is dropped,
    and the oldest if one more comes than there is room for.
    """

    def __init__(self, calls: int, counted: Repeated) -> None:
        # The others have something to say.
        self._most_silent = min(_MOST_SILENT, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._poll = select.epoll()
        self._lock_waiting = threading.Lock()
        self.waiting: dict[int, Peer] = {}  # by descriptor, the oldest first
        self._ready: SimpleQueue[Peer] = SimpleQueue()
        super().__init__(self._ready.get, calls, counted, self)
        threading.Thread(target=self._listen, name="silent", daemon=True).start()

    def take(self, peer: Peer) -> None:
        """Hold *peer* until it has said what it wants, or is late."""
        while len(self.waiting) >= self._most_silent and self.drop_oldest():
            self._counted(
                "more than {} connections have not said what they want: the oldest are dropped",
                self._most_silent,
            )
        with self._lock_waiting:
            self._poll.register(peer.connection, select.EPOLLIN)
            self.waiting[peer.connection.fileno()] = peer

    def drop_oldest(self, late: bool = False) -> Peer | None:
        """Close the oldest, or only if it is *late*; None if there is none."""
        with self._lock_waiting:
            file, oldest = next(iter(self.waiting.items()), (0, None))
            if oldest is None or (late and time.monotonic() <= oldest.began + PATIENCE):
                return None
            self._leave(file).connection.close()
            return oldest

    def _listen(self) -> None:
        while True:
            for file, _ in self._poll.poll(_TICK):
                with self._lock_waiting:  # nobody else closes it meanwhile
                    peer = self.waiting.get(file)
                    if peer is not None and peer.has_spoken(wait=False):
                        self._ready.put(self._leave(file))
            while (late := self.drop_oldest(late=True)) is not None:
                self._counted(
                    "connection from {} dropped: it did not say what it wants within {:.0f} s",
                    late.address,
                    PATIENCE,
                )

    def _leave(self, file: int) -> Peer:
        self._poll.unregister(file)
        return self.waiting.pop(file)


# What becomes of a connection from an address; None: it is not let in.
Door = Callable[[socket.socket, Any], Peer | None]


class Acceptors(_Threads):
    """The threads of one listening socket."""

    def __init__(
        self, listener: socket.socket, door: Door, most: int, counted: Repeated, silent: SilentPeers
    ) -> None:
        self._listener = listener
        self._door = door
        super().__init__(self._accept, most, counted, silent)

    def stop(self) -> None:
        """Take no further connection; those that are open go on."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() does not
        self._listener.close()

    def _accept(self) -> Peer:
        while True:
            connection, address = self._listener.accept()
            with contextlib.suppress(Exception):  # as in a call
                if peer := self._door(connection, address):
                    return peer
            connection.close()
