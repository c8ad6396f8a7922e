"""How a list ends before its end: the SMS under way first, or at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class AtOnce(BaseException):
    """The second signal: what is under way is left, and may have been sent."""


class Ending:
    """Whether a signal came. *shows* is whether somebody else says so on the terminal."""

    def __init__(self) -> None:
        self.asked = False
        self.shows = False

    def told(self, _: int, __: FrameType | None) -> None:
        if self.asked:
            raise AtOnce
        self.asked = True
        if not self.shows:
            # No stream: the signal may have come in the middle of a write to it.
            _say(b"\nfinishing the SMS that is under way; Ctrl-C again ends at once\n")


def _say(line: bytes) -> None:
    try:
        os.write(2, line)
    except OSError:
        return


@contextmanager
def ending() -> Iterator[Ending]:
    """In the block the first signal only asks; the next one raises AtOnce. For the main thread."""
    mine = Ending()
    # What is ignored, as SIGHUP with nohup, stays so.
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, mine.told) for number in heard}
    try:
        yield mine
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
