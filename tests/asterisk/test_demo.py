"""``make demo`` as a newcomer sees it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("asterisk", [True, False], ids=["with", "without"])
def test_the_demo_shows_both_ends_of_an_sms(asterisk: bool, tmp_path: Path) -> None:
    environment = dict(os.environ, COLUMNS="100", PATH=os.environ["PATH"])
    if not asterisk:
        environment["DIALPLAN_SMS_ASTERISK"] = str(tmp_path / "none")
    shown = subprocess.run(
        [sys.executable, "-m", "tests.asterisk.demo"],
        capture_output=True, text=True, timeout=100, check=False, env=environment,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stderr == ""
    assert "SMS_STATUS  SUCCESS" in shown.stdout
    assert "Directions: motorway exit 7" in shown.stdout
    assert ("presses 1" in shown.stdout) is asterisk
    assert "recorded AGI session" in shown.stdout or asterisk
    assert "Three things to try next" in shown.stdout
