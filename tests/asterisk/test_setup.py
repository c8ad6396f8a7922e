"""``dialplan-sms setup`` beside a real Asterisk: set up, call, taken back."""

import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from dialplan_sms.cli.main import main
from dialplan_sms.cli.setup.host import Host, Places
from dialplan_sms.host.installation import write_script
from dialplan_sms.sandbox import Sandbox
from tests.asterisk.installation import Installation
from tests.asterisk.pbx import Pbx
from tests.asterisk.site import NUMBER, PASSWORD

DIALPLAN = """\
[test]
exten => 1,1,Set(TEXT=Grüezi, it works :) 100%)
 same => n,Gosub(sub-sms,s,1(+39333123456,TEXT))
"""
ABSENT = "There is no existence of 'sub-sms' context"


def program(prefix: Path) -> Path:
    """The program that runs, as one in *prefix*: its script, its Python, its packages."""
    here = Path(sys.prefix)
    (prefix / "bin").mkdir(parents=True)
    (prefix / "pyvenv.cfg").write_text((here / "pyvenv.cfg").read_text())
    (prefix / "lib").symlink_to(here / "lib")
    (prefix / "bin/python3").symlink_to(os.path.realpath(sys.executable))
    write_script(here / "bin/sms.agi", prefix / "bin/sms.agi", prefix / "bin/python3")
    return prefix


class Bench:
    """One Asterisk with nothing of ours, and setup with places of its own beside it."""

    def __init__(self, pbx: Pbx, top: Path) -> None:
        self.pbx = pbx
        self.script = pbx.etc.parent / "agi/sms.agi"
        self.prefix = program(top / "program")
        console = top / "asterisk"
        console.write_text(f'#!/bin/sh\nexec {" ".join(pbx.installation.command)} "$@"\n')
        console.chmod(0o755)
        places = Places(
            state=top / "state", units=top / "units", systemd=top / "no-systemd",
            commands=top / "bin", freepbx=top / "no-freepbx", prefix=top / "no-copy",
            path=f"{top}:/usr/bin:/bin",
        )  # fmt: skip
        self.host = Host(places, environ={"DIALPLAN_SMS_PASSWORD": PASSWORD}, is_root=True,
                         interactive=False, prefix=self.prefix)  # fmt: skip

    def setup(self, *arguments: str) -> str:
        conf = self.pbx.etc / "asterisk.conf"
        given = ["setup", "--asterisk-conf", str(conf), "--yes", *arguments]
        done = CliRunner().invoke(main, given, obj=self.host)
        assert done.exit_code == 0, done.output
        return done.output


@pytest.fixture
def bench(installation: Installation, tmp_path: Path) -> Iterator[Bench]:
    with Pbx(installation, DIALPLAN) as pbx:
        yield Bench(pbx, tmp_path)


def test_set_up_called_and_taken_back(bench: Bench) -> None:
    pbx = bench.pbx
    before = (pbx.etc / "extensions.conf").read_bytes()
    assert ABSENT in pbx.cli("dialplan show sub-sms")
    with Sandbox() as sandbox:
        said = bench.setup(
            "--url", sandbox.url, "--sender", "101", "--fingerprint", sandbox.fingerprint,
            "--country", "IT",
        )  # fmt: skip
        assert "the dialplan has [sub-sms]" in said
        assert "Context 'sub-sms'" in pbx.cli("dialplan show sub-sms")

        result = pbx.call("1")
        assert result.variables["SMS_STATUS"] == "SUCCESS", result.variables
        (message,) = sandbox.messages
        assert (message.numbers, message.text) == ((NUMBER,), "Grüezi, it works :) 100%")

        assert "all is there: nothing to change" in bench.setup()
        bench.setup("--remove")

    assert ABSENT in pbx.cli("dialplan show sub-sms")
    assert (pbx.etc / "extensions.conf").read_bytes() == before
    assert (pbx.etc / "sms.conf").exists()
    assert not bench.script.is_symlink()
    assert not (pbx.etc / "extensions-sms.conf").exists()


def test_its_folders_and_its_user_are_asked_of_asterisk(bench: Bench) -> None:
    conf = bench.pbx.etc / "asterisk.conf"
    # What the file says now is not what the running Asterisk has read.
    conf.write_text(conf.read_text().replace("/agi\n", "/other\n"))
    said = bench.setup("--dry-run")
    assert f"{bench.pbx.etc.parent}/agi/sms.agi: a link" in said
    assert f"runs as {pwd.getpwuid(os.getuid()).pw_name}\n" in said
