"""All that a service with an outbox has beyond one without: the outbox, its worker, its watcher.

A module of its own, since SQLAlchemy costs 20 MiB and 0.4 s that a service without need not pay.
"""

import threading
import time
from collections.abc import Callable

from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.history.statistics import Overview, overview
from dialplan_sms.outbox.retry import STALE
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.worker import Worker
from dialplan_sms.outbox.writer import NotKnown
from dialplan_sms.sms.service import Service

_EVERY = 10.0
_FRESH = 1.0
"""Seconds for which what somebody asked for is told to the next who asks."""
_REPEAT = 600.0
"""Seconds between two warnings of the same."""


class Storage:
    """The outbox at the *url*, and who works on it once start() was called.

    Raises OutboxError for a URL that is none.
    """

    def __init__(self, url: str) -> None:
        self.outbox = Outbox(url, self._wake)
        self._worker: Worker | None = None
        self._watcher: Watcher | None = None

    def start(self, service: Service) -> None:
        """Send what is stored, with the configuration's ``workers``, and watch it."""
        if threads := service.load().workers:
            self._worker = Worker(self.outbox, service, threads)
            self._worker.start()
        self._watcher = Watcher(self.outbox, service.note)
        self._watcher.start()

    def seen(self) -> Overview | None:
        """How the outbox was doing within the last ten seconds; None if that cannot be seen."""
        return self._watcher.seen if self._watcher else None

    def ask(self) -> Overview | None:
        """How the outbox is doing now; None if that cannot be seen within three seconds."""
        return self._watcher.ask() if self._watcher else None

    def halt(self) -> None:
        """Take nothing more to send."""
        if self._worker is not None:
            self._worker.halt()

    def stop(self, until: float) -> None:
        """Let requests under way end by *until* (monotonic seconds), and close the outbox."""
        if self._watcher is not None:
            self._watcher.stop()
        if self._worker is not None:
            self._worker.stop(max(0.5, until - time.monotonic()))
        self.outbox.close()

    def _wake(self) -> None:
        if self._worker is not None:
            self._worker.wake()


class Watcher:
    """Looks at *outbox* every ten seconds; *note* writes a line to the log.

    ``seen`` is what it saw last, None if it could see nothing.
    """

    def __init__(self, outbox: Outbox, note: Callable[[str], None]) -> None:
        self.seen: Overview | None = None
        self._outbox = outbox
        self._note = note
        self._warned = float("-inf")
        self._asked: Overview | None = None
        self._asked_at = float("-inf")
        self._asking = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()

    def ask(self) -> Overview | None:
        """What there is to see now, at most a second old; None if nothing can be seen."""
        with self._asking:
            if time.monotonic() - self._asked_at >= _FRESH:
                try:
                    self._asked = self._outbox.writer.do(overview, 2.0, 1.0)
                except (OutboxError, NotKnown, RuntimeError):
                    self._asked = None
                self._asked_at = time.monotonic()
            return self._asked

    def look(self) -> None:
        """Look once."""
        try:
            self.seen = self._outbox.writer.do(overview, 5.0, 5.0)
        except (OutboxError, NotKnown, RuntimeError) as failure:
            self.seen = None
            self._warn(f"the outbox does not work: {failure}")
            return
        if self.seen.waits > STALE:
            self._warn(
                f"an SMS is due since {self.seen.waits:.0f} s and no worker takes it: does"
                " dialplan-sms serve or worker run, with workers = 1 or more?"
            )

    def _warn(self, line: str) -> None:
        now = time.monotonic()
        if now - self._warned >= _REPEAT:
            self._warned = now
            self._note(line)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(_EVERY)
