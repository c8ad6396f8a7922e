"""Asterisk's manager interface (AMI): actions, their answers, and events as they come."""

import itertools
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

_SILENCE = 1.0
"""Seconds after which Asterisk is asked to speak. Its thread for this connection sleeps through an
event that comes just before it goes to sleep: the signal that should wake it is lost, and the event
is sent with whatever comes next (asterisk/asterisk#2145)."""


class AmiError(Exception):
    """AMI refused an action, or is gone."""


@dataclass(frozen=True)
class Message:
    """One event or answer. `message["Name"]` is the header's first value, "" where it is missing.

    Asterisk escapes newlines in the values that it shows here: read a variable with a probe.
    """

    headers: tuple[tuple[str, str], ...]
    at: float = field(default_factory=time.monotonic)

    @property
    def event(self) -> str:
        """The kind of event, "" for an answer."""
        return self["Event"]

    def __getitem__(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def all(self, name: str) -> list[str]:
        """Every value of a header that comes more than once."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def matches(self, **headers: str) -> bool:
        """Whether each of these headers has exactly this value."""
        return all(self[name] == value for name, value in headers.items())


class Ami:
    """One AMI connection to a loopback port; `listener` gets every event, in a thread of its own.

    Raises OSError where nothing answers and AmiError where the login is refused.
    """

    def __init__(self, port: int, secret: str, listener: Callable[[Message], None]) -> None:
        self._listener = listener
        self._numbers = itertools.count(1)
        self._answers: dict[str, queue.SimpleQueue[Message]] = {}
        self._writing = threading.Lock()
        self._gone = threading.Event()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._socket.settimeout(_SILENCE)
        self._reader = threading.Thread(target=self._read, name="ami", daemon=True)
        self._reader.start()
        try:
            self.action("Login", timeout=1, Username="bed", Secret=secret, Events="on")
        except BaseException:
            self.close()
            raise

    def action(self, name: str, *, timeout: float = 10, **headers: str) -> Message:
        """Send one action and return its answer; AmiError where that is no success.

        Raises ValueError for a header with a newline: it would be another header.
        """
        number = str(next(self._numbers))
        lines = {"Action": name, "ActionID": number} | headers
        if any("\r" in value or "\n" in value for value in lines.values()):
            raise ValueError(f"AMI {name}: a newline in {lines}")
        text = "".join(f"{key}: {value}\r\n" for key, value in lines.items()) + "\r\n"
        answer = self._answers[number] = queue.SimpleQueue()
        try:
            self._send(text)
            message = self._await(answer, timeout)
        except OSError as error:
            raise AmiError(f"AMI {name}: {error}") from error
        finally:
            del self._answers[number]
        # Asterisk 22 answers Error where a command itself fails, and its output tells more.
        if message["Response"] not in ("Success", "Follows") and not message.all("Output"):
            raise AmiError(f"AMI {name}: {message['Message'] or message.headers}")
        return message

    def close(self) -> None:
        """End the connection and its thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def _await(self, answer: "queue.SimpleQueue[Message]", timeout: float) -> Message:
        deadline = time.monotonic() + timeout
        while not self._gone.is_set() and time.monotonic() < deadline:
            with suppress(queue.Empty):
                return answer.get(timeout=0.2)
        with suppress(queue.Empty):
            return answer.get_nowait()
        raise OSError("the connection is gone" if self._gone.is_set() else "no answer")

    def _read(self) -> None:
        received = b""
        with suppress(OSError):
            while chunk := self._receive():
                *messages, received = (received + chunk).split(b"\r\n\r\n")
                for raw in messages:
                    self._dispatch(_message(raw))
        self._gone.set()

    def _receive(self) -> bytes:
        while True:
            try:
                return self._socket.recv(65536)
            except TimeoutError:
                self._send("Action: Ping\r\n\r\n")  # its answer has no id, and nobody waits for it

    def _send(self, text: str) -> None:
        with self._writing:
            self._socket.sendall(text.encode())

    def _dispatch(self, message: Message) -> None:
        if message.event:
            self._listener(message)
        elif answer := self._answers.get(message["ActionID"]):
            answer.put(message)


def _message(raw: bytes) -> Message:
    lines = raw.decode(errors="surrogateescape").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Message(tuple((key, value.removeprefix(" ")) for key, colon, value in pairs if colon))
