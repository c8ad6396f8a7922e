import base64
import contextlib
import gc
import json
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialplan_sms import __version__
from dialplan_sms.config.config import Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.routes import pbx as smsapi
from dialplan_sms.routes.pbx import SmsApi, secrets_of
from dialplan_sms.routes.reply import answered
from dialplan_sms.sandbox import Fault, Reply, Sandbox
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, Status
from dialplan_sms.sms.sms import Sms
from dialplan_sms.transport.connection import Pool, Resolver
from dialplan_sms.transport.exchange import Watchdog
from tests.asterisk.serving import free_port
from tests.unit.fakes import Dns, no_threads

PASSWORD = "\u043f\u0430\u0440\u043e\u043b\u044c:\u20ac"  # of any script
SUCCESS = b'{"type":"result","result":"Success"}'
SMS = Sms(("+39333123456",), "This API is awesome")
LIST = Sms(("+39333123456", "+39333123457"), "Hi", "9c7514330001", datetime(2999, 7, 14, 15, 35))


@pytest.fixture(scope="module", params=[True, False], ids=["https", "http"])
def server(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(tls=request.param, users={"101": PASSWORD}, tokens=["wsk-v1-x"]) as sandbox:
        yield sandbox


@pytest.fixture
def pbx(server: Sandbox) -> Sandbox:
    server.clear()
    return server


def sender(pbx: Sandbox, **fields: object) -> Sender:
    values: dict[str, object] = {
        "name": "101", "password": PASSWORD, "url": pbx.url + api.PATH,
        "verify": str(pbx.certificate) if pbx.tls else "yes",
    }  # fmt: skip
    return Sender(**(values | fields))  # type: ignore[arg-type]


@contextlib.contextmanager
def opened(user: Sender, **options: Any) -> Iterator[SmsApi]:
    """The route of a sender, with a pool that is closed at the end."""
    route = SmsApi(user, **options)
    with closing(route.pool):
        yield route


def send(pbx: Sandbox, sms: Sms = SMS, **fields: object) -> Outcome:
    with opened(sender(pbx, **fields)) as route:
        return route.send(sms)


def test_all_of_an_sms_arrives(pbx: Sandbox) -> None:
    assert send(pbx, LIST) == Outcome(Status.SUCCESS)
    (message,) = pbx.messages
    assert (message.user, message.path) == ("101", api.PATH)
    assert (message.numbers, message.text, message.gsm) == (LIST.numbers, LIST.text, LIST.gsm)
    assert ("postpone", "14/07/2999 15:35") in pbx.requests[0].pairs


def test_a_token_authorizes(pbx: Sandbox) -> None:
    assert send(pbx, token="wsk-v1-x", password="").status is Status.SUCCESS
    outcome = send(pbx, token="wsk-v1-y", password="")
    assert outcome.cause is Cause.UNAUTHORIZED
    # As SMS_REASON has it, which takes no apostrophe.
    assert "check the name of the section, and its password or token, in sms.conf" in outcome.reason


ANSWERS = [
    (Fault.UNAUTHORIZED, Cause.UNAUTHORIZED),
    (Fault.REJECT, Cause.REJECTED),
    (Fault.SERVER_ERROR, Cause.BAD_ANSWER),
    (Fault.HTML, Cause.BAD_ANSWER),
    (Fault.GARBAGE, Cause.BAD_ANSWER),
    (Fault.REDIRECT, Cause.BAD_ANSWER),
    (Fault.HUGE, Cause.BAD_ANSWER),
    (Fault.CLOSE, Cause.NO_ANSWER),
    (Fault.RESET, Cause.NO_ANSWER),
    (Reply(401, b"no json"), Cause.UNAUTHORIZED),
    (Reply(403, b"<h1>"), Cause.UNAUTHORIZED),
    (Reply(404, b"<h1>"), Cause.BAD_ANSWER),
    (Reply(200, b""), Cause.BAD_ANSWER),
    (Reply(200, b"[]"), Cause.BAD_ANSWER),
    (Reply(200, b"[" * 60000), Cause.BAD_ANSWER),
    (Reply(200, b"9" * 60000), Cause.BAD_ANSWER),
    (Reply(200, b'{"type":"result","result":"Maybe"}'), Cause.BAD_ANSWER),
    (Reply(200, b'{"type":"\xff"}'), Cause.BAD_ANSWER),
    (Reply(200, b'{"type":"result","result":"Succ', (("Content-Length", "99"),)), Cause.BAD_ANSWER),
    (Reply(500, b'{"type":"error","reason":"Full","result":null}'), Cause.REJECTED),
    (Reply(500, SUCCESS), Cause.NONE),  # judged by its type before the status
    (Reply(200, b'{"type":"error","reason":"Unauthorized","result":null}'), Cause.UNAUTHORIZED),
    (Reply(200, b'{"type":"error"}'), Cause.REJECTED),
    (Reply(200, b'{"type":"warning","result":null}'), Cause.NOT_QUEUED),
    (Reply(200, SUCCESS, (("X", "y" * 70000),)), Cause.BAD_ANSWER),
    (Reply(200, b"x", (("Content-Encoding", "gzip"),)), Cause.BAD_ANSWER),
    (Reply(99999, b""), Cause.BAD_ANSWER),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "cause"), ANSWERS, ids=lambda value: str(value)[:60])
