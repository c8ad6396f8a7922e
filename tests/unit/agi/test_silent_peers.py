"""Who has not said what it wants takes nothing from those who have."""

import contextlib
import time

import pytest

from dialplan_sms.agi import acceptors
from dialplan_sms.agi.doors import Capacity
from tests.unit.doors import House, hearing, opened
from tests.waiting import until


def heard() -> contextlib.AbstractContextManager[House]:
    """A door for one call at once that says in capitals what it heard."""
    capacity = Capacity(1)
    return opened(hearing(lambda said, no: no.encode() or said.upper(), capacity), capacity)


@pytest.mark.parametrize("beginning", [b"", b"agi_network: yes\nagi_"])
def test_300_silent_ones_take_no_room_and_no_time(beginning: bytes) -> None:
    with heard() as house, contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(house.connect(beginning))
        began = time.monotonic()
        assert house.ask(b"hello\n\n") == b"HELLO\n\n"
        assert time.monotonic() - began < 2
        until(lambda: house.capacity.in_flight == 0)  # it ends just after its answer


def test_what_comes_late_and_in_pieces_is_served() -> None:
    with heard() as house, house.connect() as slow:
        for piece in (b"ab", b"c\nd", b"e\n", b"\nrest"):
            slow.sendall(piece)
            time.sleep(5 * acceptors._AT_ONCE)  # what the first thread waits for
        assert slow.recv(99) == b"ABC\nDE\n\n"


def test_who_says_nothing_is_dropped_in_time_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptors, "PATIENCE", 0.3)
    with heard() as house, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(house.connect(b"x")) for _ in range(30)]
        for client in silent:
            assert _ended(client.recv)
        until(lambda: [times for *_, times in house.counted._lines.values()] == [29])
        assert len(house.notes) == 1
        assert house.notes[0].startswith("connection from 127.0.0.1 dropped: it did not say what")
        house.counted.sum_up(0)
        assert house.notes[1].startswith(house.notes[0])
        assert " - the same 29 times more within " in house.notes[1]


def test_a_byte_now_and_then_gives_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptors, "PATIENCE", 0.3)
    with heard() as house, house.connect() as slow:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < began + 10:
                slow.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() < began + 10


def test_the_oldest_goes_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptors, "_MOST_SILENT", 10)
    with heard() as house, contextlib.ExitStack() as stack:
        silent = []
        for count in range(1, 15):
            silent.append(stack.enter_context(house.connect()))
            until(lambda count=count: len(house.acceptors.silent) == min(count, 10))  # type: ignore[misc]
        for client in silent[:4]:
            assert _ended(client.recv)
        silent[4].sendall(b"hello\n\n")
        assert silent[4].recv(99) == b"HELLO\n\n"
        assert house.notes == [
            "more than 10 connections have not said what they want: the oldest are dropped"
        ]


def test_too_much_is_heard_to_its_end_by_nobody() -> None:
    with heard() as house:
        assert len(house.ask(b"x" * 5000)) <= 999
        assert house.ask(b"hello\n\n") == b"HELLO\n\n"


def test_those_that_are_gone_are_let_go() -> None:
    with heard() as house:
        for _ in range(30):
            house.connect(b"x").close()
        until(lambda: not house.acceptors.silent)


def _ended(receive: object) -> bool:
    with contextlib.suppress(ConnectionResetError):
        return bool(receive(9) == b"")  # type: ignore[operator]
    return True
