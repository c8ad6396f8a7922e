"""An Asterisk's side of the AGI dialogue, and a route, both in memory."""

import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import patch

from dialplan_sms.agi.channel import Channel
from dialplan_sms.agi.stream import Stream
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.sms.outcome import Outcome, Status
from dialplan_sms.sms.service import Service
from dialplan_sms.sms.sms import Sms

ENVIRONMENT = b"""agi_request: sms.agi
agi_channel: Local/100@test-00000001;2
agi_language: en
agi_type: Local
agi_uniqueid: 1700000000.7
agi_version: 22.10.1
agi_callerid: 200
agi_calleridname: unknown
agi_callingpres: 0
agi_callingani2: 0
agi_callington: 0
agi_callingtns: 0
agi_dnid: unknown
agi_rdnis: unknown
agi_context: test
agi_extension: 100
agi_priority: 2
agi_enhanced: 0.0
agi_accountcode:
agi_threadid: 139
"""


class FakeAsterisk(Stream):
    """Answers GET FULL VARIABLE and SET VARIABLE as Asterisk 16 and 22 do (asterisk facts, 1-2).

    ``commands`` holds each line it was sent; more than 2046 bytes split, as on Asterisk 16.
    """

    def __init__(
        self,
        variables: Mapping[str, str | bytes] | None = None,
        environment: bytes = ENVIRONMENT,
        arguments: Sequence[bytes] = (),
        hang_up_after: int | None = None,
        hang_up_line: bool = False,
    ) -> None:
        self.variables = {
            name: value.encode() if isinstance(value, str) else value
            for name, value in (variables or {}).items()
        }
        lines = b"".join(b"agi_arg_%d: %s\n" % (n, text) for n, text in enumerate(arguments, 1))
        super().__init__(-1, -1, math.inf)
        self.commands: list[bytes] = []
        self.replies = environment + lines + b"\n"
        self._hang_up_after = hang_up_after
        self._hang_up_line = hang_up_line

    def take(self) -> bytes:
        """What it has said since it was asked last."""
        said, self.replies = self.replies, b""
        return said

    _read = take

    def write(self, data: bytes) -> None:
        if self._hang_up_after is not None and len(self.commands) >= self._hang_up_after:
            raise BrokenPipeError
        if self._hang_up_line:
            self.replies += b"HANGUP\n"
            self._hang_up_line = False
        for line in data.split(b"\n")[:-1]:
            for start in range(0, max(len(line), 1), 2046):
                self._execute(line[start : start + 2046])

    def _execute(self, line: bytes) -> None:
        self.commands.append(line)
        if found := re.fullmatch(rb'GET FULL VARIABLE "(.*)"', line):
            value = re.sub(
                rb"\$\{(\w+)\}", lambda name: self.variables.get(name[1].decode(), b""), found[1]
            )
            self.replies += b"200 result=1 (" + value + b")\n"
        elif found := re.fullmatch(rb'GET VARIABLE "(\w+)"', line):
            self.replies += b"200 result=1 (%b)\n" % self.variables.get(found[1].decode(), b"")
        elif found := re.fullmatch(rb'SET VARIABLE "?(\w+)"? "((?:[^"\\]|\\.)*)"', line):
            self.variables[found[1].decode()] = re.sub(rb"\\(.)", rb"\1", found[2])
            self.replies += b"200 result=1\n"
        elif found := re.fullmatch(rb'EXEC MSet "((?:[A-Z_]+=[A-Z0-9_]*,?)*)"', line):
            for pair in found[1].split(b","):
                name, _, token = pair.partition(b"=")
                self.variables[name.decode()] = token
            self.replies += b"200 result=0\n"
        else:
            self.replies += b"510 Invalid or unknown command\n"

    @property
    def channel(self) -> Channel:
        return Channel(self)

    def value(self, name: str) -> str:
        return self.variables.get(name, b"").decode()

    def set_names(self) -> list[str]:
        """The names of the variables that were set, in order."""
        found = (re.match(rb'SET VARIABLE "(\w+)"', line) for line in self.commands)
        return [name[1].decode() for name in found if name]


class FakeRoute:
    """Answers with *outcome* and remembers what it took."""

    def __init__(
        self, outcome: Outcome | None = None, on_send: Callable[[], None] | None = None
    ) -> None:
        self.outcome = outcome or Outcome(Status.SUCCESS)
        self.sent: list[Sms] = []
        self._on_send = on_send

    def send(self, sms: Sms, going_out: Callable[[], None], until: float) -> Outcome:
        going_out()
        self.sent.append(sms)
        if self._on_send is not None:
            self._on_send()
        return self.outcome


def service(route: FakeRoute, log: str = "/nonexistent/sms.log", **fields: object) -> Service:
    """A Service for the one sender 101 of country IT."""
    values: dict[str, object] = {"url": "https://192.0.2.1", "password": "secret", "country": "IT"}
    sender = Sender(name="101", **(values | fields))  # type: ignore[arg-type]
    config = Config(Path("/etc/asterisk/sms.conf"), {"101": sender}, "101", log)
    return Service(lambda: config, lambda _: route)


def no_threads() -> AbstractContextManager[object]:
    """A host on which no thread can be started."""
    short = RuntimeError("can't start new thread")
    return patch.object(threading.Thread, "start", side_effect=short)


class Bytes(Stream):
    """A dialogue in which Asterisk says *data*, whatever it hears."""

    def __init__(self, data: bytes) -> None:
        super().__init__(-1, -1, math.inf)
        self._buffer = data

    def _read(self) -> bytes:
        return b""

    def write(self, data: bytes) -> None:
        pass
