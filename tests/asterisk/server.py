"""The Asterisk process of a test: started under a warden, reached over AMI, ended with the test."""

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.asterisk.ami import Ami, AmiError, Message
from tests.asterisk.etc import Etc
from tests.asterisk.installation import Installation
from tests.asterisk.serving import free_port

_START = 20.0  # seconds until Asterisk is given up
_PORTS = 5  # tries: another process may take the free port before Asterisk does


class PbxError(Exception):
    """Asterisk did not start, or does not take the dialplan."""


class Server:
    """One Asterisk process, as this user, in a process group of its own."""

    def __init__(
        self, installation: Installation, files: Etc, environment: Mapping[str, str]
    ) -> None:
        command = [sys.executable, "-IS", str(Path(__file__).with_name("warden.py"))]
        command += [str(files.folder), *installation.command]
        self._command = [*command, "-f", "-C", str(files.etc / "asterisk.conf")]
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(files.folder),
            "DIALPLAN_SMS_SOCKET": str(files.etc / "agi.sock"),  # where Site's service listens
            "LANG": "C.UTF-8",
            **({"TZ": os.environ["TZ"]} if "TZ" in os.environ else {}),
            **environment,
        }
        self._files = files
        self._warden: subprocess.Popen[bytes] | None = None

    def start(self, listener: Callable[[Message], None]) -> Ami:
        """Start Asterisk and return its AMI when it is fully booted; PbxError where it never is."""
        for _ in range(_PORTS):
            ami = self._start_on(free_port(), secrets.token_hex(16), listener)
            if ami is not None:
                return ami
            self.end()
        raise PbxError(f"no port for AMI: {self._said()}")

    def end(self) -> None:
        """End Asterisk and all that it started."""
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

    def _start_on(self, port: int, secret: str, listener: Callable[[Message], None]) -> Ami | None:
        """None where the port is taken."""
        booted = threading.Event()

        def hear(event: Message) -> None:
            if event.event == "FullyBooted":
                booted.set()
            listener(event)

        self._files.log.unlink(missing_ok=True)
        self._files.write_manager(port, secret)
        with self._files.console.open("wb") as console:
            self._warden = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=console, stderr=console,
                env=self._environment, cwd=self._files.folder, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline:
            if self._warden.poll() is not None:
                raise PbxError(f"Asterisk ended at its start: {self._said()}")
            try:
                ami = Ami(port, secret, hear)
            except (OSError, AmiError):
                if "ddress already in use" in text(self._files.log) + self._said():
                    return None
                time.sleep(0.02)
                continue
            # Asterisk 16 says that it is booted before its command line knows its own commands.
            while booted.wait(deadline - time.monotonic()):
                version = ami.action("Command", Command="core show version")["Output"]
                if version.startswith("Asterisk"):
                    return ami
                time.sleep(0.02)
            ami.close()
        raise PbxError(f"Asterisk is not up after {_START:.0f} s: {self._said()}")

    def _said(self) -> str:
        return text(self._files.console)[-1000:]


def processes(variable: str) -> list[Path]:
    """The folders in /proc of all that have this, such as ``HOME=/x``, in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(process)
    return found


def text(path: Path) -> str:
    """What a file holds by now, "" before it is there."""
    return path.read_text(errors="replace") if path.exists() else ""
