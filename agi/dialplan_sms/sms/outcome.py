"""What becomes of one SMS, in the words of the dialplan contract."""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from dialplan_sms.host import ConfigError, shortage


class Status(StrEnum):
    """The value of SMS_STATUS."""

    SUCCESS = "SUCCESS"  # every number accepted by the PBX
    WARNING = "WARNING"  # some not: see Outcome.failed
    QUEUED = "QUEUED"  # stored, will be sent
    ERROR = "ERROR"  # not sent, or nobody can know: see Outcome.cause


class Cause(StrEnum):
    """The value of SMS_CAUSE. "May have been sent" holds for the last two of the middle part."""

    NONE = ""

    # Refused here: certainly not sent.
    INVALID_NUMBER = "INVALID_NUMBER"
    INVALID_MESSAGE = "INVALID_MESSAGE"
    INVALID_GSM = "INVALID_GSM"
    INVALID_POSTPONE = "INVALID_POSTPONE"
    UNKNOWN_SENDER = "UNKNOWN_SENDER"
    CONFIG = "CONFIG"
    DENIED = "DENIED"

    # The PBX's doing.
    NOT_QUEUED = "NOT_QUEUED"  # the API's warning
    REJECTED = "REJECTED"  # the API's error
    UNAUTHORIZED = "UNAUTHORIZED"
    UNREACHABLE = "UNREACHABLE"  # certainly not sent
    NO_ANSWER = "NO_ANSWER"  # the request went out, no usable answer
    BAD_ANSWER = "BAD_ANSWER"  # answered, not in the API's terms

    # Ours.
    OUTBOX = "OUTBOX"
    BUSY = "BUSY"
    INTERNAL = "INTERNAL"


CERTAINLY_NOT_SENT = (Cause.REJECTED, Cause.UNAUTHORIZED, Cause.UNREACHABLE, Cause.CONFIG)
"""Why a sender has not sent an SMS for which another may be asked; see Outcome.unsent()."""
NOBODY_KNOWS = (Cause.NO_ANSWER, Cause.BAD_ANSWER)
"""It may have been sent."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one SMS ended; the doors turn it into their own protocol.

    ``reason`` is one line for people, ``failed`` the numbers that the PBX did not accept, as it
    names them, ``unknown`` those of a WARNING that may have got it, ``id`` the outbox's id if the
    SMS was stored. ``for_log`` stands in the log in place of a reason that quotes what a caller
    supplied: a text may hide in any variable. ``from_pbx`` marks a reason in the PBX's own words.
    ``advice`` ends the reason where the SMS comes from the dialplan. ``via`` is the backup
    that carried it, or part of it, or may have.
    """

    status: Status
    cause: Cause = Cause.NONE
    reason: str = ""
    failed: tuple[str, ...] = ()
    id: str = ""
    for_log: str = ""
    from_pbx: bool = False
    advice: str = ""
    unknown: tuple[str, ...] = ()
    via: str = ""

    def unsent(self, numbers: Sequence[str]) -> tuple[str, ...]:
        """Those of *numbers* that certainly got nothing, so that another sender may be asked."""
        if self.status is Status.WARNING:
            return () if self.unknown else matching(self.failed, numbers)
        return tuple(numbers) if self.cause in CERTAINLY_NOT_SENT else ()

    def in_dialplan(self) -> "Outcome":
        """The same with the advice in the reason."""
        for_log = self.for_log and self.for_log + self.advice
        return replace(self, reason=self.reason + self.advice, for_log=for_log, advice="")


def error(
    cause: Cause, reason: str, for_log: str = "", from_pbx: bool = False, advice: str = ""
) -> Outcome:
    """An Outcome with the status ERROR."""
    return Outcome(Status.ERROR, cause, reason, for_log=for_log, from_pbx=from_pbx, advice=advice)


class Refused(Exception):
    """An SMS that is not even tried; carries what its Outcome says."""

    def __init__(self, cause: Cause, reason: str, for_log: str = "", advice: str = "") -> None:
        super().__init__(f"{cause}: {reason}")
        self.cause = cause
        self.reason = reason
        self.outcome = error(cause, reason, for_log, advice=advice)


def misplaced(cause: Cause, name: str, value: str, why: str, advice: str = "") -> Refused:
    """For a *value* that may be a text in the wrong place: the log has no more than its length."""
    return Refused(
        cause, f"{name} {value[:40]} {why}", f"{name} of {len(value)} characters {why}", advice
    )


def safe_line(text: str) -> str:
    """*text* on one line, without what a dialplan or a shell would act on.

    Admins paste SMS_REASON into System() and $[...], with and without quotes around it; what
    stands in for the characters is a space, so our own reasons do without them.
    """
    if not text.isascii():
        text = "".join(" " if _is_unsafe(char) else char for char in text)
    return " ".join(text.translate(_ASCII).split())


def _is_unsafe(char: str) -> bool:
    return char in "\"'\\$`{}[]();|&<>*?~!#^" or (
        unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    )


# For str.translate: most lines are ASCII, and each call writes some.
_ASCII = {code: " " for code in range(128) if _is_unsafe(chr(code))}


def safe_number(number: str) -> str:
    """The digits and ``+ * #`` of *number*; empty if there are none."""
    return re.sub(r"[^0-9+*#]+", "", number)


def matching(named: Collection[str], numbers: Sequence[str]) -> tuple[str, ...]:
    """Those of our *numbers* that the PBX has *named*, in whatever form it writes them."""
    bare = {_bare(number) for number in named}
    return tuple(number for number in numbers if _bare(number) in bare)


def _bare(number: str) -> str:
    return re.sub(r"^\+?(00)?", "", number)


def failed(failure: Exception) -> Outcome:
    """The Outcome of what raised *failure*."""
    if isinstance(failure, Refused):
        return failure.outcome
    if isinstance(failure, ConfigError):
        return error(Cause.CONFIG, str(failure))
    return error(Cause.INTERNAL, _where(failure))


def _where(failure: BaseException) -> str:
    """What broke and where, without the values that a message or a traceback would show."""
    if isinstance(failure, ModuleNotFoundError):
        missing = f"the Python package {failure.name} is missing"
        return f"{missing}: install dialplan-sms again, see docs/install.md"
    if short := shortage(failure):
        return short
    import traceback  # for what should never happen

    *_, (frame, line) = traceback.walk_tb(failure.__traceback__)
    return (
        f"dialplan-sms broke, {type(failure).__name__} in"
        f" {frame.f_code.co_filename.rpartition('/')[2]} line {line}: please report this line"
    )
