import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

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


@pytest.fixture
def pipes() -> Iterator[tuple[int, int, int, int]]:
    """Reading and writing end of a pipe to the stream, and of one from it."""
    ends = (*os.pipe(), *os.pipe())
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def test_lines_come_out_as_they_went_in(pipes: tuple[int, int, int, int]) -> None:
    reader, peer, _, writer = pipes
    stream = Stream(reader, writer, time.monotonic() + 5)
    os.write(peer, b"one\ntwo\n\nth")
    assert [stream.up_to(LINE, 99) for _ in range(3)] == [b"one\n", b"two\n", b"\n"]
    os.write(peer, b"ree\n")
    assert stream.up_to(LINE, 99) == b"three\n"
    os.write(peer, b"x" * 10)
    assert stream.up_to(LINE, 4) == b"xxxx"
    os.close(peer)
    assert [stream.up_to(LINE, 99), stream.up_to(LINE, 99)] == [b"xxxxxx", b""]


STALLS = pytest.mark.parametrize(("until", "patience"), [(0.2, 5), (5, 0.2), (-1, 5)])


@STALLS
def test_a_peer_that_stalls_is_given_up(
    pipes: tuple[int, int, int, int], until: float, patience: float
) -> None:
    reader, peer, unread, writer = pipes
    os.write(peer, b"half a li")
    gives_up(lambda started: Stream(reader, writer, started + until, patience))
    assert unread


def gives_up(open_: Callable[[float], Stream]) -> None:
    """The stream that begins now neither reads a line nor writes much, and says so in time."""
    started = time.monotonic()
    stream = open_(started)
    with pytest.raises(TimeoutError):
        stream.up_to(LINE, 99)
    with pytest.raises(TimeoutError):
        stream.write(b"x" * 10_000_000)
    assert time.monotonic() - started < 3


def test_what_is_written_arrives_whole(pipes: tuple[int, int, int, int]) -> None:
    reader, _, peer, writer = pipes
    found = bytearray()

    def read() -> None:
        while len(found) < 300_000:
            found.extend(os.read(peer, 4096))

    thread = threading.Thread(target=read)
    thread.start()
    Stream(reader, writer, time.monotonic() + 5).write(b"ab" * 150_000)
    thread.join(5)
    assert bytes(found) == b"ab" * 150_000


def test_a_paragraph_ends_with_a_blank_line(pipes: tuple[int, int, int, int]) -> None:
    reader, peer, _, writer = pipes
    stream = Stream(reader, writer, time.monotonic() + 5)
    os.write(peer, b"a: 1\nb:")
    threading.Timer(0.1, os.write, (peer, b" 2\n\nrest\r\n\r\n200 re")).start()
    assert stream.up_to(PARAGRAPH, 999) == b"a: 1\nb: 2\n\n"
    assert stream.up_to(PARAGRAPH, 999) == b"rest\r\n\r\n"
    os.write(peer, b"sult=1\n")
    assert stream.up_to(LINE, 999) == b"200 result=1\n"
    os.write(peer, b"x" * 20)
    assert stream.up_to(PARAGRAPH, 10) == b"x" * 10


class TestSocket:
    """The same over a socket, where the kernel bounds the waits."""

    @STALLS
    def test_a_peer_that_stalls_is_given_up(self, until: float, patience: float) -> None:
        ours, peer = connected()
        with ours, peer:
            peer.sendall(b"half a li")
            gives_up(lambda started: SocketStream(ours, started + until, patience))

    def test_a_peer_that_trickles_gets_no_more_time_than_there_is(self) -> None:
        ours, peer = connected()
        started = time.monotonic()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer.sendall(b"x")
                    time.sleep(0.05)

        with ours, peer:
            threading.Thread(target=trickle, daemon=True).start()
            with pytest.raises(TimeoutError):
                SocketStream(ours, started + 0.5, 5).up_to(LINE, 99)
        assert time.monotonic() - started < 3

    def test_lines_come_out_as_they_went_in(self) -> None:
        ours, peer = connected()
        with ours, peer:
            stream = SocketStream(ours, time.monotonic() + 5)
            stream.write(b"hello\n")
            assert peer.recv(9) == b"hello\n"
            peer.sendall(b"one\ntwo")
            assert stream.up_to(LINE, 99) == b"one\n"
            peer.close()
            assert [stream.up_to(LINE, 99), stream.up_to(LINE, 99)] == [b"two", b""]

    def test_lines_that_are_sent_one_by_one_come_together_and_at_once(self) -> None:
        """As Asterisk sends its environment; a kernel that waited with its ACK would take 40 ms."""
        rounds, apart = 100, 0
        began = time.monotonic()
        for _ in range(rounds):
            ours, peer = connected()
            with ours, peer:
                stream = Chunked(ours, time.monotonic() + 5)
                for number in range(24):
                    peer.send(b"agi_line_%d: value\n" % number)
                peer.send(b"\n")
                assert stream.up_to(PARAGRAPH, 9999).count(b"\n") == 25
                first, *rest = stream.chunks
                apart += first == b"agi_line_0: value\n" and len(rest) == 1
        assert apart > rounds / 2  # but for those where this host was busy for 40 ms
        assert time.monotonic() - began < rounds * 0.04

    def test_its_end_of_the_connection_sends_at_once(self) -> None:
        ours, peer = connected()
        with ours, peer:
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


class Chunked(SocketStream):
    """What comes at once."""

    chunks: list[bytes]

    def _read(self) -> bytes:
        chunk = super()._read()
        self.chunks = [*getattr(self, "chunks", []), chunk]
        return chunk
