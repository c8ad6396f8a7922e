"""The program as pipx installs it for root: setup links it, and Asterisk's user sends with it."""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from debian import build
from dialplan_sms.sandbox import Sandbox
from tests.packaging.root import run
from tests.pages import PAGES
from tests.unit.process import call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NOBODY = pwd.getpwnam("nobody")
PROGRAM = "pipx/venvs/dialplan-sms"
SETUP = """
import sys
from pathlib import Path
from dialplan_sms.cli.main import main
from dialplan_sms.cli.setup.host import Host, Places
top = Path(sys.argv[1])
places = Places(
    state=top / "state", units=top / "units", prefix=top / "none", systemd=top / "none",
    package=top / "none", commands=top / "bin", freepbx=top / "none", proc=top / "none",
    asterisk_confs=(top / "etc/asterisk.conf",), path="",
)
main(["setup", "--yes", *sys.argv[2:]], obj=Host(places, interactive=False))
"""
"""setup, which leaves this host as it is: all its places are below the folder that is given."""


@pytest.fixture(scope="module")
def top() -> Iterator[Path]:
    """A folder that every user may enter: pipx's, and those of an Asterisk that nobody runs."""
    if os.geteuid() != 0 or not shutil.which("pipx"):
        pytest.fail("this needs root and pipx: apt-get install pipx", pytrace=False)
    with tempfile.TemporaryDirectory(dir="/opt", prefix="sms-") as folder:
        top = Path(folder)
        top.chmod(0o755)
        for name in ("etc", "agi-bin", "spool"):
            (top / name).mkdir()
        conf = "astetcdir => {0}/etc\nastagidir => {0}/agi-bin\nastspooldir => {0}/spool"
        (top / "etc/asterisk.conf").write_text(
            f"[directories]\n{conf.format(top)}\n[options]\nrunuser = nobody\n"
        )
        (top / "etc/extensions.conf").write_text("[a]\n")
        # As docs/install.md says.
        pattern = r"^PIPX_HOME=\S+ PIPX_BIN_DIR=\S+ (pipx install) '.+(\[.+\])'$"
        (line,) = re.findall(pattern, PAGES["docs/install.md"], re.MULTILINE)
        wheel = build._own_wheel(top)
        environment = os.environ | {"PIPX_HOME": f"{top}/pipx", "PIPX_BIN_DIR": f"{top}/bin"}
        command = [*line[0].split(), "--python", "/usr/bin/python3", f"{wheel}{line[1]}"]
        run(*command, environment=environment)
        yield top


def setup(top: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [top / PROGRAM / "bin/python", "-I", "-c", SETUP, top, *words],
        env={"PATH": "/usr/bin:/bin", "DIALPLAN_SMS_PASSWORD": "sms101api"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_asterisks_user_sends_with_it(top: Path) -> None:
    program = top / PROGRAM
    with Sandbox() as sandbox:
        words = ("--url", sandbox.url, "--sender", "101", "--fingerprint", sandbox.fingerprint)
        done = setup(top, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "the PBX accepts 101" in done.stdout
        script = top / "agi-bin/sms.agi"
        assert script.readlink() == program / "bin/sms.agi"
        assert script.read_text().startswith(f"#!{program}/bin/python3 -IS\n")
        # The link that pipx has made for the command stays its own.
        assert os.path.realpath(top / "bin/dialplan-sms") == str(program / "bin/dialplan-sms")
        assert f"make    {top}/bin/dialplan-sms" not in done.stdout
        assert call(script, top / "etc", user=NOBODY.pw_uid)["SMS_STATUS"] == "SUCCESS"
        assert len(sandbox.messages) == 1
    done = setup(top, "--remove")
    assert f"kept: {program}, the program: PIPX_HOME=" in done.stdout
    assert (script.is_symlink(), (top / "bin/dialplan-sms").is_symlink()) == (False, True)


def test_one_that_asterisks_user_cannot_enter_is_told(top: Path) -> None:
    """As pipx has it without the two variables: below /root."""
    before = sorted(top.rglob("*"))
    (top / "pipx").chmod(0o700)
    try:
        done = setup(top, "--url", "http://127.0.0.1:9", "--sender", "102")
    finally:
        (top / "pipx").chmod(0o755)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"nobody may not pass the folder {top}/pipx: run PIPX_HOME=/opt/pipx" in done.stderr
    assert sorted(top.rglob("*")) == before
