"""A request to our SMS API, as a value: its body, which numbers go, what is told, and loops."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.outbox.schema import State
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.service import Service
from dialplan_sms.sms.sms import Sms
from dialplan_sms.transport.connection import Resolver
from dialplan_sms.web.body import read_other
from dialplan_sms.web.form import MAX_BODY, MAX_FIELDS, Pairs
from dialplan_sms.web.page import COOKIE
from dialplan_sms.web.relay import Loops, Relay, is_here, reply
from dialplan_sms.web.smsserver import describe
from tests.unit.fakes import FakeRoute


class Stored:
    """An outbox that takes everything, and remembers it."""

    def __init__(self) -> None:
        self.sms: list[Sms] = []

    async def accepted(self, sms: Sms, sender: Sender) -> Outcome:
        self.sms.append(sms)
        return Outcome(Status.QUEUED, id="1")


def resolver(*addresses: str) -> Resolver:
    def lookup(host: str, *_: object) -> list[tuple[object, ...]]:
        if not addresses:
            raise OSError("no name server")
        return [(0, 0, 0, "", (each, 0)) for each in addresses]

    return Resolver(lookup)


def told(answer: Response) -> dict[str, Any]:
    """The API's reply in an answer."""
    found: dict[str, Any] = json.loads(bytes(answer.body))
    return found


def ask(
    number: str, log: Path = Path("/nonexistent"), **fields: Any
) -> tuple[dict[str, Any], Stored]:
    """What a relay answers to a request with *number*, and what it stores."""
    values: dict[str, Any] = {"url": "https://192.0.2.1", "country": "IT"}
    sender = Sender("101", **(values | fields))
    config = Config(Path("/x"), {"101": sender}, "101", str(log), outbox="sqlite:////x")
    stored = Stored()
    service = Service(lambda: config, lambda _: FakeRoute())
    relay = Relay(service, stored, Loops(resolver("192.0.2.1")))  # type: ignore[arg-type]
    form = {"number": number, "message": "Hello"}
    answer = asyncio.run(relay.send(form, "wms", "192.0.2.7"))
    assert answer.status_code == 200
    return told(answer), stored


def comes_from(loops: Loops, client: str, pbx: str = "pbx.example.com") -> bool:
    return asyncio.run(loops.is_pbx(client, f"https://{pbx}/api"))


def test_numbers_that_cannot_be_sent_to_are_named_and_the_others_are_sent(tmp_path: Path) -> None:
    log = tmp_path / "log"
    written = "+39333123456, 0039333123456 ,,nobody,+441632960961,nobody"
    answer, stored = ask(written, log=log)
    assert answer == api.warning(["nobody", "+441632960961"])
    assert [sms.numbers for sms in stored.sms] == [("+39333123456",)]
    (line,) = log.read_text().splitlines()
    for words in ("call=http:wms@192.0.2.7 ", "status=QUEUED", " failed=2 ", "cannot be dialled"):
        assert words in line
    assert "1632960961" not in line


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("nobody", "nobody is no phone number"),
        ("+441632960961", "is not in IT"),
        ('"', "the number is empty"),
    ],
)
def test_a_request_whose_numbers_are_all_wrong_is_refused(written: str, says: str) -> None:
    answer, stored = ask(written)
    assert (answer["type"], stored.sms) == ("error", [])
    assert says in answer["reason"]
    assert "SMS_NUMBER" not in answer["reason"]


@pytest.mark.parametrize("written", [" 39333123456", "12, 39333123456"])
def test_a_plus_that_a_form_has_lost_is_explained(written: str) -> None:
    answer, _ = ask(written, country=None)
    assert "write %2B" in answer["reason"]
    assert "write %2B" not in ask("39333123456", country=None)[0]["reason"]


@pytest.mark.parametrize(
    ("outcome", "says", "status"),
    [
        (Outcome(Status.QUEUED, id="1"), api.result(), 200),
        (Outcome(Status.SUCCESS, failed=("12",)), api.warning(["12"]), 200),
        (Outcome(Status.WARNING, Cause.NOT_QUEUED, "x", ("12", "3")), api.warning(["12", "3"]), 200),
        (error(Cause.DENIED, 'too "many"'), api.error("too many"), 200),
        (error(Cause.BUSY, "full"), api.error("full"), 503),
        (error(Cause.OUTBOX, ""), api.error("OUTBOX"), 503),
    ],
)  # fmt: skip
def test_an_outcome_is_told_in_the_api_s_terms(
    outcome: Outcome, says: dict[str, object], status: int
) -> None:
    answer = reply(outcome)
    assert (told(answer), answer.status_code) == (says, status)


def test_what_nobody_knows_is_no_error_of_the_api() -> None:
    answer = reply(error(Cause.NO_ANSWER, "it may be sent"))
    assert (answer.status_code, answer.media_type) == (504, "text/plain")


