"""The program of on_failure: what it is told, that it hinders nobody, and that a crash loses nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from dialplan_sms.config.config import Config
from dialplan_sms.daemon import on_failure
from dialplan_sms.daemon.on_failure import Teller
from dialplan_sms.host.identity import User
from dialplan_sms.host.process import Ran
from dialplan_sms.outbox.schema import message
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.sandbox import Sandbox
from dialplan_sms.sms.outcome import Cause, Status, error
from dialplan_sms.sms.service import Service as Core
from dialplan_sms.sms.sms import Sms
from tests.asterisk.serving import Service, free_port
from tests.unit.checked import folder
from tests.unit.outbox.test_reports import fail, time_passes
from tests.unit.stored import NUMBERS, SENDER, Store, locked
from tests.waiting import until

EXAMPLE = Path(__file__).parents[3] / "dialplan/mail-failed.py"
REFUSED = "+99900000013"  # by the stand-in
TEXT = "Pump 2: the pressure is low"
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Program:
    """A shell script in *folder* that keeps what it is told, and then does what is in *script*."""

    def __init__(self, folder: Path, script: str = "") -> None:
        self.folder = folder
        self.program = folder / "program"
        self.told_file = folder / "told"
        self.takes = f"cat >> {self.told_file}; echo >> {self.told_file}\n"
        self.write(self.takes + script)

    def write(self, script: str) -> None:
        self.program.write_text(f"#!/bin/sh\n{script}\n")
        self.program.chmod(0o755)

    @property
    def told(self) -> list[list[dict[str, Any]]]:
        """Of each run, the SMS that it was told of."""
        lines = self.told_file.read_text().splitlines() if self.told_file.exists() else []
        return [json.loads(line)["sms"] for line in lines if line]

    @property
    def ids(self) -> list[list[int]]:
        return [[each["id"] for each in run] for run in self.told]


class Site(Program):
    """A thread that tells a program."""

    def __init__(self, store: Store, folder: Path) -> None:
        super().__init__(folder)
        self.store = store
        self.stopping = threading.Event()
        self.sender = replace(SENDER, on_failure=str(self.program))

    @property
    def log(self) -> list[str]:
        file = self.folder / "log"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.partition(" ")[2] for line in lines]

    @contextmanager
    def telling(self) -> Iterator[None]:
        self.stopping.clear()
        self.reload()
        core = Core(lambda: self.config, lambda _: pytest.fail("nothing is sent"))
        self.teller = Teller(self.store.writer, core, self.stopping)
        self.teller.start()
        try:
            yield
        finally:
            self.stopping.set()
            self.teller.join(20)
            assert not self.teller.is_alive()

    def reload(self) -> None:
        self.config = Config(
            Path("/x"), {"101": self.sender}, "101", log=str(self.folder / "log"), outbox="sqlite"
        )

    def wait(self, lines: int = 1, seconds: float = 20.0) -> None:
        until(lambda: len(self.log) >= lines, lambda: (self.log, self.told), seconds)


@pytest.fixture
def site(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(on_failure, "_EVERY", 0.02)
    return Site(store, tmp_path)


class TestAProgramIsTold:
    """On both databases."""

    def test_one_json_object_without_the_text(self, site: Site) -> None:
        ids = [fail(site.store), fail(site.store, error(Cause.NO_ANSWER, "no answer"))]
        with site.telling():
            site.wait()
        ((first, second),) = site.told
        assert {name: first[name] for name in first if name not in ("created", "ended")} == {
            "id": ids[0], "sender": "101", "state": "failed", "cause": "REJECTED",
            "reason": "it is blocked", "planned": None,
            "numbers": [{"number": NUMBERS[0], "state": "failed"}],
        }  # fmt: skip
        assert first["created"] <= first["ended"]
        assert (second["id"], second["state"]) == (ids[1], "unknown")
        assert site.log == [f"on_failure: {site.program} was told of 2 SMS, the first is {ids[0]}"]

    def test_the_text_if_that_is_asked_for(self, site: Site) -> None:
        fail(site.store, text="Größe \U0001f4a7 \"quoted\"\n'x' $(id)")
        site.sender = replace(site.sender, on_failure_text=True)
        with site.telling():
            site.wait()
        assert [each["text"] for each in site.told[0]] == ["Größe \U0001f4a7 \"quoted\"\n'x' $(id)"]

    def test_what_comes_meanwhile_goes_together(self, site: Site) -> None:
        site.write(f"{site.takes}while ! [ -e {site.folder}/go ]; do sleep 0.02; done")
        fail(site.store)
        with site.telling():
            until(lambda: site.told)
            for _ in range(3):
                fail(site.store)
            (site.folder / "go").touch()
            site.wait(2)
        assert site.ids == [[1], [2, 3, 4]]


@on_sqlite
def test_it_gets_nothing_of_the_service(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither environment nor files, and no signal is ignored."""
    monkeypatch.setenv("DIALPLAN_SMS_CONF", "/x")
    monkeypatch.setenv("SECRET", "x")
    seen = site.folder / "seen"
    site.write(
        f"exec >{seen}; env | cut -d= -f1 | grep -v '^_$' | sort; pwd; ls /proc/self/fd | wc -l\n"
        "grep ^SigIgn /proc/self/status"
    )
    fail(site.store)
    with site.telling():
        site.wait()
    *others, ignored = seen.read_text().split()
    assert others == [
        "HOME", "LANG", "PATH", "PWD", "/", "4",  # 0, 1, 2, and the folder that ls reads
        "SigIgn:",
    ]  # fmt: skip
    ours = int(re.findall(r"SigIgn:\s*(\w+)", Path("/proc/self/status").read_text())[0], 16)
    # Of what Python ignores nothing; nohup and the like are the host's.
    assert int(ignored, 16) == ours & ~(1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)


