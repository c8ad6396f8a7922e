"""Processes of a test or of the benchmark, which end with it whatever happens."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_START = 20.0  # seconds until one that does not listen is given up


class Child:
    """A process that listens on *port* of loopback; what it writes goes to the file *told*."""

    def __init__(
        self, command: Sequence[str | Path], port: int, told: Path, env: Mapping[str, str]
    ) -> None:
        self._command = list(map(str, command))
        self._port = port
        self._told = told
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        with self._told.open("wb") as told:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=told, stderr=told,
                env=dict(self._env), process_group=0, preexec_fn=end_with_parent,
            )  # fmt: skip
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.02)
        said = self._told.read_text(errors="replace")[-500:]
        raise RuntimeError(f"{self._command[0]} does not listen: {said}")

    def _end(self) -> None:
        if self._process is None:
            return
        # The whole group: nginx's workers are not ours to wait for.
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self._process.pid, number)
                self._process.wait(3)
                break
        self._process = None


def end_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """For a child, before it runs its program: it gets this signal when the thread of ours ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
