"""Tells the program of on_failure what was not sent, in a thread of its own.

It gets one JSON object on standard input, with all that has gathered. That it was told is noted
after it has ended: it may be told twice, and nothing is lost.
"""

import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from dialplan_sms.config.config import Sender
from dialplan_sms.host.identity import changer, refuse
from dialplan_sms.host.process import run
from dialplan_sms.outbox.attempt import PATIENCE
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.history import reports
from dialplan_sms.outbox.history.stored import iso
from dialplan_sms.outbox.writer import NotKnown, Writer
from dialplan_sms.sms import log
from dialplan_sms.sms.outcome import Cause, error, failed
from dialplan_sms.sms.service import Service
from dialplan_sms.sms.sms import Sms

LIMIT = 15.0  # seconds that a program has: a service that ends waits for longer
_AGAIN = 2 * LIMIT  # seconds after which a program is told again, at first
_EVERY = 5.0  # seconds between two looks, in which what is to be told gathers
# Becomes the program, with the signals that one expects: Python and the service change them.
_START = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_SETMASK, [])
for ignored in signal.SIGPIPE, signal.SIGXFSZ:
    signal.signal(ignored, signal.SIG_DFL)
try:
    os.execv(sys.argv[1], sys.argv[1:])
except OSError as error:
    print(error.strerror, file=sys.stderr)
    sys.exit(127)
"""


class Teller(threading.Thread):
    """Tells, once it is started; ends within LIMIT seconds after *stopping* is set.

    ``failing`` is what went wrong with a program the last time, if it did.
    """

    def __init__(self, writer: Writer, service: Service, stopping: threading.Event) -> None:
        super().__init__(daemon=True)
        self._writer, self._service, self._stopping = writer, service, stopping
        self.failing: dict[str, str] = {}

    def run(self) -> None:
        """Look every few seconds; tell at once if sms.conf was read again."""
        config = self._service.load()
        while not self._stopping.is_set():
            before, config = config, self._service.load()
            if config is not before:
                self.failing.clear()
            senders = config.senders.values()
            for program in {each.on_failure for each in senders} - {""}:
                mine = {each.name: each for each in senders if each.on_failure == program}
                try:
                    self._tell(program, mine, config is not before)
                except (OutboxError, NotKnown):
                    pass  # the worker says so
                except Exception as failure:  # noqa: BLE001 - what comes later is to be told, too
                    self.failing[program] = failed(failure).reason
                    self._service.note(f"on_failure: {self.failing[program]}")
            self._stopping.wait(_EVERY)

    def _tell(self, program: str, senders: Mapping[str, Sender], at_once: bool) -> None:
        """Tell one program of its senders. Raises HostError if it does not take it."""
        do = self._writer.do
        until, found = do(lambda c: reports.claim(c, senders, _AGAIN, at_once), PATIENCE, PATIENCE)
        if not found:
            return
        sms = [
            {
                "id": row.id, "sender": row.sender, "state": row.state, "cause": row.cause,
                "reason": row.reason, "created": iso(row.created), "planned": iso(row.planned),
                "ended": iso(row.ended),
                "numbers": [{"number": to, "state": state} for to, state in numbers],
                **({"text": row.text} if senders[row.sender].on_failure_text else {}),
            }
            for row, numbers in found
        ]  # fmt: skip
        of = f"{len(sms)} SMS, the first is {sms[0]['id']}"
        has_text = any("text" in each for each in sms)
        why = _told(program, json.dumps({"sms": sms}, default=str).encode(), has_text)
        refuse(why, f"{program} was not told of {of}: {why}")
        do(lambda c: reports.told(c, [row.id for row, _ in found], until), PATIENCE, PATIENCE)
        self.failing.pop(program, None)
        self._service.note(f"on_failure: {program} was told of {of}", failed=False)


def _told(program: str, what: bytes, has_text: bool) -> str:
    """Why *program* was not told *what*; empty if it was. Raises HostError."""
    user = changer(Path(program)) if os.geteuid() == 0 else None  # root's rights are not its
    # A file in no folder, and at its beginning: the program has all of it, whatever ends this.
    with open(os.memfd_create("sms"), "w+b") as given:
        os.pwrite(given.fileno(), what, 0)
        ran = run([sys.executable, "-I", "-S", "-c", _START, program], LIMIT, user, given)
    # What it says may be a text that it was told.
    said = f"exit status {ran.status}" if has_text else ran.last_line[:300]
    masked = log.harmless(error(Cause.INTERNAL, said, from_pbx=True), Sms((), ""))
    return (masked or f"exit status {ran.status}") if ran.status else ""
