"""What a door was given becomes an SMS: its numbers, text, gateway and time, or why not."""

import unicodedata
from dataclasses import replace
from datetime import datetime
from typing import Any

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberType

from dialplan_sms.config.config import Sender
from dialplan_sms.config.countries import CALLING_CODE, is_in
from dialplan_sms.sms.length import fit, in_gsm7
from dialplan_sms.sms.outcome import Cause, Refused
from dialplan_sms.sms.parts import GSM, parts
from dialplan_sms.sms.sms import Draft, Sms, clean, compose

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
    # The old recipe leaves a reply there.
    "message": ["", " ", "\n \n", '{"type":"result","result":"Success"}',
                ' {"reason": "x", "type": "error", "result": null}',
                '{"type":"warning","reason":"Unable to add a SMS to the queue","result":["111"]}'],
    "gsm": ["9c751433000", "9c75143300011", "9g7514330001", " world", "x"],
    "postpone": ["01/03/2026 12:29", "14/07/2014 15:35", "07/14/2027 15:35", "tomorrow", "2027-07-14"],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(f, value) for f in WRONG for value in WRONG[f]])
def test_what_is_wrong_is_refused(field: str, value: str) -> None:
    with pytest.raises(Refused) as refused:
        compose(replace(DRAFT, **{field: value}), SENDER, NOW)  # type: ignore[arg-type]
    assert refused.value.cause is Cause[f"INVALID_{field.upper()}"]


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
        ("+391234567890", None, "+391234567890"), ("+39333123456", None, "+39333123456"),
        ("0039333123456", None, "+39333123456"), (" +39 (333) 12-34.56 ", None, "+39333123456"),
        ("sms:+39333123456", None, "+39333123456"), ("tel:+39-333-123456", None, "+39333123456"),
        ("TEL:+39333123456", None, "+39333123456"), ("333 1234567", "IT", "+393331234567"),
        ("020 7946 0958", "GB", "+442079460958"), ("+44 (0)20 7946 0958", None, "+442079460958"),
        ("+39333123456,+39333123457", None, "+39333123456,+39333123457"),
        ("+39333123456, 0039333123456,+39 333 123456,", None, "+39333123456"),
        ('"+39333123456,+39333123457"', None, "+39333123456,+39333123457"),
        ("\uff0b\uff13\uff19\u202a333123456\u202c", None, "+39333123456"),
        ("+\u0663\u0669333123456", None, "+39333123456"), ("079 474 38 19", "CH", "+41794743819"),
        ("79 474 38 19", "CH", "+41794743819"),
        # A first digit that is no trunk prefix stays.
        ("06 698 12345", "IT", "+390669812345"), ("+39 (0)6 698 12345", None, "+390669812345"),
        ("0549 886377", "SM", "+3780549886377"), ("06 698 12345", "VA", "+390669812345"),
        ("07 12 34 56 78", "CI", "+2250712345678"), ("8 800 200 06 00", "RU", "+78002000600"),
        ("800 200 06 00", "RU", "+78002000600"),
    ],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(
    written: str, country: str | None, read: str
) -> None:
    assert ",".join(read_numbers(written, country)) == read


@pytest.mark.parametrize(
    ("written", "country", "says"),
    [
        ("079474381", "CH", "is no phone number"),  # no trunk prefix where a digit is missing
        ("061234567", "FR", "is no phone number"),
        ("0 61 234 567", "FR", "is no phone number"),
        ("+41 (0)79 474 381", None, "is no phone number"),
        ("1 201 555 012", "US", "is no phone number"),
        ("8 912 345 678", "RU", "is no phone number"),
        ("+39333123456,12,+39abc", "IT", "12, +39abc are no phone numbers"),
        ("3331234567", None, "set country in sms.conf"),
        ("48000", None, "short_numbers = yes"),
    ],
)
def test_what_cannot_be_dialled_says_why(written: str, country: str | None, says: str) -> None:
    with pytest.raises(Refused) as refused:
        read_numbers(written, country)
    assert refused.value.cause is Cause.INVALID_NUMBER
    assert says in refused.value.reason


@pytest.mark.parametrize("country", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_no_country_s_mobile_numbers_keep_their_trunk_prefix(country: str) -> None:
    """The trunk prefix is never sent: not with the number whole, not with a digit missing."""
    example = phonenumbers.example_number_for_type(country, PhoneNumberType.MOBILE)
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


def test_short_codes_are_sent_where_they_are_allowed() -> None:
    assert read_numbers("48000", "IT", short=True) == ("48000",)
    assert read_numbers("48000", None, short=True) == ("48000",)
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


FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # one grapheme of five code points
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("a1 €é“’–…çł\u0301\u200b😀\n.:/")))
WAYS = st.sampled_from(["keep", "typographic", "plain"])


