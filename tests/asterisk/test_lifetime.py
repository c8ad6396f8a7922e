"""An Asterisk of the test bed leaves nothing behind, however its test run ends."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.asterisk import server
from tests.asterisk.installation import Installation
from tests.asterisk.pbx import Pbx
from tests.asterisk.scripts import script
from tests.waiting import until


def processes(folder: Path) -> list[int]:
    """Every process whose home is this folder: Asterisk, its warden, its scripts and theirs."""
    home = f"HOME={folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if home in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def gone(folder: Path, seconds: float = 8) -> None:
    """Wait until nothing of it is left."""
    until(
        lambda: not processes(folder) and not folder.exists(),
        lambda: (processes(folder), folder.exists()),
        seconds,
    )


def all_there(folder: Path) -> None:
    """Wait for the warden, Asterisk, the script, its sleep and its grandchild."""
    until(lambda: len(processes(folder)) >= 5, lambda: processes(folder))


def lingering(folder: Path) -> Path:
    """A script that stays, ignores the hang-up, and leaves a grandchild in a session of its own."""
    return script(folder, "trap '' HUP TERM\n(setsid sleep 300 >/dev/null 2>&1 &)\nsleep 300")


def test_a_port_that_is_taken_is_left_for_another(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = server._free_port
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = iter([other.getsockname()[1], free()])
        monkeypatch.setattr(server, "_free_port", lambda: next(ports))
        with Pbx(installation) as pbx:
            assert "Asterisk" in pbx.cli("core show version")
    assert list(ports) == []


def test_stop_leaves_no_process_and_no_file(installation: Installation, tmp_path: Path) -> None:
    path = lingering(tmp_path)
    with Pbx(installation, f"[test]\nexten => 1,1,AGI({path})\n") as pbx:
        folder = pbx.etc.parent
        pbx.start_call("1").wait_for("Newexten", Application="AGI")
        all_there(folder)
    assert processes(folder) == []
    assert not folder.exists()
    assert "Executing [1@test:1] AGI" in pbx.log


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_a_killed_test_run(
    installation: Installation, tmp_path: Path, end: signal.Signals
) -> None:
    path = lingering(tmp_path)
    run = tmp_path / "run.py"
    run.write_text(
        "import time\nfrom tests.asterisk.fetch import fetch\nfrom tests.asterisk.pbx import Pbx\n"
        f"with Pbx(fetch({installation.major}), '[test]\\nexten => 1,1,AGI({path})\\n') as pbx:\n"
        "    pbx.start_call('1').wait_for('Newexten', Application='AGI')\n"
        "    print(pbx.etc.parent, flush=True)\n    time.sleep(300)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, str(run)], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        all_there(folder)

        process.send_signal(end)
        process.wait(20)

    gone(folder)


def test_asterisk_goes_when_its_warden_is_killed(installation: Installation) -> None:
    with Pbx(installation) as pbx:
        folder = pbx.etc.parent
        warden, *_ = sorted(processes(folder))
        os.kill(warden, signal.SIGKILL)
        until(lambda: not processes(folder), lambda: processes(folder))
    assert not folder.exists()
