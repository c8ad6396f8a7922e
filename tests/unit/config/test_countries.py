import phonenumbers
import pytest
from phonenumbers import PhoneNumberType

from dialplan_sms.config.countries import CALLING_CODE, is_in

EXAMPLES = {
    phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
    for region in phonenumbers.SUPPORTED_REGIONS
    for kind in (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE)
    if (example := phonenumbers.example_number_for_type(region, kind)) is not None
}


def test_the_countries_are_those_of_phonenumbers() -> None:
    assert {
        country: str(phonenumbers.country_code_for_region(country))
        for country in phonenumbers.SUPPORTED_REGIONS
    } == CALLING_CODE
    found = {phonenumbers.region_code_for_number(phonenumbers.parse(n, None)) for n in EXAMPLES}
    assert len(found) > 230  # of which there are numbers to try


@pytest.mark.parametrize("number", sorted(EXAMPLES))
def test_a_number_is_in_its_country_and_in_no_other(number: str) -> None:
    parsed = phonenumbers.parse(number, None)
    region = phonenumbers.region_code_for_number(parsed)
    assert region is not None
    assert is_in(number, {region})
    assert not is_in(number, set(CALLING_CODE) - {region})
    assert is_in(number, set(CALLING_CODE))
    assert not is_in(number, ())


@pytest.mark.parametrize("number", ["+800123456789", "+8821234567", "+979123456789", "+999000001"])
def test_a_number_of_no_country_is_in_none(number: str) -> None:
    assert not is_in(number, CALLING_CODE)


def test_one_that_is_in_no_ones_plan_is_what_the_caller_says() -> None:
    for number in ("+15550001111", "+1555", "+449999999999"):
        assert not is_in(number, {"US", "GB"})
        assert is_in(number, {"US", "GB"}, unsure=True)
    assert not is_in("+15550001111", {"IT"}, unsure=True)  # of another calling code: certain
    assert not is_in("+33612345678", {"IT"}, unsure=True)
