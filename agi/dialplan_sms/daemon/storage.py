"""All that a service with an outbox has beyond one without: the outbox, its worker, a look at it.

A module of its own, since SQLAlchemy costs 20 MiB and 0.4 s that a service without need not pay.
"""

import threading
import time
from collections.abc import Callable

from dialplan_sms.config.parser import ConfigError
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.history.statistics import Overview, overview
from dialplan_sms.outbox.retry import STALE
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.worker import Worker
from dialplan_sms.outbox.writer import NotKnown
from dialplan_sms.sms.service import Service

_EVERY = 10.0  # seconds between two looks
_FRESH = 1.0  # seconds for which what somebody asked for is told to the next who asks
_REPEAT = 600.0  # seconds between two warnings


class Storage:
    """The outbox at the *url*, and who works on it and watches it once start() was called.

    ``seen`` is how the outbox was doing within the last ten seconds, None if that could not be
    seen. Raises ConfigError for a URL that is none.
    """

    def __init__(self, url: str) -> None:
        try:
            self.outbox = Outbox(url, self._wake)
        except OutboxError as error:
            raise ConfigError(str(error)) from None
        self.seen: Overview | None = None
        self._seen_at = float("-inf")
        self._trouble = ""
        self._looking = threading.Lock()
        self._worker: Worker | None = None
        self._until = 0.0
        self._stopping = threading.Event()

    def start(self, service: Service) -> None:
        """Send what is stored, with the configuration's ``workers``, and watch it."""
        if threads := service.load().workers:
            self._worker = Worker(self.outbox, service, threads)
            self._worker.start()
        threading.Thread(
            target=self._watch, args=(service.note,), name="watcher", daemon=True
        ).start()

    def ask(self, patience: float = 2.0, grace: float = 1.0) -> Overview | None:
        """How the outbox is doing now, at most a second ago; None if that cannot be seen."""
        with self._looking:
            if time.monotonic() - self._seen_at >= _FRESH:
                try:
                    self.seen = self.outbox.writer.do(overview, patience, grace)
                except (OutboxError, NotKnown, RuntimeError) as failure:
                    self.seen, self._trouble = None, f"the outbox does not work: {failure}"
                self._seen_at = time.monotonic()
            return self.seen

    def halt(self, patience: float) -> None:
        """Take nothing more to send; requests under way may end within *patience* seconds."""
        self._stopping.set()
        self._until = time.monotonic() + patience
        if self._worker is not None:
            self._worker.halt()

    def stop(self) -> None:
        """Close the outbox, once requests under way have ended, or their time has."""
        if self._worker is not None:
            self._worker.stop(max(0.5, self._until - time.monotonic()))
        self.outbox.close()

    def _wake(self) -> None:
        if self._worker is not None:
            self._worker.wake()

    def _watch(self, note: Callable[[str], None]) -> None:
        warned = float("-inf")
        while not self._stopping.is_set():
            seen, line = self.ask(5.0, 5.0), ""
            if seen is None:
                line = self._trouble
            elif seen.waits > STALE:
                line = (
                    f"an SMS is due since {seen.waits:.0f} s and no worker takes it: does"
                    " dialplan-sms serve or worker run, with workers = 1 or more?"
                )
            if line and time.monotonic() - warned >= _REPEAT:
                warned = time.monotonic()
                note(line)
            self._stopping.wait(_EVERY)
