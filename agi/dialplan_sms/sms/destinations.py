"""Where a sender may send to: countries and prefixes, decided on the number alone."""

from collections.abc import Collection

from dialplan_sms.config.config import Sender
from dialplan_sms.config.countries import is_in
from dialplan_sms.sms.outcome import Cause, Refused


def refusal(number: str, sender: Sender) -> Refused | None:
    """Why *sender* may not send to *number*: it is not in its ``allow``, or in its ``deny``.

    Without ``allow`` it is the sender's country, if that is set. Short codes are allowed by
    short_numbers; +999 is nobody's, and the stand-in's.
    """
    if number.startswith("+999") or not number.startswith("+"):
        return None
    if sender.deny and _is_among(number, sender.deny, unsure=True):
        return _denied(number, "deny")
    allow = sender.allow or ((sender.country,) if sender.country else ())
    if allow and not _is_among(number, allow, unsure=False):
        return _denied(number, "allow") if sender.allow else _abroad(number, allow[0])
    return None


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
