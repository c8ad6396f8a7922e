"""What becomes of one SMS, in the words of the dialplan contract."""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one SMS ended; the doors turn it into their own protocol.

    ``reason`` is one line for people, ``failed`` the numbers that the PBX did not accept, as it
    names them, ``id`` the outbox's id where the SMS was stored.
    """

    status: Status
    cause: Cause = Cause.NONE
    reason: str = ""
    failed: tuple[str, ...] = ()
    id: str = ""


def error(cause: Cause, reason: str) -> Outcome:
    """An Outcome with the status ERROR."""
    return Outcome(Status.ERROR, cause, reason)


class Refused(Exception):
    """An SMS that is not even tried; carries what its Outcome says."""

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(f"{cause}: {reason}")
        self.cause = cause
        self.reason = reason


_UNSAFE = frozenset("\"'\\$`{}[];|&<>")
_NOT_A_NUMBER = re.compile(r"[^0-9+*#]+")


def safe_line(text: str) -> str:
    """*text* on one line, without what a dialplan or a shell would act on.

    Admins paste SMS_REASON into System() and $[...]; what stands in for the characters is a space.
    """
    spaced = (
        " " if char in _UNSAFE or unicodedata.category(char) in _INVISIBLE else char
        for char in text
    )
    return " ".join("".join(spaced).split())


_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def safe_number(number: str) -> str:
    """The digits and ``+ * #`` of *number*; empty where there are none."""
    return _NOT_A_NUMBER.sub("", number)
