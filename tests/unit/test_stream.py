import os
import threading
import time
from collections.abc import Iterator

import pytest

from dialplan_sms.stream import Stream


@pytest.fixture
def pipes() -> Iterator[tuple[int, int, int, int]]:
    """Reading and writing end of a pipe to the stream, and of one from it."""
    ends = (*os.pipe(), *os.pipe())
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_lines_come_out_as_they_went_in(pipes: tuple[int, int, int, int]) -> None:
    reader, peer, _, writer = pipes
    stream = Stream(reader, writer, time.monotonic() + 5)
    os.write(peer, b"one\ntwo\n\nth")
    assert [stream.readline(99) for _ in range(3)] == [b"one\n", b"two\n", b"\n"]
    os.write(peer, b"ree\n")
    assert stream.readline(99) == b"three\n"
    os.write(peer, b"x" * 10)
    assert stream.readline(4) == b"xxxx"
    os.close(peer)
    assert [stream.readline(99), stream.readline(99)] == [b"xxxxxx", b""]


@pytest.mark.parametrize(("until", "patience"), [(0.2, 5), (5, 0.2), (-1, 5)])
def test_a_peer_that_stalls_is_given_up(
    pipes: tuple[int, int, int, int], until: float, patience: float
) -> None:
    reader, peer, unread, writer = pipes
    started = time.monotonic()
    stream = Stream(reader, writer, started + until, patience)
    os.write(peer, b"half a li")
    with pytest.raises(TimeoutError):
        stream.readline(99)
    with pytest.raises(TimeoutError):
        stream.write(b"x" * 1_000_000)
    assert time.monotonic() - started < 3
    assert unread


def test_what_is_written_arrives_whole(pipes: tuple[int, int, int, int]) -> None:
    reader, _, peer, writer = pipes
    found = bytearray()

    def read() -> None:
        while len(found) < 300_000:
            found.extend(os.read(peer, 4096))

    thread = threading.Thread(target=read)
    thread.start()
    assert Stream(reader, writer, time.monotonic() + 5).write(b"ab" * 150_000) == 300_000
    thread.join(5)
    assert bytes(found) == b"ab" * 150_000
