"""All that a service with an outbox has beyond one without: the outbox, its worker, its lookout.

A module of its own, since SQLAlchemy costs 20 MiB and 0.4 s that a service without need not pay.
"""

import time
from collections.abc import Callable

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.daemon.watcher import Lookout
from dialplan_sms.outbox.attempt import Watch
from dialplan_sms.outbox.overview import Overview
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.worker import Worker
from dialplan_sms.sms.log import Handled
from dialplan_sms.sms.service import Route


class Storage:
    """The outbox at the *url*, and who works on it once start() was called.

    Raises OutboxError for a URL that is none.
    """

    def __init__(self, url: str) -> None:
        self.outbox = Outbox(url, self._wake)
        self._worker: Worker | None = None
        self._lookout: Lookout | None = None

    def start(
        self,
        load: Callable[[], Config],
        route: Callable[[Sender], Route],
        note: Callable[[str], None],
        log: Callable[[Handled], None],
        watch: Watch,
    ) -> None:
        """Send what is stored, with the configuration's ``workers``, and keep an eye on it."""
        threads = load().workers
        if threads:
            self._worker = Worker(self.outbox, load, route, note, log, threads, watch)
            self._worker.start()
        self._lookout = Lookout(self.outbox, note)
        self._lookout.start()

    def seen(self) -> Overview | None:
        """How the outbox was doing within the last ten seconds; None where that cannot be seen."""
        return self._lookout.seen if self._lookout else None

    def ask(self) -> Overview | None:
        """How the outbox is doing now; None where that cannot be seen within three seconds."""
        return self._lookout.ask() if self._lookout else None

    def halt(self) -> None:
        """Take nothing more to send."""
        if self._worker is not None:
            self._worker.halt()

    def stop(self, until: float) -> None:
        """Let requests under way end by *until* (monotonic seconds), and close the outbox."""
        if self._lookout is not None:
            self._lookout.stop()
        if self._worker is not None:
            self._worker.stop(max(0.5, until - time.monotonic()))
        self.outbox.close()

    def _wake(self) -> None:
        if self._worker is not None:
            self._worker.wake()
