"""What only a service with an outbox pays for: SQLAlchemy costs 20 MiB and 0.4 s."""

import threading
import time
from collections.abc import Callable, Mapping

from dialplan_sms.config.parser import ConfigError
from dialplan_sms.daemon.on_failure import LIMIT, Teller
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.history.statistics import Overview, overview
from dialplan_sms.outbox.retry import STALE
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.worker import Worker
from dialplan_sms.outbox.writer import NotKnown
from dialplan_sms.sms.service import Service

_FRESH = 1.0  # seconds for which what somebody asked for is told to the next who asks


class Storage:
    """The outbox at the *url*, its worker, and ``seen``: how it did at the last look, if it worked.

    ``failing`` is what went wrong with a program of on_failure the last time, by its path.
    Raises ConfigError for a URL that is none.
    """

    def __init__(self, url: str) -> None:
        try:
            self.outbox = Outbox(url, self._wake)
        except OutboxError as error:
            raise ConfigError(str(error)) from None
        self.seen: Overview | None = None
        self._worker: Worker | None = None
        self._teller: Teller  # if there is a worker
        self.failing: Mapping[str, str] = {}
        self._asked: Overview | None = None
        self._asked_at = float("-inf")
        self._asking = threading.Lock()
        self._until = 0.0
        self._stopping = threading.Event()

    def start(self, service: Service) -> None:
        """Send what is stored, with the configuration's ``workers``, and watch it."""
        if threads := service.load().workers:
            self._teller = Teller(self.outbox.writer, service, self._stopping)
            self._teller.start()
            self.failing = self._teller.failing
            self._worker = Worker(self.outbox, service, threads)
            self._worker.start()
        threading.Thread(
            target=self._watch, args=(service.note,), name="watcher", daemon=True
        ).start()

    def ask(self) -> Overview | None:
        """How the outbox is doing now, at most a second ago; None if that cannot be seen."""
        with self._asking:
            if time.monotonic() - self._asked_at >= _FRESH:
                self._asked, _ = self.look(2.0, 1.0)
                self._asked_at = time.monotonic()
            return self._asked

    def look(self, patience: float, grace: float) -> tuple[Overview | None, str]:
        """How the outbox is doing, or why that cannot be seen within so many seconds."""
        try:
            return self.outbox.writer.do(overview, patience, grace), ""
        except (OutboxError, NotKnown, RuntimeError) as failure:
            return None, f"the outbox does not work: {failure}"

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
            self._teller.join(LIMIT)
        self.outbox.close()

    def _wake(self) -> None:
        if self._worker is not None:
            self._worker.wake()

    def _watch(self, note: Callable[[str], None]) -> None:
        warned = float("-inf")
        while not self._stopping.is_set():
            self.seen, line = self.look(5.0, 5.0)
            if self.seen is not None and self.seen.waits > STALE:
                line = (
                    f"an SMS is due since {self.seen.waits:.0f} s and no worker takes it: does"
                    " dialplan-sms serve or worker run, with workers = 1 or more?"
                )
            if line and time.monotonic() - warned >= 600.0:
                warned = time.monotonic()
                note(line)
            self._stopping.wait(10.0)
