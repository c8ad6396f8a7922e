"""Keeps an eye on the outbox of a service, and warns of what nobody sends."""

import threading
import time
from collections.abc import Callable

from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.overview import Overview, overview
from dialplan_sms.outbox.retry import STALE
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.writer import NotKnown

_EVERY = 10.0
_FRESH = 1.0
"""Seconds for which what somebody asked for is told to the next who asks."""
_REPEAT = 600.0
"""Seconds between two warnings of the same."""


class Lookout:
    """Looks at *outbox* every ten seconds; *note* writes a line to the log.

    ``seen`` is what it saw last, None where it could see nothing; ``failure`` then says why.
    """

    def __init__(self, outbox: Outbox, note: Callable[[str], None]) -> None:
        self.seen: Overview | None = None
        self.failure = ""
        self._outbox = outbox
        self._note = note
        self._warned = float("-inf")
        self._asked: Overview | None = None
        self._asked_at = float("-inf")
        self._asking = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()

    def ask(self) -> Overview | None:
        """What there is to see now, at most a second old; None where nothing can be seen."""
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
            self.seen, self.failure = self._outbox.writer.do(overview, 5.0, 5.0), ""
        except (OutboxError, NotKnown, RuntimeError) as failure:
            self.seen = None
            self.failure = str(failure) or "a commit of the outbox does not end"
            self._warn(f"the outbox does not work: {self.failure}")
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
