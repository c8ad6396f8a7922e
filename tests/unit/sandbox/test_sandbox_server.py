"""The stand-in PBX over real sockets: its protocol, its faults, its life, hostile clients."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote_plus

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialplan_sms.sandbox import Fault, Reply, Sandbox, Served, Trouble
from dialplan_sms.sandbox.server import NOT_HTTP
from dialplan_sms.sms import api
from dialplan_sms.web.form import MAX_BODY
from dialplan_sms.web.server import ListenError
from tests.waiting import until

NUMBER = "+391234567890"
AUTH = ("101", "sms101api")
AUTHORIZATION = "Authorization: Basic MTAxOnNtczEwMWFwaQ=="
FORM = {"number": NUMBER, "message": "Hi"}


@pytest.fixture(params=[False, True], ids=["http", "https"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(tls=request.param, slow=0.1, trickle=0.01) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(tls=False) as sandbox:
        yield sandbox


def verify(sandbox: Sandbox) -> str | bool:
    return str(sandbox.certificate) if sandbox.tls else True


def post(
    sandbox: Sandbox, data: object = FORM, path: str = api.PATH, **options: object
) -> requests.Response:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    arguments = {"auth": AUTH, "verify": verify(sandbox), "timeout": 3, "headers": kind, **options}
    return requests.post(sandbox.url + path, data=data, allow_redirects=False, **arguments)  # type: ignore[arg-type]


def connect(sandbox: Sandbox) -> socket.socket:
    plain = socket.create_connection(sandbox.address, timeout=3)
    if not sandbox.tls:
        return plain
    context = ssl.create_default_context(cafile=sandbox.certificate)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def raw_request(
    body: bytes = b"number=%2B391234567890&message=Hi", length: int | None = None
) -> bytes:
    length = len(body) if length is None else length
    head = f"POST {api.PATH} HTTP/1.1\r\nHost: pbx.example.com\r\n{AUTHORIZATION}\r\n"
    return f"{head}Content-Length: {length}\r\n\r\n".encode() + body


def answer_to(sandbox: Sandbox, data: bytes, patience: float = 20) -> bytes:
    """What is answered to *data* until the connection ends or *patience* seconds are silent."""
    with closing(connect(sandbox)) as connection:
        connection.sendall(data)
        connection.settimeout(patience)
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except TimeoutError:
            pass
        return answer


def test_post_and_get_and_the_old_path(sandbox: Sandbox) -> None:
    posted = post(sandbox)
    old = sandbox.url + api.OLD_PATH
    got = requests.get(old, params=FORM, auth=AUTH, verify=verify(sandbox), timeout=3)

    assert posted.json() == got.json() == {"type": "result", "result": "Success"}
    asked = [(m.method, m.path) for m in sandbox.messages]
    assert asked == [("POST", api.PATH), ("GET", api.OLD_PATH)]
    assert {(m.numbers, m.text) for m in sandbox.messages} == {((NUMBER,), "Hi")}
    assert [r.user for r in sandbox.requests] == ["101", "101"]


def test_the_old_recipes_bodies_fare_as_on_a_pbx(shared: Sandbox) -> None:
    shared.clear()

    for text in ("the message body", "a+b", "a&b", "100%41"):
        body = f" message={text}&number=%2B39333123456"
        assert post(shared, body).json() == api.result()
    assert post(shared, "message=x&number=+39333123456").json() == api.result()
    # What stands behind a parenthesis is lost.
    assert post(shared, " message=Hi :").json() == api.error(api.EMPTY_NUMBER)

    texts = ["the message body", "a b", "a", "100A", "x"]
    assert [m.text for m in shared.messages] == texts
    lost = ("39333123456",)  # of a plus that was not encoded
    assert [m.numbers for m in shared.messages] == [("+39333123456",)] * 4 + [lost]


def test_credentials() -> None:
    with Sandbox(tls=False, tokens=["wsk-v1-example"]) as sandbox:
        unauthorized = {"type": "error", "reason": "Unauthorized", "result": None}
        for auth in (("101", "wrong"), None):
            answer = post(sandbox, {"number": ""}, auth=auth)  # which would be an error, too
            assert (answer.status_code, answer.json()) == (401, unauthorized)
        assert post(sandbox, {"number": ""}).json() == api.error("Number should not be empty")
        bearer = post(sandbox, auth=None, headers={"Authorization": "Bearer wsk-v1-example"})
        assert bearer.json() == api.result()
        assert [r.user for r in sandbox.requests] == [None, None, "101", "token"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("POST", path, 404) for path in ("/", f"{api.PATH}/", f"{api.PATH}%2F", "//")),
        *((method, api.PATH, 405) for method in ("PUT", "HEAD", "DELETE", "OPTIONS")),
    ],
)
def test_other_paths_and_methods_are_recorded_and_take_nothing(
    shared: Sandbox, method: str, path: str, status: int
) -> None:
    shared.clear()
    response = requests.request(method, shared.url + path, params=FORM, auth=AUTH, timeout=3)
    allowed = {*response.headers.get("Allow", "").split(", ")}

    assert (response.status_code, allowed >= {"GET", "POST"}) == (status, status == 405)
    assert (len(shared.requests), shared.messages) == (1, [])


def test_only_forms_are_read(shared: Sandbox) -> None:
    reply = post(shared, data='{"number":"1"}', headers={"Content-Type": "application/json"}).json()

    assert reply == api.error(api.EMPTY_NUMBER)


def test_connections_are_kept_and_counted(sandbox: Sandbox) -> None:
    with requests.Session() as session:
        session.auth, session.trust_env = AUTH, False
        for _ in range(3):
            session.post(sandbox.url + api.PATH, FORM, verify=verify(sandbox), timeout=3)
        kept = sandbox.connections
    post(sandbox)

    assert (kept, sandbox.connections, len(sandbox.messages)) == (1, 2, 4)
    sandbox.clear()
    assert (sandbox.connections, sandbox.messages, sandbox.requests) == (0, [], [])


def test_a_failed_handshake_is_a_connection_without_a_request() -> None:
    with Sandbox() as sandbox:
        with pytest.raises(requests.exceptions.SSLError):
            requests.post(sandbox.url + api.PATH, FORM, timeout=3)

        assert (sandbox.connections, sandbox.requests) == (1, [])


def test_the_certificate_goes_into_a_file_without_its_key(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    with Sandbox(certificate_file=file) as sandbox:
        assert ssl.get_server_certificate(sandbox.address) == file.read_text()
        assert sandbox.fingerprint.startswith("sha256:")
    assert "PRIVATE" not in file.read_text()


# Its faults.


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
        url, trusted = sandbox.url + api.PATH, verify(sandbox)
        response = session.request(method, url, params=FORM, auth=AUTH, timeout=3, verify=trusted)

    assert [r.status_code for r in response.history] == [302]
    assert len(sandbox.requests) == 2
    assert [m.path for m in sandbox.messages] == ["/redirected" + api.PATH]


def test_faults_for_some_requests(shared: Sandbox) -> None:
    shared.clear()
    shared.fail(Fault.SERVER_ERROR, times=2)
    shared.fail(Reply(418))

    assert [post(shared).status_code for _ in range(4)] == [500, 500, 418, 200]
    assert (len(shared.requests), len(shared.messages)) == (4, 1)


# How it starts, stops and comes back, and clients that are broken or hostile.


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


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(query=st.binary(max_size=60), body=st.binary(max_size=300), header=st.binary(max_size=30))
def test_no_bytes_break_it(shared: Sandbox, query: bytes, body: bytes, header: bytes) -> None:
    target = "".join(chr(b) if 0x21 <= b <= 0x7E and b != 0x23 else f"%{b:02x}" for b in query)
    value = bytes(b if b >= 0x20 and b != 0x7F else 0x2E for b in header).strip() or b"x"
    head = (
        f"POST {api.PATH}?{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{AUTHORIZATION}\r\n"
    )
    lines = f"{head}Content-Length: {len(body)}".encode(), b"X-Some: " + value, b"Cookie: " + value
    answer = answer_to(shared, b"\r\n".join([*lines, b"", body]))
    assert answer.startswith(b"HTTP/1.1 200"), answer


@settings(max_examples=50, deadline=None)
@given(text=st.text(min_size=1, max_size=670).filter(lambda text: text.isprintable()))
def test_every_text_arrives_as_it_was_sent(shared: Sandbox, text: str) -> None:
    shared.clear()

    post(shared, f"number={quote_plus(NUMBER)}&message={quote_plus(text)}")

    assert [m.original for m in shared.messages] == [text]


def test_it_stops_at_once_with_clients_of_every_kind_waiting() -> None:
    before = {*threading.enumerate()}
    with Sandbox(slow=60) as sandbox:
        silent = socket.create_connection(sandbox.address)
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
    until(lambda: {*threading.enumerate()} <= before)  # the last end just after it


def test_it_comes_back_on_the_same_port_with_the_same_certificate() -> None:
    with Sandbox() as sandbox:
        url, before = sandbox.url, post(sandbox).json()
        sandbox.stop()
        with pytest.raises(requests.exceptions.ConnectionError):
            post(sandbox)
        for _ in range(2):  # once more does nothing
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
        socket.create_connection(sandbox.address)


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
