import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from dialplan_sms.acceptors import Acceptors, Capacity


class Door:
    """Counts connections, and holds those that fit until it is told to let go."""

    def __init__(self) -> None:
        self.fitted: list[bool] = []
        self.go = threading.Event()

    def __call__(self, connection: socket.socket, _: object, fits: bool) -> None:
        self.fitted.append(fits)
        if fits:
            self.go.wait(10)
        connection.sendall(b"done" if fits else b"busy")


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def listening(door: Door) -> Iterator[tuple[Capacity, tuple[str, int], Acceptors]]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=50)
    capacity = Capacity(3)
    address = listener.getsockname()
    acceptors = Acceptors(listener, door, capacity)
    yield capacity, address, acceptors
    door.go.set()
    acceptors.stop()
    assert capacity.drain(5)


def test_as_many_as_fit_are_served_and_the_rest_told_at_once(
    door: Door, listening: tuple[Capacity, tuple[str, int], Acceptors]
) -> None:
    capacity, address, _ = listening
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(3)]
        deadline = time.monotonic() + 20
        while capacity.in_flight < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        for _ in range(20):
            with socket.create_connection(address) as late:
                late.settimeout(5)
                assert late.recv(9) == b"busy"
        assert capacity.oldest > 0
        door.go.set()
        assert [client.recv(9) for client in clients] == [b"done"] * 3
    assert door.fitted.count(True) == 3


def test_threads_stay_and_do_not_grow(
    door: Door, listening: tuple[Capacity, tuple[str, int], Acceptors]
) -> None:
    door.go.set()
    _, address, _ = listening
    counts = []
    for _ in range(3):
        for _ in range(30):
            with socket.create_connection(address) as client:
                client.settimeout(5)
                assert client.recv(9) in (b"done", b"busy")
        counts.append(threading.active_count())
    assert counts[-1] == counts[0] or counts[-1] <= counts[0] + 3


def test_a_call_that_breaks_leaves_the_door_open() -> None:
    def broken(connection: socket.socket, _: object, fits: bool) -> None:
        raise RuntimeError("broken")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        capacity = Capacity(2)
        acceptors = Acceptors(listener, broken, capacity)
        for _ in range(20):
            with socket.create_connection(listener.getsockname()) as client:
                client.settimeout(5)
                assert client.recv(9) == b""
        acceptors.stop()
        assert capacity.drain(5)


def test_after_stop_nobody_is_taken(
    door: Door, listening: tuple[Capacity, tuple[str, int], Acceptors]
) -> None:
    _, address, acceptors = listening
    acceptors.stop()
    with pytest.raises(OSError):  # noqa: PT011
        socket.create_connection(address, 1)
    assert door.fitted == []
