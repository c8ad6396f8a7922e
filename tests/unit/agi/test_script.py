"""The installed sms.agi as a process, on pipes as Asterisk gives it."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dialplan_sms.host.installation import write_script
from dialplan_sms.sandbox import Fault, Sandbox
from tests.unit.process import Asterisk

SCRIPT = Path(sys.prefix) / "bin/sms.agi"
SOURCE = Path(__file__).parents[3] / "agi/sms.agi"


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def folder(server: Sandbox, tmp_path: Path) -> Path:
    """A folder with an sms.conf for the stand-in."""
    server.clear()
    conf = tmp_path / "sms.conf"
    conf.touch(0o600)
    conf.write_text(
        f"[general]\nlog = log\n[101]\nurl = {server.url}\npassword = sms101api\n"
        f"verify = {server.fingerprint}\n"
    )
    return tmp_path


def run(script: Path, folder: Path, *arguments: str) -> tuple[dict[str, str], str]:
    with closing(Asterisk(script, folder, *arguments)) as asterisk:
        return asterisk.serve().variables, asterisk.errors


def test_the_first_line_is_the_one_of_the_installation() -> None:
    assert SCRIPT.read_text().splitlines()[0] == f"#!{sys.prefix}/bin/python3 -IS"
    assert SCRIPT.read_text().partition("\n")[2] == SOURCE.read_text().partition("\n")[2]
    assert os.access(SCRIPT, os.X_OK)


def test_sighup_is_ignored_before_anything_else() -> None:
    lines = [line for line in SOURCE.read_text().splitlines()[1:] if line.strip()]
    assert lines[0] == "import _signal"
    assert lines[1].startswith("_signal.signal(_signal.SIGHUP, _signal.SIG_IGN)")


def test_a_call_sends(server: Sandbox, folder: Path) -> None:
    variables, errors = run(SCRIPT, folder)
    assert (variables["SMS_STATUS"], variables["SMS_CAUSE"]) == ("SUCCESS", "")
    assert [message.text for message in server.messages] == ["A private text"]
    assert errors == ""
    log = (folder / "log").read_text()
    assert re.search(r"call=1700000000.7 sender=101 to=…456 chars=14 status=SUCCESS ms=\d+$", log)


def test_a_link_is_as_good(server: Sandbox, folder: Path) -> None:
    (folder / "linked.agi").symlink_to(SCRIPT)
    variables, _ = run(folder / "linked.agi", folder, "+39333123457", "other")
    assert variables["SMS_STATUS"] == "SUCCESS"
    assert server.messages[0].numbers == ("+39333123457",)


@pytest.mark.parametrize(
    ("fault", "number", "left"),
    [(Fault.SLOW, signal.SIGHUP, ("SUCCESS", "")), (Fault.HANG, signal.SIGKILL, ("ERROR", "NO_ANSWER"))],
)  # fmt: skip
def test_in_the_request_a_hang_up_does_not_stop_it_and_what_kills_it_leaves_the_truth(
    server: Sandbox, folder: Path, fault: Fault, number: signal.Signals, left: tuple[str, str]
) -> None:
    server.fault = fault
    with closing(Asterisk(SCRIPT, folder)) as asterisk:
        answering = threading.Thread(target=asterisk.serve)
        answering.start()
        server.wait(requests=1)
        asterisk.process.send_signal(number)
        answering.join(10)
    assert (asterisk.variables["SMS_STATUS"], asterisk.variables["SMS_CAUSE"]) == left


def bare_venv(folder: Path) -> tuple[Path, Path]:
    """The Python of a virtual environment without packages, and where they would be."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    return venv / "bin/python3", next(venv.glob("lib/python*/site-packages"))


