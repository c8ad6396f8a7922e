"""The stand-in PBX under broken and hostile clients; how it starts, stops and comes back."""

import socket
import threading
import time
from contextlib import suppress
from urllib.parse import quote_plus

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialplan_sms.sandbox import Fault, Sandbox, Served
from dialplan_sms.sms import api
from dialplan_sms.web.http.form import MAX_BODY
from dialplan_sms.web.http.listener import ListenError
from tests.unit.sandbox.test_sandbox import (
    AUTHORIZATION,
    NUMBER,
    answer_to,
    connect,
    post,
    raw_request,
)


def test_a_body_that_is_too_long_is_refused(sandbox: Sandbox) -> None:
    response = post(sandbox, b"message=" + b"x" * (MAX_BODY + 1))

    assert (response.status_code, response.json()["type"]) == (413, api.ERROR)
    assert sandbox.requests == []
    assert post(sandbox, b"message=" + b"x" * (MAX_BODY - 8)).json() == api.error(api.EMPTY_NUMBER)


def test_a_request_that_never_ends_is_no_request(shared: Sandbox) -> None:
    shared.clear()

    assert answer_to(shared, raw_request(length=100), patience=0.25) == b""
    assert answer_to(shared, raw_request()[:40], patience=0.25) == b""

    assert shared.requests == []
    assert post(shared).json() == api.result()


def test_what_is_not_http_is_refused(sandbox: Sandbox) -> None:
    assert answer_to(sandbox, b"\x00\xff\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert sandbox.requests == []


def test_requests_in_a_row_are_answered_in_a_row(sandbox: Sandbox) -> None:
    last = raw_request().replace(b"Host:", b"Connection: close\r\nHost:")

    answer = answer_to(sandbox, raw_request() * 2 + last)

    assert answer.count(b'{"type":"result","result":"Success"}') == len(sandbox.messages) == 3


def test_many_keys_do_not_stop_it(shared: Sandbox) -> None:
    began = time.monotonic()

    reply = post(shared, b"a&" * (MAX_BODY // 2)).json()

    assert reply == api.error(api.EMPTY_NUMBER)
    assert time.monotonic() - began < 2


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(query=st.binary(max_size=60), body=st.binary(max_size=300), header=st.binary(max_size=30))
def test_no_bytes_break_it(shared: Sandbox, query: bytes, body: bytes, header: bytes) -> None:
    target = "".join(chr(b) if 0x21 <= b <= 0x7E and b != 0x23 else f"%{b:02x}" for b in query)
    value = bytes(b if b >= 0x20 and b != 0x7F else 0x2E for b in header).strip() or b"x"
    lines = [
        f"POST {api.PATH}?{target} HTTP/1.1\r\nHost: x\r\nConnection: close".encode(),
        f"{AUTHORIZATION}\r\nContent-Length: {len(body)}".encode(),
        b"X-Some: " + value,
        b"Cookie: " + value,
    ]

    answer = answer_to(shared, b"\r\n".join([*lines, b"", body]))

    assert answer.startswith(b"HTTP/1.1 200"), answer


@settings(max_examples=50, deadline=None)
@given(text=st.text(min_size=1, max_size=670).filter(lambda text: text.isprintable()))
def test_every_text_arrives_as_it_was_sent(shared: Sandbox, text: str) -> None:
    shared.clear()

    post(shared, f"number={quote_plus(NUMBER)}&message={quote_plus(text)}")

    assert [m.original for m in shared.messages] == [text]


def test_it_stops_at_once_with_clients_of_every_kind_waiting() -> None:
    before = threading.enumerate()
    with Sandbox(slow=60) as sandbox:
        silent = socket.create_connection((sandbox.address.host, sandbox.address.port))
        idle, hanging, trickling, slow = (connect(sandbox) for _ in range(4))
        faults = {Fault.HANG: hanging, Fault.TRICKLE: trickling, Fault.SLOW: slow}
        for count, (fault, connection) in enumerate(faults.items(), start=1):
            sandbox.fault = fault
            connection.sendall(raw_request() * 3)
            sandbox.wait(requests=count)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    silent.settimeout(5)
    assert silent.recv(1) == b""
    for connection in (silent, idle, hanging, trickling, slow):
        connection.close()
    assert {*threading.enumerate()} <= {*before}


def test_it_comes_back_on_the_same_port_with_the_same_certificate() -> None:
    with Sandbox() as sandbox:
        url, before = sandbox.url, post(sandbox).json()
        sandbox.stop()
        with pytest.raises(requests.exceptions.ConnectionError):
            post(sandbox)
        sandbox.start()

        assert (sandbox.url, post(sandbox).json()) == (url, before)
        assert (len(sandbox.messages), sandbox.connections) == (2, 2)


def test_it_stops_whatever_happens_and_leaves_no_files() -> None:
    with suppress(ZeroDivisionError), Sandbox() as sandbox:
        folder = sandbox.certificate.parent
        assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
        raise ZeroDivisionError

    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((sandbox.address.host, sandbox.address.port))


def test_a_port_in_use_is_one_clear_error() -> None:
    with (
        Sandbox(tls=False) as sandbox,
        pytest.raises(ListenError, match=r"in use: .* --listen"),
        Sandbox(listen=str(sandbox.address)),
    ):
        pass


def test_ipv6() -> None:
    try:
        with Sandbox(listen="[::1]:0") as sandbox:
            assert sandbox.url.startswith("https://[::1]:")
            assert post(sandbox).json() == api.result()
    except ListenError:
        pytest.skip("no IPv6 here")


def test_the_watcher_hears_before_the_client() -> None:
    heard: list[Served] = []
    with Sandbox(tls=False, watch=heard.append) as sandbox:
        post(sandbox)

        assert [served.message for served in heard] == sandbox.messages


def test_many_clients_at_once() -> None:
    with Sandbox(tls=False, slow=0.2) as sandbox:
        sandbox.fault = Fault.SLOW
        threads = [threading.Thread(target=post, args=(sandbox,)) for _ in range(40)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(sandbox.messages) == 40
        assert time.monotonic() - began < 4
