"""What a door was given becomes an SMS: its numbers, text, gateway and time, or why not."""

import unicodedata
from dataclasses import replace
from datetime import datetime

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.config.config import Sender
from dialplan_sms.sms.outcome import Cause, Refused
from dialplan_sms.sms.sms import Draft, clean, compose

NOW = datetime(2026, 3, 1, 12, 30, 45)
SENDER = Sender(name="101", url="https://192.0.2.1", password="x", gsm="9c7514330001")
DRAFT = Draft("+39333123456", "x")


def test_a_draft_becomes_an_sms_and_neither_shows_its_text() -> None:
    draft = Draft("+39333123456", "Hi\tthere", "9C:75:14-33:00:02", "2027-01-02 03:04")
    sms = compose(draft, SENDER, NOW)
    assert sms.numbers == ("+39333123456",)
    assert (sms.text, sms.replaced) == ("Hi there", "")
    assert sms.gsm == "9c7514330002"
    assert sms.postpone == datetime(2027, 1, 2, 3, 4)
    assert "there" not in repr(draft) + repr(sms)
    sms = compose(Draft("+39333123456", 'https://a "b" \\'), SENDER, NOW)
    assert (sms.gsm, sms.replaced) == ("9c7514330001", '"\\/')  # what the PBX replaces


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("14/07/2027 15:35", datetime(2027, 7, 14, 15, 35)),
        ("2027-07-14 15:35", datetime(2027, 7, 14, 15, 35)),
        ("2027-07-14T15:35", datetime(2027, 7, 14, 15, 35)),
        (" 01/03/2026 12:30 ", datetime(2026, 3, 1, 12, 30)),  # the minute that it is
    ],
)
def test_a_date_is_read_in_both_ways(written: str, read: datetime) -> None:
    assert compose(replace(DRAFT, postpone=written), SENDER, NOW).postpone == read


WRONG = {
    "number": [
        "12", "+39abc", "", " ", ",", "+", "+39", "++39333123456", "+0039333123456", "1-800-FLOWERS",
        "+3933312345678901", "+39333123456;ext=1", "*100#", "333 1234567", "+39333123456 x2",
    ],
    "message": ["", " ", "\n \n"],
    "gsm": ["9c751433000", "9c75143300011", "9g7514330001", " world", "x"],
    "postpone": ["01/03/2026 12:29", "14/07/2014 15:35", "07/14/2027 15:35", "tomorrow", "2027-07-14"],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(f, value) for f in WRONG for value in WRONG[f]])
def test_what_is_wrong_is_refused(field: str, value: str) -> None:
    with pytest.raises(Refused) as refused:
        compose(replace(DRAFT, **{field: value}), SENDER, NOW)  # type: ignore[arg-type]
    assert refused.value.cause is Cause[f"INVALID_{field.upper()}"]


@pytest.mark.parametrize(
    "reply",
    ['{"type":"result","result":"Success"}',
     ' {"reason": "x", "type": "error", "result": null}',
     '{"type":"warning","reason":"Unable to add a SMS to the queue","result":["111"]}'],
)  # fmt: skip
def test_the_reply_that_the_old_recipe_leaves_is_not_sent(reply: str) -> None:
    with pytest.raises(Refused, match="CURL") as refused:
        compose(replace(DRAFT, message=reply), SENDER, NOW)
    assert refused.value.cause is Cause.INVALID_MESSAGE


@pytest.mark.parametrize("text", ['{"type":"b"}', "{hello}", '{"type', "{" * 5000])
def test_other_texts_with_braces_are_sent(text: str) -> None:
    sms = compose(replace(DRAFT, message=text), replace(SENDER, max_length=9999), NOW)
    assert sms.text == text


@pytest.mark.parametrize(
    ("given_text", "cleaned"),
    [
        ("cafe\u0301", "caf\u00e9"),
        ("a\tb", "a b"),
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("a\x00b\x07c\x7fd\x9be", "abcde"),
        ("a\udcffb", "a\ufffdb"),
        ("  both ends  ", "  both ends  "),
        ("\u0417\u0434\u0440\u0430 \U0001f468\u200d\U0001f469", "\u0417\u0434\u0440\u0430 \U0001f468\u200d\U0001f469"),
    ],
)  # fmt: skip
def test_a_text_is_normalised_and_nothing_else(given_text: str, cleaned: str) -> None:
    assert clean(given_text) == cleaned


