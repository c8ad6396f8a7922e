"""What the stand-in PBX makes of a request, without a network."""

import random
from base64 import b64encode
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.sandbox import faults as named
from dialplan_sms.sandbox.faults import Fault, Faults, Reply, Trouble, magic_number, parse_fault
from dialplan_sms.sandbox.pbx import TOKEN_USER, Inbox, Pbx, Request, Served, wms_version
from dialplan_sms.sms import api
from dialplan_sms.web.form import MAX_FIELDS, form_pairs

NUMBER, OTHER = "+391234567890", "+391234567891"
OLD_WMS = "6.01.20221019.7"


def ask(pbx: Pbx | None = None, /, user: str | None = "101", **form: str) -> Served:
    request = Request("POST", api.PATH, tuple(form.items()), user)
    return (pbx or Pbx()).handle(request)


@pytest.mark.parametrize(
    ("body", "pairs"),
    [
        (b"message=a+b", (("message", "a b"),)),
        (b"message=a&b&number=1", (("message", "a"), ("b", ""), ("number", "1"))),
        (b"message=100%41", (("message", "100A"),)),
        (b" message=x&number=%2B39", ((" message", "x"), ("number", "+39"))),
        (b"message=50% off=yes", (("message", "50% off=yes"),)),
        ("message=Привет".encode(), (("message", "Привет"),)),
        (b"message=\xff%fe", (("message", "��"),)),
        (b"&&=&", (("", ""),)),
        (b"", ()),
        pytest.param(b"a=1&" * 50_000, (("a", "1"),) * MAX_FIELDS, id="most"),
    ],
)
def test_a_body_is_read_as_web_forms_are(body: bytes, pairs: tuple[tuple[str, str], ...]) -> None:
    assert form_pairs(body) == pairs


@given(st.binary(max_size=400))
def test_any_bytes_are_a_form(data: bytes) -> None:
    for name, value in form_pairs(data):
        (name + value).encode()  # no lone surrogate: it can go into JSON


def test_a_name_may_have_spaces_around_it_and_the_last_one_wins() -> None:
    request = Request("POST", api.PATH, ((" message", "first"), ("message ", "last")))

    assert request.form == {"message": "last"}


def test_a_message_is_taken() -> None:
    pbx = Pbx(gateways=("9c7514330001", "9c7514330002"))

    handled = ask(pbx, number=f"{NUMBER}, {OTHER},", message="Hi", gsm="9c7514330002")

    assert handled.reply == {"type": "result", "result": "Success"}
    [message] = pbx.inbox.messages
    assert message == handled.message
    assert (message.numbers, message.text, message.gsm) == ((NUMBER, OTHER), "Hi", "9c7514330002")
    assert (message.user, message.postpone, message.path) == ("101", None, api.PATH)
    later = ask(number=NUMBER, message="x", postpone="14/07/2014 15:35").message
    assert later is not None
    assert later.postpone == datetime(2014, 7, 14, 15, 35)  # the PBX's local time


def test_without_gsm_the_gateway_is_random() -> None:
    pbx = Pbx(gateways=("9c7514330001", "9c7514330002"))
    random.seed(1)

    for _ in range(50):
        ask(pbx, number=NUMBER, message="Hi")

    assert {message.gsm for message in pbx.inbox.messages} == set(pbx.gateways)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({}, api.EMPTY_NUMBER),
        ({"number": " , ", "message": "x"}, api.EMPTY_NUMBER),
        ({"number": NUMBER}, "Message should not be empty"),
        ({"number": NUMBER, "message": ""}, "Message should not be empty"),
        ({"number": NUMBER, "message": "😀" * 671}, "longer than 670"),
        ({"number": NUMBER, "message": "x", "gsm": "9c7514330009"}, "gateway not found"),
        ({"number": NUMBER, "message": "x", "postpone": "2014-07-14 15:35"}, "14/07/2014 15:35"),
        ({"number": NUMBER, "message": "x", "postpone": "31/02/2014 15:35"}, "14/07/2014 15:35"),
    ],
)
def test_what_is_wrong_is_an_error(form: dict[str, str], reason: str) -> None:
    pbx = Pbx()

    handled = ask(pbx, **form)

    assert handled.reply["type"] == api.ERROR
    assert handled.reply["result"] is None
    assert reason in handled.reply["reason"]
    assert (len(pbx.inbox.requests), pbx.inbox.messages) == (1, [])


@pytest.mark.parametrize(
    ("wms", "length", "text"),
    [
        ("6.02.20230306.1", 670, "a b c d e"),
        ("7.09", 670, "a b c d e"),
        (OLD_WMS, 300, "a'b\"c\\d/e"),
        ("6.02.20230306.0", 300, "a'b\"c\\d/e"),
    ],
)
def test_the_version_decides_length_and_characters(wms: str, length: int, text: str) -> None:
    sent, longest, too_long = (
        ask(Pbx(wms=wms), number=NUMBER, message=message)
        for message in ("a'b\"c\\d/e", "😀" * length, "x" * (length + 1))
    )

    assert sent.message is not None
    assert (sent.message.text, sent.message.original) == (text, "a'b\"c\\d/e")
    assert [longest.reply["type"], too_long.reply["type"]] == [api.RESULT, api.ERROR]


@pytest.mark.parametrize("text", ["", "x", "6", "6.x", "6.02.", "6.²"])
def test_a_bad_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="WMS version"):
        wms_version(text)


