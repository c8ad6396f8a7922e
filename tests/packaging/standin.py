"""A stand-in PBX of this tree beside a fresh system: this host's files, the system's network."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Self

from tests.packaging.root import ENVIRONMENT, Root
from tests.waiting import until

PASSWORD = "sms101api"


class StandIn:
    """It listens on *port* of the system's loopback, and keeps a record of what it took."""

    def __init__(
        self, root: Root, folder: Path, port: int, users: tuple[str, ...], *options: str
    ) -> None:
        self._record = folder / f"{port}.jsonl"
        told = folder / f"{port}.log"
        words = [word for user in users for word in ("--user", f"{user}:{PASSWORD}")]
        command = root.outside(
            Path(sys.prefix) / "bin/dialplan-sms", "sandbox", "--listen", f"127.0.0.1:{port}",
            "--pace", "0", "--record", self._record, *words, *options,
        )  # fmt: skip
        with told.open("w") as log:
            self._process = subprocess.Popen(
                command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(
            lambda: "Listening on" in told.read_text() or self._process.poll() is not None,
            told.read_text,
            30,
        )
        assert self._process.poll() is None, told.read_text()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What it took, in order."""
        lines = self._record.read_text().split("\n")[:-1] if self._record.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def taken(self) -> Counter[str]:
        """How often it took each text."""
        return Counter(str(message["text"]) for message in self.messages)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
