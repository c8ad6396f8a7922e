"""The history of what calls sent themselves, written in batches."""

import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress

from dialplan_sms.outbox.work import Work
from dialplan_sms.outbox.writer import Writer

_EVERY = 0.5  # seconds for which records gather: alone, each costs a third of what a call does
_AT_ONCE = 50  # records in a commit: a call that stores an SMS meanwhile waits for no more
_MOST = 10_000  # records that wait for a database which is away; later ones are not kept


class Recorder:
    """Has work done that notes calls, in batches, by *writer*: no call waits for its history."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._works: deque[Work[None]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def add(self, work: Work[None]) -> None:
        """Have it done soon, and again until it is. Never raises."""
        if len(self._works) < _MOST:
            self._works.append(work)
        with self._lock, suppress(RuntimeError):  # no thread left: the next one tries again
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="recorder", daemon=True)
                thread.start()
                self._thread = thread

    def at_once(self, work: Work[None]) -> None:
        """Have it done with the next commit, or with a later one if that fails."""

        def ended(done: "Future[None]") -> None:
            if done.exception() is not None:
                self.add(work)

        with suppress(RuntimeError):  # no thread left: the call goes on
            self._writer.submit(work).add_done_callback(ended)

    def close(self, timeout: float = 5.0) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        while self._works:
            works = [self._works.popleft() for _ in range(min(len(self._works), _AT_ONCE))]
            try:
                futures = self._writer.submit_all(works)
            except RuntimeError:  # no thread left
                self._works.extendleft(reversed(works))
                return
            ends = zip(works, futures, strict=True)
            left = [work for work, future in ends if future.exception() is not None]
            self._works.extendleft(reversed(left))
            if left:
                return
