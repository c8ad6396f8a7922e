"""JSON and multipart/form-data at the HTTP SMS server: what clients send, and what nobody should."""

import json
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import Request

from dialplan_sms.web.body import read_other
from dialplan_sms.web.form import MAX_BODY, MAX_FIELDS, Pairs

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
    ("body", "says"),
    [
        (b'{"number": 39333123456, "message": "x"}', "texts in quotes"),
        (b'{"number": "1", "message": 5}', "texts in quotes"),
        (b'{"number": {}, "message": "x"}', "texts in quotes"),
        (b'{"number": [["1"]], "message": "x"}', "texts in quotes"),
        (b'{"number": ["1", 2], "message": "x"}', "texts in quotes"),
        (b'{"number": "1", "message": ["x"]}', "texts in quotes"),
        (b'{"number": "1", "postpone": false}', "texts in quotes"),
        (b'["+39333123456", "x"]', "must be an object"),
        (b'"number"', "must be an object"),
        (b"null", "must be an object"),
        (b"number=1&message=x", "broken"),
        (b'{"number": "1", "message": "x"', "broken"),
        (b'{"number": "1", "message": "x"} {}', "broken"),
        (b'{"message": "\xe8"}', "not UTF-8"),
        (b'{"x": NaN}', "broken"),
        (b'{"x": -Infinity}', "broken"),
        (b'{"x": ' + b"9" * 5000 + b"}", "broken"),
        (b"[" * MAX_BODY, "broken"),
        (b'{"x":' * 100_000, "broken"),
        (b"\x1f\x8b\x08\x00", "broken"),
    ],
)
def test_what_is_wrong_with_json_is_one_reason(body: bytes, says: str) -> None:
    reason = refused(JSON, body)
    assert says in reason
    assert reason.startswith("application/json: ")


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
def test_what_is_wrong_with_form_data_is_one_reason(kind: str, body: bytes, says: str) -> None:
    assert says in refused(kind, body)


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
