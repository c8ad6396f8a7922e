"""Other programs, with a time limit and without our environment."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dialplan_sms.host.identity import User

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LARGEST = 4 << 20


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended; *status* is None where it did not start or not end in time."""

    status: int | None
    out: str = ""
    error: str = ""


Run = Callable[[Sequence[str], float, User | None], Ran]


def run(command: Sequence[str], timeout: float, user: User | None = None) -> Ran:
    """Run *command*, as *user* where we may choose; never raises."""
    rights: dict[str, object] = {}
    if user is not None and os.geteuid() == 0 and user.uid != 0:
        rights = {"user": user.uid, "group": user.gids[0], "extra_groups": user.gids}
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell, and what to run is ours
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH") or PATH, "LANG": "C.UTF-8", "HOME": "/"},
            cwd="/", start_new_session=True, **rights,
        )  # type: ignore[call-overload]  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Ran(None, error=getattr(error, "strerror", None) or type(error).__name__)
    try:
        out, told = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            stream.close()
        return Ran(None, error=f"no end within {timeout:.0f} s")
    return Ran(process.returncode, _text(out), _text(told))


def _text(data: bytes) -> str:
    return data[:_LARGEST].decode("utf-8", "replace")