def test_an_sms_that_comes_again_and_again_is_taken_for_a_loop() -> None:
    time = [0.0]
    rounds = Loops(clock=lambda: time[0])
    assert [rounds.again("a") for _ in range(7)] == [False] * 5 + [True] * 2
    assert not rounds.again("b")
    time[0] = 61.0
    assert not rounds.again("a")


@pytest.mark.parametrize(
    ("client", "pbx", "loops"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8:0::1", "2001:db8::1", True),
        ("192.0.2.2", "192.0.2.1", False),
        ("127.0.0.1", "127.0.0.2", True),
        ("::1", "127.0.0.1", True),
        ("192.0.2.1", "127.0.0.1", False),
    ],
)
def test_a_client_that_is_the_pbx_is_known(client: str, pbx: str, loops: bool) -> None:
    assert comes_from(Loops(resolver(pbx)), client) is loops


def test_where_names_cannot_be_read_what_was_known_holds() -> None:
    time = [0.0]
    loops = Loops(resolver("192.0.2.1"), lambda: time[0])
    assert comes_from(loops, "192.0.2.1")
    loops._resolver = resolver()
    time[0] = 1000.0
    assert comes_from(loops, "192.0.2.1")
    assert not comes_from(loops, "192.0.2.1", "other.example.com")


def test_what_is_no_address_is_not_here() -> None:
    assert not is_here("pbx.example.com")
    assert not is_here("192.0.2.77")
    assert is_here("127.0.0.9")


def test_the_description_has_the_program_s_words() -> None:
    described = describe(page=True)
    asked = described["paths"]["/"]["get"]["parameters"]
    (state,) = [each["schema"] for each in asked if each["name"] == "state"]
    assert state["enum"] == ["", *State]
    components = described["components"]
    assert components["securitySchemes"]["session"]["name"] == COOKIE
    for kind in (api.RESULT, api.WARNING, api.ERROR):
        assert components["schemas"][kind.capitalize()]["properties"]["type"]["const"] == kind
    assert set(describe(page=False)["paths"]) == {api.PATH, api.OLD_PATH, "/openapi.json"}


# JSON and multipart/form-data: what clients send, and what nobody should.

JSON = "application/json"
FORM_DATA = "multipart/form-data; boundary=b"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=80)
NUMBERS = ("number", "+39333123456")


def read(kind: str, body: bytes) -> Pairs:
    headers = [(b"content-type", kind.encode("latin-1"))]
    return read_other(Request({"type": "http", "method": "POST", "headers": headers}), body)


def refused(kind: str, body: bytes) -> str:
    """Why it is refused, with status 415 and in one line."""
    with pytest.raises(HTTPException) as caught:
        read(kind, body)
    assert caught.value.status_code == 415
    assert "\n" not in caught.value.detail
    return caught.value.detail


def part(name: str, text: bytes, more: str = "") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + text + b"\r\n"


@pytest.mark.parametrize(
    ("body", "pairs"),
    [
        ('{"number": "+39333123456", "message": "x"}', (NUMBERS, ("message", "x"))),
        ('{"number": ["+39333123456", "+3912"]}', (NUMBERS, ("number", "+3912"))),
        ('{"number": "+39333123456", "number": "+3912"}', (NUMBERS, ("number", "+3912"))),
        ('{"number": [], "gsm": null, "postpone": null}', ()),
        ('{"message": "x", "sender": {"id": [1, 2.5, true, null]}}', (("message", "x"),)),
        ('\ufeff{"message": "è"}', (("message", "è"),)),
        (r'{"message": "cut \ud83d"}', (("message", "cut ?"),)),
        (r'{"message": "\ud83d\ude00\u0000"}', (("message", "😀\0"),)),
        ("", ()),
    ],
)
def test_json_is_read(body: str, pairs: Pairs) -> None:
    assert read(f"{JSON}; charset=utf-8", body.encode()) == pairs


