"""Numbers as people write them, to numbers as the PBX dials them."""

import re
from collections.abc import Iterator

from dialplan_sms.sms.outcome import Cause, Refused

_SCHEME = re.compile(r"(?i)^\s*(?:sms|tel):(?://)?")
_DECORATION = re.compile(r"[\s.\-()\[\]\"'‐-―−⁠\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]+")
_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{6,14}")
"""ITU-T E.164: at most 15 digits. Fewer than 7 reach nobody."""
_DIGITS = re.compile(r"[0-9]+")
_TRUNK_ZERO = re.compile(r"\(\s*0\s*\)")

SHORT_NUMBER = range(3, 7)
"""How many digits a short code has."""


def split(text: str) -> Iterator[str]:
    """The items of a comma-separated list that are more than spaces and quotes."""
    return (item.strip() for item in text.split(",") if item.strip(" \t\r\n\"'"))


def refusal(wrong: list[str], others: int, country: str | None, short: bool) -> Refused:
    """Why the items in *wrong* cannot be dialled, which stood among so many *others*."""
    advice = _advise(wrong, country, short)
    count = f"{len(wrong)} of {len(wrong) + others} numbers cannot be dialled"
    return Refused(Cause.INVALID_NUMBER, _name(wrong) + advice, count + advice)


def read_number(item: str, country: str | None, short: bool) -> str | None:
    """The number that *item* is, as the PBX dials it; None if it is none.

    *country* (ISO 3166, two letters) reads national numbers, *short* allows short codes.
    """
    bare = "".join(str(int(char)) if char.isdecimal() else char for char in item)
    bare = _SCHEME.sub("", bare)
    trunk_zero = _TRUNK_ZERO.search(bare)
    bare = _DECORATION.sub("", bare.replace("\uff0b", "+"))
    if bare.startswith("00"):
        bare = "+" + bare[2:]
    if bare.startswith("+"):
        if not _INTERNATIONAL.fullmatch(bare):
            return None
        # "+44 (0)20 …": only the country's own rules say whether that zero is dialled.
        return _possible(bare, None) if trunk_zero else bare
    if not _DIGITS.fullmatch(bare):
        return None
    if short and len(bare) in SHORT_NUMBER and bare[0] != "0":
        return bare
    return _possible(bare, country) if country else None


def _possible(digits: str, country: str | None) -> str | None:
    import phonenumbers  # 40 ms that a number with a + need not pay

    try:
        number = phonenumbers.parse(digits, country)
    except phonenumbers.NumberParseException:
        return None
    verdict = phonenumbers.is_possible_number_with_reason(number)
    if verdict != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    # phonenumbers leaves the trunk prefix if too few digits would follow it. Only the numbering
    # plan knows the numbers that do begin so: in Russia, 8 is the first digit of areas, too.
    region = phonenumbers.region_code_for_country_code(number.country_code or 0)
    trunk = phonenumbers.ndd_prefix_for_region(region, strip_non_digits=True)
    national = phonenumbers.national_significant_number(number)
    if trunk and national.startswith(trunk) and not phonenumbers.is_valid_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _name(wrong: list[str]) -> str:
    named = ", ".join(item[:40] for item in wrong[:5])
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return f"{named}{more} " + ("are no phone numbers" if len(wrong) > 1 else "is no phone number")


def _advise(wrong: list[str], country: str | None, short: bool) -> str:
    bare = [_DECORATION.sub("", item) for item in wrong]
    if any(item.count("+") > 1 or ";" in item for item in wrong):
        return ": separate numbers with commas"
    if country:
        advice = f": neither one with its country code, as +39..., nor one of {country}"
    else:
        advice = ": write the country code, as +39..., or set country in sms.conf"
    if not short and any(len(item) in SHORT_NUMBER and item.isdecimal() for item in bare):
        advice += " - a short code needs short_numbers = yes"
    return advice
