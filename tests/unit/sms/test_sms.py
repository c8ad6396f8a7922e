import unicodedata
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.config.config import Sender
from dialplan_sms.sms.outcome import Cause, Refused
from dialplan_sms.sms.sms import Draft, clean, compose, read_gsm, read_postpone

NOW = datetime(2026, 3, 1, 12, 30, 45)
SENDER = Sender(name="101", url="https://192.0.2.1", password="x", gsm="9c7514330001")


def test_a_draft_becomes_an_sms() -> None:
    draft = Draft("+39333123456", "Hi\tthere", "9C:75:14-33:00:02", "2027-01-02 03:04")
    sms = compose(draft, SENDER, NOW)
    assert sms.numbers == ("+39333123456",)
    assert sms.text == "Hi there"
    assert sms.gsm == "9c7514330002"
    assert sms.postpone == datetime(2027, 1, 2, 3, 4)
    assert compose(Draft("+39333123456", "x"), SENDER, NOW).gsm == "9c7514330001"


def test_it_knows_what_the_pbx_replaces() -> None:
    assert compose(Draft("+39333123456", 'https://a "b" \\'), SENDER, NOW).replaced == '"\\/'
    assert compose(Draft("+39333123456", "plain"), SENDER, NOW).replaced == ""


@pytest.mark.parametrize("wrong", ["9c751433000", "9c75143300011", "9g7514330001", " world", "x"])
def test_a_gateway_is_twelve_hex_digits(wrong: str) -> None:
    with pytest.raises(Refused, match=Cause.INVALID_GSM):
        read_gsm(wrong)


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
    assert read_postpone(written, NOW) == read


@pytest.mark.parametrize(
    "wrong", ["01/03/2026 12:29", "14/07/2014 15:35", "07/14/2027 15:35", "tomorrow", "2027-07-14"]
)
def test_a_past_or_unreadable_date_is_refused(wrong: str) -> None:
    with pytest.raises(Refused, match=Cause.INVALID_POSTPONE):
        read_postpone(wrong, NOW)


@pytest.mark.parametrize(
    "reply",
    ['{"type":"result","result":"Success"}',
     ' {"reason": "x", "type": "error", "result": null}',
     '{"type":"warning","reason":"Unable to add a SMS to the queue","result":["111"]}'],
)  # fmt: skip
def test_the_reply_that_the_old_recipe_leaves_is_not_sent(reply: str) -> None:
    with pytest.raises(Refused, match="CURL") as refused:
        compose(Draft("+39333123456", reply), SENDER, NOW)
    assert refused.value.cause is Cause.INVALID_MESSAGE


@pytest.mark.parametrize("text", ['{"type":"b"}', "{hello}", '{"type', "{" * 5000])
def test_other_texts_with_braces_are_sent(text: str) -> None:
    sender = Sender(name="101", url="https://192.0.2.1", password="x", max_length=9999)
    assert compose(Draft("+39333123456", text), sender, NOW).text == text


def test_a_text_does_not_show_itself() -> None:
    draft = Draft("+39333123456", "very private")
    assert "private" not in repr(draft)
    assert "private" not in repr(compose(draft, SENDER, NOW))


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
    with pytest.raises(Refused, match=Cause.INVALID_MESSAGE):
        compose(Draft("+39333123456", empty), SENDER, NOW)


@given(st.text(st.characters()))
def test_a_cleaned_text_stays_as_it_is(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert unicodedata.is_normalized("NFC", once)
    once.encode()  # no lone surrogate is left
