"""Each fault of the stand-in PBX over real sockets, with and without TLS."""

import time
from contextlib import closing

import pytest
import requests

from dialplan_sms.sandbox import Fault, Reply, Sandbox, Trouble
from dialplan_sms.sandbox.app import NOT_HTTP
from dialplan_sms.sandbox.faults import magic_number
from dialplan_sms.sms import api
from tests.unit.sandbox.test_sandbox import (
    AUTH,
    FORM,
    NUMBER,
    answer_to,
    connect,
    post,
    raw_request,
    verify,
)


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.CLOSE, Fault.GARBAGE])
def test_no_answer(sandbox: Sandbox, fault: Fault) -> None:
    sandbox.fault = fault

    with pytest.raises(requests.exceptions.ConnectionError):
        post(sandbox)

    assert (len(sandbox.requests), sandbox.messages) == (1, [])


def test_reset_is_a_reset_and_close_an_end() -> None:
    with Sandbox(tls=False) as sandbox:
        sandbox.fault = Fault.RESET
        with pytest.raises(ConnectionResetError):
            answer_to(sandbox, raw_request())
        sandbox.fault = Fault.CLOSE
        assert answer_to(sandbox, raw_request()) == b""
        sandbox.fault = Fault.GARBAGE
        assert answer_to(sandbox, raw_request()) == NOT_HTTP


def test_hang_never_answers(sandbox: Sandbox) -> None:
    sandbox.fault = Trouble(Fault.HANG, taken=True)

    with pytest.raises(requests.exceptions.ReadTimeout):
        post(sandbox, timeout=(20, 0.3))

    sandbox.wait(requests=1, messages=1)
    assert (len(sandbox.requests), len(sandbox.messages)) == (1, 1)
    sandbox.fault = None
    assert post(sandbox).json() == api.result()


@pytest.mark.parametrize("fault", [Fault.TRICKLE, Fault.TRICKLE_BODY])
def test_trickle_has_no_end(sandbox: Sandbox, fault: Fault) -> None:
    sandbox.fault = fault

    with closing(connect(sandbox)) as connection:
        connection.sendall(raw_request())
        answer = b"".join(connection.recv(4096) for _ in range(30))

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert (b"\r\n\r\n" in answer) == (fault is Fault.TRICKLE_BODY)
    assert (len(sandbox.requests), sandbox.messages) == (1, [])


@pytest.mark.parametrize(
    ("fault", "status", "start", "taken"),
    [
        (Fault.SERVER_ERROR, 500, "<html>", 0),
        (Fault.HTML, 200, "<html>", 0),
        (Fault.UNAUTHORIZED, 401, '{"type":"error","reason":"Unauthorized","result":null}', 0),
        (Fault.REJECT, 200, '{"type":"error"', 0),
        (Fault.PARTIAL, 200, '{"type":"warning"', 0),
        (Fault.SLOW, 200, '{"type":"result"', 1),
        (Fault.HUGE, 200, '{"type":"result"', 0),
        (Reply(299, b"{}", (("X-Odd", "yes"),)), 299, "{}", 0),
        (Reply(204, b"", (("Content-Length", "0"),)), 204, "", 0),
        (Trouble(Reply(503, b"later"), taken=True), 503, "later", 1),
    ],
)
def test_answers_that_are_not_the_usual(
    sandbox: Sandbox, fault: Fault | Reply | Trouble, status: int, start: str, taken: int
) -> None:
    sandbox.fault = fault
    assert sandbox.fault == fault

    began = time.monotonic()
    response = post(sandbox)

    assert (response.status_code, response.text[: len(start)]) == (status, start)
    assert (len(sandbox.requests), len(sandbox.messages)) == (1, taken)
    assert (len(response.content) > 65536) == (fault is Fault.HUGE)
    assert fault is not Fault.SLOW or time.monotonic() - began >= 0.1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_follows_a_redirect_is_found_out(sandbox: Sandbox, method: str) -> None:
    sandbox.fault = Fault.REDIRECT

    with requests.Session() as session:
        response = session.request(
            method,
            sandbox.url + api.PATH,
            params=FORM,
            auth=AUTH,
            timeout=3,
            verify=verify(sandbox),
        )

    assert [r.status_code for r in response.history] == [302]
    assert len(sandbox.requests) == 2
    assert [m.path for m in sandbox.messages] == ["/redirected" + api.PATH]


def test_magic_numbers(sandbox: Sandbox) -> None:
    magic = magic_number(Fault.SERVER_ERROR)

    assert post(sandbox, {"number": f"{NUMBER},{magic}", "message": "x"}).status_code == 500
    assert sandbox.messages == []
    assert post(sandbox).json() == api.result()


def test_faults_for_some_requests(shared: Sandbox) -> None:
    shared.clear()
    shared.fail(Fault.SERVER_ERROR, times=2)
    shared.fail(Reply(418))

    assert [post(shared).status_code for _ in range(4)] == [500, 500, 418, 200]
    assert (len(shared.requests), len(shared.messages)) == (4, 1)
