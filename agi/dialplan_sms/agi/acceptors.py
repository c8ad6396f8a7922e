"""Threads that wait in accept(): as many as the calls to carry at once, and some to say BUSY.

One takes a call 0.1 to 0.7 ms earlier than a thread that is started for it. Some stay, not all: the
kernel sets a file descriptor aside for each that waits. Asterisk says at once what it wants; who
does not takes neither a thread nor the room of a call meanwhile.
"""

import contextlib
import resource
import select
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from dialplan_sms.agi.stream import SocketStream
from dialplan_sms.host import shortage
from dialplan_sms.sms.log import Repeated
from dialplan_sms.sms.outcome import Cause, Refused

PATIENCE = 3.0  # seconds in all that a peer has to say what it wants
_PATIENT = 5.0  # seconds that one wait may last once it has
_AT_ONCE = 0.01  # seconds that the thread which took a connection waits for more of it
_SPARE = 4  # threads beyond the calls to carry, which tell the rest that all are busy
_WAITING = 8  # threads that wait for the next connection, and do not end after a call
_MOST_SILENT = 4096
# Silent peers from which on nobody is given even milliseconds: most who come say nothing.
_CROWD = 8
_LATE = "connection from {} dropped: it did not say what it wants within {:.0f} s"
_CROWDED = "more than {} connections have not said what they want: the oldest are dropped"


class Peer:
    """A connection that a door has let in.

    Over TCP it says first what it wants, in at most *longest* bytes up to a blank line, which
    ``stream`` holds then; one that says more, or ends early, has spoken, too. *serve* is given what
    there is to object, if anything; *enter* counts it meanwhile: Capacity.call().
    """

    def __init__(
        self,
        connection: socket.socket,
        serve: Callable[["Peer", Refused | None], None],
        enter: Callable[[], contextlib.AbstractContextManager[bool]],
        address: str = "",
        longest: int = 0,
    ) -> None:
        self.connection = connection
        self.serve = serve
        self.enter = enter
        self.address = address
        self.longest = longest
        self.began = time.monotonic()
        self.stream = SocketStream(connection, self.began + 2 * _AT_ONCE, _AT_ONCE)

    def has_spoken(self, wait: bool = True) -> bool:
        """Whether it has said what it wants; waits some milliseconds for it, or not at all."""
        if self.longest and not wait:
            self.connection.setblocking(False)
            self.stream.until, self.stream.patience = self.began + PATIENCE + 1, PATIENCE
        return not self.longest or self.stream.has_paragraph(self.longest)

    def answer(self, until: float) -> SocketStream:
        """The stream for what is to be said now."""
        self.connection.setblocking(True)
        self.stream.until, self.stream.patience = until, _PATIENT
        return self.stream


class _Threads:
    """Threads, for *most* calls at once, each of which serves a peer before it takes the next.

    *take* waits for one, None if none can come any more; *serve* is told why nobody waits for the
    next one, if so. Raises OSError without a first thread.
    """

    def __init__(
        self, take: Callable[[], Peer | None], serve: Callable[[Peer, str], None], most: int
    ) -> None:
        self._take = take
        self._serve = serve
        self._most = most + _SPARE
        self._lock = threading.Lock()
        self._threads = self.idle = 0
        if short := self._add():
            raise OSError(short)

    def _add(self, busy: int = 0) -> str:
        """So many have become *busy*: see that one waits; why that cannot be, else empty."""
        with self._lock:
            self.idle -= busy
            if self.idle == 0 and self._threads < self._most:
                try:
                    threading.Thread(target=self._run, name="acceptor", daemon=True).start()
                except RuntimeError as error:  # the host has no thread left
                    return shortage(error) or str(error)
                self._threads += 1
                self.idle += 1
        return ""

    def _run(self) -> None:
        staying = True
        while staying and (peer := self._take()):
            short = self._add(busy=1)
            # What breaks in one call is that call's alone; the thread goes on.
            with contextlib.suppress(Exception):
                self._serve(peer, short)
            with self._lock:
                staying = self.idle < _WAITING
                self.idle += staying
                self._threads -= not staying


# What becomes of a connection from an address; None: it is not let in.
Door = Callable[[socket.socket, Any], Peer | None]


class Acceptors:
    """The threads of all doors, and the peers that have not said yet what they want.

    One thread hears those; one that speaks is served by other threads, *calls* at once. One that is
    late is dropped, and the oldest if there is no room for one more.
    """

    def __init__(self, calls: int, counted: Repeated) -> None:
        self._counted = counted
        self._stopping = False
        self.opened: list[tuple[socket.socket, _Threads]] = []
        # The others have something to say.
        self._most_silent = min(_MOST_SILENT, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._poll = select.epoll()
        self._lock = threading.Lock()
        self.silent: dict[int, Peer] = {}  # by descriptor, the oldest first
        self._speaking: SimpleQueue[Peer] = SimpleQueue()
        _Threads(self._speaking.get, self._serve, calls)
        threading.Thread(target=self._listen, name="silent", daemon=True).start()

    def open(self, listener: socket.socket, door: Door, most: int) -> None:
        """Let in who comes, *most* at once. Raises OSError if no thread can be started."""
        take = partial(self._accept, listener, door)
        self.opened.append((listener, _Threads(take, self._serve, most)))

    def stop(self) -> None:
        """Take no further connection; those that are open go on."""
        self._stopping = True
        for listener, _ in self.opened:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() does not
            listener.close()

    def _accept(self, listener: socket.socket, door: Door) -> Peer | None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError as error:
                if self._stopping:
                    return None
                self._counted("connections wait: {}", shortage(error) or error.strerror)
                if not self._drop_oldest():
                    time.sleep(0.1)
                continue
            with contextlib.suppress(Exception):  # as in a call
                if peer := door(connection, address):
                    return peer
            connection.close()

    def _serve(self, peer: Peer, short: str) -> None:
        if not peer.has_spoken(wait=len(self.silent) < _CROWD):
            self._hold(peer)
            return
        if short:
            self._counted("calls are told BUSY: {}", short)
        with peer.connection, peer.enter() as fits:
            full = "the service carries as many calls as max_calls in sms.conf allows"
            busy = Refused(Cause.BUSY, short or full) if short or not fits else None
            peer.serve(peer, busy)

    def _hold(self, peer: Peer) -> None:
        """Hear *peer* until it has said what it wants, or is late."""
        while len(self.silent) >= self._most_silent and self._drop_oldest():
            self._counted(_CROWDED, self._most_silent)
        with self._lock:
            self._poll.register(peer.connection, select.EPOLLIN)
            self.silent[peer.connection.fileno()] = peer

    def _drop_oldest(self, late: bool = False) -> Peer | None:
        """Close the oldest, or only if it is *late*; None if there is none."""
        with self._lock:
            file, oldest = next(iter(self.silent.items()), (0, None))
            if oldest is None or (late and time.monotonic() <= oldest.began + PATIENCE):
                return None
            self._leave(file).connection.close()
            return oldest

    def _listen(self) -> None:
        while True:
            for file, _ in self._poll.poll(0.5):  # seconds until somebody may be late
                with self._lock:  # nobody else closes it meanwhile
                    peer = self.silent.get(file)
                    if peer is not None and peer.has_spoken(wait=False):
                        self._speaking.put(self._leave(file))
            while (late := self._drop_oldest(late=True)) is not None:
                self._counted(_LATE, late.address, PATIENCE)

    def _leave(self, file: int) -> Peer:
        self._poll.unregister(file)
        return self.silent.pop(file)
