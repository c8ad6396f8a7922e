"""Log lines about what may happen thousands of times: the first, then once a minute a count."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_EVERY = 60.0


@dataclass
class _Condition:
    line: str
    noted_at: float
    times: int = 0


class Counted:
    """Notes each condition once with *note*, and counts it from then on; thread-safe."""

    def __init__(
        self, note: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._note = note
        self._clock = clock
        self._lock = threading.Lock()
        self._conditions: dict[str, _Condition] = {}

    def __call__(self, condition: str, *of: object) -> None:
        """Note *condition*, a constant with ``{}`` for what differs from case to case."""
        with self._lock:
            known = self._conditions.get(condition)
            if known is not None:
                known.times += 1
                return
            line = condition.format(*of)
            self._conditions[condition] = _Condition(line, self._clock())
        self._note(line)

    def tell(self, every: float = _EVERY) -> None:
        """Note how often each came since it was noted *every* seconds ago; call this often."""
        now, lines = self._clock(), []
        with self._lock:
            for condition, known in list(self._conditions.items()):
                took = now - known.noted_at
                if took < every:
                    continue
                if known.times:
                    times = f"{known.times} times more within {took:.0f} s"
                    lines.append(f"{known.line} - the same {times}")
                    known.times, known.noted_at = 0, now
                else:
                    del self._conditions[condition]
        for line in lines:
            self._note(line)
