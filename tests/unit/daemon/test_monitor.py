"""Who asks a service how it is, by which name, and what answers at its monitor's address."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from dialplan_sms.agi.doors import Capacity
from dialplan_sms.daemon import client
from dialplan_sms.daemon.monitor import Metrics
from tests.unit import asking

Address = tuple[str, int]
Peer = Callable[..., Address]
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(scope="module")
def port() -> int:
    return asking.serve(Metrics(Capacity(7)))


def ask(port: int, path: str, host: str | None) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.putrequest("GET", path, skip_host=True)
        if host is not None:
            connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.mark.parametrize("path", ["/status", "/metrics"])
def test_figures_are_told_to_this_host_alone(port: int, path: str) -> None:
    """A web page whose name leads here (DNS rebinding) may not read them."""
    for ours in (
        "localhost", f"localhost:{port}", "LOCALHOST", "127.0.0.1", f"127.1.2.3:{port}",
        "127.255.0.1:80", "[::1]", "[::1]:1",
    ):  # fmt: skip
        status, body = ask(port, path, ours)
        assert (status, "max_calls" in body) == (200, True), ours
    for other in (
        "rebound.example.com", f"rebound.example.com:{port}", "192.0.2.1", "", None, "0.0.0.0", "[",
        "localhost.example.com", "127.0.0.1.example.com", "[::ffff:192.0.2.1]",
    ):  # fmt: skip
        says = "This is for this host alone: ask it by the name localhost\n"
        assert ask(port, path, other) == (421, says), other


def test_a_health_check_may_come_by_any_name(port: int) -> None:
    assert ask(port, "/healthz", "pbx.example.com") == (200, "ok\n")


def test_other_paths_and_what_is_no_http(port: int) -> None:
    assert ask(port, "/", "localhost") == (404, "/metrics, /healthz, /status\n")
    with socket.create_connection(("127.0.0.1", port), 10) as peer:
        peer.sendall(b"hello, world of other things\r\n\r\n")
        assert b"400 " in peer.recv(999)


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A program that answers with these pieces, so many seconds apart; the last connection stays."""
    over = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def answer(pieces: list[bytes], pause: float, stays: bool) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.recv(1000)
            for piece in pieces:
                connection.sendall(piece)
                if over.wait(pause):
                    return
            if stays:
                over.wait(10)

    def start(*pieces: bytes, pause: float = 0, stays: bool = False) -> Address:
        threading.Thread(target=answer, args=(list(pieces), pause, stays), daemon=True).start()
        return "127.0.0.1", listening.getsockname()[1]

    with closing(listening):
        yield start
        over.set()


@pytest.mark.parametrize("healthy", [True, False])
def test_the_service_is_known_by_its_figures(healthy: bool) -> None:
    port = asking.serve(Metrics(Capacity(7)), lambda: healthy)
    found = client.figures(("127.0.0.1", port), 5)
    assert (found["in_flight"], found["max_calls"]) == (0, 7)
    assert client.is_healthy(("127.0.0.1", port), 5) is healthy


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        OK + b"\r\n",
        OK + b"\r\n<html>",
        OK + b"\r\n[]",
        OK + b'\r\n{"in_flight": "1", "max_calls": 2}',
        b'HTTP/1.1 404 No\r\n\r\n{"in_flight": 1, "max_calls": 2}',
        OK + b"\r\n" + b"[" * 500_000,
        OK + b"\r\n" + b'{"a":' * 100_000,
        OK + b"\r\n\xff\xfe\xff",
        OK + b"\r\n" + b" " * (2 << 20),
        OK + b"a: b\r\n" * 1000 + b"\r\n{}",
        OK + b"Content-Length: 100\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_another_program_is_not_ours(peer: Peer, answer: bytes) -> None:
    with pytest.raises(client.NotOurs):
        client.figures(peer(answer), 5)


@pytest.mark.parametrize("ask", [client.figures, client.is_healthy])
@pytest.mark.parametrize("start", [b"", b"HTTP", OK, OK + b"Content-Length: 1000\r\n\r\n"])
def test_a_trickle_holds_nobody(
    peer: Peer, ask: Callable[[Address, float], object], start: bytes
) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        ask(peer(start, *[b" "] * 200, pause=0.05), 0.5)
    assert 0.4 < time.monotonic() - began < 5  # of the ten that it trickles


def test_silence_is_a_timeout(peer: Peer) -> None:
    with pytest.raises(TimeoutError):
        client.figures(peer(stays=True), 0.2)


def test_nobody_there_is_refused() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        client.figures(("127.0.0.1", port), 5)
