"""Runs one Asterisk and ends it, with all that it started, when the test run is gone.

`python warden.py FOLDER COMMAND…`. Its standard input is a pipe that the test run holds open: a
line `stop` ends Asterisk; the end of the pipe, however that came about, ends it too and removes
FOLDER. Uses the standard library alone and none of our modules, so that it starts at once.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GRACE = 1.0  # seconds between SIGTERM and SIGKILL


def main(folder: str, command: list[str]) -> int:
    """Asterisk's exit status, as waitpid gives it."""
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    libc = ctypes.CDLL(None)
    # What an AGI script left behind by its own parent becomes our child, so that none escapes.
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.getppid()

    def before_exec() -> None:
        # Should the warden itself be killed, Asterisk goes with it.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        for default in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(default, signal.SIG_DFL)

    asterisk = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, preexec_fn=before_exec, process_group=0
    ).pid
    status = None
    word = b""
    while status is None and not word:
        readable, _, _ = select.select([0], [], [], 0.2)
        if readable:
            word = os.read(0, 16) or b"gone"
        elif os.getppid() != parent:  # a fork of the test run may still hold the pipe
            word = b"gone"
        status = _reap(asterisk)
    deadline = time.monotonic() + _GRACE
    if status is None:
        os.kill(asterisk, signal.SIGTERM)
    while status is None and time.monotonic() < deadline:
        time.sleep(0.01)
        status = _reap(asterisk)
    status = _kill_children(asterisk, status)
    if word == b"gone":
        shutil.rmtree(folder, ignore_errors=True)
    return status or 0


def _reap(asterisk: int) -> int | None:
    """Collect every child that has ended; Asterisk's exit status where it is among them."""
    status = None
    with suppress(ChildProcessError):
        while True:
            pid, waited = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid == asterisk:
                status = os.waitstatus_to_exitcode(waited)
    return status


def _kill_children(asterisk: int, status: int | None) -> int | None:
    """Kill every child, then what becomes a child of ours by that, until none is left."""
    while children := _children():
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
        ended = _reap(asterisk)
        status = ended if status is None else status
    return status


def _children() -> list[int]:
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
            # The name in parentheses may hold anything; the parent is the second field after it.
            if int(stat.read().rpartition(b")")[2].split()[1]) == os.getpid():
                found.append(int(name))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]) & 0xFF)
