"""An Asterisk's side of the AGI dialogue for a script that runs as a process, on pipes."""

import os
import re
import subprocess
from pathlib import Path

from tests.unit.fakes import ENVIRONMENT

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
        for line in self.process.stdout:
            if found := re.fullmatch(rb'SET VARIABLE "?(\w+)"? "(.*)"\n', line):
                self.variables[found[1].decode()] = found[2].decode()
                reply = b"200 result=1\n"
            elif found := re.fullmatch(rb'GET FULL VARIABLE "(.*)"\n', line):
                text = re.sub(
                    r"\$\{(\w+)\}", lambda m: self.variables.get(m[1], ""), found[1].decode()
                )
                reply = f"200 result=1 ({text})\n".encode()
            elif found := re.fullmatch(rb'GET VARIABLE "(\w+)"\n', line):
                reply = f"200 result=1 ({self.variables.get(found[1].decode(), '')})\n".encode()
            else:
                reply = b"510 Invalid or unknown command\n"
            try:
                self.process.stdin.write(reply)
                self.process.stdin.flush()
            except BrokenPipeError:
                break
        self.process.wait(10)
        return self

    @property
    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
