"""A whole site for a test: an Asterisk with sms.agi, and a stand-in PBX that takes the SMS."""

import os
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dialplan_sms.sandbox import Fault, Message, Sandbox
from tests.asterisk.call import Call, Result
from tests.asterisk.pbx import Pbx
from tests.asterisk.serving import Service
from tests.waiting import until

PASSWORD = "sms101api"
NUMBER = "+39333123456"
SMS = {"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "A private text"}
QUEUE = SMS | {"SMS_MODE": "queue"}
SUB_SMS = Path(__file__).parents[2] / "dialplan/extensions-sms.conf"


class Site:
    """One Asterisk, one stand-in, and a service of the same sms.conf, for who starts it.

    The log of sms.agi is ``log``, the service's is ``service.log``.
    """

    def __init__(self, asterisk: Pbx, sandbox: Sandbox) -> None:
        self.asterisk = asterisk
        self.sandbox = sandbox
        self.service = Service(asterisk.etc, sandbox)
        self.outbox = asterisk.etc / "outbox.sqlite"
        self._served = "", ""

    def reset(self) -> None:
        """As new, but for the dialplan: no service runs, and nothing was logged, stored or sent."""
        self.service.end()
        for file in self.asterisk.etc.glob("*outbox.sqlite*"):
            file.unlink()
        for log in (self._log, self.service.log_file):
            log.unlink(missing_ok=True)
        self.configure()
        self.sandbox.start()
        self.sandbox.clear()  # the service may have sent until it was killed

    def serve(
        self, general: str = "", sender: str = "pace = 0", outbox: bool = True, fresh: bool = True
    ) -> None:
        """As new, and a service runs; unless *fresh*, one that has run with this sms.conf goes on."""
        if outbox:
            general = f"outbox = sqlite:///{self.outbox}\n{general}"
        if self.service.runs and self._served == (general, sender) and not fresh:
            with suppress(FileNotFoundError):  # it has said nothing yet
                os.truncate(self.service.log_file, 0)  # the service has it open
        else:
            self.reset()
            self._served = general, sender
            self.service.configure(general, sender)
            self.service.start()
        self.sandbox.start()
        self.sandbox.clear()

    def configure(self, text: str | None = None, **settings: str) -> None:
        """Write sms.conf: *text*, or the sender 101 of the stand-in with these settings."""
        keys = {
            "url": self.sandbox.url, "password": PASSWORD, "verify": self.sandbox.fingerprint,
            "country": "IT",
        }  # fmt: skip
        sender = "".join(f"{key} = {value}\n" for key, value in (keys | settings).items())
        self.asterisk.write("sms.conf", text or f"[general]\nlog = sms.log\n[101]\n{sender}")

    @property
    def messages(self) -> list[Message]:
        return self.sandbox.messages

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Who got which text."""
        return [(number, each.original) for each in self.messages for number in each.numbers]

    @property
    def received(self) -> list[str]:
        """The texts of all requests, as the API received them."""
        return [dict(request.pairs)["message"] for request in self.sandbox.requests]

    @property
    def _log(self) -> Path:
        return self.asterisk.etc / "sms.log"

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """What a query finds in the outbox."""
        return rows(self.outbox, query, *values)

    def wait_for(self, id_: str, state: str, seconds: float = 10) -> None:
        """Wait until a message of the outbox is in this *state*."""
        query = "SELECT state, cause, text FROM sms_message WHERE id = ?"

        def found() -> tuple[object, ...]:
            return self.rows(query, int(id_))[0]

        until(lambda: found()[0] == state, lambda: (found(), self.service.log), seconds)

    def under_way(self, fault: Fault, extension: str = "1", **more: str) -> Call:
        """A call of SMS whose request the PBX has got, and answers with this *fault*."""
        self.sandbox.fault = fault
        call = self.asterisk.start_call(extension, variables=SMS | more)
        self.sandbox.wait(requests=1)
        return call

    def dialplan(self, lines: str) -> None:
        """Make *lines* the extension 1 of context ``test``: ``exten => 1,1,`` and ``n`` of them."""
        first, *rest = (line.strip() for line in lines.strip().splitlines())
        text = f"[test]\nexten => 1,1,{first}\n" + "".join(f" same => n,{line}\n" for line in rest)
        self.asterisk.set_dialplan(text)

    def call(self, variables: Mapping[str, str | bytes] | None = None, **options: Any) -> Result:
        return self.start(variables, **options).wait()

    def start(self, variables: Mapping[str, str | bytes] | None = None, **options: Any) -> Call:
        return self.asterisk.start_call("1", variables=variables, **options)


def rows(database: Path, query: str, *values: object) -> list[tuple[object, ...]]:
    """What a query finds in an SQLite database that others write to."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def agi_bin(folder: Path) -> Path:
    """An agi-bin whose sms.agi is a link to the installed one, as an admin makes it."""
    (folder / "sms.agi").symlink_to(Path(sys.prefix) / "bin/sms.agi")
    assert os.access(folder / "sms.agi", os.X_OK), "run make venv"
    return folder
