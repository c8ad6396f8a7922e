"""What a terminal is shown, by whichever command: nothing that it would act on.

Whatever others have written, file names and certificates too, may hold escape sequences, or
characters that reorder what follows. So all of standard output and error is cleaned on its way
out. Only Console (console.py) writes past that: it cleans the text, but not its own colours.
"""

import io
import re
import sys
from collections.abc import Iterable
from typing import IO, Any

_ACTED_ON = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but for the tab and the newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # Unicode: Bidi_Control
    "\u2028\u2029\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"  # ends of lines, and what hides text
)


def clean(text: str) -> str:
    """*text* with what a terminal would act on written as JSON has it; its lines stay."""
    return text if text.isascii() and text.isprintable() else _ACTED_ON.sub(_written, text)


def _written(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def plain(text: str) -> str:
    """*text* on one line, with what a terminal would act on, or not show, as Python writes it."""
    shown = (char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return text if text.isprintable() else "".join(shown)


class _Clean:
    """A stream whose text is cleaned; rich writes to the one behind it."""

    def __init__(self, stream: IO[str]) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        self.rich_proxied_file.write(clean(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def clean_output() -> None:
    """From now on standard output and error are clean, whoever writes to them."""
    sys.stdout, sys.stderr = _cleaned(sys.stdout), _cleaned(sys.stderr)


def _cleaned(stream: Any) -> Any:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal that cannot show all of Unicode
    is_done = stream is None or isinstance(stream, _Clean)  # None: closed
    return stream if is_done else _Clean(stream)
