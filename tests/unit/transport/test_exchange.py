"""A request's deadlines; and heads of answers are read as http.client reads them."""

import io
import threading
import time
from http.client import HTTPException, HTTPResponse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.transport.exchange import Answer, Watchdog, request_head
from tests.unit.fakes import no_threads


def test_actions_run_in_the_order_of_their_times() -> None:
    watchdog, ran, done = Watchdog(), list[int](), threading.Event()
    now = time.monotonic()
    watchdog.at(now + 0.2, lambda: ran.append(2))
    watchdog.at(now + 0.25, done.set)
    watchdog.at(now + 0.1, lambda: ran.append(1))
    assert done.wait(5)
    assert ran == [1, 2]
    assert time.monotonic() - now >= 0.25


def test_a_cancelled_alarm_never_rings() -> None:
    watchdog, ran, done = Watchdog(), list[int](), threading.Event()
    now = time.monotonic()
    alarm = watchdog.at(now + 1.0, lambda: ran.append(1))
    watchdog.at(now + 1.1, done.set)
    alarm.cancel()
    assert done.wait(5)
    assert ran == []


def test_an_action_that_fails_does_not_end_the_watch() -> None:
    watchdog, done = Watchdog(), threading.Event()

    def fail() -> None:
        raise OSError

    now = time.monotonic()
    watchdog.at(now, fail)
    watchdog.at(now + 0.1, done.set)
    assert done.wait(5)


def test_a_host_without_threads_for_a_moment_recovers() -> None:
    watchdog, done = Watchdog(), threading.Event()
    with no_threads(), pytest.raises(RuntimeError):
        watchdog.at(time.monotonic(), done.set)
    watchdog.at(time.monotonic(), done.set)
    assert done.wait(5)


class Wire:
    """A socket that holds an answer."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def read(kind: type[HTTPResponse], data: bytes) -> tuple[object, ...]:
    answer = kind(Wire(data), method="POST")  # type: ignore[arg-type]
    try:
        answer.begin()
    except HTTPException:
        return ("no HTTP",)
    head = (answer.status, answer.version, answer.chunked, answer.length, answer.will_close)
    try:
        body = answer.read(1000)
    except (HTTPException, ValueError):
        body = b"broken"
    found = [answer.headers.get(name, "") for name in ("keep-alive", "location")]
    return (*head, *found, body)


NAMES = st.sampled_from(
    ["Content-Length", "content-length", "Transfer-Encoding", "Connection", "Keep-Alive", "Location", "X-Other"]
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        ["chunked", "close", "keep-alive", "timeout=5", "0", "3", "https://192.0.2.1/"]
    ),
    st.text("0123456789abc-", max_size=6),
)
LINES = st.lists(st.tuples(NAMES, VALUES), max_size=8, unique_by=lambda pair: pair[0].lower())


@given(
    st.sampled_from(["HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 204 No", "HTTP/1.1 401", "HTTP/1.1 304 x", "HTTP/2 200 OK", "ICY 200 OK"]),
    LINES,
    st.sampled_from([b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n"]),
    st.booleans(),
)  # fmt: skip
def test_as_http_client_does(
    first: str, headers: list[tuple[str, str]], body: bytes, goes_on: bool
) -> None:
    lines = [first, *(f"{name}: {value}" for name, value in headers), "", ""]
    data = "\r\n".join(lines).encode() + body
    if goes_on:
        data = b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" + data
    assert read(Answer, data) == read(HTTPResponse, data)


@pytest.mark.parametrize("size", [b"-1", b"2_4", b"0x5", b"fffffffff", b"", b"+3"])
def test_a_chunk_s_size_is_read_strictly(size: bytes) -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\nabcde"
    assert read(Answer, data)[-1] == b"broken"


def test_what_precedes_an_answer_is_passed_over() -> None:
    before = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    assert read(Answer, before + data) == read(HTTPResponse, data)
    assert read(Answer, b"HTTP/1.1 103 x\r\n\r\n" * 20 + data) == ("no HTTP",)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_none(data: bytes) -> None:
    read(Answer, data)
    read(Answer, b"HTTP/1.1 200 OK\r\n" + data)


@pytest.mark.parametrize("more", [b"X: y\r\n" * 200, b"X: " + b"y" * 70000])
def test_a_head_has_an_end(more: bytes) -> None:
    assert read(Answer, b"HTTP/1.1 200 OK\r\n" + more + b"\r\n\r\n") == ("no HTTP",)


def test_a_request() -> None:
    head = request_head("/a?b", [("Host", "192.0.2.1"), ("Authorization", b"Basic \xc3\xa8")])
    assert head == b"POST /a?b HTTP/1.1\r\nHost: 192.0.2.1\r\nAuthorization: Basic \xc3\xa8\r\n\r\n"
