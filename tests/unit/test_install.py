"""``make install`` as root, and calls as the user that Asterisk runs as."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dialplan_sms.sandbox import Sandbox
from tests.unit.process import Asterisk

TOP = Path(__file__).parents[2]
NOBODY = 65534
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """A folder with the result of ``make install``, readable by everybody as /opt is."""
    if os.geteuid() != 0:
        pytest.fail("these tests install for another user: run make test-all as root", False)
    top = Path("/opt/dialplan-sms-test")
    shutil.rmtree(top, ignore_errors=True)
    (top / "agi-bin").mkdir(parents=True)
    (top / "etc").mkdir()
    try:
        subprocess.run(
            ["make", "--no-print-directory", "install", "PYTHON=/usr/bin/python3",
             f"PREFIX={top}/program", f"AGI_BIN={top}/agi-bin", f"ASTERISK_ETC={top}/etc"],
            cwd=TOP, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        yield top
    finally:
        shutil.rmtree(top)


@pytest.fixture
def call(installed: Path, tmp_path: Path) -> Iterator["Caller"]:
    with Sandbox() as sandbox:
        yield Caller(installed, sandbox)


class Caller:
    """Calls the installed script as a user who owns nothing."""

    def __init__(self, installed: Path, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.conf = installed / "etc/sms.conf"
        self.script = installed / "agi-bin/sms.agi"
        self.conf.write_text(
            f"[101]\nurl = {sandbox.url}\npassword = sms101api\nverify = {sandbox.fingerprint}\n"
        )
        os.chown(self.conf, 0, NOBODY)
        self.conf.chmod(0o640)

    def __call__(self) -> dict[str, str]:
        session = Asterisk(self.script, self.conf.parent, user=NOBODY)
        try:
            return session.serve().variables
        finally:
            session.close()


def test_what_is_installed_is_in_its_place(installed: Path) -> None:
    script = installed / "agi-bin/sms.agi"
    assert script.read_text().startswith(f"#!{installed}/program/bin/python3 -IS\n")
    assert (installed / "etc/extensions-sms.conf").stat().st_mode & 0o777 == 0o644
    command = installed / "program/bin/dialplan-sms"
    shown = subprocess.run([command, "send", "--help"], capture_output=True, text=True, check=True)
    assert "--dry-run" in shown.stdout
    # Its packages are no part of what a PBX needs.
    shown = subprocess.run([command, "sandbox"], capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr.count("\n")) == (1, 1)
    assert shown.stderr.endswith(": in the source folder, run make install WITH=sandbox\n")


def test_asterisks_user_sends(call: Caller) -> None:
    assert call()["SMS_STATUS"] == "SUCCESS"
    assert len(call.sandbox.messages) == 1


def test_a_file_that_asterisk_cannot_read_says_what_to_do(call: Caller) -> None:
    call.conf.chmod(0o600)
    said = call()
    assert said["SMS_CAUSE"] == "CONFIG"
    assert f"cannot be read by user id {NOBODY}" in said["SMS_REASON"]
    assert "chmod 0640" in said["SMS_REASON"]
    call.conf.chmod(0o644)
    assert "can be read or changed by everybody" in call()["SMS_REASON"]
