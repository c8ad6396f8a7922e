"""An Asterisk's side of the AGI dialogue for a script that runs as a process, on pipes."""

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.unit.fakes import ENVIRONMENT, FakeAsterisk

VARIABLES = {"SMS_NUMBER": "+39333123456", "SMS_MESSAGE": "A private text"}
"""The channel variables that a call begins with."""


class Asterisk:
    """Starts a script, with sms.conf in *folder*, and answers it one command at a time.

    *more* goes into its environment.
    """

    def __init__(
        self, script: Path, folder: Path, *arguments: str, user: int | None = None, **more: str
    ) -> None:
        self.variables: dict[str, str] = dict(VARIABLES)
        self.process = subprocess.Popen(
            [script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"AST_CONFIG_DIR": str(folder), "PATH": os.environ["PATH"]} | more,
            user=user, extra_groups=[] if user else None, group=user,
        )  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write(ENVIRONMENT + b"\n")
        self.process.stdin.flush()

    def serve(self) -> "Asterisk":
        """Answer until the script ends."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pipes = (self.process.stdout.fileno(), self.process.stdin.fileno())
        self.variables = answer(self.variables, *pipes)
        self.process.wait(10)
        return self

    @property
    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def call(
    script: Path, folder: Path, *arguments: str,
    user: int | None = None, variables: Mapping[str, str] | None = None, **more: str,
) -> dict[str, str]:  # fmt: skip
    """What a script leaves that is answered until it ends; what it says elsewhere is ``stderr``."""
    session = Asterisk(script, folder, *arguments, user=user, **more)
    session.variables |= variables or {}
    try:
        return session.serve().variables | {"stderr": session.errors}
    finally:
        session.close()


def answer(
    variables: Mapping[str, str], reading: int, writing: int, hang_up: bool = False
) -> dict[str, str]:
    """Answer what is asked, until its end; the *variables* of the channel by then.

    One that hangs up does so when the request goes out.
    """
    asterisk = FakeAsterisk(variables, b"")
    asterisk.take()  # its own environment: this one's was sent
    buffer = b""
    with suppress(BrokenPipeError):
        while chunk := os.read(reading, 65536):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                asterisk.write(line + b"\n")
                os.write(writing, asterisk.take())
            if hang_up and asterisk.value("SMS_STATUS") == "ERROR":
                break
    return {name: value.decode() for name, value in asterisk.variables.items()}
