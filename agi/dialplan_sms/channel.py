"""The AGI dialogue with Asterisk: pyst2's AGI made safe.

What pyst2 0.5.1 gets wrong, and what Asterisk does with hostile values, is measured in the
project's sheet of AGI facts; each override below mends one of those.
"""

import os
import re
from collections.abc import Iterable
from typing import Protocol

from asterisk.agi import AGI, AGIHangup, AGIInvalidCommand, AGIUsageError

LONGEST_COMMAND = 2046
"""Bytes of a command without its newline; Asterisk 16 executes the rest as another command."""
LONGEST_LINE = 64 * 1024
LONGEST_DIALOGUE = 1024 * 1024
"""Bounds of what is read, in bytes: an Asterisk stays far below."""

_ENVIRONMENT = (
    "agi_network agi_network_script agi_request agi_channel agi_language agi_type agi_uniqueid"
    " agi_version agi_callerid agi_calleridname agi_callingpres agi_callingani2 agi_callington"
    " agi_callingtns agi_dnid agi_rdnis agi_context agi_extension agi_priority agi_enhanced"
    " agi_accountcode agi_threadid"
).split()
"""The order in which Asterisk writes them (res_agi.c: setup_env); the arguments follow."""
_ARGUMENT = re.compile(r"agi_arg_([1-9][0-9]{0,2})")


class Reader(Protocol):
    """What a dialogue is read from."""

    def readline(self, limit: int, /) -> bytes:
        """A line with its newline, or what there is at *limit* bytes or the end."""


class Writer(Protocol):
    """What a dialogue is written to."""

    def write(self, data: bytes, /) -> int:
        """Write all of *data*."""

    def flush(self) -> None:
        """Let it go."""


class _Nowhere:
    """pyst2 writes every command and reply, and so the text of every SMS, to its stderr."""

    def write(self, _: str) -> None:
        pass


class Channel(AGI):  # type: ignore[misc]
    """The AGI side of one call, on two binary streams.

    Raises AGIHangup once the streams have ended; a hang-up alone is no error, since Asterisk goes
    on taking commands. ``env`` holds what Asterisk told first, each key once and only where
    Asterisk's own order vouches for it.
    """

    def __init__(self, reader: Reader, writer: Writer) -> None:
        # Without super: it would set a signal handler and print the environment.
        self.stdin = reader
        self.stdout = writer
        self.stderr = _Nowhere()
        self._got_sighup = False
        self._forged = False
        self._read = 0
        self.env: dict[str, str] = {}
        self._get_agi_env()

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of AGI(); empty where the environment was forged.

        Ask after read_variables(): only then has a blank line in a caller's name shown itself.
        """
        if self._forged:
            return ()
        found: list[str] = []
        while (argument := self.env.get(f"agi_arg_{len(found) + 1}")) is not None:
            found.append(argument)
        return tuple(found)

    def read_variables(self, names: Iterable[str]) -> dict[str, str]:
        """The values of channel variables, byte-exact, in one round trip; unset is empty.

        *names* must be constants: Asterisk evaluates them. The nonce at both ends cannot be
        forged, so that whatever a value or the environment holds, the dialogue is in step again.
        """
        names = tuple(names)
        nonce = os.urandom(16).hex()
        expression = nonce + "".join(f"${{{name}}}{nonce}" for name in names)
        self.send_command("GET FULL VARIABLE", f'"{expression}"')
        first = f"200 result=1 ({nonce}".encode()
        last = f"{nonce})\n".encode()
        while not (line := self._line()).startswith(first):
            self._forged = self._forged or line != b"HANGUP\n"
        reply = bytearray(line)
        while not (reply.endswith(last) and reply.count(nonce.encode()) > len(names)):
            reply += self._line()
        values = bytes(reply[len(first) : -len(last)]).split(nonce.encode())
        return {
            name: value.decode("utf-8", "replace")
            for name, value in zip(names, values, strict=False)
        }

    def set_variable(self, name: str, value: str) -> None:
        """Set a channel variable, cut on a character where the command would grow too long."""
        room = LONGEST_COMMAND - len(f'SET VARIABLE "{name}" ""')
        super().set_variable(name, _cut(value, room))

    def _quote(self, string: object) -> str:
        return f'"{_escape(str(string))}"'

    def send_command(self, command: str, *args: object) -> None:
        line = " ".join((command, *map(str, args))).encode("utf-8", "replace")
        if len(line) > LONGEST_COMMAND or b"\n" in line or b"\r" in line or b"\0" in line:
            raise ValueError(f"not a command for Asterisk: {command}")
        try:
            self.stdout.write(line + b"\n")
            self.stdout.flush()
        except (OSError, ValueError) as error:
            raise AGIHangup(f"Asterisk is gone ({type(error).__name__})") from None

    def get_result(self, stdin: object = None) -> dict[str, tuple[str, str]]:
        """The next reply, in pyst2's form: ``{"result": (value, data)}``."""
        while True:
            line = self._line().decode("utf-8", "replace").rstrip("\r\n")
            if line.startswith("200 "):
                found = re.match(r"200 result=(\S*)(?: \((.*)\))?", line)
                return {"result": (found[1], found[2] or "") if found else ("", "")}
            if line.startswith(("510", "511")):
                raise AGIInvalidCommand(line[:3])
            if line.startswith("520 "):
                raise AGIUsageError(line[:3])

    def test_hangup(self) -> None:
        """Nothing: Asterisk takes commands after a hang-up, too."""

    def _line(self) -> bytes:
        try:
            line = self.stdin.readline(LONGEST_LINE)
        except (OSError, ValueError) as error:
            raise AGIHangup(f"Asterisk is gone ({type(error).__name__})") from None
        self._read += len(line)
        if not line or self._read > LONGEST_DIALOGUE:
            raise AGIHangup("Asterisk has ended the dialogue, or does not end it")
        return bytes(line)

    def _get_agi_env(self) -> None:
        expected = 0
        while (line := self._line()).strip():
            key, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(": ")
            key = key.rstrip(":")
            if key in _ENVIRONMENT[expected:]:
                expected = _ENVIRONMENT.index(key) + 1
                self.env[key] = value
            elif self._is_next_argument(key) and expected == len(_ENVIRONMENT):
                self.env[key] = value
            else:
                self._forged = True

    def _is_next_argument(self, key: str) -> bool:
        number = _ARGUMENT.fullmatch(key)
        if number is None or key in self.env:
            return False
        return number[1] == "1" or f"agi_arg_{int(number[1]) - 1}" in self.env


def _escape(text: str) -> str:
    # A newline cannot be escaped: it would end the command and begin another.
    text = text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ").replace("\0", "")
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _cut(text: str, room: int) -> str:
    """The longest beginning of *text* that fits into *room* bytes once it is escaped."""
    if len(_escape(text).encode("utf-8", "replace")) <= room:
        return text
    used = 0
    for index, char in enumerate(text):
        used += len(_escape(char).encode("utf-8", "replace"))
        if used > room:
            return text[:index]
    return text
