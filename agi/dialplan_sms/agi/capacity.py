"""How many calls a service carries at once."""

import contextlib
import threading
import time
from collections.abc import Iterator


class Closed(Exception):
    """The service has ended, as far as calls go."""


class Capacity:
    """How many calls are under way, of how many at most; the doors of a service share one."""

    def __init__(self, most: int) -> None:
        self.most = most
        # As many more have room that come from this host's own user: see HandOver.
        self.reserve = max(1, most // 4)
        self._changed = threading.Condition()
        self._began: dict[int, float] = {}
        self._closed = False

    @contextlib.contextmanager
    def call(self, reserve: bool = False) -> Iterator[bool]:
        """Count one call while it lasts; False if it is one too many. Raises Closed."""
        me = threading.get_ident()
        with self._changed:
            if self._closed:
                raise Closed
            fits = len(self._began) < self.most + (self.reserve if reserve else 0)
            if fits:
                self._began[me] = time.monotonic()
        try:
            yield fits
        finally:
            with self._changed:
                self._began.pop(me, None)
                self._changed.notify_all()  # only drain() waits

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return len(self._began)

    @property
    def oldest(self) -> float:
        """Seconds since the oldest call under way began; 0 if there is none."""
        with self._changed:
            return time.monotonic() - min(self._began.values()) if self._began else 0.0

    def drain(self, timeout: float) -> bool:
        """Wait for the calls under way to end, and take none from then on; whether they did."""
        with self._changed:
            drained = self._changed.wait_for(lambda: not self._began, timeout)
            self._closed = True
            return drained
