"""Numbers: as people write them, as the PBX dials them, and to which a sender may send."""

import re
from collections.abc import Collection

from dialplan_sms.config.config import Sender
from dialplan_sms.config.countries import is_in
from dialplan_sms.sms.outcome import Cause, Refused

_SCHEME = re.compile(r"(?i)^\s*(?:sms|tel):(?://)?")
_DECORATION = re.compile(r"[\s.\-()\[\]\"'‐-―−⁠\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]+")
# ITU-T E.164: at most 15 digits. Fewer than 7 reach nobody.
_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{6,14}")
_DIGITS = re.compile(r"[0-9]+")
_TRUNK_ZERO = re.compile(r"\(\s*0\s*\)")
_SHORT_NUMBER = range(3, 7)  # how many digits a short code has


def read_numbers(
    written: str, sender: Sender, partly: bool
) -> tuple[tuple[str, ...], tuple[str, ...], Refused | None]:
    """The numbers of a comma-separated list, each once and in their order.

    With *partly* also those that are left out since nothing can be sent to them, and why that is.
    Raises Refused if it is not so, or if none is left.
    """
    read = {
        item: read_number(item, sender.country, sender.short_numbers)
        for item in map(str.strip, written.split(","))
        if item.strip(" \t\r\n\"'")
    }
    denied = {item: denial(number, sender) if number else None for item, number in read.items()}
    good = dict.fromkeys(number for item, number in read.items() if number and not denied[item])
    bad = [item for item, number in read.items() if not number or denied[item]]
    wrong = [item for item in bad if not read[item]]
    objection = (
        _no_numbers(wrong, len(good) + len(bad) - len(wrong), sender)
        if wrong
        else next((denied[item] for item in bad), None)
    )
    if objection is not None and not (partly and good):
        raise objection
    if not good:
        raise Refused(Cause.INVALID_NUMBER, "the number is empty", advice=": set SMS_NUMBER")
    return tuple(good), tuple(dict.fromkeys(item[:40] for item in bad)), objection


def read_number(item: str, country: str | None, short: bool) -> str | None:
    """The number that *item* is, as the PBX dials it; None if it is none.

    *country* (ISO 3166, two letters) reads national numbers, *short* allows short codes.
    """
    digits = "".join(str(int(char)) if char.isdecimal() else char for char in item)
    written = _SCHEME.sub("", digits).replace("\uff0b", "+")
    bare = re.sub("^00", "+", _DECORATION.sub("", written))
    if _INTERNATIONAL.fullmatch(bare):
        # "+44 (0)20 …": only the country's own rules say whether that zero is dialled.
        return _possible(bare, None) if _TRUNK_ZERO.search(written) else bare
    if not _DIGITS.fullmatch(bare):
        return None
    if short and len(bare) in _SHORT_NUMBER and bare[0] != "0":
        return bare
    return _possible(bare, country) if country else None


def _possible(digits: str, country: str | None) -> str | None:
    import phonenumbers  # 40 ms that a number with a + need not pay

    try:
        number = phonenumbers.parse(digits, country)
    except phonenumbers.NumberParseException:
        return None
    verdict = phonenumbers.is_possible_number_with_reason(number)
    # phonenumbers leaves the trunk prefix if too few digits would follow it. Only the numbering
    # plan knows the numbers that do begin so: in Russia, 8 is the first digit of areas, too.
    trunk = phonenumbers.ndd_prefix_for_region(
        phonenumbers.region_code_for_country_code(number.country_code or 0), strip_non_digits=True
    )
    has_trunk = trunk and phonenumbers.national_significant_number(number).startswith(trunk)
    if verdict != phonenumbers.ValidationResult.IS_POSSIBLE or (
        has_trunk and not phonenumbers.is_valid_number(number)
    ):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _no_numbers(wrong: list[str], others: int, sender: Sender) -> Refused:
    """Why the items in *wrong* cannot be dialled, which stood among so many *others*."""
    named = ", ".join(item[:40] for item in wrong[:5])
    named += f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    named += " are no phone numbers" if len(wrong) > 1 else " is no phone number"
    bare = (_DECORATION.sub("", item) for item in wrong)
    is_short = any(len(item) in _SHORT_NUMBER and item.isdecimal() for item in bare)
    advice = ": write the country code, as +39..., or set country in sms.conf"
    if sender.country:
        advice = f": neither one with its country code, as +39..., nor one of {sender.country}"
    advice += " - a short code needs short_numbers = yes" * (is_short and not sender.short_numbers)
    if any(item.count("+") > 1 or ";" in item for item in wrong):
        advice = ": separate numbers with commas"
    count = f"{len(wrong)} of {len(wrong) + others} numbers cannot be dialled"
    return Refused(Cause.INVALID_NUMBER, named + advice, count + advice)


def denial(number: str, sender: Sender) -> Refused | None:
    """Why *sender* may not send to *number*: it is not in its ``allow``, or in its ``deny``.

    Without ``allow`` it is the sender's country, if that is set. Short codes are allowed by
    short_numbers; +999 is nobody's, and the stand-in's.
    """
    if number.startswith("+999") or not number.startswith("+"):
        return None
    allow = sender.allow or ((sender.country,) if sender.country else ())
    is_denied = sender.deny and _is_among(number, sender.deny, unsure=True)
    if not is_denied and (not allow or _is_among(number, allow, unsure=False)):
        return None
    key = "deny" if is_denied else "allow"
    why = f"is not among the numbers that {key} in sms.conf lets this sender send to"
    if not is_denied and not sender.allow:
        why = (
            f"is not in {allow[0]}, the country of this sender in sms.conf, and it has no allow: to"
            f" send elsewhere too, set one, as allow = {allow[0]}, +4179 or allow = all"
        )
    return Refused(Cause.DENIED, f"{number} {why}", f"a number {why}")


def _is_among(number: str, places: Collection[str], unsure: bool) -> bool:
    prefixes = tuple(place for place in places if place.startswith("+"))
    return number.startswith(prefixes) or is_in(number, places, unsure)
