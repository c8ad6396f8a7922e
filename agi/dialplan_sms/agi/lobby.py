"""Where connections wait that have not said yet what they want: one thread listens to them all.

They are no calls: they take neither a thread nor the room of those that are. Asterisk says all of
it at once, so that whoever comes here is on a slow network, or no Asterisk.
"""

import resource
import select
import threading
from queue import SimpleQueue

from dialplan_sms.agi.acceptors import SPARE, Crew
from dialplan_sms.agi.visit import PATIENCE, Paragraph, Visit
from dialplan_sms.sms.log import Repeated

_MOST = 4096
_CROWD = 8
_TICK = 0.5
"""Seconds between two looks at whose time is over."""


class Lobby(Crew):
    """Holds some thousand connections: the oldest goes where one more comes.

    Those that have said what they want are served by threads of its own, *calls* at once.
    """

    def __init__(self, calls: int, counted: Repeated) -> None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most_waiting = min(_MOST, files // 4)  # the others have something to say
        self._poll = select.epoll()
        self._lock_waiting = threading.Lock()
        self._waiting: dict[int, Paragraph] = {}  # by descriptor, the oldest first
        self._ready: SimpleQueue[Paragraph] = SimpleQueue()
        super().__init__(calls + SPARE, counted, self)
        threading.Thread(target=self._listen, name="lobby", daemon=True).start()

    @property
    def crowded(self) -> bool:
        """Whether many are here."""
        return len(self._waiting) >= _CROWD

    def take(self, visit: Visit) -> None:
        """Hold *visit* until it has said what it wants, or is late."""
        assert isinstance(visit, Paragraph), "any other has said all"  # noqa: S101
        visit.wait()
        with self._lock_waiting:
            full = len(self._waiting) >= self._most_waiting
            if full:
                self._drop_oldest()
            self._poll.register(visit.connection, select.EPOLLIN)
            self._waiting[visit.connection.fileno()] = visit

        if full:
            self._counted(
                "more than {} connections have not said what they want: the oldest are dropped",
                self._most_waiting,
            )

    def give_way(self) -> bool:
        """Close the oldest, whose descriptor is needed; False where there is none."""
        with self._lock_waiting:
            return self._drop_oldest() is not None

    def _next(self) -> Visit:
        return self._ready.get()

    def _listen(self) -> None:
        while True:
            for file, _ in self._poll.poll(_TICK):
                with self._lock_waiting:  # nobody else closes it meanwhile
                    visit = self._waiting.get(file)
                    if visit is not None and visit.has_said():
                        self._ready.put(self._leave(file))
            while (late := self._drop_late()) is not None:
                self._counted(
                    "connection from {} dropped: it did not say what it wants within {:.0f} s",
                    late.peer,
                    PATIENCE,
                )

    def _drop_late(self) -> Paragraph | None:
        with self._lock_waiting:
            oldest = next(iter(self._waiting.values()), None)
            return self._drop_oldest() if oldest is not None and oldest.late else None

    def _drop_oldest(self) -> Paragraph | None:
        file = next(iter(self._waiting), None)
        if file is None:
            return None
        visit = self._leave(file)
        visit.connection.close()
        return visit

    def _leave(self, file: int) -> Paragraph:
        self._poll.unregister(file)
        return self._waiting.pop(file)
