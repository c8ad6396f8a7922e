"""How a program in the foreground ends when it is told to."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def told_by_signal(ask: Callable[[], None]) -> Iterator[None]:
    """Call *ask* at the first SIGINT, SIGTERM or SIGHUP, for the block to end by itself.

    A second signal does what it would have done without this. For the main thread; *ask* must be
    safe to call between any two steps of the block, as ``SimpleQueue.put`` is.
    """
    before: dict[signal.Signals, signal._HANDLER] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def told(_: int, __: FrameType | None) -> None:
        restore()
        ask()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        before[number] = signal.signal(number, told)
    try:
        yield
    finally:
        restore()