def composed(text: str, **keys: Any) -> Sms:
    return compose(replace(DRAFT, message=text), replace(SENDER, **keys), NOW)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "1 (GSM-7, 0 of 160)"), ("a" * 160, "1 (GSM-7, 160 of 160)"),
        ("a" * 161, "2 (GSM-7, 161 of 306)"), ("a" * 306, "2 (GSM-7, 306 of 306)"),
        ("a" * 307, "3 (GSM-7, 307 of 459)"), ("a" * 158 + "€", "1 (GSM-7, 160 of 160)"),
        ("a" * 159 + "€", "2 (GSM-7, 161 of 306)"),
        # The escape and its character are never parted: 152 and one unit lost, twice.
        ("a" * 152 + "€" + "a" * 151 + "€", "3 (GSM-7, 307 of 459)"),
        ("[]{}|^~\\", "1 (GSM-7, 16 of 160)"), ("àèéìòù Ñ ÄÖÜß ¿¡ ΔΦ\n", "1 (GSM-7, 20 of 160)"),
        ("ç", "1 (UCS-2, 1 of 70)"),  # only the capital is in the table
        ("`", "1 (UCS-2, 1 of 70)"), ("“", "1 (UCS-2, 1 of 70)"), ("ж" * 70, "1 (UCS-2, 70 of 70)"),
        ("ж" * 71, "2 (UCS-2, 71 of 134)"), ("ж" * 134, "2 (UCS-2, 134 of 134)"),
        ("ж" * 135, "3 (UCS-2, 135 of 201)"), ("😀" * 35, "1 (UCS-2, 70 of 70)"),
        ("😀" * 36, "2 (UCS-2, 72 of 134)"),
        ("😀" * 66, "2 (UCS-2, 132 of 134)"),  # 33 in each: the 67th unit stays empty
        ("😀" * 67, "3 (UCS-2, 134 of 201)"),
    ],
)  # fmt: skip
def test_parts_of_known_texts(text: str, shown: str) -> None:
    assert str(parts(text)) == shown


@given(st.text(max_size=700))
def test_the_parts_hold_the_text_and_none_is_empty(text: str) -> None:
    found = parts(text)
    assert found.units <= found.room
    one_less = (found.count - 1) * (153 if found.coding == "GSM-7" else 67)
    # At most one unit is lost at the end of each part.
    assert found.count == 1 or found.units > one_less - (found.count - 1)
    if found.coding == "UCS-2":
        assert found.units == len(text.encode("utf-16-le", "surrogatepass")) // 2


@pytest.mark.parametrize(
    ("text", "typographic", "plain"),
    [
        ("It’s “on” – now…", "It's \"on\" - now...", "It's \"on\" - now..."),
        ("5\u00a0°C", None, None),  # only together with the degree sign, which stays
        ("22:00\u202f– 6,5\u2009bar\u00ad", "22:00 - 6,5 bar", "22:00 - 6,5 bar"),
        ("Ça va, garçon « là »", None, 'Ça va, garcon " là "'),
        ("Łódź, cœur, kapalı, İzmir, Đorđe, Þór", None, "Lodz, coeur, kapali, Izmir, Dorde, Thor"),
        ("Žluťoučký kůň, árvíztűrő tükörfúrógép", None, "Zlutoucky kun, arvizturo tükörfurogép"),
        ("o\u0323\u0301 m\u0303", None, "o m"),
        ("s\u0336o\u0336ld", None, None),  # struck out
        ("5\u0301", None, None),  # no letter
        ("Жара – 40", None, None),
        ("Hi – 😀", None, None),
        ("née Émile, 30 €, ÄÖÜ ß {[~]}", None, None),  # is GSM-7
        ("a ² ① ４ ª", None, None),
        ("✝", None, None),  # LATIN CROSS
        ("see “https://example.com/a?b=1”…", 'see "https://example.com/a?b=1"...',
         'see "https://example.com/a?b=1"...'),
        ("“so” https://it.example/L’Aquila", None, None),
        ("“so” WWW.čaj.example/ťok", None, None),
        ("\u200b", None, None),  # nothing would be left
        ("…" * 70, None, None),  # 210 septets: two parts in place of one
    ],
)  # fmt: skip
def test_gsm7_of_known_texts(text: str, typographic: str | None, plain: str | None) -> None:
    assert in_gsm7(text, "keep") == text
    assert in_gsm7(text, "typographic") == (typographic or text)
    assert in_gsm7(text, "plain") == (plain or text)


@given(TEXTS, WAYS)
def test_what_comes_out_is_gsm_7_in_no_more_parts_or_what_went_in(text: str, how: str) -> None:
    out = in_gsm7(text, how)
    assert out == text or (GSM.issuperset(out) and how != "keep")
    assert parts(out).count <= parts(text).count
    assert in_gsm7(out, how) == out
    assert [c for c in out if c in "0123456789"] == [c for c in text if c in "0123456789"]