def test_every_answer_has_its_cause(pbx: Sandbox, fault: Fault | Reply, cause: Cause) -> None:
    pbx.fault = fault
    outcome = send(pbx)
    assert outcome.cause is cause
    statuses = {Cause.NONE: Status.SUCCESS, Cause.NOT_QUEUED: Status.WARNING}
    assert outcome.status is statuses.get(cause, Status.ERROR)
    assert bool(outcome.reason) is bool(cause)
    assert len(pbx.requests) == 1  # sent once, a redirect not followed


def test_a_warning_names_the_numbers(pbx: Sandbox) -> None:
    pbx.fault = Fault.PARTIAL
    outcome = send(pbx, LIST)
    assert (outcome.status, outcome.cause) == (Status.WARNING, Cause.NOT_QUEUED)
    assert outcome.failed == ("+39333123457",)
    assert outcome.reason == api.NOT_ADDED
    pbx.fault = Reply(200, b'{"type":"warning","reason":7,"result":[111,"x",true,null,"+39 4"]}')
    assert send(pbx, LIST).failed == ("111", "+394")


def test_the_pbx_cannot_put_the_password_into_the_call(pbx: Sandbox) -> None:
    basic = base64.b64encode(f"101:{PASSWORD}".encode()).decode()
    wrong = {"type": "error", "reason": f"wrong: {PASSWORD}, Basic {basic}"}
    pbx.fault = Reply(200, json.dumps(wrong).encode())
    assert send(pbx).reason == "wrong: xxx , Basic xxx"
    digits = Sender("101", "http://192.0.2.1", "84726153")
    reply = b'{"type":"warning","reason":"no","result":["84726153","+39333123456"]}'
    outcome = answered(200, "", reply, "101", secrets_of(digits))
    assert outcome.failed == ("+39333123456",)


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.TRICKLE, Fault.TRICKLE_BODY])
def test_a_server_that_stalls_is_cut_off(pbx: Sandbox, fault: Fault) -> None:
    pbx.fault = fault
    started = time.monotonic()
    outcome = send(pbx, call_timeout=1.0)
    assert outcome.cause is Cause.NO_ANSWER
    assert "in time" in outcome.reason
    assert 0.9 < time.monotonic() - started < 4


