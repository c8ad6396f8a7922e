"""From 0.1.0 to this tree where no package was installed: by make install, and with pipx and setup."""

import os
import shutil
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from debian import build, wheels
from dialplan_sms import __version__
from dialplan_sms.sandbox import Sandbox
from tests.asterisk.serving import Service
from tests.packaging.released import Released
from tests.packaging.root import PASSWORD, SCRIPT, TOP, UNIT, Booted, StandIn, need, run
from tests.packaging.test_installed import asterisk, put_asterisk
from tests.unit.process import call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def top() -> Iterator[Path]:
    """An empty folder that every user may enter."""
    if os.geteuid() != 0:
        pytest.fail("these tests install as root does: run make test-all as root", False)
    top = Path("/opt/dialplan-sms-test-upgrade")
    shutil.rmtree(top, ignore_errors=True)
    yield top
    shutil.rmtree(top, ignore_errors=True)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(tls=False) as sandbox:
        yield sandbox


def test_make_install_over_make_install(top: Path, released: Released, sandbox: Sandbox) -> None:
    folders = {"PREFIX": "program", "AGI_BIN": "agi-bin", "ASTERISK_ETC": "etc"}
    for name in (*folders.values(), "host"):
        (top / name).mkdir(parents=True)
    words = [f"{name}={top / folder}" for name, folder in folders.items()]
    words.append("PYTHON=/usr/bin/python3")
    released.make("install", *words)
    script, program = top / "agi-bin/sms.agi", top / "program/bin/dialplan-sms"
    general = f"outbox = sqlite:///{top}/host/outbox.sqlite"
    service = Service(top / "host", sandbox, general, "pace = 0s\nlong_message = truncate")
    service.program = (program,)

    def send(text: str, **variables: str) -> dict[str, str]:
        return call(
            script, service.folder, variables={"SMS_MESSAGE": text} | variables,
            DIALPLAN_SMS_SOCKET=str(service.socket),
        )  # fmt: skip

    def command(*words: str) -> str:
        environment = os.environ | {"DIALPLAN_SMS_CONF": str(service.conf)}
        return run(program, *words, environment=environment)

    sent = Counter[str]()
    failed = []
    over = threading.Event()

    def keep_calling() -> None:
        n = 0
        while not over.wait(0.02):
            n += 1
            try:
                said = send(f"call {n}", SMS_MODE=("wait", "queue")[n % 2])
            except OSError as error:  # as Asterisk, which leaves SMS_STATUS empty then
                failed.append(str(error))
                continue
            if "can't open file" in said["stderr"]:  # it went just before Python read it
                failed.append("[Errno 2]")
                continue
            assert said["stderr"] == ""
            if said.get("SMS_STATUS") in ("SUCCESS", "QUEUED"):
                sent[f"call {n}"] += 1
            else:
                failed.append(str(said))

    with service:
        # While the old service runs and takes the calls ...
        thread = threading.Thread(target=keep_calling)
        thread.start()
        try:
            run("make", "--no-print-directory", "-C", TOP, "install", *words)
        finally:
            over.set()
            thread.join()
        assert len(sent) > 20
        # Without the script for a moment, or while pip writes it (26, text file busy; 13, it cannot be
        # run yet), a call has an empty SMS_STATUS: nothing was sent.
        harmless = ("[Errno 2]", "[Errno 13]", "[Errno 26]")
        assert [why for why in failed if not why.startswith(harmless)] == []
        assert len(failed) < len(sent) / 4
        # ... and with what it has not used yet.
        for text, number in ("national", "333 123 4567"), ("long" * 999, "+39333123456"):
            said = send(text, SMS_NUMBER=number)
            assert (said["SMS_STATUS"], said["stderr"]) == ("SUCCESS", "")
        service.signal(signal.SIGHUP)
        command("outbox")
        command("status")
        assert "sms.conf was read again" in service.log
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
    first = script.read_text().partition("\n")[0]
    assert first == f"#!{top}/program/bin/python3 -IS"
    assert __version__ in command("--version")
    assert send("alone")["SMS_STATUS"] == "SUCCESS"
    with service:
        assert send("handed over")["SMS_STATUS"] == "SUCCESS"
        assert send("stored", SMS_MODE="queue")["SMS_STATUS"] == "QUEUED"
        sandbox.wait(requests=len(sent) + 5, timeout=30)
        assert "Traceback" not in service.log
    taken = Counter(each.text for each in sandbox.messages)
    assert set(taken.values()) == {1}
    assert set(sent) <= set(taken)
    assert len(taken) == len(sent) + 5


