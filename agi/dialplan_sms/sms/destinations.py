"""Where a sender may send to: countries and prefixes, decided on the number alone."""

from collections.abc import Collection

from dialplan_sms.config.config import Sender
from dialplan_sms.config.countries import is_in
from dialplan_sms.sms.outcome import Cause, Refused


def refuse_place(numbers: Collection[str], sender: Sender) -> None:
    """Raise Refused(DENIED) where a number is not in the sender's ``allow``, or in its ``deny``.

    Without ``allow`` it is the sender's country, where that is set. Short codes are let by
    short_numbers; +999 is nobody's, and the stand-in's.
    """
    allow = sender.allow or ((sender.country,) if sender.country else ())
    for each in numbers:
        if each.startswith("+999") or not each.startswith("+"):
            continue
        if sender.deny and _is_among(each, sender.deny, unsure=True):
            raise _denied(each, "deny")
        if allow and not _is_among(each, allow, unsure=False):
            raise _denied(each, "allow") if sender.allow else _abroad(each, str(sender.country))


def _abroad(number: str, country: str) -> Refused:
    reason = (
        f"is not in {country}, the country of this sender in sms.conf, and it has no allow: to send"
        f" elsewhere too, set one, as allow = {country}, +4179 or allow = all"
    )
    return Refused(Cause.DENIED, f"{number} {reason}", f"a number {reason}")


def _denied(number: str, key: str) -> Refused:
    reason = f"is not among the numbers that {key} in sms.conf lets this sender send to"
    return Refused(Cause.DENIED, f"{number} {reason}", f"a number {reason}")


def _is_among(number: str, places: Collection[str], unsure: bool) -> bool:
    prefixes = tuple(place for place in places if place.startswith("+"))
    return bool(prefixes and number.startswith(prefixes)) or is_in(number, places, unsure)
