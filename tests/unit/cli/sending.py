"""A sender whose PBX is the stand-in, for tests of ``dialplan-sms send``."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dialplan_sms.cli import main
from dialplan_sms.sandbox import Sandbox

COMMAND = Path(sys.prefix) / "bin/dialplan-sms"


def run(conf: Path, *arguments: str, text: str = "Hi\n") -> Result:
    """``dialplan-sms send`` with *text* on standard input."""
    return CliRunner().invoke(main.main, ["send", "--config", str(conf), *arguments], input=text)


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox(tls=False) as sandbox:
        yield sandbox


@pytest.fixture
def conf(server: Sandbox, tmp_path: Path) -> Path:
    server.clear()
    path = tmp_path / "sms.conf"
    path.touch(0o600)
    path.write_text(
        f"[general]\nlog = log\n[101]\nurl = {server.url}\npassword = sms101api\ncountry = IT\n"
        "allow = all\npace = 0s\n"
    )
    return path


@pytest.fixture
def outbox(conf: Path) -> Path:
    """An sms.conf with an outbox."""
    file = conf.with_name("outbox.sqlite")
    conf.write_text(conf.read_text().replace("log = log", f"log = log\noutbox = sqlite:///{file}"))
    return conf


class List:
    """list.csv beside sms.conf, and the command on it."""

    def __init__(self, conf: Path, server: Sandbox) -> None:
        self.conf = conf
        self.server = server
        self.path = conf.with_name("list.csv")
        self.journal = Path(f"{self.path}.journal")

    def write(self, *rows: str, header: str = "number,name") -> None:
        self.path.write_text("\n".join([header, *rows, ""]))

    def configure(self, old: str, new: str) -> None:
        self.conf.write_text(self.conf.read_text().replace(old, new))

    def send(self, *arguments: str, text: str = "Dear {name}\n") -> Result:
        return run(self.conf, "--list", str(self.path), *arguments, text=text)

    def json(self, *arguments: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The rows and the summary of --json."""
        rows = [json.loads(line) for line in self.send("--json", *arguments).stdout.splitlines()]
        return rows[:-1], rows[-1]["summary"]

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Number and text of what the PBX took."""
        return [(to, each.original) for each in self.server.messages for to in each.numbers]

    def forget_the_last(self) -> None:
        """As if the command was killed before the last answer was written down."""
        lines = self.journal.read_text().splitlines(keepends=True)
        self.journal.write_text("".join(lines[:-1]))


@pytest.fixture
def listed(conf: Path, server: Sandbox) -> List:
    return List(conf, server)


@pytest.fixture
def stored(outbox: Path, server: Sandbox) -> List:
    """With an outbox."""
    return List(outbox, server)
