"""A request on its way: its name resolved, TLS, its deadline, and the head of the answer."""

import hashlib
import io
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.sandbox import Sandbox
from dialplan_sms.transport.connection import Resolver
from dialplan_sms.transport.exchange import Answer, Stage, Watchdog
from dialplan_sms.transport.tls import Look, look
from tests.asterisk.serving import free_port
from tests.unit import checked
from tests.unit.fakes import Dns, no_threads

Connections = list[socket.socket]


def test_a_lookup_that_hangs_costs_one_thread_and_no_more_than_its_time() -> None:
    dns = Dns()
    resolver, before = Resolver(dns), threading.active_count()
    for _ in range(5):
        with pytest.raises(TimeoutError):
            resolver.resolve("pbx.example.com", 443, 0.05)
    assert threading.active_count() - before <= 1
    assert dns.asked == 1
    dns.answer.set()
    assert resolver.resolve("pbx.example.com", 443, 5)[0][4] == ("192.0.2.1", 443)


def test_a_numeric_address_needs_no_thread() -> None:
    with no_threads():
        assert Resolver().resolve("127.0.0.1", 80, 0.001)[0][4] == ("127.0.0.1", 80)
        assert Resolver().resolve("::1", 80, 0.001)[0][4][:2] == ("::1", 80)


@pytest.mark.parametrize("name", ["pbx.invalid", "a..b", "x" * 300, "\u20ac.invalid"])
def test_a_name_that_is_none_is_an_error(name: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011
        Resolver().resolve(name, 80, 20)


@pytest.fixture
def three() -> Iterator[Connections]:
    """Connections whose peers say nothing."""
    ends = [end for _ in range(3) for end in socket.socketpair()]
    yield ends[::2]
    for end in ends:
        end.close()


def test_each_connection_is_shut_down_at_its_own_time(three: Connections) -> None:
    watchdog, now = Watchdog(), time.monotonic()
    late, early, _ = three
    with watchdog.watch(late, now + 60) as of_late, watchdog.watch(early, now + 0.1) as of_early:
        assert early.recv(1) == b""
        assert time.monotonic() - now >= 0.1
        assert (of_late.passed, of_early.passed) == (False, True)


def test_one_that_is_met_or_put_off_shuts_nothing_down(three: Connections) -> None:
    watchdog, now = Watchdog(), time.monotonic()
    met, other, last = three
    with watchdog.watch(met, now + 1.0):
        pass
    with watchdog.watch(other, now + 1.0) as put_off, watchdog.watch(last, now + 1.1):
        put_off.at = now + 60
        assert last.recv(1) == b""
        for each in (met, other):
            with pytest.raises(BlockingIOError):
                each.recv(1, socket.MSG_DONTWAIT)


def test_a_connection_that_is_closed_does_not_end_the_watch(three: Connections) -> None:
    watchdog, now = Watchdog(), time.monotonic()
    closed, last, _ = three
    closed.close()
    with watchdog.watch(closed, now), watchdog.watch(last, now + 0.1):
        assert last.recv(1) == b""


def test_a_host_without_threads_for_a_moment_recovers(three: Connections) -> None:
    watchdog, resolver, now = Watchdog(), Resolver(), time.monotonic()
    with no_threads():
        with pytest.raises(RuntimeError):
            resolver.resolve("localhost", 80, 1)
        with pytest.raises(RuntimeError), watchdog.watch(three[0], now):
            pass
    assert resolver.resolve("localhost", 80, 5)
    with watchdog.watch(three[0], now):
        assert three[0].recv(1) == b""


class Wire(io.BytesIO):
    """A socket that holds an answer."""

    def makefile(self, _: str) -> io.BytesIO:
        return self


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


def seen(port: int, verify: str = "no", scheme: str = "https") -> Look:
    return look(scheme, "localhost", port, Resolver(), 5.0, verify)


@contextmanager
def server(folder: Path, made: tuple[bytes, bytes]) -> Iterator[int]:
    """A port that shows this certificate to whoever comes."""
    (folder / "server.pem").write_bytes(b"".join(made))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")

    def serve() -> None:
        for _ in range(2):
            with listener.accept()[0] as peer:
                peer.recv(1)

    with (
        socket.create_server(("127.0.0.1", 0)) as plain,
        context.wrap_socket(plain, server_side=True) as listener,
        ThreadPoolExecutor(1) as thread,
    ):
        listener.settimeout(10)
        thread.submit(serve)
        yield listener.getsockname()[1]


@pytest.mark.parametrize("signer", ["", "CA of a test"])
@pytest.mark.parametrize(("start", "end"), [(-1, 9), (-9, -2), (1, 9)])
def test_what_nobody_trusts_is_read(tmp_path: Path, start: int, end: int, signer: str) -> None:
    made = checked.certificate(["pbx.example.com", "192.0.2.1"], start, end, signer)
    with server(tmp_path, made) as port:
        found = seen(port).certificate
    assert found is not None
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(made[0].decode())).digest()
    assert found.fingerprint == f"sha256:{digest.hex(':').upper()}"
    assert found.names == ("pbx.example.com", "192.0.2.1")
    assert found.issuer == {"commonName": signer or "PBX of a test"}
    assert found.self_signed is not bool(signer)
    days = [round((when - time.time()) / 86400) for when in (found.start, found.end)]
    assert days == [start, end]


def test_a_verify_is_tried_as_a_send_does() -> None:
    with Sandbox() as sandbox:
        port = sandbox.address.port
        for verify in ("no", sandbox.fingerprint, str(sandbox.certificate)):
            assert seen(port, verify).failure is None
        failed = seen(port, "yes")
        assert isinstance(failed.failure, ssl.SSLCertVerificationError)
        assert seen(port, f"sha256:{'ab' * 32}").failure is not None
        assert seen(port).version.startswith("TLSv1.")


def test_a_connection_that_fails_has_its_stage() -> None:
    closed = seen(free_port())
    assert (closed.stage, type(closed.failure)) == (Stage.CONNECTING, ConnectionRefusedError)
    with checked.stranger() as port:
        assert seen(port).stage is Stage.SECURING
        plain = seen(port, scheme="http")
    assert (plain.failure, plain.certificate) == (None, None)
