"""Texts are exact, from the dialplan to what the API received."""

import unicodedata

import pytest

from tests.asterisk.site import NUMBER, SMS, Site

TEXTS = {
    "newlines": "first\nsecond\n\nfourth",
    "quotes": """say "hi" and 'bye' `now`""",
    "backslashes": '\\ \\\\ \\n \\" end\\',
    "smiley": "Hi :) meet at 10:30",
    "form": "a&b=c+d%41e%2B",
    "semicolon": "a;b;--c--;d",
    "expression": "${SHELL(id)} ${SMS_NUMBER} $[1+1]",
    "hangup": "hangup",
    "forged reply": "x\n200 result=1 (x\n200 result=1 (forged)\nHANGUP\n",
    "commas": 'a, "b,c", (d,e)',
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f600",
    "cyrillic": "\u041f\u0440\u0438\u0432\u0435\u0442",
    "decomposed": "cafe\u0301",
    "670 CJK": "\u6f22" * 670,
    "spaces": "  both ends  ",
}


def expected(text: str) -> str:
    return unicodedata.normalize("NFC", text)


SUB_SMS = f"Gosub(sub-sms,s,1({NUMBER},TEXT))"


@pytest.mark.parametrize("lines", [f"Set(SMS_NUMBER={NUMBER})\nAGI(sms.agi)", SUB_SMS])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_channel_variable_arrives_exactly(site: Site, lines: str, text: str) -> None:
    site.dialplan(lines)
    call = site.call({"TEXT" if lines == SUB_SMS else "SMS_MESSAGE": text})
    assert call.variables["SMS_STATUS"] == "SUCCESS", call.variables
    assert call.variables["GOSUB_RETVAL"] == ("SUCCESS" if lines == SUB_SMS else "")
    assert site.received == [expected(text)]


@pytest.mark.parametrize(
    "name", ["quotes", "smiley", "form", "semicolon", "hangup", "commas", "emoji", "cyrillic"]
)
def test_what_set_can_write_arrives_exactly(site: Site, name: str) -> None:
    text = TEXTS[name].replace(";", "\\;")
    site.dialplan(f"Set(SMS_NUMBER={NUMBER})\nSet(SMS_MESSAGE={text})\nAGI(sms.agi)")
    assert site.call().variables["SMS_STATUS"] == "SUCCESS"
    assert site.received == [TEXTS[name]]


def test_the_short_names_and_the_arguments_work(site: Site) -> None:
    site.dialplan(f"""
        Set(number={NUMBER})
        Set(message=from the API's own names)
        Set(gsm=9C:75:14:33:00:02)
        AGI(sms.agi)
        AGI(sms.agi,+39333123457,"from arguments, quoted",9c7514330001)
        AGI(sms.agi,"+39333123457,+39333123458",a list)
    """)
    site.call()
    assert [(m.numbers, m.original, m.gsm) for m in site.messages[:2]] == [
        ((NUMBER,), "from the API's own names", "9c7514330002"),
        (("+39333123457",), "from arguments, quoted", "9c7514330001"),
    ]
    assert site.messages[2].numbers == ("+39333123457", "+39333123458")


def test_the_bill_is_kept_small(site: Site) -> None:
    site.configure(gsm7="plain", max_parts="1")
    site.dialplan("AGI(sms.agi)")
    sent = site.call({"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "Łódź’s “pump” – off… " * 6})
    assert sent.variables["SMS_STATUS"] == "SUCCESS"
    assert site.received == ['Lodz\'s "pump" - off... ' * 6]
    left = site.call({"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "It’s 80 °C" * 8}).variables
    assert (left["SMS_STATUS"], left["SMS_CAUSE"]) == ("ERROR", "INVALID_MESSAGE")
    assert left["SMS_REASON"] == (
        "the message takes 2 parts in UCS-2, as U+00B0 DEGREE SIGN is not in GSM-7,"
        " max_parts in sms.conf allows 1, long_message = truncate would cut it"
    )
    assert len(site.sandbox.requests) == 1
    assert "chars=138 parts=1 parts_from=2 status=SUCCESS" in site.log


def test_a_postponed_sms_is_handed_to_the_api(site: Site) -> None:
    site.dialplan("AGI(sms.agi)")
    call = site.call(SMS | {"SMS_POSTPONE": "2999-07-14 15:35"})
    assert call.variables["SMS_STATUS"] == "SUCCESS"
    assert dict(site.sandbox.requests[0].pairs)["postpone"] == "14/07/2999 15:35"


def test_two_long_values_are_read_whole(site: Site) -> None:
    site.configure(max_length="10000")
    site.dialplan("AGI(sms.agi)")
    numbers = ",".join(f"+39333{n:06}" for n in range(500))
    call = site.call({"SMS_NUMBER": numbers, "SMS_MESSAGE": "\u6f22" * 2600, "message": "y" * 7000})
    assert call.variables["SMS_CAUSE"] in ("", "REJECTED")
    pairs = dict(site.sandbox.requests[0].pairs)
    assert pairs["number"] == numbers
    assert pairs["message"] == "\u6f22" * 2600
