"""The AGI dialogue with Asterisk: pyst2's AGI made safe; each override mends a fault of 0.5.1."""

import contextlib
import hashlib
import itertools
import os
import re
from collections.abc import Collection, Mapping

from asterisk.agi import AGI, AGIHangup, AGIInvalidCommand

from dialplan_sms.agi.stream import LINE, PARAGRAPH, Stream

# Bytes of a command without its newline; Asterisk 16 executes the rest as another command.
LONGEST_COMMAND = 2046
# Bytes that are read as a line or an environment, and in all: an Asterisk stays far below.
LONGEST_READ, _LONGEST_DIALOGUE = 64 * 1024, 1024 * 1024

_ENVIRONMENT = (
    "agi_network agi_network_script agi_request agi_channel agi_language agi_type agi_uniqueid"
    " agi_version agi_callerid agi_calleridname agi_callingpres agi_callingani2 agi_callington"
    " agi_callingtns agi_dnid agi_rdnis agi_context agi_extension agi_priority agi_enhanced"
    " agi_accountcode agi_threadid"
)
# The order in which Asterisk writes them (res_agi.c: setup_env); the arguments follow.
_PLACE = {key: place for place, key in enumerate(_ENVIRONMENT.split())}

# Of nonces, which nobody can foresee, and each of which is used once.
_SECRET = os.urandom(32)
_COUNT = itertools.count()

# To try MSet with: outputs, which a call clears, and none that says that anything was sent.
_PROBE = {"SMS_CAUSE": "INTERNAL", "SMS_REASON": "INTERNAL"}


