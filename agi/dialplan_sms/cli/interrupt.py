"""How a command in the foreground ends before its end: what is under way first, or at once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible(ask: Callable[[], None]) -> Iterator[None]:
    """In the block the first SIGINT, SIGTERM or SIGHUP calls *ask*, the next ends the block.

    That one raises KeyboardInterrupt. What is ignored stays so, as SIGHUP with nohup. For the main
    thread; *ask* must be safe between any two steps of the block, as ``SimpleQueue.put`` is.
    """
    asked = False

    def handle(_: int, __: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        ask()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {
        number: signal.signal(number, handle)
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
