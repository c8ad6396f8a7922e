"""A stream over the two pipes of a script, and over the socket of FastAGI."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from dialplan_sms.agi.doors import listen_tcp
from dialplan_sms.agi.stream import LINE, PARAGRAPH, SocketStream, Stream


def connected() -> tuple[socket.socket, socket.socket]:
    """The two ends of a connection, as the service and as Asterisk have it."""
    listener = listen_tcp(("127.0.0.1", 0))
    assert listener is not None
    with listener:
        peer = socket.create_connection(listener.getsockname())
        return listener.accept()[0], peer


class Ends(NamedTuple):
    """What opens the stream, with its *until* and *patience*, and the peer's descriptors."""

    open: Callable[..., Stream]
    says: int
    hears: int
    end: Callable[[], None]


@pytest.fixture(params=["pipes", "socket"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    with ExitStack() as closing:
        if request.param == "socket":
            ours, peer = map(closing.enter_context, connected())
            file = peer.fileno()
            yield Ends(
                lambda *times: SocketStream(ours, *times), file, file,
                lambda: peer.shutdown(socket.SHUT_WR),
            )  # fmt: skip
            return
        (reader, says), (hears, writer) = os.pipe(), os.pipe()
        for file in (reader, hears, writer):
            closing.callback(os.close, file)
        end = closing.enter_context(os.fdopen(says, "wb")).close
        yield Ends(lambda *times: Stream(reader, writer, *times), says, hears, end)


def in_seconds(seconds: float) -> float:
    return time.monotonic() + seconds


def test_lines_come_out_as_they_went_in(ends: Ends) -> None:
    stream = ends.open(in_seconds(5))
    os.write(ends.says, b"one\ntwo\n\nth")
    assert [stream.up_to(LINE, 99) for _ in range(3)] == [b"one\n", b"two\n", b"\n"]
    os.write(ends.says, b"ree\n")
    assert stream.up_to(LINE, 99) == b"three\n"
    os.write(ends.says, b"x" * 10)
    assert stream.up_to(LINE, 4) == b"xxxx"
    ends.end()
    assert [stream.up_to(LINE, 99), stream.up_to(LINE, 99)] == [b"xxxxxx", b""]


@pytest.mark.parametrize(("until", "patience"), [(0.2, 5), (5, 0.2), (-1, 5)])
def test_a_peer_that_stalls_is_given_up(ends: Ends, until: float, patience: float) -> None:
    os.write(ends.says, b"half a li")
    started = time.monotonic()
    stream = ends.open(started + until, patience)
    with pytest.raises(TimeoutError):
        stream.up_to(LINE, 99)
    with pytest.raises(TimeoutError):
        stream.write(b"x" * 10_000_000)
    assert time.monotonic() - started < 3


def test_a_peer_that_trickles_gets_no_more_time_than_there_is(ends: Ends) -> None:
    started, over = time.monotonic(), threading.Event()

    def trickle() -> None:
        while not over.wait(0.05):
            os.write(ends.says, b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    with pytest.raises(TimeoutError):
        ends.open(started + 0.5, 5).up_to(LINE, 99)
    assert time.monotonic() - started < 3
    over.set()
    thread.join()


def test_what_is_written_arrives_whole(ends: Ends) -> None:
    found = bytearray()

    def read() -> None:
        while len(found) < 300_000:
            found.extend(os.read(ends.hears, 4096))

    thread = threading.Thread(target=read)
    thread.start()
    ends.open(in_seconds(5)).write(b"ab" * 150_000)
    thread.join(5)
    assert bytes(found) == b"ab" * 150_000


def test_a_paragraph_ends_with_a_blank_line(ends: Ends) -> None:
    stream = ends.open(in_seconds(5))
    os.write(ends.says, b"a: 1\nb:")
    threading.Timer(0.1, os.write, (ends.says, b" 2\n\nrest\r\n\r\n200 re")).start()
    assert stream.up_to(PARAGRAPH, 999) == b"a: 1\nb: 2\n\n"
    assert stream.up_to(PARAGRAPH, 999) == b"rest\r\n\r\n"
    os.write(ends.says, b"sult=1\n")
    assert stream.up_to(LINE, 999) == b"200 result=1\n"
    os.write(ends.says, b"x" * 20)
    assert stream.up_to(PARAGRAPH, 10) == b"x" * 10


def test_lines_that_are_sent_one_by_one_come_together_and_at_once() -> None:
    """As Asterisk sends its environment; a kernel that waited with its ACK would take 40 ms."""
    rounds, together, began = 100, 0, time.monotonic()
    for _ in range(rounds):
        ours, peer = connected()
        with ours, peer:
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            stream = SocketStream(ours, in_seconds(5))
            for number in range(24):
                peer.send(b"agi_line_%d: value\n" % number)
            peer.send(b"\n")
            assert stream.up_to(PARAGRAPH, 9999).count(b"\n") == 25
            together += stream._reads == 2  # the first line, and the others
    assert together > rounds / 2  # but for those where this host was busy for 40 ms
    assert time.monotonic() - began < rounds * 0.04