def test_numbers_that_cannot_be_dialled_are_named_and_the_others_taken() -> None:
    handled = ask(number=f"{NUMBER},x\ny,+39'1,x\ny", message="Hi")

    assert handled.reply == api.warning(["x\ny", "+39'1"])
    assert handled.message is not None
    assert handled.message.numbers == (NUMBER,)


def basic(user: bytes) -> str:
    return "Basic " + b64encode(user).decode()


@pytest.mark.parametrize(
    ("header", "user"),
    [
        (basic(b"101:sms101api"), "101"),
        (basic(b"101:sms101api").replace("Basic", "bAsIc "), "101"),
        (basic(b"102:a:b"), "102"),
        (basic("103:pässword".encode()), "103"),
        (basic("103:pässword".encode("latin-1")), "103"),
        (basic(b"101:wrong"), None),
        (basic(b"104:sms101api"), None),
        (basic(b"101"), None),
        (basic(b"101:sms101api") + "!", None),
        ("Basic ÄÖ", None),
        ("Bearer wsk-v1-example", TOKEN_USER),
        ("Bearer wsk-v1", None),
        ("Bearer", None),
        (basic(b"101:sms101api").replace("Basic", "Digest"), None),
        ("", None),
        (None, None),
    ],
)
def test_who_is_authorized(header: str | None, user: str | None) -> None:
    users = {"101": "sms101api", "102": "a:b", "103": "pässword"}

    assert Pbx(users=users, tokens=["wsk-v1-example"]).authorize(header) == user


@given(st.text() | st.text().map("Basic {}".format) | st.binary().map(basic))
def test_no_header_breaks_the_authorization(header: str) -> None:
    assert Pbx().authorize(header) in (None, "101")


def test_secrets_and_texts_are_not_in_a_repr() -> None:
    pbx = Pbx(tokens=["wsk-v1-example"])
    request = Request("POST", api.PATH, (("message", "private"),))

    assert not any(word in f"{pbx}{request}" for word in ("sms101api", "wsk-v1", "private"))


def test_every_fault_has_a_meaning_and_two_numbers_of_its_own() -> None:
    for fault in Fault:
        assert fault.meaning
        for taken in (False, True):
            number = magic_number(fault, taken=taken)
            assert len(number) == len("+999000000NN")
            assert (
                named.magic_trouble(number)
                == named.magic_trouble(number[1:])
                == Trouble(fault, taken)
            )
    assert named.magic_trouble("+99900000099") is None


REFUSING = (Fault.REJECT, Fault.UNAUTHORIZED, Fault.REDIRECT)


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.RESET, Fault.HTML, Fault.HUGE, *REFUSING])
@pytest.mark.parametrize("told", [False, True])
def test_a_fault_takes_nothing_unless_it_is_told_to(fault: Fault, told: bool) -> None:
    pbx, taken = Pbx(), told and fault not in REFUSING

    handled = ask(pbx, number=magic_number(fault, taken=told), message="x")

    assert (handled.trouble, bool(handled.message)) == (Trouble(fault, told), taken)
    assert (len(pbx.inbox.requests), len(pbx.inbox.messages)) == (1, int(taken))


PARTIAL = magic_number(Fault.PARTIAL)


@pytest.mark.parametrize(
    ("numbers", "by_option", "refused", "taken"),
    [
        ([NUMBER, PARTIAL, OTHER], False, PARTIAL, (NUMBER, OTHER)),
        ([NUMBER, OTHER], True, OTHER, (NUMBER,)),
        ([NUMBER], True, NUMBER, None),
    ],
)
def test_partial_names_the_magic_number_or_by_option_the_last(
    numbers: list[str], by_option: bool, refused: str, taken: tuple[str, ...] | None
) -> None:
    pbx = Pbx(faults=Faults([(Trouble(Fault.PARTIAL), None)] if by_option else []))

    handled = ask(pbx, number=",".join(numbers), message="x")

    assert handled.reply == api.warning([refused])
    assert (handled.message and handled.message.numbers) == taken


def test_a_magic_number_needs_credentials() -> None:
    assert ask(user=None, number=magic_number(Fault.HANG), message="x").trouble is None


def test_faults_come_one_after_the_other() -> None:
    faults = Faults([parse_fault("hang:2"), parse_fault("taken-500:1")])

    troubles = [faults.next() for _ in range(4)]

    hang = Trouble(Fault.HANG)
    assert troubles == [hang, hang, Trouble(Fault.SERVER_ERROR, taken=True), None]


@pytest.mark.parametrize(
    "text", ["", "nope", "hang:", "hang:0", "hang:-1", "hang:²", "taken-", ":1"]
)
def test_a_bad_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no fault|number of requests"):
        parse_fault(text)


def test_a_reply_is_sent_byte_for_byte() -> None:
    assert Reply(999, b"\x00", (("X", "y"),)).wire() == (
        b"HTTP/1.1 999 Sandbox\r\nX: y\r\nContent-Length: 1\r\n\r\n\x00"
    )
    assert Reply(200, b"abc", (("content-length", "99"),)).wire().count(b"ontent-") == 1


@given(st.dictionaries(st.sampled_from(["number", "message", "gsm", "postpone", "x"]), st.text()))
def test_any_form_has_an_answer_of_the_api(form: dict[str, str]) -> None:
    assert ask(Pbx(), **form).reply["type"] in (api.RESULT, api.WARNING, api.ERROR)


def test_an_inbox_keeps_no_more_than_it_may() -> None:
    pbx = Pbx(inbox=Inbox(2))

    arrived = [ask(pbx, number=NUMBER, message=text).request for text in "01234"]

    assert pbx.inbox.requests == arrived[3:]
    assert [message.text for message in pbx.inbox.messages] == ["3", "4"]