class Channel(AGI):  # type: ignore[misc]
    """The AGI side of one call.

    Raises AGIHangup once the *dialogue* has ended, not at a hang-up: Asterisk still takes commands.
    ``env`` holds what Asterisk told first, each key once, if Asterisk's own order vouches for it.
    """

    def __init__(self, dialogue: Stream) -> None:
        # Without super: it would set a signal handler and print the environment. All that pyst2
        # prints is overridden, as it holds the text of every SMS.
        self._dialogue = dialogue
        self._forged = False
        self._arguments: list[str] = []
        self._read = 0
        self.sets_together = False
        self.env: dict[str, str] = {}
        text = self._take(PARAGRAPH)
        if not text.endswith((b"\n\n", b"\n\r\n")):
            raise AGIHangup("Asterisk has ended the environment early, or does not end it")
        expected = 0
        for line in text.decode("utf-8", "replace").rstrip("\r\n").split("\n"):
            key, _, value = line.rstrip("\r").partition(": ")
            key = key.rstrip(":")  # before an empty value
            place = _PLACE.get(key, -1)
            if place >= expected:
                expected = place + 1
                self.env[key] = value
            elif expected == len(_PLACE) and key == f"agi_arg_{len(self._arguments) + 1}":
                self._arguments.append(value)
            else:
                self._forged = True

    @property
    def arguments(self) -> tuple[str, ...]:
        """Those of AGI(), none if it was forged: ask after read_variables(), which shows that."""
        return () if self._forged else tuple(self._arguments)

    def read_variables(self, names: Collection[str]) -> dict[str, str]:
        """The values of channel variables, byte-exact, in one round trip; unset is empty.

        *names* must be constants: Asterisk evaluates them. Whatever the environment or a value
        holds, the dialogue is in step again: the nonce at both ends cannot be forged.
        """
        # From one secret and a count: asking the kernel each time is a turn at Python's lock.
        count = next(_COUNT).to_bytes(16, "big")
        nonce = hashlib.blake2b(count, key=_SECRET, digest_size=16).hexdigest()
        expression = nonce + "".join(f"${{{name}}}{nonce}" for name in names)
        self.send_command("GET FULL VARIABLE", f'"{expression}"')
        first = f"200 result=1 ({nonce}".encode()
        last = f"{nonce})\n".encode()
        while not (line := self._take(LINE)).startswith(first):
            self._forged = self._forged or line != b"HANGUP\n"
        reply = bytearray(line)
        while not (reply.endswith(last) and reply.count(nonce.encode()) > len(names)):
            reply += self._take(LINE)
        values = reply[len(first) : -len(last)].decode("utf-8", "replace").split(nonce)
        return dict(zip(names, values, strict=False))

    def learn_to_set_together(self) -> bool:
        """Find out whether MSet takes several pairs here, and use it for tokens from now on.

        An Asterisk before 16 that escapes commas for EXEC would set one variable to all of them.
        """
        self.sets_together = self._set_at_once(_PROBE) and self.read_variables(_PROBE) == _PROBE
        return self.sets_together

    def set_tokens(self, tokens: Mapping[str, str]) -> None:
        """Set variables to words of the contract (``A-Z``, digits, ``_``; or empty), in order.

        In one round trip, 0.1 ms, if that was learned. A channel that is gone is no error here.
        """
        with contextlib.suppress(AGIHangup):
            if self.sets_together and self._set_at_once(tokens):
                return
            self.sets_together = False  # as another Asterisk at the same address does
            for name, value in tokens.items():
                with contextlib.suppress(AGIInvalidCommand):  # takes no other along
                    self.set_variable(name, value)

    def _set_at_once(self, tokens: Mapping[str, str]) -> bool:
        pairs = ",".join(f"{name}={value}" for name, value in tokens.items())
        with contextlib.suppress(AGIInvalidCommand):
            return bool(self.execute("EXEC", "MSet", self._quote(pairs))["result"][0] == "0")
        return False

    def set_variable(self, name: str, value: str) -> None:
        """Set a channel variable, cut on a character if the command would grow too long."""
        room = LONGEST_COMMAND - len(f'SET VARIABLE "{name}" ""')
        super().set_variable(name, _cut(value, room))

    def _quote(self, string: object) -> str:
        return f'"{_escape(str(string))}"'

    def send_command(self, command: str, *args: object) -> None:
        line = " ".join((command, *map(str, args))).encode("utf-8", "replace")
        if len(line) > LONGEST_COMMAND or b"\n" in line or b"\r" in line or b"\0" in line:
            raise ValueError(f"not a command for Asterisk: {command}")
        try:
            self._dialogue.write(line + b"\n")
        except (OSError, ValueError) as error:
            raise AGIHangup(f"Asterisk is gone ({type(error).__name__})") from None

    def get_result(self, stdin: object = None) -> dict[str, tuple[str, str]]:
        """The next reply, in pyst2's form: ``{"result": (value, data)}``."""
        while True:
            line = self._take(LINE).decode("utf-8", "replace").rstrip("\r\n")
            if line.startswith("200 "):
                found = re.match(r"200 result=(\S*)", line)
                return {"result": (found[1] if found else "", "")}
            if line.startswith(("510", "511", "520 ")):
                raise AGIInvalidCommand(line[:3])

    def test_hangup(self) -> None:
        """Nothing: Asterisk takes commands after a hang-up, too."""

    def _take(self, end: re.Pattern[bytes]) -> bytes:
        try:
            taken = self._dialogue.up_to(end, LONGEST_READ)
        except (OSError, ValueError) as error:
            raise AGIHangup(f"Asterisk is gone ({type(error).__name__})") from None
        self._read += len(taken)
        if not taken or self._read > _LONGEST_DIALOGUE:
            raise AGIHangup("Asterisk has ended the dialogue, or does not end it")
        return taken


def _escape(text: str) -> str:
    # A newline cannot be escaped: it would end the command and begin another.
    text = text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ").replace("\0", "")
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _cut(text: str, room: int) -> str:
    """The longest beginning of *text* that fits into *room* bytes once it is escaped."""
    if len(text) * 4 <= room:  # as many as one character can take
        return text
    sizes = itertools.accumulate(len(_escape(char).encode("utf-8", "replace")) for char in text)
    return text[: sum(size <= room for size in sizes)]
