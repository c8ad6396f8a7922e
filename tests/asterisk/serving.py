"""A running ``dialplan-sms serve`` for tests, as a process of its own."""

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from dialplan_sms.daemon import client
from dialplan_sms.sandbox import Sandbox
from tests.waiting import until


class Service:
    """The service of one sms.conf, on free ports, with its socket beside the file."""

    def __init__(
        self,
        folder: Path,
        sandbox: Sandbox,
        general: str = "",
        sender: str = "",
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.port = free_port()
        self.monitor = free_port()
        self.conf = folder / "sms.conf"
        self.socket = folder / "agi.sock"
        self.log_file = folder / "service.log"
        self.configure(general, sender)
        self._environment = environment
        self.process: subprocess.Popen[str] | None = None
        self.program: tuple[str | Path, ...] = (Path(sys.prefix) / "bin/dialplan-sms",)
        self.through: tuple[str, ...] = ()
        """A program that becomes the service, whose command it gets as arguments."""

    def configure(self, general: str = "", sender: str = "") -> None:
        self.conf.touch(0o600)
        self.conf.write_text(
            f"[general]\nlog = service.log\nlisten = 127.0.0.1:{self.port}\n"
            f"monitor = 127.0.0.1:{self.monitor}\n{general}\n"
            f"[101]\nurl = {self.sandbox.url}\npassword = sms101api\ncountry = IT\n"
            f"{f'verify = {self.sandbox.fingerprint}' if self.sandbox.tls else ''}\n{sender}\n"
        )

    @property
    def url(self) -> str:
        """What AGI() is given."""
        return f"agi://127.0.0.1:{self.port}/sms"

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def start(self) -> Self:
        """Start it and wait until it listens."""
        self.process = subprocess.Popen(
            [*self.through, *self.program, "serve", "--config", self.conf],
            env={"PATH": os.environ["PATH"], "DIALPLAN_SMS_SOCKET": str(self.socket)}
            | dict(self._environment),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            until(self._listens, lambda: "the service does not listen")
        except BaseException:
            self.end()
            raise
        return self

    def _listens(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(self.process.communicate()[0])
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.monitor)) == 0

    def figures(self) -> dict[str, Any]:
        """What ``dialplan-sms status`` is made of."""
        return client.figures(("127.0.0.1", self.monitor), 10)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout: float = 30) -> int:
        """Wait for its end; the exit status."""
        assert self.process is not None
        status = self.process.wait(timeout)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def reload(self, words: str = "was read again") -> None:
        """Have it read sms.conf again; its log tells what came of it in these *words*."""
        told = self.log.count(words)
        self.signal(signal.SIGHUP)
        until(lambda: self.log.count(words) > told, lambda: self.log)

    def kill(self) -> None:
        """End it as the kernel does where memory runs out."""
        self.signal(signal.SIGKILL)
        self.wait()

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """Kill it if it runs."""
        if self.runs:
            self.kill()
        elif self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    def __exit__(self, *_: object) -> None:
        self.end()


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
# Below what the kernel hands out by itself, and apart from what other workers take: a port that
# is free now must be free still when the service has started.
_PORTS = itertools.cycle(range(10000 + 4000 * (_WORKER % 5), 14000 + 4000 * (_WORKER % 5)))
for _ in range(random.randrange(4000)):
    next(_PORTS)


def free_port() -> int:
    """A loopback port that nobody listens on now, nor another worker of this run soon."""
    for port in _PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("a cycle has no end")
