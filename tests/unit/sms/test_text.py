import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.sms.outcome import Cause, Refused
from dialplan_sms.sms.sms import clean, shorten


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


@pytest.mark.parametrize("empty", ["", " ", "\n \n"])
def test_an_empty_text_is_refused(empty: str) -> None:
    with pytest.raises(Refused) as refused:
        shorten(empty, 670, truncate=True)
    assert refused.value.cause is Cause.INVALID_MESSAGE


def test_a_long_text_is_refused_with_both_lengths() -> None:
    assert shorten("x" * 670, 670, truncate=False) == "x" * 670
    with pytest.raises(Refused, match=r"671 characters, max_length in sms.conf allows 670"):
        shorten("x" * 671, 670, truncate=False)


def test_a_cut_keeps_graphemes_whole() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # one grapheme of five code points
    assert shorten("ab" + family + "c", 6, truncate=True) == "ab"
    assert shorten("ab" + family + "c", 7, truncate=True) == "ab" + family
    assert shorten("e\u0301" * 5, 3, truncate=True) == "e\u0301"


def test_a_grapheme_longer_than_the_limit_is_cut_all_the_same() -> None:
    assert shorten("e" + "\u0301" * 20, 5, truncate=True) == "e" + "\u0301" * 4


@given(st.text(st.characters()))
def test_a_cleaned_text_stays_as_it_is(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert unicodedata.is_normalized("NFC", once)
    once.encode()  # no lone surrogate is left


@given(st.text(min_size=1).filter(lambda text: not text.isspace()), st.integers(1, 20))
def test_a_cut_is_a_beginning_within_the_limit(text: str, limit: int) -> None:
    cut = shorten(text, limit, truncate=True)
    assert 0 < len(cut) <= limit
    assert text.startswith(cut)
