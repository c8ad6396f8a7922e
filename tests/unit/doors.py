"""A listening socket with its threads, and a door that a test describes."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from dialplan_sms.agi.acceptors import Acceptors, Door, Peer
from dialplan_sms.agi.doors import Capacity
from dialplan_sms.agi.stream import PARAGRAPH
from dialplan_sms.sms.log import Repeated
from dialplan_sms.sms.outcome import Refused

Address = tuple[str, int]


@dataclass
class House:
    """Its address, and what was noted."""

    address: Address
    capacity: Capacity
    counted: Repeated
    acceptors: Acceptors
    notes: list[str]

    def connect(self, says: bytes = b"") -> socket.socket:
        """A client that has said this, and waits for 10 s at most."""
        client = socket.create_connection(self.address, 10)
        with suppress(ConnectionError):
            client.sendall(says)
        return client

    def ask(self, says: bytes = b"") -> bytes:
        """What it answers, all of it."""
        with self.connect(says) as client:
            answer = b""
            with suppress(ConnectionResetError):
                while chunk := client.recv(999):
                    answer += chunk
            return answer


@contextmanager
def opened(door: Door, capacity: Capacity) -> Iterator[House]:
    """Let in who comes by *door*."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    address: Address = listener.getsockname()
    notes: list[str] = []
    counted = Repeated(notes.append)
    acceptors = Acceptors(capacity.most, counted)
    acceptors.open(listener, door, capacity.most)
    try:
        yield House(address, capacity, counted, acceptors, notes)
    finally:
        acceptors.stop()
        assert capacity.drain(10)


def saying(answer: Callable[[str], bytes], capacity: Capacity) -> Door:
    """A door that says at once what *answer* makes of the objection."""

    def door(connection: socket.socket, _: Any) -> Peer:
        return Peer(connection, lambda _, no: connection.sendall(answer(_why(no))), capacity.call)

    return door


def hearing(answer: Callable[[bytes, str], bytes], capacity: Capacity) -> Door:
    """A door that says what *answer* makes of a first paragraph and the objection."""

    def serve(peer: Peer, refused: Refused | None) -> None:
        stream = peer.answer(peer.began + 10)
        stream.write(answer(stream.up_to(PARAGRAPH, 999), _why(refused)))

    def door(connection: socket.socket, address: Address) -> Peer:
        return Peer(connection, serve, capacity.call, address[0], 999)

    return door


def _why(refused: Refused | None) -> str:
    return refused.reason if refused else ""
