"""Who asks a service how it is, by which name."""

import http.client
import socket

import pytest

from dialplan_sms.agi.doors import Capacity
from dialplan_sms.daemon.monitor import Metrics
from dialplan_sms.host.address import bare, is_loopback
from tests.unit import asking


@pytest.fixture(scope="module")
def port() -> int:
    return asking.serve(Metrics(Capacity(7)))


def ask(port: int, path: str, host: str | None, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True)
        if host is not None:
            connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/status", "/metrics"])
def test_figures_are_told_to_this_host_alone(port: int, path: str) -> None:
    """A web page whose name leads here (DNS rebinding) may not read them."""
    ours = ("localhost", f"localhost:{port}", "127.0.0.1", f"127.1.2.3:{port}", "[::1]:1")
    others = ("rebound.example.com", f"rebound.example.com:{port}", "192.0.2.1", "", None)
    for host in ours:
        status, body = ask(port, path, host)
        assert status == 200
        assert "max_calls" in body
    for name in others:
        assert ask(port, path, name) == (
            421,
            "This is for this host alone: ask it by the name localhost\n",
        )


def test_a_health_check_may_come_by_any_name(port: int) -> None:
    assert ask(port, "/healthz", "pbx.example.com") == (200, "ok\n")


def test_other_paths_and_what_is_no_http(port: int) -> None:
    assert ask(port, "/", "localhost") == (404, "/metrics, /healthz, /status\n")
    with socket.create_connection(("127.0.0.1", port), 10) as peer:
        peer.sendall(b"hello, world of other things\r\n\r\n")
        assert b"400 " in peer.recv(999)


@pytest.mark.parametrize(
    ("host", "ours"),
    [("LOCALHOST", True), ("127.255.0.1:80", True), ("[::1]", True),
     ("localhost.example.com", False), ("127.0.0.1.example.com", False), ("0.0.0.0", False),
     ("[::ffff:192.0.2.1]", False), ("", False), ("[", False)],
)  # fmt: skip
def test_names_of_this_host(host: str, ours: bool) -> None:
    assert is_loopback(bare(host)) is ours
