"""Who is let in: as many as fit, and who has not said what it wants takes nothing from them."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dialplan_sms.agi import acceptors, doors
from dialplan_sms.agi.doors import Capacity, Closed
from tests.unit.doors import House, hearing, opened, saying
from tests.unit.fakes import no_threads
from tests.unit.pbxhost import GROUP, USER
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
def house(calls: Calls) -> Iterator[House]:
    """One with room for three."""
    capacity = Capacity(3)
    with opened(saying(calls, capacity), capacity) as house:
        yield house
        calls.go.set()


def test_as_many_as_fit_are_served_and_the_rest_told_at_once(calls: Calls, house: House) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(house.connect()) for _ in range(3)]
        until(lambda: house.capacity.in_flight == 3)
        for _ in range(20):
            assert house.ask() == b"busy"
        assert house.capacity.oldest > 0
        calls.go.set()
        assert [client.recv(9) for client in clients] == [b"done"] * 3
    full = "the service carries as many calls as max_calls in sms.conf allows"
    assert sorted(calls.objections) == [""] * 3 + [full] * 20


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


def test_a_call_that_breaks_leaves_the_door_open() -> None:
    def broken(_: str) -> bytes:
        raise RuntimeError("broken")

    capacity = Capacity(3)
    with opened(saying(broken, capacity), capacity) as house:
        for _ in range(20):
            assert house.ask() == b""


def test_after_stop_nobody_is_taken(calls: Calls, house: House) -> None:
    house.acceptors.stop()
    with pytest.raises(OSError):  # noqa: PT011
        house.connect()
    assert calls.objections == []


def test_some_room_is_kept_for_who_asks_for_it_and_nobody_begins_after_the_end() -> None:
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
    assert capacity.drain(10)
    with pytest.raises(Closed), capacity.call():
        pass


def test_without_threads_no_door_is_opened_and_who_takes_the_last_one_is_told(
    calls: Calls, house: House
) -> None:
    calls.go.set()
    assert house.ask() == b"done"
    ((_, threads),) = house.acceptors.opened
    until(lambda: threads.idle == 2)  # the one that has served waits again, too
    calls.go.clear()
    with contextlib.ExitStack() as stack, no_threads():
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        with pytest.raises(OSError, match="no process or thread can be started"):
            house.acceptors.open(listener, saying(calls, Capacity(1)), 1)
        clients = [stack.enter_context(house.connect()) for _ in range(10)]
        until(lambda: any(calls.objections))
        short = "no process or thread can be started: raise TasksMax="
        assert next(filter(None, calls.objections)).startswith(short)
        calls.go.set()
        assert {client.recv(9) for client in clients} == {b"done", b"busy"}
    assert len(house.notes) == 1
    assert house.ask() == b"done"


def test_a_folder_that_is_missing_comes_with_the_command_that_makes_it(tmp_path: Path) -> None:
    folder = tmp_path / "it's run"
    make = f"install -d -o {USER} -g {GROUP} -m 0750 '{tmp_path}/it'\"'\"'s run'"
    said = f"{folder} does not exist: as root, run {make} at each start of this host, or set"
    with pytest.raises(OSError, match=re.escape(said)):
        doors.listen_unix(folder / "agi.sock")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """One with room for one, that says in capitals what it heard, however late."""
    monkeypatch.setattr(acceptors, "PATIENCE", 60.0)
    capacity = Capacity(1)
    with opened(hearing(lambda said, no: no.encode() or said.upper(), capacity), capacity) as house:
        yield house


def test_what_comes_late_and_in_pieces_is_served(heard: House) -> None:
    with heard.connect() as slow:
        for piece in (b"ab", b"c\nd", b"e\n", b"\nrest"):
            slow.sendall(piece)
            time.sleep(5 * acceptors._AT_ONCE)  # what the first thread waits for
        assert slow.recv(99) == b"ABC\nDE\n\n"


def test_who_says_nothing_is_dropped_in_time_and_counted(
    heard: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptors, "PATIENCE", 0.3)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(heard.connect(b"x")) for _ in range(30)]
        assert [_end(client) for client in silent] == [b""] * 30
        until(lambda: [times for *_, times in heard.counted._lines.values()] == [29])
        (noted,) = heard.notes
        assert noted.startswith("connection from 127.0.0.1 dropped: it did not say what")
        heard.counted.sum_up(0)
        assert heard.notes[1].startswith(f"{noted} - the same 29 times more within ")


def test_a_byte_now_and_then_gives_no_more_time(
    heard: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptors, "PATIENCE", 0.3)
    with heard.connect() as slow:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < began + 10:
                slow.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() < began + 10


def test_the_oldest_goes_where_there_are_too_many(heard: House) -> None:
    heard.acceptors._most_silent = 10
    with contextlib.ExitStack() as stack:
        silent = []
        for count in range(1, 15):
            silent.append(stack.enter_context(heard.connect()))
            until(lambda count=count: len(heard.acceptors.silent) == min(count, 10))  # type: ignore[misc]
        assert [_end(client) for client in silent[:4]] == [b""] * 4
        silent[4].sendall(b"hello\n\n")
        assert silent[4].recv(99) == b"HELLO\n\n"
        crowd = "more than 10 connections have not said what they want: the oldest are dropped"
        assert heard.notes == [crowd]


def test_too_much_is_heard_to_its_end_by_nobody(heard: House) -> None:
    assert len(heard.ask(b"x" * 5000)) <= 999
    assert heard.ask(b"hello\n\n") == b"HELLO\n\n"


def test_those_that_are_gone_are_let_go(heard: House) -> None:
    for _ in range(30):
        heard.connect(b"x").close()
    until(lambda: not heard.acceptors.silent)


def _end(client: socket.socket) -> bytes:
    with contextlib.suppress(ConnectionResetError):
        return client.recv(9)
    return b""