@on_sqlite
def test_no_signal_is_blocked_as_those_of_a_service_are(site: Site) -> None:
    """What it starts with a time limit must take SIGTERM. Not by a shell, which unblocks them."""
    seen = site.folder / "seen"
    site.program.write_text(
        f"#!{sys.executable} -IS\nimport signal\n"
        f"open({str(seen)!r}, 'w').write(str(signal.pthread_sigmask(signal.SIG_BLOCK, [])))\n"
    )
    fail(site.store)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGHUP])
    try:
        with site.telling():
            site.wait()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert seen.read_text() == "set()"


@on_sqlite
class TestAProgramThatFails:
    """One line each, and it is told again."""

    @pytest.fixture(autouse=True)
    def one(self, site: Site) -> None:
        fail(site.store)

    def fails(self, site: Site, because: str) -> None:
        """It fails, and is told the next time."""
        with site.telling():
            site.wait()
            time.sleep(0.1)  # it is not run again at once
        assert site.log == [
            f"on_failure: {site.program} was not told of 1 SMS, the first is 1: {because}"
        ]
        time_passes(site.store)
        site.write(site.takes)
        with site.telling():
            site.wait(2)
        assert site.ids[-1] == [1]

    def test_by_its_status(self, site: Site) -> None:
        site.write(f"echo begun; echo 'no mail for {NUMBERS[0]}: $(x)' >&2; exit 3")
        self.fails(site, "no mail for +…601: x")

    @pytest.mark.parametrize("said", ["", "}", "~~^~~"])
    def test_without_a_word(self, site: Site, said: str) -> None:
        site.write(f"echo '{said}'; exit 3")
        self.fails(site, "exit status 3")

    def test_and_quotes_the_text(self, site: Site) -> None:
        site.sender = replace(site.sender, on_failure_text=True)
        site.write("cat >&2; exit 3")
        self.fails(site, "exit status 3")

    def test_and_a_reload_tells_it_at_once(self, site: Site) -> None:
        site.write("exit 3")
        with site.telling():
            site.wait()
            (why,) = site.teller.failing.values()
            assert why == f"{site.program} was not told of 1 SMS, the first is 1: exit status 3"
            site.write(site.takes)
            site.reload()
            site.wait(2)
            until(lambda: not site.teller.failing)
        assert site.ids == [[1]]

    def test_since_there_is_none(self, site: Site) -> None:
        site.program.unlink()
        self.fails(site, "No such file or directory")

    def test_since_it_is_none(self, site: Site) -> None:
        site.program.write_text("cat")
        self.fails(site, "Exec format error")

    def test_since_it_may_not_be_run(self, site: Site) -> None:
        site.program.chmod(0o644)
        self.fails(site, "Permission denied")

    def test_since_it_hangs(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is ended with all that it has started."""
        monkeypatch.setattr(on_failure, "LIMIT", 1.0)
        site.write(f"sleep 60 & echo $! > {site.folder}/child; sleep 60")
        self.fails(site, "no end within 1 s")
        child = int((site.folder / "child").read_text())
        with suppress(FileNotFoundError):  # unless nobody has waited for it yet
            assert Path(f"/proc/{child}/stat").read_text().split()[2] == "Z"

    def test_since_it_floods_its_output(self, site: Site) -> None:
        site.write("cat /dev/zero >&2")
        with site.telling():
            site.wait()
        assert len(site.log) == 1
        assert len(site.log[0]) < 400


@on_sqlite
def test_what_a_program_leaves_running_is_its_own(site: Site) -> None:
    fail(site.store)
    site.write(f"cat > /dev/null; sleep 60 & echo $! > {site.folder}/child; exit 0")
    began = time.monotonic()
    with site.telling():
        site.wait()
    os.kill(int((site.folder / "child").read_text()), signal.SIGKILL)
    assert time.monotonic() - began < 10  # it holds standard error still
    assert "was told of 1 SMS" in site.log[0]


@pytest.mark.slow
@on_sqlite
def test_root_runs_it_as_who_can_change_it(
    as_root: None, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with folder() as place:
        site.sender = replace(site.sender, on_failure=str(place / "program"))
        (place / "program").touch()
        os.chown(place / "program", 65534, 65534)
        whom: list[int] = []

        def run(_: object, __: float, user: User | None, ___: object) -> Ran:
            whom.append(user.uid if user else 0)
            return Ran(0)

        monkeypatch.setattr(on_failure, "run", run)
        fail(site.store)
        with site.telling():
            site.wait()
        assert whom == [65534]
        (place / "program").chmod(0o777)
        fail(site.store)
        with site.telling():
            site.wait(2)
        assert (
            site.log[1] == f"on_failure: everybody can change {place}/program: run chmod o-w on it"
        )
        assert whom == [65534]


def test_a_database_that_is_away_loses_nothing(site: Site) -> None:
    id_ = fail(site.store)
    with ExitStack() as telling:
        with locked(str(site.store.writer.engine.url)):
            telling.enter_context(site.telling())
            time.sleep(0.5)
            assert site.told == []
        site.wait()
    assert site.ids == [[id_]]


@pytest.fixture
def smtp() -> Iterator[tuple[int, list[Any]]]:
    """A mail server: its port, and the mails that it took."""
    took: list[Any] = []

    class Keep(Sink):
        async def handle_DATA(self, *envelope: Any) -> str:
            took.append(envelope[-1])
            return "250 taken"

    controller = Controller(Keep(), hostname="127.0.0.1", port=free_port())
    controller.start()
    yield controller.port, took
    controller.stop()


@on_sqlite
def test_the_example_mails_it(site: Site, smtp: tuple[int, list[Any]]) -> None:
    port, mails = smtp
    text = EXAMPLE.read_text()
    place = 'SERVER, PORT = "mail.example.com", 25'
    assert place in text
    site.program.write_text(text.replace(place, f'SERVER, PORT = "127.0.0.1", {port}'))
    site.sender = replace(site.sender, on_failure_text=True)
    fail(site.store, text="Größe\n.\nSubject: forged")
    fail(site.store)
    with site.telling():
        site.wait()
    (mail,) = mails
    assert (mail.mail_from, mail.rcpt_tos) == ("pbx@example.com", ["oncall@example.com"])
    whole = message_from_bytes(mail.content, policy=policy.default)
    assert whole["Subject"] == "2 SMS not sent, the first is 1"
    body = whole.get_content().splitlines()
    assert body[0].startswith("SMS 1 of sender 101 is failed since 2")
    assert body[1:6] == [
        "  REJECTED: it is blocked", f"  {NUMBERS[0]} failed",
        "  > Größe", "  > .", "  > Subject: forged",
    ]  # fmt: skip


# --- real processes

HASTY = """
from dialplan_sms.daemon import on_failure
from dialplan_sms.cli.main import main
on_failure._EVERY = 0.2
main()
"""
"""dialplan-sms, which looks more often."""
PROGRAM = (sys.executable, "-c", HASTY)


class Host(Program):
    """A service with a program that waits for the file ``go``, and its outbox."""

    def __init__(self, folder: Path, sandbox: Sandbox, url: str) -> None:
        waits = f"while ! [ -e {folder}/go ]; do sleep 0.05; done\necho >> {folder}/done"
        super().__init__(folder, waits)
        self.url = url
        general = f"outbox = {url}\non_failure = {self.program}\npace = 0"
        self.service = Service(folder, sandbox, general)
        self.service.program = PROGRAM
        self.outbox = Outbox(url)

    def fail(self) -> int:
        """Queue an SMS that the PBX refuses, and wait for its end."""
        sender = replace(SENDER, on_failure=str(self.program))
        outcome = self.outbox.accept(Sms((REFUSED,), TEXT, mode="queue"), sender)
        assert outcome.status is Status.QUEUED, outcome
        store, id_ = Store(self.outbox.writer), int(outcome.id)
        until(lambda: store.state(id_) == "failed", lambda: self.service.log)
        return id_

    def go(self) -> None:
        (self.folder / "go").touch()


@pytest.fixture
def host(database: str, tmp_path: Path) -> Iterator[Host]:
    with Sandbox(tls=False) as sandbox:
        host = Host(tmp_path, sandbox, database)
        yield host
        host.go()
        host.outbox.close()


def said(host: Host, words: str) -> None:
    until(lambda: words in host.service.log, lambda: (host.service.log, host.told))


@pytest.mark.slow
class TestAKill:
    """By kill -9 of a real service."""

    def test_between_an_end_and_the_run_and_during_a_run(self, host: Host) -> None:
        with host.service:
            first = host.fail()
            until(lambda: host.ids == [[first]], lambda: host.service.log)
            second = host.fail()  # beside a program that hangs
            host.service.kill()
        assert host.ids == [[first]]
        host.go()
        time_passes(Store(host.outbox.writer))
        with host.service:
            said(host, "was told of 2 SMS")
            time.sleep(0.2)
        assert host.ids == [[first], [first, second]]
        assert TEXT not in host.told_file.read_text() + host.service.log

    def test_after_the_run(self, host: Host) -> None:
        with host.service:
            first = host.fail()
            until(lambda: host.ids == [[first]], lambda: host.service.log)
            with locked(host.url):  # it can note nothing
                host.go()
                until((host.folder / "done").exists)
                host.service.kill()
        assert "was told of" not in host.service.log
        time_passes(Store(host.outbox.writer))
        with host.service:
            said(host, "was told of 1 SMS")
            host.service.kill()
        with host.service:
            host.fail()
            until(lambda: len(host.told) > 2, lambda: host.service.log)
        assert host.ids == [[first], [first], [first + 1]]


@pytest.mark.slow
@on_sqlite
def test_a_service_that_ends_lets_the_program_end(host: Host) -> None:
    with host.service:
        host.fail()
        until(lambda: host.told, lambda: host.service.log)
        host.service.signal(signal.SIGTERM)
        said(host, "service ends")
        host.go()
        assert host.service.wait() == 0
    assert "was told of 1 SMS" in host.service.log


@pytest.mark.slow
def test_a_worker_and_a_service_tell_each_once(host: Host) -> None:
    host.go()
    with host.service:
        worker = subprocess.Popen([*PROGRAM, "worker", "--config", host.service.conf])
        try:
            ids = [host.fail() for _ in range(6)]
            until(lambda: sum(map(len, host.ids)) >= 6, lambda: host.service.log, 40.0)
        finally:
            worker.terminate()
            assert worker.wait(30) == 0
    assert sorted(each for run in host.ids for each in run) == ids


@pytest.mark.slow
@on_sqlite
def test_a_program_that_hangs_delays_no_sms(host: Host) -> None:
    with host.service:
        host.fail()
        until(lambda: host.told, lambda: host.service.log)
        for _ in range(20):
            sms = Sms((NUMBERS[0],), TEXT, mode="queue")
            assert host.outbox.accept(sms, SENDER).status is Status.QUEUED
        host.service.sandbox.wait(messages=20)
        assert len(host.told) == 1
        assert not (host.folder / "done").exists()


@on_sqlite
def test_nothing_is_asked_of_the_outbox_without_a_program(site: Site) -> None:
    asked: list[object] = []
    site.sender = SENDER
    site.store.add()
    site.store.change(message, state="failed", ended=time.time())

    def do(*what: object) -> None:
        asked.append(what)

    writer = type("Writer", (), {"do": staticmethod(do)})()
    site.store = type("Store", (), {"writer": writer})()
    with site.telling():
        time.sleep(0.2)
    assert asked == []
