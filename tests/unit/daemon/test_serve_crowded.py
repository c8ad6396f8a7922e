"""A service under peers that say nothing, and on a host that is short."""

import resource
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from dialplan_sms.sandbox import Fault, Sandbox
from tests.asterisk.serving import Service
from tests.unit.caller import Call, hand_over
from tests.waiting import until


@pytest.fixture(scope="module")
def pbx() -> Iterator[Sandbox]:
    with Sandbox(tls=False) as sandbox:
        yield sandbox


@contextmanager
def files(count: int) -> Iterator[int]:
    """Room for so many open files; how many this host really grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = max(soft, count if hard == resource.RLIM_INFINITY else min(count, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    try:
        yield granted
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(stack: ExitStack, service: Service, says: bytes) -> socket.socket:
    peer = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 10))
    peer.sendall(says)
    return peer


@pytest.mark.parametrize("says", [b"", b"agi_network: y"], ids=["silent", "dripping"])
def test_3000_that_do_not_say_what_they_want_delay_nobody(
    pbx: Sandbox, tmp_path: Path, says: bytes
) -> None:
    pbx.clear()
    with Service(tmp_path, pbx) as service, ExitStack() as stack:
        room = stack.enter_context(files(3500))
        peers = [connect(stack, service, says) for _ in range(min(3000, room - 300))]
        for _ in range(5):
            began = time.monotonic()
            assert Call(service.port).end()["SMS_STATUS"] == "SUCCESS"
            assert hand_over(service.socket)["SMS_STATUS"] == "SUCCESS"
            assert time.monotonic() - began < 2
            if says:
                for peer in peers[::10]:
                    with suppress(OSError):  # it was dropped
                        peer.sendall(b"e")
        assert "BUSY" not in service.log
        assert len(service.log.splitlines()) < 20


def test_who_is_too_many_is_told_at_once_and_the_script_has_room(
    pbx: Sandbox, tmp_path: Path
) -> None:
    pbx.clear()
    with Service(tmp_path, pbx, "max_calls = 20") as service, ExitStack() as stack:
        for _ in range(75):
            connect(stack, service, b"")
        pbx.fault = Fault.HANG
        pool = stack.enter_context(ThreadPoolExecutor(20))
        calls = [pool.submit(Call(service.port).end) for _ in range(20)]
        pbx.wait(requests=20)
        pbx.fault = None
        for _ in range(5):
            began = time.monotonic()
            left = Call(service.port).end()
            assert time.monotonic() - began < 2
            assert (left["SMS_STATUS"], left["SMS_CAUSE"]) == ("ERROR", "BUSY")
            assert hand_over(service.socket)["SMS_STATUS"] == "SUCCESS"
        # a call's answer comes before its place is free
        until(lambda: service.figures()["in_flight"] == 20, service.figures)
        service.kill()
        for call in calls:
            assert call.result(30)["SMS_CAUSE"] == "NO_ANSWER"


def test_without_a_descriptor_it_waits_and_says_why_once(pbx: Sandbox, tmp_path: Path) -> None:
    pbx.clear()
    with Service(tmp_path, pbx) as service, ExitStack() as stack:
        assert service.process is not None
        pid = service.process.pid
        assert Call(service.port).end()["SMS_STATUS"] == "SUCCESS"
        open_now = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        limit = open_now + 30
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
        for _ in range(200):
            connect(stack, service, b"x")
        until(
            lambda: "no file descriptor is left: raise LimitNOFILE=" in service.log,
            lambda: service.log,
        )
        # Those that say nothing go, and calls are taken again.
        assert Call(service.port).end()["SMS_STATUS"] == "SUCCESS"
        stack.close()
        assert Call(service.port).end()["SMS_STATUS"] == "SUCCESS"
        assert service.log.count("no file descriptor is left") <= 2  # and once with its count
        assert len(service.log.splitlines()) < 12
        service.signal(signal.SIGTERM)
        assert service.process.communicate(timeout=30)[0] == ""
        assert service.process.returncode == 0
