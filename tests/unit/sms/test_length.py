"""Characters, coding and parts of a text (3GPP TS 23.038), and the text that goes out for it."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.config.config import Sender
from dialplan_sms.sms.length import fit, in_gsm7
from dialplan_sms.sms.outcome import Cause, Refused
from dialplan_sms.sms.parts import GSM, parts
from dialplan_sms.sms.sms import Draft, Sms, clean, compose

SENDER = Sender(name="101", url="https://192.0.2.1", password="x")
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # one grapheme of five code points
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("a1 €é“’–…çł\u0301\u200b😀\n.:/")))
WAYS = st.sampled_from(["keep", "typographic", "plain"])


def composed(text: str, **keys: Any) -> Sms:
    return compose(Draft("+39333123456", text), replace(SENDER, **keys), datetime.min)


def shortened(text: str, limit: int) -> str:
    return str(fit(text, replace(SENDER, max_length=limit, long_message="truncate"))["text"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "1 (GSM-7, 0 of 160)"),
        ("a" * 160, "1 (GSM-7, 160 of 160)"),
        ("a" * 161, "2 (GSM-7, 161 of 306)"),
        ("a" * 306, "2 (GSM-7, 306 of 306)"),
        ("a" * 307, "3 (GSM-7, 307 of 459)"),
        ("a" * 158 + "€", "1 (GSM-7, 160 of 160)"),
        ("a" * 159 + "€", "2 (GSM-7, 161 of 306)"),
        # The escape and its character are never parted: 152 and one unit lost, twice.
        ("a" * 152 + "€" + "a" * 151 + "€", "3 (GSM-7, 307 of 459)"),
        ("[]{}|^~\\", "1 (GSM-7, 16 of 160)"),
        ("àèéìòù Ñ ÄÖÜß ¿¡ ΔΦ\n", "1 (GSM-7, 20 of 160)"),
        ("ç", "1 (UCS-2, 1 of 70)"),  # only the capital is in the table
        ("`", "1 (UCS-2, 1 of 70)"),
        ("“", "1 (UCS-2, 1 of 70)"),
        ("ж" * 70, "1 (UCS-2, 70 of 70)"),
        ("ж" * 71, "2 (UCS-2, 71 of 134)"),
        ("ж" * 134, "2 (UCS-2, 134 of 134)"),
        ("ж" * 135, "3 (UCS-2, 135 of 201)"),
        ("😀" * 35, "1 (UCS-2, 70 of 70)"),
        ("😀" * 36, "2 (UCS-2, 72 of 134)"),
        ("😀" * 66, "2 (UCS-2, 132 of 134)"),  # 33 in each: the 67th unit stays empty
        ("😀" * 67, "3 (UCS-2, 134 of 201)"),
    ],
)
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


def test_one_quote_costs_two_parts() -> None:
    text = "The pump’s pressure is low. " * 5
    sms = composed(text, gsm7="typographic")
    assert (sms.text, sms.parts, sms.parts_from) == (text.replace("’", "'"), 1, 3)
    for keys in ({}, {"gsm7": "keep", "max_parts": 3}):
        sms = composed(text, **keys)
        assert (sms.text, sms.parts, sms.parts_from) == (text, None, None)
    sms = composed("It’s", gsm7="typographic")  # changed, at the same price
    assert (sms.text, sms.parts, sms.parts_from) == ("It's", None, None)


@pytest.mark.parametrize(
    ("text", "keys", "reason"),
    [
        ("x" * 671, {}, "the message has 671 characters, max_length in sms.conf allows 670"),
        ("x" * 161, {"max_parts": 1}, "takes 2 parts in GSM-7, max_parts in sms.conf allows 1"),
        ("It’s " * 20, {"max_parts": 1}, "takes 2 parts in UCS-2, as U+2019 RIGHT SINGLE QUOTATION"
         " MARK is not in GSM-7, max_parts in sms.conf allows 1, long_message = truncate would"),
        ("It’s… 😀" * 10, {"max_parts": 1, "gsm7": "typographic"}, "as U+1F600 GRINNING FACE is"),
        ("“It”" * 20, {"max_parts": 1}, "takes 2 parts in UCS-2, max_parts in sms.conf allows 1"),
        ("x" * 153 + "“It”" * 8, {"max_parts": 1, "gsm7": "typographic"}, "takes 2 parts in GSM-7"),
    ],
)  # fmt: skip
def test_a_text_that_is_too_long_is_refused(text: str, keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=Cause.INVALID_MESSAGE) as refused:
        composed(text, **keys)
    assert reason in refused.value.outcome.reason
    assert composed(text, **keys, long_message="truncate").cut_from == len(text)


def test_a_text_is_judged_after_gsm7() -> None:
    text = "It’s " * 20
    assert composed(text, max_parts=1, gsm7="typographic").text == text.replace("’", "'")
    assert composed("a\u200b", max_length=1, gsm7="typographic").text == "a"
    # As it is it fits, in GSM-7 it would not.
    assert composed("a…", max_length=2, gsm7="typographic").text == "a…"


def test_a_cut_fits_the_parts_too() -> None:
    cut: dict[str, Any] = {"max_parts": 1, "long_message": "truncate"}
    sms = composed("€" * 100, **cut)
    assert (sms.text, sms.cut_from, sms.parts, sms.parts_from) == ("€" * 80, 100, 1, 2)
    sms = composed("x" * 69 + "😀😀", **cut)
    assert (sms.text, sms.cut_from, sms.parts, sms.parts_from) == ("x" * 69, 71, 1, 2)
    # Without what is cut off, the rest is GSM-7.
    sms = composed("It’s " * 20 + "😀", max_length=100, gsm7="typographic", **cut)
    assert (sms.text, sms.cut_from, sms.parts, sms.parts_from) == ("It's " * 20, 101, 1, 2)


def test_a_cut_keeps_graphemes_whole_but_for_one_longer_than_the_limit() -> None:
    assert shortened("ab" + FAMILY + "c", 6) == "ab"
    assert shortened("ab" + FAMILY + "c", 7) == "ab" + FAMILY
    assert shortened("e\u0301" * 5, 3) == "e\u0301"
    assert shortened("e" + "\u0301" * 20, 5) == "e" + "\u0301" * 4


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
