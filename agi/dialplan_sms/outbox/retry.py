"""What follows from the outcome of one try to send a stored SMS. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dialplan_sms.sms.outcome import NOBODY_KNOWS, Cause, Outcome, Status, error, matching

FIRST_WAIT, LONGEST_WAIT = 5.0, 900.0
"""Seconds until the second try, which then double, and at most."""
HELD = 300.0  # seconds between tries if somebody has to mend something first
STALE = 60.0  # seconds after which an SMS that could be sent and is not is worth a warning
AT_LEAST_ONCE, AT_MOST_ONCE = "at-least-once", "at-most-once"

_STOPS = (Cause.UNREACHABLE, Cause.UNAUTHORIZED, Cause.CONFIG, Cause.UNKNOWN_SENDER)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of each number of a request.

    ``stops`` names the cause for which all of the sender's messages wait; if it is empty, only this
    message waits for its next try.
    """

    sent: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    stops: str = ""


def decide(
    outcome: Outcome, numbers: Sequence[str], delivery: str, over: bool, other: bool = False
) -> Verdict:
    """The Verdict on a request to *numbers*; *over* is whether the message's max_age is.

    *other* is whether another sender may still take what this one rejects.
    """
    every, may_double = tuple(numbers), delivery == AT_LEAST_ONCE and not over
    if outcome.status is Status.SUCCESS:
        return Verdict(sent=every)
    warning, unknown = outcome.status is Status.WARNING, matching(outcome.unknown, every)
    refused = matching(outcome.failed, every) if warning else ()
    if refused or unknown:
        rest = tuple(number for number in every if number not in (*refused, *unknown))
        if outcome.cause in NOBODY_KNOWS and not unknown:  # a backup's, asked for the refused ones
            return replace(decide(error(outcome.cause, ""), refused, delivery, over), sent=rest)
        if may_double:
            return Verdict(sent=rest, again=(*refused, *unknown))
        kept = Verdict(failed=refused) if over else Verdict(again=refused)
        return replace(kept, sent=rest, unknown=unknown)
    if warning or outcome.cause in NOBODY_KNOWS:  # or which ones it means cannot be told
        return Verdict(again=every) if may_double else Verdict(unknown=every)
    kept = Verdict(expired=every) if over else Verdict(again=every)
    if stops(outcome):
        return replace(kept, stops=stops(outcome))
    if (other or outcome.cause is Cause.INTERNAL) and not over:  # certainly not sent
        return kept
    return Verdict(failed=every)


def stops(outcome: Outcome) -> str:
    """The cause for which all SMS wait of the sender that has this *outcome*; empty if none."""
    return str(outcome.cause) if outcome.cause in _STOPS else ""


def ended(outcome: Outcome, numbers: Sequence[str]) -> Verdict:
    """The Verdict on the one try of a call in mode wait: nothing follows, and no time was over."""
    verdict = decide(outcome, numbers, AT_MOST_ONCE, over=True)
    return replace(verdict, failed=(*verdict.failed, *verdict.expired), expired=())


def wait(tries: int, random: float) -> float:
    """Seconds until the next try after *tries*; *random* (0 to 1) spreads those of several."""
    middle = min(FIRST_WAIT * 2.0 ** min(max(tries, 1) - 1, 16), LONGEST_WAIT / 1.25)
    return middle * (0.75 + 0.5 * random)


def turn(waiting: list[str], tries: int, ended: int) -> tuple[list[str], int]:
    """Which one of a message's *waiting* numbers goes next, and how often each was tried in vain.

    *ended* is how many others it has. They take turns, so that one that fails again and again does
    not keep the others waiting.
    """
    in_vain, count = max(0, tries - ended), max(1, len(waiting))
    return waiting[in_vain % count :][:1], in_vain // count