@pytest.mark.parametrize("missing", ["dialplan_sms", "asterisk", "requests", "urllib3"])
def test_a_missing_package_is_named(server: Sandbox, folder: Path, missing: str) -> None:
    python, packages = bare_venv(folder)
    site = next((Path(sys.prefix) / "lib").glob("python*/site-packages"))
    needed = ("asterisk", "six.py", "requests", "urllib3", "certifi", "idna", "charset_normalizer")
    for package in needed:
        if package != missing:
            (packages / package).symlink_to(site / package)
    if missing != "dialplan_sms":
        (packages / "dialplan_sms").symlink_to(SOURCE.with_name("dialplan_sms"))
    write_script(SOURCE, folder / "sms.agi", python)
    variables, errors = run(folder / "sms.agi", folder)
    assert (variables["SMS_STATUS"], variables["SMS_CAUSE"]) == ("ERROR", "INTERNAL")
    assert f"package {missing} is missing" in variables["SMS_REASON"]
    assert errors == ""
    assert server.requests == []


def test_it_works_after_a_wheels_first_line(server: Sandbox, folder: Path) -> None:
    plain = folder / "plain.agi"
    plain.write_text(f"#!{sys.executable}\n" + SOURCE.read_text().partition("\n")[2])
    plain.chmod(0o755)
    assert run(plain, folder)[0]["SMS_STATUS"] == "SUCCESS"


@pytest.mark.parametrize(
    "environment", [b"", b"agi_request: x\n", b"\n", b"\n\n\n", os.urandom(5000), b"x\n" * 100_000]
)
def test_whatever_comes_in_it_ends_without_a_traceback(folder: Path, environment: bytes) -> None:
    ended = subprocess.run(
        [SCRIPT], input=environment, capture_output=True, timeout=20,
        env={"AST_CONFIG_DIR": str(folder), "PATH": os.environ["PATH"]}, check=False,
    )  # fmt: skip
    assert ended.stderr == b""
    assert b"Traceback" not in ended.stdout
    assert ended.returncode == 0


def test_it_gives_up_where_asterisk_never_answers() -> None:
    """The kernel's alarm, with its time shortened for this one process."""
    code = "import sys; from dialplan_sms.agi import script; script.LONGEST_CALL = 1; script.main()"
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.wait(20) == -signal.SIGALRM
    assert time.monotonic() - started < 10
    assert process.stdin is not None
    process.stdin.close()


@pytest.mark.parametrize("mode", ["wait", "queue", "fallback"])
def test_a_host_without_processes_is_named(server: Sandbox, folder: Path, mode: str) -> None:
    """As at a limit of the processes and threads of a user (ulimit -u), which root has not."""
    conf, script = folder / "sms.conf", folder / "short.agi"
    general = f"[general]\noutbox = sqlite:///{folder}/outbox.sqlite\nmode = {mode}\n"
    conf.write_text(conf.read_text().replace("[general]\n", general))
    script.write_text(
        f"#!{sys.executable}\nimport threading\ndef start(*_):\n"
        '    raise RuntimeError("can\'t start new thread")\n'
        "threading._start_new_thread = start\nfrom dialplan_sms.agi.script import main\nmain()\n"
    )
    script.chmod(0o755)
    variables, _ = run(script, folder)
    assert (variables["SMS_STATUS"], variables["SMS_CAUSE"]) == ("ERROR", "INTERNAL")
    assert "no process or thread can be started: raise TasksMax=" in variables["SMS_REASON"]
    assert server.requests == []


@pytest.mark.parametrize("failure", ["MemoryError()", "RuntimeError()", "OSError(11, 'again')"])
def test_a_host_on_which_it_cannot_even_start_is_named(folder: Path, failure: str) -> None:
    python, packages = bare_venv(folder)
    (packages / "dialplan_sms.py").write_text(f"raise {failure}\n")
    write_script(SOURCE, folder / "sms.agi", python)
    variables, errors = run(folder / "sms.agi", folder)
    assert (variables["SMS_STATUS"], variables["SMS_CAUSE"]) == ("ERROR", "INTERNAL")
    assert variables["SMS_REASON"].endswith(
        "this host is short of memory, of processes - see ulimit -u - or of files - ulimit -n"
    )
    assert errors == ""


def test_a_folder_whose_name_is_no_utf8(folder: Path) -> None:
    assert run(SCRIPT, folder / "\udcff")[0]["SMS_CAUSE"] == "CONFIG"