@pytest.mark.parametrize(
    "body",
    [
        part("number", b"+39333123456") + part("message", b"x") + b"--b--\r\n",
        b"preamble\r\n" + part("number", b"+39333123456") + part("message", b"x") + b"--b--",
        # .NET, and Java's clients
        b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data;"
        b" name=number\r\n\r\n+39333123456\r\n"
        b'--b\r\ncontent-disposition: FORM-DATA;name="message"\r\nContent-Transfer-Encoding: binary'
        b"\r\n\r\nx\r\n--b--\r\nepilogue",
    ],
)
def test_form_data_is_read(body: bytes) -> None:
    assert read(FORM_DATA, body) == (NUMBERS, ("message", "x"))
    assert read('multipart/form-data; charset=utf-8; Boundary="b"', body) == read(FORM_DATA, body)


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        (JSON, b'{"number": 39333123456, "message": "x"}', "texts in quotes"),
        (JSON, b'{"number": "1", "message": 5}', "texts in quotes"),
        (JSON, b'{"number": {}, "message": "x"}', "texts in quotes"),
        (JSON, b'{"number": [["1"]], "message": "x"}', "texts in quotes"),
        (JSON, b'{"number": ["1", 2], "message": "x"}', "texts in quotes"),
        (JSON, b'{"number": "1", "message": ["x"]}', "texts in quotes"),
        (JSON, b'{"number": "1", "postpone": false}', "texts in quotes"),
        (JSON, b'["+39333123456", "x"]', "must be an object"),
        (JSON, b'"number"', "must be an object"),
        (JSON, b"null", "must be an object"),
        (JSON, b"number=1&message=x", "broken"),
        (JSON, b'{"number": "1", "message": "x"', "broken"),
        (JSON, b'{"number": "1", "message": "x"} {}', "broken"),
        (JSON, b'{"message": "\xe8"}', "not UTF-8"),
        (JSON, b'{"x": NaN}', "broken"),
        (JSON, b'{"x": -Infinity}', "broken"),
        (JSON, b'{"x": ' + b"9" * 5000 + b"}", "broken"),
        (JSON, b"[" * MAX_BODY, "broken"),
        (JSON, b'{"x":' * 100_000, "broken"),
        (JSON, b"\x1f\x8b\x08\x00", "broken"),
        (FORM_DATA, part("message", b"x", '; filename="x.txt"') + b"--b--", "is a file"),
        (FORM_DATA, part("message", b"x", "; filename*=utf-8''x") + b"--b--", "is a file"),
        (FORM_DATA, part("m", b"eA==", "\r\nContent-Transfer-Encoding: base64") + b"--b--", "encoded"),
        (FORM_DATA, b"--b\r\n\r\nx\r\n--b--", "no name"),
        (FORM_DATA, b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", "no name"),
        (FORM_DATA, b"--b\r\nX: form-data; name=a\r\n\r\nx\r\n--b--", "no name"),
        (FORM_DATA, part("message", b"\xe8") + b"--b--", "not UTF-8"),
        (FORM_DATA, part("message", b"x") * (MAX_FIELDS + 1) + b"--b--", "too many fields"),
        (FORM_DATA, b"number=1&message=x", "cut off"),
        (FORM_DATA, b"\r\n" * (MAX_BODY // 2), "cut off"),
        ("multipart/form-data", part("message", b"x") + b"--b--", "the boundary is missing"),
        ("multipart/form-data; boundary=", part("message", b"x") + b"--b--", "boundary is missing"),
        ("multipart/form-data; boundary=\xe8", b"--\xe8--", "cut off"),
        ('multipart/form-data; boundary="' + ";" * 60_000, b"--b--", "the boundary is missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_body_is_one_reason(kind: str, body: bytes, says: str) -> None:
    reason = refused(kind, body)
    assert says in reason
    assert reason.startswith(f"{kind.partition(';')[0]}: ")


def test_what_nothing_here_reads_has_no_parameters() -> None:
    for kind in ("text/plain", "text/json", "multipart/mixed; boundary=b", "application/xml", ""):
        assert read(kind, b'{"number": "1"}') == ()


@given(st.lists(TEXTS), TEXTS)
def test_every_text_arrives_exactly(numbers: list[str], message: str) -> None:
    # given what a client's library makes of a list of numbers and a text
    fields: list[tuple[str, Any]] = [("number", each) for each in numbers] + [("message", message)]
    files = [(name, (None, text)) for name, text in fields]
    given_json = {"number": numbers, "message": message}
    for made in (
        requests.Request("POST", "http://192.0.2.1/", json=given_json).prepare(),
        requests.Request("POST", "http://192.0.2.1/", files=files).prepare(),
    ):
        # when it comes / then it is the same
        body = made.body if isinstance(made.body, bytes) else str(made.body).encode()
        assert read(made.headers["Content-Type"], body) == tuple(fields)


@given(st.data())
def test_nothing_of_a_body_that_was_cut_off_is_taken(data: st.DataObject) -> None:
    for kind, body in (
        (FORM_DATA, part("number", b"+39333123456") + part("message", b"x") + b"--b--"),
        (JSON, json.dumps({"number": "+39333123456", "message": "x"}).encode()),
    ):
        refused(kind, body[: data.draw(st.integers(1, len(body) - 1))])


_BITS = (
    b"--b", b"\r\n", b"--", b"Content-Disposition: form-data; name=", b'"number"', b'; filename="', b"\0", b"\xff",
    b"{", b"}", b"[", b"]", b'"', b"\\u", b"d83d", b",", b":", b"1", b"NaN", b'"message"', b"\xef\xbb\xbf", b"null",
)  # fmt: skip


@given(
    st.sampled_from((JSON, FORM_DATA, "multipart/form-data; boundary=")),
    st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=20),
    st.lists(st.sampled_from(_BITS) | st.binary(max_size=9), max_size=30).map(b"".join),
)
def test_whatever_strangers_send_is_texts_or_a_reason(kind: str, more: str, body: bytes) -> None:
    try:
        pairs = read(f"{kind}{more}", body)
    except HTTPException as error:
        assert error.status_code == 415
        assert error.detail.isprintable()
    else:
        for each in (text for pair in pairs for text in pair):
            each.encode()