@given(st.text(st.sampled_from(sorted(GSM))), WAYS)
def test_a_text_in_gsm_7_never_changes(text: str, how: str) -> None:
    assert in_gsm7(text, how) == text


@given(
    TEXTS, st.sampled_from(["http://", "HTTPS://", "www."]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1), TEXTS, WAYS,
)  # fmt: skip
def test_a_link_never_changes(before: str, scheme: str, rest: str, after: str, how: str) -> None:
    link = f"{scheme}{rest}/x"
    assert link in in_gsm7(f"{before} {link} {after}", how)


PUMP = "The pump’s pressure is low. " * 5
CUT = {"max_parts": 1, "long_message": "truncate"}
TYPOGRAPHIC = {"gsm7": "typographic"}


@pytest.mark.parametrize(
    ("text", "keys", "sent", "told"),
    [
        (PUMP, TYPOGRAPHIC, PUMP.replace("’", "'"), (None, 1, 3)),  # one quote costs two parts
        (PUMP, {}, PUMP, (None, None, None)),
        (PUMP, {"gsm7": "keep", "max_parts": 3}, PUMP, (None, None, None)),
        ("It’s", TYPOGRAPHIC, "It's", (None, None, None)),  # at the same price
        ("It’s " * 20, {"max_parts": 1} | TYPOGRAPHIC, "It's " * 20, (None, 1, 2)),
        ("a\u200b", {"max_length": 1} | TYPOGRAPHIC, "a", (None, None, None)),
        ("a…", {"max_length": 2} | TYPOGRAPHIC, "a…", (None, None, None)),  # in GSM-7 it is longer
        ("€" * 100, CUT, "€" * 80, (100, 1, 2)),
        ("x" * 69 + "😀😀", CUT, "x" * 69, (71, 1, 2)),
        # Without what is cut off, the rest is GSM-7.
        ("It’s " * 20 + "😀", {"max_length": 100} | CUT | TYPOGRAPHIC, "It's " * 20, (101, 1, 2)),
    ],
)
def test_a_text_is_judged_after_gsm7_and_a_cut_fits_the_parts(
    text: str, keys: dict[str, Any], sent: str, told: tuple[int | None, ...]
) -> None:
    sms = composed(text, **keys)
    assert (sms.text, (sms.cut_from, sms.parts, sms.parts_from)) == (sent, told)


@pytest.mark.parametrize(
    ("text", "keys", "reason"),
    [
        ("x" * 671, {}, "the message has 671 characters, max_length in sms.conf allows 670"),
        ("x" * 161, {"max_parts": 1}, "takes 2 parts in GSM-7, max_parts in sms.conf allows 1"),
        ("It’s " * 20, {"max_parts": 1}, "takes 2 parts in UCS-2, as U+2019 RIGHT SINGLE QUOTATION"
         " MARK is not in GSM-7, max_parts in sms.conf allows 1, long_message = truncate would"),
        ("It’s… 😀" * 10, {"max_parts": 1} | TYPOGRAPHIC, "as U+1F600 GRINNING FACE is"),
        ("“It”" * 20, {"max_parts": 1}, "takes 2 parts in UCS-2, max_parts in sms.conf allows 1"),
        ("x" * 153 + "“It”" * 8, {"max_parts": 1} | TYPOGRAPHIC, "takes 2 parts in GSM-7"),
    ],
)  # fmt: skip
def test_a_text_that_is_too_long_is_refused(text: str, keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=Cause.INVALID_MESSAGE) as refused:
        composed(text, **keys)
    assert reason in refused.value.outcome.reason
    assert composed(text, **keys, long_message="truncate").cut_from == len(text)


def test_a_cut_keeps_graphemes_whole_but_for_one_longer_than_the_limit() -> None:
    for text, limit, cut in (
        (f"ab{FAMILY}c", 6, "ab"),
        (f"ab{FAMILY}c", 7, f"ab{FAMILY}"),
        ("e\u0301" * 5, 3, "e\u0301"),
        ("e" + "\u0301" * 20, 5, "e" + "\u0301" * 4),
    ):
        sender = replace(SENDER, max_length=limit, long_message="truncate")
        assert fit(text, sender)["text"] == cut


@given(
    TEXTS.map(clean).filter(lambda text: bool(text) and not text.isspace()),
    st.integers(1, 20), st.sampled_from([None, 1, 2]), WAYS, st.integers(1, 60),
)  # fmt: skip
def test_a_cut_is_a_beginning_within_the_limits(
    text: str, limit: int, most: int | None, how: str, times: int
) -> None:
    text, limit = text * times, limit * times
    sender = replace(SENDER, max_length=limit, max_parts=most, gsm7=how, long_message="truncate")
    found = fit(text, sender)
    cut = found["text"]
    assert 0 < len(cut) <= limit
    assert parts(cut).count <= (most or 255)
    assert text.startswith(cut) or GSM.issuperset(cut)
    assert (found["cut_from"] is None) == (cut in (text, in_gsm7(text, how)))
