"""A whole site for a test: an Asterisk with sms.agi, and a stand-in PBX that takes the SMS."""

import os
from collections.abc import Mapping
from pathlib import Path

from dialplan_sms.sandbox import Message, Sandbox
from tests.asterisk.call import Call, Result
from tests.asterisk.pbx import Pbx

PASSWORD = "sms101api"
NUMBER = "+39333123456"


class Site:
    """One Asterisk and one stand-in; the log of sms.agi is ``log``."""

    def __init__(self, asterisk: Pbx, sandbox: Sandbox) -> None:
        self.asterisk = asterisk
        self.sandbox = sandbox

    def reset(self) -> None:
        """As new, but for the dialplan."""
        self.sandbox.start()
        self.sandbox.clear()
        self._log.unlink(missing_ok=True)
        self.configure()

    def configure(self, text: str | None = None, **settings: str) -> None:
        """Write sms.conf: *text*, or the sender 101 of the stand-in with these settings."""
        keys = {
            "url": self.sandbox.url,
            "password": PASSWORD,
            "verify": self.sandbox.fingerprint,
            "country": "IT",
        } | settings
        sender = "".join(f"{key} = {value}\n" for key, value in keys.items())
        self.asterisk.write("sms.conf", text or f"[general]\nlog = sms.log\n[101]\n{sender}")

    @property
    def messages(self) -> list[Message]:
        """What the stand-in took."""
        return self.sandbox.messages

    @property
    def _log(self) -> Path:
        return self.asterisk.etc / "sms.log"

    @property
    def log(self) -> str:
        """The lines of sms.agi so far."""
        return self._log.read_text() if self._log.exists() else ""

    def dialplan(self, lines: str) -> None:
        """Make *lines* the extension 1 of context ``test``: ``exten => 1,1,`` and ``n`` of them."""
        first, *rest = (line.strip() for line in lines.strip().splitlines())
        text = f"[test]\nexten => 1,1,{first}\n" + "".join(f" same => n,{line}\n" for line in rest)
        self.asterisk.set_dialplan(text)

    def call(self, variables: Mapping[str, str | bytes] | None = None, **options: object) -> Result:
        """Call extension 1 and wait for its end."""
        return self.start(variables, **options).wait()

    def start(self, variables: Mapping[str, str | bytes] | None = None, **options: object) -> Call:
        """Call extension 1."""
        return self.asterisk.start_call("1", variables=variables, **options)  # type: ignore[arg-type]


def agi_bin(folder: Path) -> Path:
    """An agi-bin whose sms.agi is a link to the installed one, as an admin makes it."""
    import sys

    (folder / "sms.agi").symlink_to(Path(sys.prefix) / "bin/sms.agi")
    assert os.access(folder / "sms.agi", os.X_OK), "run make venv"
    return folder
