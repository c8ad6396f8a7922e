import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from dialplan_sms.agi.doors import Capacity, Closed
from tests.unit.doors import House, opened, saying
from tests.unit.fakes import no_threads
from tests.waiting import until


class Calls:
    """Counts connections, and holds those that fit until it is told to let go."""

    def __init__(self) -> None:
        self.objections: list[str] = []
        self.go = threading.Event()

    def __call__(self, objection: str) -> bytes:
        self.objections.append(objection)
        if not objection:
            self.go.wait(10)
        return b"busy" if objection else b"done"


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def capacity() -> Capacity:
    return Capacity(3)


@pytest.fixture
def house(calls: Calls, capacity: Capacity) -> Iterator[House]:
    with opened(saying(calls, capacity), capacity) as house:
        yield house
        calls.go.set()


def test_as_many_as_fit_are_served_and_the_rest_told_at_once(
    calls: Calls, capacity: Capacity, house: House
) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(house.connect()) for _ in range(3)]
        until(lambda: capacity.in_flight == 3)
        for _ in range(20):
            assert house.ask() == b"busy"
        assert capacity.oldest > 0
        calls.go.set()
        assert [client.recv(9) for client in clients] == [b"done"] * 3
    assert calls.objections.count("") == 3
    assert set(calls.objections[3:]) == {
        "the service carries as many calls as max_calls in sms.conf allows"
    }


def test_threads_stay_and_do_not_grow(calls: Calls, house: House) -> None:
    calls.go.set()
    counts = []
    for _ in range(3):
        for _ in range(30):
            assert house.ask() in (b"done", b"busy")
        counts.append(threading.active_count())
    assert counts[-1] == counts[0] or counts[-1] <= counts[0] + 3


def test_after_many_calls_at_once_most_threads_end(calls: Calls) -> None:
    """The kernel sets a file descriptor aside for each thread in accept()."""
    capacity = Capacity(60)
    with opened(saying(calls, capacity), capacity) as house, contextlib.ExitStack() as stack:
        before = threading.active_count()
        clients = [stack.enter_context(house.connect()) for _ in range(60)]
        until(lambda: capacity.in_flight == 60)
        assert threading.active_count() >= before + 50
        calls.go.set()
        assert [client.recv(9) for client in clients] == [b"done"] * 60
        until(lambda: threading.active_count() <= before + 8)


def test_a_call_that_breaks_leaves_the_door_open(capacity: Capacity) -> None:
    def broken(_: str) -> bytes:
        raise RuntimeError("broken")

    with opened(saying(broken, capacity), capacity) as house:
        for _ in range(20):
            assert house.ask() == b""


def test_after_stop_nobody_is_taken(calls: Calls, house: House) -> None:
    house.acceptors.stop()
    with pytest.raises(OSError):  # noqa: PT011
        house.connect()
    assert calls.objections == []


def test_some_room_is_kept_for_who_asks_for_it() -> None:
    capacity = Capacity(1)
    entered: list[bool] = []
    go = threading.Event()

    def call(reserve: bool) -> None:
        with capacity.call(reserve) as fits:
            entered.append(fits)
            go.wait(10)

    for number, reserve in enumerate([False, False, True, True], 1):
        threading.Thread(target=call, args=(reserve,), daemon=True).start()
        until(lambda number=number: len(entered) == number)  # type: ignore[misc]
    go.set()
    assert entered == [True, False, True, False]


def test_nobody_begins_once_all_have_ended(capacity: Capacity) -> None:
    assert capacity.drain(0)
    with pytest.raises(Closed), capacity.call():
        pass


class TestTheHostIsShort:
    def test_of_descriptors_callers_wait_and_one_line_says_why(
        self, calls: Calls, capacity: Capacity, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls.go.set()
        failures = [errno.EMFILE, errno.EMFILE, errno.ENFILE, errno.EMFILE]
        accept = socket.socket.accept

        def short(listener: socket.socket) -> tuple[socket.socket, object]:
            if failures:
                number = failures.pop()
                raise OSError(number, os.strerror(number))
            return accept(listener)

        monkeypatch.setattr(socket.socket, "accept", short)
        with opened(saying(calls, capacity), capacity) as house:
            assert house.ask() == b"done"
        assert failures == []
        assert house.notes == [
            "connections wait: no file descriptor is left: raise LimitNOFILE= of the systemd unit"
            " or ulimit -n"
        ]

    def test_of_threads_the_call_that_takes_the_last_one_is_told(
        self, calls: Calls, house: House
    ) -> None:
        calls.go.set()
        assert house.ask() == b"done"
        ((_, threads),) = house.acceptors.opened
        until(lambda: threads.idle == 2)  # the one that has served waits again, too
        calls.go.clear()
        with contextlib.ExitStack() as stack, no_threads():
            clients = [stack.enter_context(house.connect()) for _ in range(10)]
            until(lambda: any(calls.objections))
            assert next(filter(None, calls.objections)).startswith(
                "no process or thread can be started: raise TasksMax="
            )
            calls.go.set()
            assert {client.recv(9) for client in clients} == {b"done", b"busy"}
        assert len(house.notes) == 1
        assert house.ask() == b"done"

    def test_of_threads_at_the_start_it_does_not_start(self, calls: Calls, house: House) -> None:
        with (
            no_threads(),
            socket.create_server(("127.0.0.1", 0)) as listener,
            pytest.raises(OSError, match="no process or thread can be started"),
        ):
            house.acceptors.open(listener, saying(calls, Capacity(1)), 1)