@given(st.text(st.characters()))
def test_a_cleaned_text_stays_as_it_is(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert unicodedata.is_normalized("NFC", once)
    once.encode()  # no lone surrogate is left


def read_numbers(written: str, country: str | None, short: bool = False) -> tuple[str, ...]:
    """The numbers that an SMS to *written* goes to."""
    sender = replace(SENDER, country=country, short_numbers=short, allow=("+",))
    return compose(Draft(written, "x"), sender, NOW).numbers


@pytest.mark.parametrize(
    ("written", "country", "read"),
    [
        ("+391234567890", None, "+391234567890"),
        ("+39333123456", None, "+39333123456"),
        ("0039333123456", None, "+39333123456"),
        (" +39 (333) 12-34.56 ", None, "+39333123456"),
        ("sms:+39333123456", None, "+39333123456"),
        ("tel:+39-333-123456", None, "+39333123456"),
        ("TEL:+39333123456", None, "+39333123456"),
        ("333 1234567", "IT", "+393331234567"),
        ("020 7946 0958", "GB", "+442079460958"),
        ("+44 (0)20 7946 0958", None, "+442079460958"),
        ("+39333123456,+39333123457", None, "+39333123456,+39333123457"),
        ("+39333123456, 0039333123456,+39 333 123456,", None, "+39333123456"),
        ('"+39333123456,+39333123457"', None, "+39333123456,+39333123457"),
        ("\uff0b\uff13\uff19\u202a333123456\u202c", None, "+39333123456"),
        ("+\u0663\u0669333123456", None, "+39333123456"),
        ("079 474 38 19", "CH", "+41794743819"),
        ("79 474 38 19", "CH", "+41794743819"),
        # A first digit that is no trunk prefix stays.
        ("06 698 12345", "IT", "+390669812345"),
        ("+39 (0)6 698 12345", None, "+390669812345"),
        ("0549 886377", "SM", "+3780549886377"),
        ("06 698 12345", "VA", "+390669812345"),
        ("07 12 34 56 78", "CI", "+2250712345678"),
        ("8 800 200 06 00", "RU", "+78002000600"),
        ("800 200 06 00", "RU", "+78002000600"),
    ],
)
def test_numbers_are_read_as_people_write_them(
    written: str, country: str | None, read: str
) -> None:
    assert ",".join(read_numbers(written, country)) == read


@pytest.mark.parametrize(
    ("written", "country"),
    [
        ("079474381", "CH"),
        ("061234567", "FR"),
        ("0 61 234 567", "FR"),
        ("+41 (0)79 474 381", None),
        ("1 201 555 012", "US"),
        ("8 912 345 678", "RU"),
    ],
)
def test_a_trunk_prefix_is_not_sent_where_a_digit_is_missing(
    written: str, country: str | None
) -> None:
    with pytest.raises(Refused) as refused:
        read_numbers(written, country)
    assert refused.value.cause is Cause.INVALID_NUMBER
    assert "is no phone number" in refused.value.reason


@pytest.mark.parametrize("country", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_no_country_s_mobile_numbers_keep_their_trunk_prefix(country: str) -> None:
    """The trunk prefix is never sent: not with the number whole, not with a digit missing."""
    example = phonenumbers.example_number_for_type(country, phonenumbers.PhoneNumberType.MOBILE)
    trunk = phonenumbers.ndd_prefix_for_region(country, strip_non_digits=True)
    if example is None or not trunk:
        return
    code = f"+{example.country_code}"
    national = phonenumbers.national_significant_number(example)
    shorter = [national[:at] + national[at + 1 :] for at in range(len(national))]
    for written in (trunk + digits for digits in (national, *shorter)):
        try:
            (number,) = read_numbers(written, country)
        except Refused:
            continue
        if written.startswith("00"):
            continue  # the prefix of an international number, and the country's code is gone
        parsed = phonenumbers.parse(number)
        assert not number.startswith(code + trunk) or phonenumbers.is_valid_number(parsed), written


def test_every_wrong_number_of_a_list_names_itself() -> None:
    with pytest.raises(Refused) as refused:
        read_numbers("+39333123456,12,+39abc", "IT")
    assert "12, +39abc are no phone numbers" in refused.value.reason


def test_a_national_number_without_a_country_says_what_to_set() -> None:
    with pytest.raises(Refused, match="set country in sms.conf"):
        read_numbers("3331234567", None)


def test_short_codes_are_sent_where_they_are_allowed() -> None:
    assert read_numbers("48000", "IT", short=True) == ("48000",)
    assert read_numbers("48000", None, short=True) == ("48000",)
    with pytest.raises(Refused, match="short_numbers = yes"):
        read_numbers("48000", None)
    for never in ("12", "0123"):
        with pytest.raises(Refused):
            read_numbers(never, None, short=True)


@given(st.text(), st.sampled_from([None, "IT", "US"]), st.booleans())
def test_whatever_is_written_gives_dialable_numbers_or_a_reason(
    written: str, country: str | None, short: bool
) -> None:
    try:
        numbers = read_numbers(written, country, short)
    except Refused as refused:
        assert refused.cause is Cause.INVALID_NUMBER
        assert refused.reason
    else:
        assert len(set(numbers)) == len(numbers) > 0
        for number in numbers:
            assert number.removeprefix("+").isascii()
            assert number.removeprefix("+").isdigit()
