"""A running Asterisk for tests: calls go in, what the dialplan did comes out.

with Pbx(fetch(22), "[test]\\nexten => 1,1,AGI(sms.agi)\\n", agi_bin=Path("agi")) as pbx:
    result = pbx.call("1", variables={"SMS_NUMBER": "+39012345", "SMS_MESSAGE": "Ciao"})
    assert result.variables["SMS_STATUS"] == "SUCCESS"
"""

import itertools
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.asterisk.ami import Ami, AmiError, Message
from tests.asterisk.call import Call, Result, seed
from tests.asterisk.etc import Etc
from tests.asterisk.installation import Installation
from tests.asterisk.serving import free_port

_START = 20.0  # seconds until Asterisk is given up
_PORTS = 5  # tries: another process may take the free port before Asterisk does


class PbxError(Exception):
    """Asterisk did not start, or does not take the dialplan."""


class Pbx:
    """One Asterisk on loopback, with folders, dialplan and AMI user of its own.

    It is a process of this user, started under a warden, and ends with the test. `dialplan` is text
    of extensions.conf, where `${PROBE}` is the probe, and `includes` are files included before it.
    `agi_bin` is where AGI() looks for scripts, `files` go to its etc folder, and `environment` is
    added to a bare environment.
    """

    def __init__(
        self,
        installation: Installation,
        dialplan: str = "",
        *,
        includes: Iterable[Path] = (),
        agi_bin: Path | None = None,
        files: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.installation = installation
        self._includes = tuple(includes)
        self._files = Etc(Path(tempfile.mkdtemp(prefix="pbx-")), installation, agi_bin)
        weakref.finalize(self, self._files.remove)  # for one that is never started
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self._files.folder),
            "DIALPLAN_SMS_SOCKET": str(self.etc / "agi.sock"),  # where Site's service listens
            "LANG": "C.UTF-8",
            **({"TZ": os.environ["TZ"]} if "TZ" in os.environ else {}),
            **(environment or {}),
        }
        self._warden: subprocess.Popen[bytes] | None = None
        self._ami: Ami | None = None
        self._numbers = itertools.count(1)
        self._calls: list[Call] = []  # under way
        self._booted = threading.Event()
        self._last_log = ""
        self._last_console = ""
        self._serial = self._files.write_dialplan(dialplan, self._includes)
        for name, content in (files or {}).items():
            self.write(name, content)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def etc(self) -> Path:
        """Asterisk's configuration folder, `AST_CONFIG_DIR` for AGI scripts."""
        return self._files.etc

    @property
    def log(self) -> str:
        """The full log so far, verbose 3 included; Asterisk writes it a moment late."""
        return self._last_log or _text(self._files.log)

    @property
    def console(self) -> str:
        """What Asterisk and its AGI scripts wrote to stdout and stderr."""
        return self._last_console or _text(self._files.console)

    @property
    def ami(self) -> Ami:
        """The AMI connection, for what has no method here."""
        if self._ami is None:
            raise PbxError("Asterisk is not running")
        return self._ami

    def start(self) -> Self:
        """Start Asterisk and return when it is fully booted; PbxError where that is never."""
        try:
            for _ in range(_PORTS):
                self._ami = self._start_on(free_port(), secrets.token_hex(16))
                if self._ami is not None:
                    self._check_dialplan()
                    return self
                self._end()
            raise PbxError(f"no port for AMI: {self.console}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End Asterisk, what it started and its folder; does nothing where that is done."""
        if self._ami is not None:
            self._ami.close()
            self._ami = None
        self._end()
        self._last_log, self._last_console = self.log, self.console
        self._files.remove()

    def write(self, name: str, text: str) -> Path:
        """Write a file into the etc folder, before or after the start, such as `sms.conf`."""
        return self._files.write(name, text)

    def set_dialplan(self, text: str) -> None:
        """Replace the dialplan's text and reload it; PbxError where Asterisk keeps the old one."""
        self._serial = self._files.write_dialplan(text, self._includes)
        self.cli("dialplan reload")
        self._check_dialplan()

    def cli(self, command: str) -> str:
        """What the command line answers, such as `dialplan show sub-sms`."""
        return "\n".join(self.ami.action("Command", Command=command).all("Output"))

    def hangup(self, channel: str) -> None:
        """Hang up one channel by name; AmiError where there is none."""
        self.ami.action("Hangup", Channel=channel, Cause="16")

    def call(self, extension: str, context: str = "test", **options: Any) -> Result:
        """Call an extension and return what the call left behind: see start_call."""
        return self.start_call(extension, context, **options).wait()

    def start_call(
        self,
        extension: str,
        context: str = "test",
        *,
        variables: Mapping[str, str | bytes] | None = None,
        ask: Iterable[str] = (),
        caller_id: str = "",
        timeout: float = 20,
    ) -> Call:
        """Call an extension and return at once.

        The channel begins with exactly these variables (functions such as `CALLERID(name)` work as
        names). Its outputs (`call.OUTPUTS`) and what `ask` names are read after `h`, by a hang-up
        handler, and at every `AGI(${PROBE},label)`. `caller_id` is a number or `Name <number>`.
        """
        given: dict[str, str | bytes] = {}
        if caller_id:
            name, bracket, number = caller_id.rpartition(" <")
            given["CALLERID(num)"] = number.removesuffix(">")
            given |= {"CALLERID(name)": name} if bracket else {}
        folder = self._files.calls / f"call{next(self._numbers)}"
        seed(folder, f"{context},{extension},1", given | dict(variables or {}), ask)
        call = Call(folder, self.hangup, timeout)
        self._calls.append(call)
        peer, channel = call.ids
        self.ami.action(
            "Originate", Channel=f"Local/{call.name}@bed/n", Application="Wait", Data="3600",
            Timeout="3600000", ChannelId=peer, OtherChannelId=channel, Async="true",
        )  # fmt: skip
        return call

    def _check_dialplan(self) -> None:
        if "1. NoOp()" not in self.cli(f"dialplan show {self._serial}"):
            told = re.findall(r".*(?:ERROR|WARNING).* (?:config|pbx\w*)\.c: .*", self.log)
            raise PbxError("\n".join(["Asterisk does not take the dialplan", *told]))

    def _take(self, event: Message) -> None:
        if event.event == "FullyBooted":
            self._booted.set()
        for call in list(self._calls):
            call.take(event)
            if call.over:
                self._calls.remove(call)

    def _start_on(self, port: int, secret: str) -> Ami | None:
        """Its AMI when it is fully booted; None where the port is taken."""
        self._booted.clear()
        self._files.log.unlink(missing_ok=True)
        self._files.write_manager(port, secret)
        warden = [sys.executable, "-IS", str(Path(__file__).with_name("warden.py"))]
        asterisk = [*self.installation.command, "-f", "-C", str(self.etc / "asterisk.conf")]
        with self._files.console.open("wb") as console:
            self._warden = subprocess.Popen(
                [*warden, str(self._files.folder), *asterisk], stdin=subprocess.PIPE,
                stdout=console, stderr=console, env=self._environment, cwd=self._files.folder,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline:
            if self._warden.poll() is not None:
                raise PbxError(f"Asterisk ended at its start: {self.console}")
            try:
                ami = Ami(port, secret, self._take)
            except (OSError, AmiError):
                if "ddress already in use" in self.log + self.console:
                    return None
                time.sleep(0.02)
                continue
            # Asterisk 16 says that it is booted before its command line knows its own commands.
            while self._booted.wait(deadline - time.monotonic()):
                version = ami.action("Command", Command="core show version")["Output"]
                if version.startswith("Asterisk"):
                    return ami
                time.sleep(0.02)
            ami.close()
        raise PbxError(f"Asterisk is not up after {_START:.0f} s: {self.console}")

    def _end(self) -> None:
        if self._warden is None:
            return
        with self._warden as warden:
            try:
                if warden.poll() is None and warden.stdin is not None:
                    warden.stdin.write(b"stop")
                    warden.stdin.flush()
                warden.wait(15)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                warden.kill()  # Asterisk has asked the kernel to go with it
        self._warden = None


def processes(variable: str) -> list[Path]:
    """The folders in /proc of all that have this, such as ``HOME=/x``, in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(process)
    return found


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