class Pipx:
    """What ``pipx install`` makes on a system without a network."""

    def __init__(self, system: Booted, released: Released) -> None:
        self._system = system
        (ours,) = Path(sys.prefix).glob("lib/python3*/site-packages/pip")
        shutil.copytree(ours, system.path / "root/pip/pip")
        (system.path / "root/wheels").mkdir()
        locked = wheels.locked(build.MACHINES["amd64"])
        for wheel in {*released.wheels(), *wheels.fetch(locked)}:
            shutil.copy(wheel, system.path / "root/wheels")

    def install(self, wheel: Path, home: str, folder: str) -> str:
        """Into an environment below *home*, with a link in *folder*; its command there."""
        system = self._system
        shutil.copy(wheel, system.path / "root/wheels")
        venv = f"{home}/venvs/dialplan-sms"
        system.run("python3", "-m", "venv", "--without-pip", venv)
        wanted = f"/root/wheels/{wheel.name}[http,postgresql,sandbox]"
        system.run(
            f"{venv}/bin/python", "-m", "pip", "--quiet", "install", "--no-index",
            "--no-compile", "--find-links=/root/wheels", wanted, PYTHONPATH="/root/pip",
        )  # fmt: skip
        system.write(f"{venv}/pipx_metadata.json", "{}\n", 0o644)
        system.run("mkdir", "-p", folder)
        link = f"{folder}/dialplan-sms"  # of another program it stays, and pipx says so
        system.run("sh", "-c", f"test -e {link} || ln -s {venv}/bin/dialplan-sms {link}")
        return f"{venv}/bin/dialplan-sms"


def test_setups_copy_of_pipx_is_used_up_or_named(released: Released, tmp_path: Path) -> None:
    """0.1.0's setup put a copy of the program into /opt/dialplan-sms, with a file .setup in it."""
    need()
    with ExitStack() as stack:
        system = stack.enter_context(closing(Booted("bookworm+systemd")))
        system.run("adduser", "--quiet", "--system", "--group", "--no-create-home", "asterisk")
        put_asterisk(system)
        folders = [f"/var/{name}/asterisk" for name in ("lib", "log", "spool")]
        system.run("install", "-d", "-o", "asterisk", "-g", "asterisk", "-m", "0755", *folders)
        system.run("mkdir", "-p", "/usr/share/asterisk/agi-bin")
        stack.enter_context(asterisk(system))
        pbx = stack.enter_context(StandIn(system, tmp_path, 8080, ("101",), "--no-tls"))
        pipx = Pipx(system, released)
        for folder in ("old", "new"):
            (tmp_path / folder).mkdir()
        wheel = released.wheel(tmp_path / "old")
        old = pipx.install(wheel, "/root/.local/share/pipx", "/root/.local/bin")
        words = ("--url", "http://127.0.0.1:8080", "--sender", "101", "--country", "IT")
        system.run(old, "setup", "--yes", *words, DIALPLAN_SMS_PASSWORD=PASSWORD)
        system.wait("active")
        assert program(system) == "0.1.0"
        assert (system.path / "opt/dialplan-sms/.setup").exists()

        wheel = build._own_wheel(tmp_path / "new")
        new = pipx.install(wheel, "/opt/pipx", "/usr/local/bin")
        said = system.run(new, "setup", "--yes")
        system.wait("active")
        assert program(system) == __version__
        left = system.path / "opt/dialplan-sms"
        assert not (left / ".setup").exists() or "/opt/dialplan-sms" in said
        unit = system.run("systemctl", "show", "--property=ExecStart", "--value", UNIT)
        command = unit.partition("path=")[2].partition(" ")[0]
        assert __version__ in system.run(command, "--version", user="asterisk")
        assert "all is there" in system.run(new, "setup", "--yes")
        for state in ("start", "stop"):  # handed over, and alone
            system.run("systemctl", state, UNIT)
            system.wait("active" if state == "start" else "inactive")
            assert system.call(f"after {state}")["SMS_STATUS"] == "SUCCESS"
        assert pbx.taken == {"after start": 1, "after stop": 1}


def program(system: Booted) -> str:
    """The version of the program that sms.agi runs."""
    first = system.run("head", "-n", "1", SCRIPT).split()
    assert first[1:] == ["-IS"]
    ask = "from importlib.metadata import version; print(version('dialplan-sms'))"
    return system.run(first[0][2:], "-I", "-c", ask, user="asterisk").strip()
