"""Other programs, with limits of time and output, without a shell and without our environment."""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from dialplan_sms.host.identity import User

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_STARTED, NOT_ENDED = 127, 124
_LARGEST = 4 << 20  # bytes of a program's output that are read


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended, and what it wrote to stdout and stderr.

    *status* is NOT_STARTED or NOT_ENDED (in time) if there is no exit status.
    """

    status: int
    output: str = ""

    @property
    def last_line(self) -> str:
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {self.status}"


Run = Callable[[Sequence[str], float, User | None], Ran]


def run(command: Sequence[str], timeout: float, user: User | None = None) -> Ran:
    """Run *command* for at most *timeout* seconds, as *user* if we are root; never raises."""
    rights: dict[str, object] = {}
    if user is not None and os.geteuid() == 0 and user.uid != 0:
        rights = {"user": user.uid, "group": user.gids[0], "extra_groups": user.gids}
    until = time.monotonic() + timeout
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell, and what to run is ours
            command, bufsize=0, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, cwd="/", start_new_session=True,
            env={"PATH": os.environ.get("PATH") or PATH, "LANG": "C.UTF-8", "HOME": "/"}, **rights,
        )  # type: ignore[call-overload]  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Ran(NOT_STARTED, getattr(error, "strerror", None) or type(error).__name__)
    try:
        with process.stdout:
            output = _read(process.stdout, until)
        return Ran(process.wait(max(until - time.monotonic(), 0)), output)
    except (TimeoutError, subprocess.TimeoutExpired):
        return Ran(NOT_ENDED, f"no end within {timeout:.0f} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _read(pipe: IO[bytes], until: float) -> str:
    """What comes from *pipe* to its end, or as much as is kept. Raises TimeoutError."""
    kept = bytearray()
    while len(kept) < _LARGEST:
        if not select.select([pipe], [], [], max(until - time.monotonic(), 0))[0]:
            raise TimeoutError
        piece = os.read(pipe.fileno(), 1 << 16)
        if not piece:
            break
        kept += piece
    return kept.decode("utf-8", "replace")
