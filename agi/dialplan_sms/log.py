"""One line a call, to syslog or a file: ids, masked numbers, status and timings.

Never a text or a secret; what a peer or a caller supplied is made harmless first.
"""

import os
import re
import time

from dialplan_sms.outcome import Outcome, Status, safe_line
from dialplan_sms.sms import Draft, Sms

_DIGITS = re.compile(r"\+?[0-9](?:[0-9 .()-]*[0-9])?")


def write(target: str, line: str, failed: bool = False) -> None:
    """Write *line* to *target*: ``syslog`` or the path of a file. Never raises for the disk."""
    if target == "syslog":
        import syslog

        syslog.openlog("dialplan-sms", syslog.LOG_PID, syslog.LOG_USER)
        syslog.syslog(syslog.LOG_WARNING if failed else syslog.LOG_INFO, line)
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    try:
        with open(target, "a", encoding="utf-8", opener=_private) as file:
            file.write(f"{stamp} {line}\n")
    except OSError as error:
        write("syslog", f"log {target} cannot be written ({error.strerror}): {line}", failed=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)


def mask(number: str) -> str:
    """A number for the log: its last three digits."""
    return f"…{number[-3:]}"


def describe(draft: Draft, sms: Sms | None, sender: str, outcome: Outcome, seconds: float) -> str:
    """The line of one call. *sms* is None where the draft was refused."""
    words = [f"call={safe_line(draft.call) or '-'}", f"sender={safe_line(sender) or '-'}"]
    if sms is not None:
        shown = ",".join(map(mask, sms.numbers[:5]))
        words.append(f"to={shown}" + (f"+{len(sms.numbers) - 5}" if len(sms.numbers) > 5 else ""))
        words.append(f"chars={len(sms.text)}")
        words += [f"gsm={sms.gsm}"] if sms.gsm else []
        words += [f"postpone={sms.postpone:%Y-%m-%dT%H:%M}"] if sms.postpone else []
    words.append(f"status={outcome.status}")
    words += [f"cause={outcome.cause}"] if outcome.cause else []
    words += [f"failed={len(outcome.failed)}"] if outcome.failed else []
    words.append(f"ms={seconds * 1000:.0f}")
    words += [f"cut_from={sms.cut_from}"] if sms is not None and sms.cut_from else []
    if sms is not None and sms.replaced:
        words.append(f"note=the PBX may replace with spaces: {' '.join(sms.replaced)}")
    if outcome.reason:
        words.append(f"reason={_reason(outcome.reason, draft)}")
    return " ".join(words)


def _reason(reason: str, draft: Draft) -> str:
    """The reason without the text, should a PBX echo it, and with its numbers masked."""
    text = safe_line(draft.message)
    if len(text) > 3:
        reason = reason.replace(text, "(text)")
    masked = _DIGITS.sub(lambda run: mask(run[0]) if len(run[0]) > 6 else run[0], reason)
    return masked[:500]


def is_failure(outcome: Outcome) -> bool:
    """Whether somebody should look: the line gets the level of a warning."""
    return outcome.status in (Status.ERROR, Status.WARNING)
