"""What is done in another process or as another user, and how root becomes one itself.

A process that has become a user has done so for good: nothing brings root's rights back. Other
programs have limits of time and output, no shell, and nothing of our environment.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from dialplan_sms.host.identity import READ, HostError, User, blocked, changer

T = TypeVar("T")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_STARTED, NOT_ENDED = 127, 124
_LARGEST = 4 << 20  # bytes of a program's output that are read


def drop_privileges(*paths: Path) -> None:
    """Become for good who can change the first of *paths* that others than root can; as root.

    If there is none, stay root. Raises HostError if several users can change it, if root cannot
    become that user, or if that user cannot read this program, of which parts are yet to be loaded.
    """
    path, user = next(((path, user) for path in paths if (user := changer(path))), (None, None))
    if user is None:
        return
    for place in (sys.prefix, sys.base_prefix, __file__):
        if bar := blocked(Path(place), READ, user):
            raise HostError(
                f"root uses no rights but those of {user} here, who can change {path}, and that"
                f" user may not enter {bar.path}, where this program is: run"
                " /opt/dialplan-sms/bin/dialplan-sms, see docs/install.md, or chmod o+x it"
            )
    _become(user)


def as_changer(path: Path, work: Callable[[], T], itself: bool = False) -> T:
    """What *work* returns or raises, done as who can put something else in the place of *path*.

    With *itself*, as who can also write to what is there. Raises HostError, as changer() does.
    """
    return as_user(changer(path, itself) if os.geteuid() == 0 else None, work)


def as_user(user: User | None, work: Callable[[], T]) -> T:
    """What *work* returns or raises, done in a child that has become *user*; None for ourselves."""
    if user is None or user.uid == os.geteuid():
        return work()
    import pickle  # which drop_privileges(), for each call where Asterisk is root, does without

    reader, writer = os.pipe()
    # Without root's rights, it has no core dump and no debugger of that user either.
    if (child := os.fork()) == 0:
        try:
            try:
                _become(user)
                data = pickle.dumps((work(), None))
            except BaseException as failure:  # noqa: BLE001 - raised again by who waits
                data = pickle.dumps((None, failure))
            with open(writer, "wb") as answer:
                answer.write(data)
        finally:
            os._exit(0)
    os.close(writer)
    try:
        with open(reader, "rb") as answer:
            result, error = pickle.load(answer)  # of our own code
    except (EOFError, pickle.UnpicklingError):
        raise HostError(f"what root does as {user} was ended by a signal: run it again") from None
    finally:
        os.waitpid(child, 0)
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _become(user: User) -> None:
    try:
        os.setgroups(user.gids)
        os.setresgid(user.gids[0], user.gids[0], user.gids[0])
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        raise HostError(
            f"root cannot become {user} here, {error.strerror}: run this as that user, or make what"
            " that user can change root's"
        ) from None


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended, perhaps NOT_STARTED or NOT_ENDED in time, and its stdout and stderr."""

    status: int
    output: str = ""

    @property
    def last_line(self) -> str:
        return (self.output.strip() or f"exit status {self.status}").splitlines()[-1].strip()


Run = Callable[[Sequence[str], float, User | None], Ran]


def run(
    command: Sequence[str], timeout: float, user: User | None = None, given: IO[bytes] | None = None
) -> Ran:
    """Run *command* for at most *timeout* seconds, as *user* if we are root; never raises.

    It gets *given* as its standard input, or nothing.
    """
    import subprocess  # which drop_privileges() does without, too

    rights = (
        {"user": user.uid, "group": user.gids[0], "extra_groups": user.gids}
        if user and user.uid and os.geteuid() == 0
        else {}
    )
    until = time.monotonic() + timeout
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell, and what to run is ours
            command, bufsize=0, stdin=given or subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, cwd="/", start_new_session=True,
            env={"PATH": os.environ.get("PATH") or PATH, "LANG": "C.UTF-8", "HOME": "/"}, **rights,
        )  # type: ignore[call-overload]  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Ran(NOT_STARTED, getattr(error, "strerror", None) or type(error).__name__)
    try:
        with process.stdout:
            output = _read(process.stdout, until, process.poll)
        return Ran(process.wait(max(until - time.monotonic(), 0)), output)
    except (TimeoutError, subprocess.TimeoutExpired):
        return Ran(NOT_ENDED, f"no end within {timeout:.0f} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _read(pipe: IO[bytes], until: float, status: Callable[[], int | None]) -> str:
    """What comes from *pipe* until it, or the program, ends, or as much as is kept.

    What the program has left behind may hold the pipe. Raises TimeoutError.
    """
    kept, waiting = bytearray(), select.poll()  # select() takes no number above 1023
    waiting.register(pipe, select.POLLIN)
    while len(kept) < _LARGEST:
        ended, left = status() is not None, until - time.monotonic()
        if waiting.poll(0 if ended else min(max(left, 0), 0.1) * 1000):
            if not (piece := os.read(pipe.fileno(), 1 << 16)):
                break
            kept += piece
        elif ended:
            break
        elif left <= 0:
            raise TimeoutError
    return kept.decode("utf-8", "replace")
