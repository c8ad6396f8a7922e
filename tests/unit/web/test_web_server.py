"""The web server under clients that say nothing, say half, or do not read."""

import asyncio
import contextlib
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router

from dialplan_sms.sandbox import Fault, Sandbox
from dialplan_sms.sandbox.certificate import self_signed
from dialplan_sms.web import connection, server
from dialplan_sms.web.server import Address, WebServer, listen
from tests.waiting import until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
BUSY = b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
MEGABYTE = 1 << 20
ANY = ssl._create_unverified_context()


async def _large(_: Request) -> Response:
    return PlainTextResponse("x" * 8 * MEGABYTE)


class Served:
    """A web server on a free port."""

    def __init__(self, folder: Path, tls: bool, admits: Callable[[str], bool]) -> None:
        self.busy = threading.Event()
        self.go_on = threading.Event()
        self.tls = tls
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            made = self_signed(["127.0.0.1"])
            certificate, key = folder / "c.pem", folder / "k.pem"
            certificate.write_bytes(made.pem)
            key.write_bytes(made.key)
            context.load_cert_chain(certificate, key)
        routes = [
            Route("/", self._read, methods=["GET", "POST"]),
            Route("/large", _large),
            Route("/busy", self._work),
            Route("/broken", lambda _: 1 // 0),
        ]
        self.listener = listen(Address("127.0.0.1", 0))
        self.notes: list[str] = []
        self.read: list[int] = []
        self.web = WebServer(
            Router(routes), [self.listener], context, 1, admits=admits, note=self._note
        )
        self.web.start()

    async def _read(self, request: Request) -> Response:
        self.read.append(len(await request.body()))
        return PlainTextResponse(f"{self.read[-1]} bytes")

    def _note(self, condition: str, *of: object) -> None:
        self.notes.append(condition.format(*of))

    async def _work(self, _: Request) -> Response:
        self.busy.set()
        await asyncio.get_running_loop().run_in_executor(None, self.go_on.wait, 20)
        return PlainTextResponse("done")

    def silent(self, source: str = "127.0.0.1", buffer: int = 0) -> socket.socket:
        """A TCP connection on which nothing was said."""
        client = socket.socket()
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(10)
        client.bind((source, 0))
        client.connect(self.listener.getsockname())
        return client

    def connect(self, buffer: int = 0) -> socket.socket:
        client = self.silent(buffer=buffer)
        if not self.tls:
            return client
        return ANY.wrap_socket(client)

    def answers(self) -> None:
        """It does, on a connection of its own."""
        with self.connect() as client:
            client.sendall(GET)
            assert client.recv(100).startswith(b"HTTP/1.1 200")

    def waits(self, count: int) -> None:
        """Until so many connections are open."""
        until(lambda: self.web._of.total() == count, seconds=5.0)


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def make(tls: bool = False, admits: Callable[[str], bool] = lambda _: True) -> Served:
            served = Served(tmp_path, tls, admits)
            stack.callback(served.web.stop)
            stack.callback(served.go_on.set)
            return served

        yield make


def _ended(client: socket.socket) -> bool:
    """Whether the server has closed it, whatever it said before."""
    try:
        while client.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    client.close()
    return True


def _got(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := client.recv(1 << 16)):
        data += more
    return data


# Who is let in.


@pytest.mark.parametrize("tls", [False, True])
def test_connections_are_counted_before_a_handshake(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    monkeypatch.setattr(server, "MOST", 3)
    served = serve(tls)
    kept = [served.silent() for _ in range(3)]
    served.waits(3)
    assert [_ended(served.silent()) for _ in range(5)] == [True] * 5
    kept.pop().close()
    served.waits(2)  # a close is counted, amid a handshake as well
    served.answers()
    for each in kept:
        each.close()
    served.waits(0)
    assert served.web.opened == 4


def test_one_other_machine_does_not_take_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_EACH", 2)
    web = WebServer(Router([]), [])
    inside: list[contextlib.ExitStack] = []

    def enter(host: str) -> bool:
        inside.append(contextlib.ExitStack())
        return inside[-1].enter_context(web.room(host))

    assert [enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert [enter("127.0.0.1") for _ in range(3)] == [True, True, True]
    assert enter("192.0.2.2")
    inside[0].close()
    inside[0].close()
    assert [enter("192.0.2.1") for _ in range(2)] == [True, False]
    for each in inside:
        each.close()
    assert web._of == {}


@pytest.mark.parametrize("tls", [False, True])
def test_who_is_not_admitted_is_dropped_at_once(serve: Serve, tls: bool) -> None:
    served = serve(tls, lambda host: host != "127.0.0.9")
    began = time.monotonic()
    assert all(_ended(served.silent("127.0.0.9")) for _ in range(20))
    assert time.monotonic() - began < 2
    assert served.web.opened == 0
    served.answers()


def test_a_handshake_has_seconds(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HANDSHAKE", 0.5)
    served = serve(tls=True)
    silent, slow = served.silent(), served.silent()
    slow.sendall(b"\x16\x03\x01")
    began = time.monotonic()
    assert _ended(silent)
    assert _ended(slow)
    assert time.monotonic() - began < 3
    served.waits(0)


# Requests that do not come, answers that are not read.


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "rest",
    [HALF, HALF[:30], b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"\0\r\n\r\n", GET],
    ids=["body", "head", "chunks", "rubbish", "nothing"],
)  # fmt: skip
def test_half_a_request_behind_a_whole_one_has_its_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tls: bool, rest: bytes
) -> None:
    monkeypatch.setattr(connection, "ARRIVAL", 0.7)
    served = serve(tls)
    client = served.connect()
    client.sendall(GET + rest)
    began = time.monotonic()
    assert _ended(client)
    assert time.monotonic() - began < 4
    served.waits(0)


def test_a_request_that_is_carried_for_long_is_not_cut_short(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ARRIVAL", 0.3)
    monkeypatch.setattr(connection, "TAKING", 0.3)
    served = serve()
    with served.connect() as client:
        client.sendall(GET + BUSY)
        assert served.busy.wait(5)
        time.sleep(1.5)  # idle connections are kept for one
        served.go_on.set()
        assert b"done" in _got(client, MEGABYTE)


@pytest.mark.parametrize("tls", [False, True])
def test_who_does_not_read_is_dropped(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    monkeypatch.setattr(connection, "TAKING", 0.5)
    monkeypatch.setattr(server, "HANDSHAKE", 1.0)
    served = serve(tls)
    clients = [served.connect(buffer=4096) for _ in range(5)]
    for each in clients:
        each.sendall(LARGE * 20)
    served.waits(5)
    served.waits(0)
    with served.connect() as client:  # and who reads gets it all
        client.sendall(LARGE)
        assert len(_got(client, 8 * MEGABYTE)) >= 8 * MEGABYTE
    for each in clients:
        each.close()


def test_a_few_requests_in_a_row_are_answered_but_no_heap_of_them(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve()
    with served.connect() as client:
        client.sendall(GET * 10)
        assert _got(client, MEGABYTE).count(b"0 bytes") == 10
    with served.connect() as client, contextlib.suppress(OSError):
        client.sendall(GET * 200)
        assert _got(client, MEGABYTE).count(b"0 bytes") == connection.IN_A_ROW + 1
    # So few that the kernel passes the heap on at once; in two parts, the first would count alone.
    monkeypatch.setattr(connection, "PIPELINED", 1 << 12)
    with served.connect() as client, contextlib.suppress(OSError):
        client.sendall(BUSY + GET * (2 * connection.PIPELINED // len(GET)))
        assert served.busy.wait(5)
        time.sleep(0.3)
        served.go_on.set()
        assert _got(client, 1000).count(b"HTTP/1.1 200") <= 1
    served.waits(0)


def test_a_trickle_goes_on_for_who_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TAKING", 0.3)
    monkeypatch.setattr(connection, "ARRIVAL", 0.3)
    with Sandbox(tls=False, trickle=0.02, keep_alive=1) as sandbox:
        url = f"{sandbox.url}/api/v1/originate/sms"
        sandbox.fault = Fault.TRICKLE_BODY
        with requests.get(url, stream=True, timeout=5) as trickling:
            assert trickling.raw.read(80) == b" " * 80  # for longer than anything may take
        sandbox.fault = Fault.HANG
        with pytest.raises(requests.ReadTimeout):
            requests.get(url, timeout=1.5)


# Clients that close early, and what the host is short of.


def test_who_closes_its_side_after_the_request_is_answered(serve: Serve) -> None:
    served = serve()
    with served.connect() as client:
        client.sendall(BUSY)
        client.shutdown(socket.SHUT_WR)
        assert served.busy.wait(5)
        served.go_on.set()
        assert b"done" in _got(client, MEGABYTE)
    served.waits(0)


def test_over_tls_nothing_is_done_for_who_closes_its_side(serve: Serve) -> None:
    served = serve(tls=True)
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = ANY.wrap_bio(came, goes)
    with served.silent() as client:

        def step(do: Callable[[], object]) -> bool:
            try:
                do()
            except ssl.SSLWantReadError:
                return False
            return True

        while not step(peer.do_handshake):
            client.sendall(goes.read())
            came.write(client.recv(1 << 16))
        step(lambda: peer.write(GET))
        step(peer.unwrap)
        client.sendall(goes.read())  # both at once
        assert _ended(client)
    served.waits(0)
    assert served.read == []


def test_what_the_application_raises_is_noted_as_ours(serve: Serve) -> None:
    served = serve()
    with served.connect() as client:
        client.sendall(GET.replace(b"/ ", b"/broken ", 1))
        assert _ended(client)
    served.web.stop()
    assert served.notes == ["HTTP: dialplan-sms broke, ZeroDivisionError: please report this line"]


def test_without_descriptors_connections_wait_and_the_log_is_not_flooded(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    served = serve()
    served.answers()  # the event loop needs descriptors of its own to begin
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = [socket.socket() for _ in range(300)]
    kept = []
    try:
        with contextlib.suppress(OSError):
            while True:
                kept.append(os.dup(0))
                if len(kept) == 1:  # few enough to be taken in no time
                    resource.setrlimit(resource.RLIMIT_NOFILE, (kept[0] + 20, hard))
        for each in clients:
            each.setblocking(False)
            each.connect_ex(served.listener.getsockname())
        clients[0].settimeout(10)
        clients[0].send(GET)
        until(lambda: len(served.notes) >= 3, seconds=10)
        short = "connections wait: no file descriptor is left: raise LimitNOFILE="
        assert {note[: len(short)] for note in served.notes} == {short}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in kept:
            os.close(descriptor)
    assert clients[0].recv(100).startswith(b"HTTP/1.1 200")
    noted = len(served.notes)
    assert noted < 60  # ten a second, however many wait
    for each in clients:
        each.close()
    served.answers()
    assert capfd.readouterr().err == ""


# Stopping.


def test_a_stop_waits_for_what_is_carried_and_not_for_who_does_not_read(serve: Serve) -> None:
    served = serve()
    with served.connect() as client, served.connect(buffer=4096) as other:
        other.sendall(LARGE * 20)
        assert other.recv(1)
        client.sendall(BUSY)
        assert served.busy.wait(5)
        began = time.monotonic()
        threading.Timer(2.0, served.go_on.set).start()
        served.web.stop(20)
        assert served.go_on.is_set()
        assert b"done" in _got(client, 1000)
        assert time.monotonic() - began < 7


def test_a_stop_ends_requests_in_a_row(serve: Serve) -> None:
    served = serve()
    stopped = threading.Event()

    def ask() -> None:
        with served.connect() as client, contextlib.suppress(OSError):
            while not stopped.is_set():
                client.sendall(GET * 100)
                if not client.recv(1 << 16):
                    return

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    served.web.stop(20)
    stopped.set()
    thread.join()
    assert time.monotonic() - began < 5


def test_what_was_never_started_is_stopped() -> None:
    listener = listen(Address("127.0.0.1", 0))
    WebServer(Router([]), [listener]).stop()
    assert listener.fileno() == -1