@pytest.mark.parametrize(("count", "seconds"), [(1, 5), (2, 10), (6, 30), (7, 30), (2000, 30)])
def test_each_number_has_five_seconds_within_the_calls(
    pbx: Sandbox, count: int, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    watch = Watchdog.watch

    def noted(watchdog: Watchdog, connection: socket.socket, at: float) -> Any:
        given.append(round(at - time.monotonic()))
        return watch(watchdog, connection, at)

    monkeypatch.setattr(Watchdog, "watch", noted)
    send(pbx, Sms(tuple(f"+39333{n:06}" for n in range(count)), "x"))
    assert given == [seconds]
    assert smsapi.CONNECT_TIME == 3.0


class TestUnreachable:
    """Certainly not sent, and told apart from "may have been sent"."""

    def check(self, url: str, says: str, resolver: Resolver | None = None, **fields: Any) -> None:
        announced: list[str] = []
        with opened(Sender("101", url, "x", **fields), resolver=resolver) as route:
            outcome = route.send(SMS, lambda: announced.append("gone out"))
        assert outcome.cause is Cause.UNREACHABLE
        assert says in outcome.reason
        assert announced == []

    def test_nobody_there(self) -> None:
        port = free_port()
        self.check(f"http://127.0.0.1:{port}/", f"127.0.0.1 port {port}, Connection refused")
        self.check("http://pbx.invalid/", "the name pbx.invalid is unknown")

    def test_a_name_server_that_hangs(self) -> None:
        dns, started = Dns(), time.monotonic()
        url = "http://pbx.example.com/"
        self.check(url, "was not resolved in time", Resolver(dns), call_timeout=1.0)
        dns.answer.set()
        assert time.monotonic() - started < 4

    def test_a_connection_that_is_never_accepted(self) -> None:
        with contextlib.ExitStack() as stack:
            full, *clients = (stack.enter_context(socket.socket()) for _ in range(4))
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for client in clients:
                client.setblocking(False)
                client.connect_ex(full.getsockname())
            port = full.getsockname()[1]
            self.check(f"http://127.0.0.1:{port}/", "in time", call_timeout=1.0)

    def test_a_tls_handshake_that_hangs(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            self.check(f"https://127.0.0.1:{port}/", "in time", call_timeout=1.0)

    def test_a_certificate_that_is_not_trusted(self, pbx: Sandbox) -> None:
        if pbx.tls:
            found = pbx.fingerprint.replace(":", "").removeprefix("sha256").lower()
            self.check(pbx.url + api.PATH, "certificate is not trusted")
            self.check(pbx.url + api.PATH, found, verify="sha256:" + "0" * 64)
            assert pbx.requests == []
        else:
            self.check(pbx.url.replace("http:", "https:") + "/x", "no TLS with")

    def test_a_file_without_a_certificate_is_the_configurations_fault(self, tmp_path: Path) -> None:
        (tmp_path / "empty.pem").touch()
        for name in ("empty.pem", "none.pem"):
            user = Sender("101", "https://192.0.2.1", "x", verify=str(tmp_path / name))
            with pytest.raises(ConfigError, match=r"\[101\] verify = .*pem: no certificate"):
                SmsApi(user)


def test_the_environment_changes_nothing(pbx: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://192.0.2.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    monkeypatch.setenv("CURL_CA_BUNDLE", "/nonexistent")
    assert send(pbx).status is Status.SUCCESS


def test_a_thread_that_cannot_start_is_not_held_against_the_pbx(pbx: Sandbox) -> None:
    announced: list[int] = []
    with opened(sender(pbx)) as route, no_threads():
        outcome = route.send(SMS, lambda: announced.append(1))
    assert outcome.cause is Cause.INTERNAL
    assert "nothing was sent" in outcome.reason
    assert (announced, pbx.requests) == ([], [])


@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
def test_a_connection_is_used_again_and_never_shut_by_an_old_deadline(tls: bool) -> None:
    with Sandbox(tls=tls, users={"101": PASSWORD}) as pbx:
        with opened(sender(pbx, call_timeout=1.0)) as route:
            assert [route.send(SMS).status for _ in range(3)] == [Status.SUCCESS] * 3
            time.sleep(1.2)
            assert route.send(SMS).status is Status.SUCCESS
        assert (len(pbx.requests), pbx.connections) == (4, 1)


def test_what_is_refused_at_the_last_moment_does_not_go_out(pbx: Sandbox) -> None:
    def refuse() -> None:
        raise Refused(Cause.INTERNAL, "the outbox is locked")

    with opened(sender(pbx)) as route:
        with pytest.raises(Refused, match="the outbox is locked"):
            route.send(SMS, refuse)
        assert (pbx.requests, route.pool.idle) == ([], 0)
        assert route.send(SMS).status is Status.SUCCESS


def test_a_connection_is_kept_once_no_deadline_can_shut_it_down(
    pbx: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = []
    keep = Pool._keep

    def look(pool: Pool, connection: socket.socket, keep_alive: str) -> None:
        watched.append(set(pool._watchdog._watched))
        keep(pool, connection, keep_alive)

    monkeypatch.setattr(Pool, "_keep", look)
    assert send(pbx).status is Status.SUCCESS
    assert watched == [set()]


def test_a_connection_that_is_kept_keeps_nothing_of_the_call(pbx: Sandbox) -> None:
    def going_out() -> None:
        pass

    call = weakref.ref(going_out)
    with opened(sender(pbx)) as route:
        assert route.send(SMS, going_out).status is Status.SUCCESS
        assert route.pool.idle == 1
        del going_out
        gc.collect()
        assert call() is None


class Keeper(ThreadingTCPServer):
    """A PBX that keeps its connections open, and gives each request the same *answer*."""

    daemon_threads = True

    def __init__(
        self, *headers: str, answer: bytes = b"", tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), BaseRequestHandler)
        lines = "".join(f"{header}\r\n" for header in headers)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(SUCCESS)}\r\n{lines}\r\n"
        self._answer, self._tls = answer or head.encode() + SUCCESS, tls
        self.requests: list[bytes] = []
        self.connections = 0
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def finish_request(self, peer: Any, _: object) -> None:
        self.connections += 1
        peer = self._tls.wrap_socket(peer, server_side=True) if self._tls else peer
        with peer, contextlib.suppress(OSError):
            while request := peer.recv(65536):
                self.requests.append(request)
                time.sleep(0.1)
                peer.sendall(self._answer)
                if b"Connection: close" in self._answer:
                    break

    @contextlib.contextmanager
    def route(self, connections: int = 1, **fields: Any) -> Iterator[SmsApi]:
        url = f"http{'s' if self._tls else ''}://127.0.0.1:{self.server_address[1]}/"
        with opened(Sender("101", url, "x", **fields), connections=connections) as route:
            yield route


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next() -> None:
    """A peer that sends a second answer with the first one; TLS hides it from select()."""
    head, rejected = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", b'{"type":"error"}'
    # 8192 bytes: what http.client's buffer takes at once, so that the rest stays in OpenSSL's.
    first = (head % (8192 - len(head % 8000)) + rejected).ljust(8192)
    with Sandbox() as pbx:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pbx.certificate, pbx.certificate.with_name("key.pem"))
        with (
            Keeper(answer=first + head % len(SUCCESS) + SUCCESS, tls=context) as keeper,
            keeper.route(verify=str(pbx.certificate)) as route,
        ):
            assert [route.send(SMS).cause for _ in range(2)] == [Cause.REJECTED] * 2
    assert keeper.connections == 2


def test_head_and_body_go_out_together_and_no_cookie_is_kept() -> None:
    with Keeper("Set-Cookie: a=b") as pbx, pbx.route() as route:
        assert [route.send(SMS).status for _ in range(2)] == [Status.SUCCESS] * 2
    assert pbx.requests[0] == pbx.requests[1]
    head, _, body = pbx.requests[0].decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = dict(line.split(": ") for line in lines)
    assert (first, body) == ("POST / HTTP/1.1", "number=%2B39333123456&message=This+API+is+awesome")
    assert headers.pop("Host").startswith("127.0.0.1:")
    assert headers == {
        "User-Agent": f"dialplan-sms/{__version__}",
        "Content-Type": "application/x-www-form-urlencoded",
        "Authorization": "Basic MTAxOng=",
        "Content-Length": str(len(body)),
    }


class TestIdleConnections:
    """What keeps a request from going out just as the PBX closes the connection."""

    @pytest.mark.parametrize(
        ("header", "pause", "connections"),
        [
            ("Keep-Alive: timeout=1, max=100", 0, 2),
            ("Keep-Alive: timeout=2", 1.2, 2),
            ("Keep-Alive: timeout=5", 0.1, 1),
            ("Keep-Alive: timeout=soon", 0, 1),
            ("Connection: close", 0, 2),
        ],
    )
    def test_one_that_the_pbx_is_about_to_close_is_not_used(
        self, header: str, pause: float, connections: int
    ) -> None:
        with Keeper(header) as pbx, pbx.route() as route:
            for _ in range(2):
                assert route.send(SMS).status is Status.SUCCESS
                time.sleep(pause)
            assert pbx.connections == connections

    def test_one_that_is_closed_while_the_channel_is_told_is_replaced(self) -> None:
        with Keeper() as other, other.route() as route:
            assert route.send(SMS).status is Status.SUCCESS
            ((_, idle),) = route.pool._idle
            told = []

            def going_out() -> None:
                told.append(1)
                idle.shutdown(socket.SHUT_RD)  # as a PBX's closing shows itself

            assert route.send(SMS, going_out).status is Status.SUCCESS
            assert told == [1]
            assert other.connections == 2
            assert len(other.requests) == 2

    def test_after_an_answer_that_is_none_the_connection_is_not_used_again(self) -> None:
        with Keeper(answer=b"HTTP/1.1 101 Switching\r\n\r\n") as pbx, pbx.route() as route:
            assert route.send(SMS).cause is Cause.BAD_ANSWER
            assert route.pool.idle == 0

    def test_no_more_stay_open_than_are_allowed_and_none_after_the_end(self) -> None:
        with Keeper() as pbx, pbx.route(connections=2) as route:
            with ThreadPoolExecutor(4) as threads:
                sent = [threads.submit(route.send, SMS) for _ in range(4)]
            assert [each.result().status for each in sent] == [Status.SUCCESS] * 4
            assert route.pool.idle == 2
            route.pool.close()
            assert route.pool.idle == 0
            route.send(SMS)
            assert route.pool.idle == 0


@pytest.mark.parametrize(
    "behave",
    [
        pytest.param(lambda peer: peer.close(), id="closes at once"),
        pytest.param(lambda peer: (peer.recv(10), peer.close()), id="resets in the request"),
        pytest.param(lambda peer: (peer.recv(65536), peer.sendall(b"HTTP/1.1 200"), peer.close()), id="half a line"),
    ],
)  # fmt: skip
def test_a_peer_that_vanishes_while_it_goes_out_is_never_called_unreachable(
    behave: Callable[[socket.socket], object],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: behave(listener.accept()[0]))
        thread.start()
        user = Sender("101", f"http://127.0.0.1:{listener.getsockname()[1]}/", "x")
        outcome = SmsApi(user).send(Sms(SMS.numbers, "x" * 500_000))
        thread.join()
    assert outcome.cause in (Cause.NO_ANSWER, Cause.BAD_ANSWER)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
REPLIES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["result", "warning", "error"]) | JSON,
        "result": st.just("Success") | st.lists(st.text()) | JSON,
        "reason": st.text() | JSON,
    },
)


@settings(max_examples=200)
@given(
    st.integers(100, 599),
    st.text(),
    st.binary() | REPLIES.map(lambda reply: json.dumps(reply).encode()),
)
def test_any_answer_becomes_an_outcome(status: int, location: str, body: bytes) -> None:
    outcome = answered(status, location, body)
    assert outcome.status in (Status.SUCCESS, Status.WARNING, Status.ERROR)
    assert bool(outcome.cause) == (outcome.status is not Status.SUCCESS)
    assert "\n" not in outcome.reason
    assert not set(outcome.reason) & set('"\\${}[];|&`')
