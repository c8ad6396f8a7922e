"""A sender whose PBX is the stand-in, for tests of ``dialplan-sms send``."""

import sys
from collections.abc import Iterator
from pathlib import Path

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
