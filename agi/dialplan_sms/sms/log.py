"""One line a call, to syslog or a file: ids, masked numbers, status and timings.

Never a text or a secret; what a peer or a caller supplied is made harmless first.
"""

import errno
import os
import re
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable

from dialplan_sms.host.terminal import plain
from dialplan_sms.sms.outcome import Outcome, Status, safe_line
from dialplan_sms.sms.sms import Handled, Sms

_SYSLOG = "/dev/log"
_PATIENCE = struct.pack("ll", 0, 200_000)  # 0.2 s that a call gives a syslog which does not read
_KEPT = 1.0  # seconds that a file stays open
_USER, _WARNING, _INFO = 8, 4, 6  # Facility and severities (RFC 5424, section 6.2.1)
_OVERLAP = 8  # characters of the text in a PBX's reason from which on the reason is not logged


class _Outlet:
    """An open file or socket, closed when the last thread has written to it.

    Who writes keeps the outlet, not only its number: another thread may replace it just then, and
    the number would be closed, or already that of another connection. Kept for a second: to open
    one for each line costs much, and to keep it longer would need a signal when the log is rotated.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self.deaf = False
        self.stale_at = time.monotonic() + _KEPT

    def __del__(self) -> None:
        os.close(self.file)


_outlets: dict[str, _Outlet] = {}


def _outlet(target: str, open_: Callable[[str], int]) -> _Outlet:
    outlet = _outlets.get(target)
    if outlet is None or outlet.stale_at < time.monotonic():
        try:
            outlet = _outlets[target] = _Outlet(open_(target))
        except OSError as error:
            # Just then there is something to log, and the one that is open is as good.
            if outlet is None or error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
    return outlet


def write(target: str, line: str, failed: bool = False) -> None:
    """Write *line* to *target*: ``syslog`` or the path of a file. Never raises for the disk."""
    line = plain(line)  # it is read on a terminal
    if target == "syslog":
        return _to_syslog(line, failed)
    entry = f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}\n"
    try:
        outlet = _outlet(target, _open_file)
        os.write(outlet.file, entry.encode("utf-8", "backslashreplace"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        why = "it is a link" if getattr(error, "errno", 0) == errno.ELOOP else why
        _to_syslog(f"log {target} cannot be written ({why}): {line}", failed=True)


def _open_file(path: str) -> int:
    # Not to wait for the reader of a FIFO, nor to take a terminal; and no link, which Asterisk's
    # user could put into its own folder for root to follow.
    flags = (
        os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW
    )  # fmt: skip
    where, name = os.path.split(path)
    folder = os.open(where or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            file, made = os.open(name, flags | os.O_EXCL, 0o640, dir_fd=folder), True
        except FileExistsError:
            file, made = os.open(name, flags, 0o640, dir_fd=folder), False
        owner = os.fstat(folder)  # of the one it is in, whatever its path leads to by now
    finally:
        os.close(folder)
    if made and os.geteuid() == 0:
        # Else the service, which is Asterisk's user's, could not go on with what root has begun.
        os.fchown(file, owner.st_uid, owner.st_gid)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(0, "not a regular file")
    return file


def _to_syslog(line: str, failed: bool) -> None:
    """Write as syslog(3) does, which would block if nobody reads, whatever signal comes."""
    priority, stamp = _USER | (_WARNING if failed else _INFO), time.strftime("%b %e %H:%M:%S")
    entry = f"<{priority}>{stamp} dialplan-sms[{os.getpid()}]: {line}"
    # No syslog here, or one that is stuck: the call goes on. A second try is for one that began
    # anew since the socket was opened.
    for _ in range(2):
        try:
            outlet = _outlet(_SYSLOG, _open_syslog)
            if not outlet.deaf:
                os.write(outlet.file, entry.encode("utf-8", "backslashreplace"))
            return
        except BlockingIOError:
            outlet.deaf = True  # the next calls do not wait
            return
        except OSError:
            _outlets.pop(_SYSLOG, None)


def _open_syslog(path: str) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as log:
        log.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)
        log.connect(path)
        return log.detach()


class Repeated:
    """Of lines that may come thousands of times the first, then a count a minute. Thread-safe."""

    def __init__(
        self, note: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._note = note
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: dict[str, tuple[str, float, int]] = {}  # written when, and how often since

    def __call__(self, condition: str, *of: object) -> None:
        """Note *condition*, a constant with ``{}`` for what differs from case to case."""
        with self._lock:
            line, noted_at, times = self._lines.get(condition) or (
                condition.format(*of), self._clock(), -1,
            )  # fmt: skip
            self._lines[condition] = line, noted_at, times + 1
        if times < 0:
            self._note(line)

    def sum_up(self, every: float = 60.0) -> None:
        """Note how often each came since it was noted *every* seconds ago; call this often."""
        now = self._clock()
        with self._lock:
            over = {key: each for key, each in self._lines.items() if now - each[1] >= every}
            again = {key: (line, now, 0) for key, (line, _, times) in over.items() if times}
            self._lines = {k: v for k, v in self._lines.items() if k not in over} | again
        for key in again:
            line, noted_at, times = over[key]
            self._note(f"{line} - the same {times} times more within {now - noted_at:.0f} s")


def describe(handled: Handled) -> str:
    """The line of one call."""
    sms, outcome = handled.sms or Sms((), ""), handled.outcome
    more, replaced = len(sms.numbers) - 5, " ".join(sms.replaced)
    fields = {
        "call": safe_line(handled.call) or "-",
        "sender": handled.sender or "-",
        "via": outcome.via and safe_line(outcome.via),
        "to": ",".join(map(_mask, sms.numbers[:5])) + (f"+{more}" if more > 0 else ""),
        "chars": len(sms.text),
        "parts": sms.parts,
        "parts_from": sms.parts_from,
        "gsm": sms.gsm,
        "postpone": sms.postpone and f"{sms.postpone:%Y-%m-%dT%H:%M}",
        "id": outcome.id,
        "status": outcome.status,
        "cause": outcome.cause,
        "failed": len(outcome.failed),
        "ms": f"{handled.seconds * 1000:.0f}",
        "cut_from": sms.cut_from,
        "note": replaced and f"the PBX may replace with spaces: {replaced}",
        "reason": outcome.reason and harmless(outcome, handled.sms),
    }
    return " ".join(f"{name}={value}" for name, value in fields.items() if value)


def harmless(outcome: Outcome, sms: Sms | None) -> str:
    """The reason without text and numbers, whoever put them there."""
    reason = safe_line(outcome.for_log or outcome.reason)[:1000]
    if not outcome.from_pbx or sms is None:
        return reason
    if repeats(reason, sms.text):
        return "the PBX repeats the text"
    return re.sub(r"[0-9][0-9 .-]{3,}[0-9]", lambda found: _mask(found[0]), reason)


def repeats(reason: str, text: str) -> bool:
    """Whether *reason* has a part of *text*."""
    text = safe_line(text)
    pieces = (reason[at : at + _OVERLAP] for at in range(max(1, len(reason) - _OVERLAP + 1)))
    return (0 < len(text) < _OVERLAP and text in reason) or any(
        each in text for each in pieces if each
    )


def _mask(number: str) -> str:
    """A number for the log: its last three digits."""
    return f"…{number[-3:]}"


def is_failure(outcome: Outcome) -> bool:
    """Whether somebody should look: the line gets the level of a warning."""
    return bool(outcome.via) or outcome.status in (Status.ERROR, Status.WARNING)
