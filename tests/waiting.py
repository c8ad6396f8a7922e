"""Wait for what has to come about."""

import time
from collections.abc import Callable


def until(
    true: Callable[[], object], said: Callable[[], object] = str, seconds: float = 20.0
) -> None:
    """Wait until it is true; if it does not become so in these seconds, fail with what is said."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, said() or "it did not come about"
        time.sleep(0.02)
