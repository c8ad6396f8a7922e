"""Root's commands and the files of Asterisk's user, who can put there what it likes."""

import contextlib
import os
import pickle
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dialplan_sms.cli.check.asterisk import Asterisk, check_script
from dialplan_sms.cli.check.outbox import OUTBOX, check
from dialplan_sms.cli.send.journal import JournalError, opened
from dialplan_sms.config.config import Config
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host import process
from dialplan_sms.host.identity import HostError, by_id, current
from dialplan_sms.host.process import Ran, as_changer, as_user, drop_privileges, run
from dialplan_sms.sandbox import Sandbox
from dialplan_sms.sms import log
from tests.asterisk.serving import free_port
from tests.unit.process import Asterisk as Caller
from tests.waiting import until

NOBODY = 65534
PROGRAM = f"{sys.prefix}/bin/dialplan-sms"
NOWHERE = "[101]\nurl = http://127.0.0.1:9\npassword = x\n"
"""A sender whose PBX is out of reach."""


def sender(pbx: Sandbox, password: str = "password = sms101api") -> str:
    return f"[101]\nurl = {pbx.url}\nverify = no\n{password}\ncountry = IT\n"


def outbox(folder: Path, owner: int) -> str:
    """The URL of an empty outbox in a folder of *owner*."""
    place = folder / "sms"
    place.mkdir()
    database = sqlite3.connect(place / "outbox.sqlite")
    database.execute("CREATE TABLE t (x)")
    database.execute("INSERT INTO t VALUES (zeroblob(900000))")
    database.commit()
    database.close()
    for path in (place, place / "outbox.sqlite"):
        os.chown(path, owner, owner)
    return f"sqlite:///{place}/outbox.sqlite"


_DIE = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 2")
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE t SET x = zeroblob(900001)")
database.execute("INSERT INTO t VALUES (zeroblob(500000))")
os.kill(os.getpid(), 9)
"""


def leave_hot_journal(folder: Path, named: Path) -> None:
    """What a crash leaves behind, made to name another file: SQLite deletes that as it rolls back.

    https://sqlite.org/fileformat2.html, 3: the journal of one of several files has at its end the
    name of a file that all of them share.
    """
    file = folder / "sms/outbox.sqlite"
    subprocess.run([sys.executable, "-c", _DIE, file], check=False)
    name = os.fsencode(named)
    with (folder / "sms/outbox.sqlite-journal").open("ab") as journal:
        journal.write(struct.pack(">I", 0x40000000 // 4096 + 1) + name)
        journal.write(struct.pack(">II", len(name), sum(name)) + bytes.fromhex("d9d505f920a163d7"))
    for path in file.parent.iterdir():
        os.chown(path, NOBODY, NOBODY)


@pytest.fixture
def precious(folder: Path) -> Path:
    """A file that SQLite would delete with an outbox of another user's."""
    outbox(folder, NOBODY)
    path = folder / "precious"
    path.write_text("precious")
    leave_hot_journal(folder, path)
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("as_root")
class TestFilesOfAnotherUser:
    def test_sqlite_deletes_it_with_roots_rights(self, folder: Path, precious: Path) -> None:
        """The attack is real where nothing stops it, so that the two tests below prove something."""
        with sqlite3.connect(folder / "sms/outbox.sqlite") as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchall()
        assert not precious.exists(), (
            "this SQLite does not delete it: the tests below prove nothing"
        )

    def test_check_looks_at_the_outbox_as_its_owner(self, folder: Path, precious: Path) -> None:
        list(check(f"sqlite:///{folder}/sms/outbox.sqlite", current()))
        assert precious.exists()

    @pytest.mark.parametrize("command", [["outbox"], ["send", "+39333123456"], ["worker"]])
    def test_commands_do_so_too(self, folder: Path, precious: Path, command: list[str]) -> None:
        conf = folder / "sms.conf"
        conf.touch(0o600)
        url = f"sqlite:///{folder}/sms/outbox.sqlite"
        conf.write_text(f"[general]\noutbox = {url}\nmode = queue\n{NOWHERE}")
        started = subprocess.Popen(
            [PROGRAM, *command, "--config", conf], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            told, _ = started.communicate(b"Hello", timeout=5)
        except subprocess.TimeoutExpired:  # the worker
            started.kill()
            told, _ = started.communicate()
        assert b"Traceback" not in told
        assert precious.exists(), told

    def test_what_lies_beside_the_outbox_counts_where_a_link_leads(self, folder: Path) -> None:
        outbox(folder, 0)
        (folder / "sms").chmod(0o1777)
        (folder / "link").symlink_to("sms/outbox.sqlite")
        url = f"sqlite:///{folder}/link"
        with pytest.raises(ConfigError, match=f"everybody can change {folder}/sms"):
            Config(folder / "sms.conf", {}, outbox=url).drop_privileges()
        found = {each.name: each for each in check(url, current())}[OUTBOX.name]
        assert "is not looked into: everybody can change" in found.says

    @pytest.mark.parametrize("theirs", ["agi-bin", "agi-bin/sms.agi", "python3"])
    def test_check_as_root_runs_no_program_of_another_user(self, folder: Path, theirs: str) -> None:
        """Where no Asterisk, unit or user says whose rights are meant, they are root's."""
        ran, python, script = folder / "ran", folder / "python3", folder / "agi-bin/sms.agi"
        for path, text in (
            (python, f"#!/bin/sh\ntouch {ran}\n"),
            (script, f"#!{python}\n# dialplan"),
        ):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        os.chown(folder / theirs, NOBODY, NOBODY)
        (folder / "asterisk.conf").write_text(f"[directories]\nastagidir => {script.parent}\n")
        asterisk = Asterisk(folder, process.run, folder / "none", path="")
        first = next(iter([*check_script(asterisk, current(), None)]))
        assert not ran.exists()
        path = script if "agi" in theirs else python
        assert first.says == f"the user nobody can change {path}, and root is to run it"
        assert first.do == "make it root's, or run check --user nobody"

    def test_a_log_that_root_begins_is_its_folders_owners(self, folder: Path) -> None:
        os.chown(folder, NOBODY, NOBODY)
        os.close(log._open_file(str(folder / "sms.log")))
        status = (folder / "sms.log").stat()
        assert (status.st_uid, status.st_mode & 0o777) == (NOBODY, 0o640)

    def test_a_log_in_roots_folder_stays_roots_whatever_its_path_leads_to_then(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("roots", "theirs"):
            (folder / name).mkdir()
        os.chown(folder / "theirs", NOBODY, NOBODY)
        (folder / "logs").symlink_to("roots")
        open_ = os.open

        def open_and_turn(path: str, flags: int, *rest: int, **where: int) -> int:
            file = open_(path, flags, *rest, **where)
            if flags & os.O_CREAT:
                (folder / "logs").unlink()
                (folder / "logs").symlink_to("theirs")
            return file

        monkeypatch.setattr(os, "open", open_and_turn)
        os.close(log._open_file(str(folder / "logs/sms.log")))
        assert (folder / "roots/sms.log").stat().st_uid == 0


def test_no_link_is_followed_for_log_and_journal(folder: Path) -> None:
    precious = folder / "precious"
    (folder / "sms.log").symlink_to(precious)
    (folder / "list.csv.journal").symlink_to(precious)
    with pytest.raises(OSError, match="link"):
        log._open_file(str(folder / "sms.log"))
    with pytest.raises(JournalError, match="it is a link"), opened(folder / "list.csv.journal"):
        pass
    assert not precious.exists()


@pytest.fixture
def theirs(folder: Path) -> Path:
    """sms.conf of root's, in a folder of another user, who can put another in its place."""
    conf = folder / "etc/sms.conf"
    conf.parent.mkdir()
    conf.touch(0o644)
    os.chown(conf.parent, NOBODY, NOBODY)
    return conf


@pytest.mark.slow
@pytest.mark.usefixtures("as_root")
class TestSmsConfOfAnotherUser:
    """Who can change sms.conf has root use no rights but that user's."""

    @pytest.fixture
    def log(self, folder: Path) -> Iterator[Path]:
        """A file of root's, to which nothing is written."""
        path = folder / "precious"
        path.touch(0o600)
        yield path
        assert path.read_bytes() == b""

    def put(self, conf: Path, text: str) -> None:
        conf.write_text(text)
        conf.chmod(0o640)
        os.chown(conf, 0, NOBODY)

    def run(self, conf: Path, text: str, *command: str) -> bytes:
        self.put(conf, text)
        done = subprocess.run(
            [PROGRAM, *command, "--config", conf], input=b"Hello", stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=20, check=False,
        )  # fmt: skip
        assert b"Traceback" not in done.stdout
        return done.stdout

    def test_no_log_of_roots_is_written(self, theirs: Path, folder: Path, log: Path) -> None:
        text = f"[general]\nlog = {log}\n" + NOWHERE.replace("101", "$(id)")
        self.run(theirs, text, "send", "+39333123456")
        (folder / "list.csv").write_text("number\n+39333123456\n")
        told = self.run(theirs, text, "send", "--list", str(folder / "list.csv"))
        assert b"UNREACHABLE" in told

    def test_nor_by_the_script(self, theirs: Path, folder: Path, log: Path) -> None:
        self.put(theirs, f"[general]\nlog = {log}\n{NOWHERE}")
        script = Path(sys.prefix) / "bin/sms.agi"
        call = Caller(script, theirs.parent, DIALPLAN_SMS_SOCKET=str(folder / "agi.sock"))
        try:
            assert call.serve().variables["SMS_CAUSE"] == "UNREACHABLE"
            assert call.errors == ""
        finally:
            call.close()

    def test_nor_by_the_service(self, theirs: Path, folder: Path, log: Path) -> None:
        doors = f"listen = 127.0.0.1:{free_port()}\nmonitor = 127.0.0.1:{free_port()}"
        self.put(theirs, f"[general]\nlog = {log}\n{doors}\n{NOWHERE}")
        started = subprocess.Popen(
            [PROGRAM, "serve", "--config", theirs],
            env=os.environ | {"DIALPLAN_SMS_SOCKET": str(folder / "agi.sock")},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:  # it says in its log that it has started
            until(
                lambda: started.poll() is not None or os.stat(f"/proc/{started.pid}").st_uid != 0,
                lambda: "it has kept root's rights",
            )
            started.terminate()
            told = started.communicate(timeout=20)[0]
        finally:
            started.kill()
        assert b"Traceback" not in told

    def test_no_outbox_of_roots_is_used(self, theirs: Path, folder: Path) -> None:
        precious = folder / "precious"
        precious.touch(0o644)
        precious.write_text("root:x:0:0::/root:/bin/bash\n")
        (folder / "roots").mkdir(0o700)
        for path in (precious, folder / "roots/outbox.sqlite"):
            text = f"[general]\noutbox = sqlite:///{path}\nmode = queue\n{NOWHERE}"
            self.run(theirs, text, "send", "+39333123456")
            self.run(theirs, text, "outbox")
        assert precious.stat().st_mode & 0o777 == 0o644
        assert list((folder / "roots").iterdir()) == []

    def test_it_sends_all_the_same(self, theirs: Path) -> None:
        with Sandbox() as pbx:
            self.run(theirs, sender(pbx), "send", "333 123456")
            assert [message.numbers for message in pbx.messages] == [("+39333123456",)]

    @pytest.mark.parametrize("command", [("send", "+39333123456"), ("outbox",)])
    def test_where_several_users_can_change_it_nothing_is_done(
        self, theirs: Path, folder: Path, command: tuple[str, ...]
    ) -> None:
        os.chown(folder, 1, 1)
        with Sandbox() as pbx:
            text = f"[general]\noutbox = sqlite:///{folder}/outbox.sqlite\n{sender(pbx)}"
            told = self.run(theirs, text, *command)
            assert b"more than one user can change" in b" ".join(told.split())
            assert pbx.requests == []
        assert not (folder / "outbox.sqlite").exists()

    def test_in_a_container_root_can_be_nobody_else(self, theirs: Path, folder: Path) -> None:
        """Without CAP_SETUID it does its own work, and none in a folder of another user."""
        ours = folder / "sms.conf"
        ours.touch(0o640)
        with Sandbox() as pbx:
            for conf in (ours, theirs):
                conf.write_text(sender(pbx))
                conf.chmod(0o640)
                done = subprocess.run(
                    ["setpriv", "--bounding-set", "-setuid,-setgid", PROGRAM, "send",
                     "333 123456", "--config", conf],
                    input=b"Hello", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20,
                    check=False,
                )  # fmt: skip
                assert len(pbx.messages) == 1
        assert b"root cannot become the user nobody here" in b" ".join(done.stdout.split())

    def test_a_program_that_they_may_not_read_says_so(self, theirs: Path, folder: Path) -> None:
        """As pipx of root's makes it, below /root."""
        closed = folder / "root"
        shutil.copytree(Path(process.__file__).parents[1], closed / "dialplan_sms")
        closed.chmod(0o700)
        theirs.write_text(NOWHERE)
        theirs.chmod(0o640)
        code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from dialplan_sms.cli.main import main; main()"
        told = subprocess.run(
            [sys.executable, "-c", code, closed, "send", "+39333123456", "--config", theirs],
            input=b"Hi", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=20,
        ).stdout.decode()  # fmt: skip
        assert "CONFIG" in told
        assert f"may not enter {closed}" in told.replace("\n", " ")

    @pytest.mark.parametrize("command", ["send", "check"])
    def test_no_secret_of_roots_is_sent(self, theirs: Path, folder: Path, command: str) -> None:
        secret = folder / "shadow"
        secret.touch(0o640)
        secret.write_text("root:secret\n")
        with Sandbox() as pbx:
            text = sender(pbx, f"password_file = {secret}")
            told = self.run(theirs, text, command, *(["+39333123456"] if command == "send" else []))
            assert b"may not read" in told
            assert pbx.requests == []
            os.chown(secret, NOBODY, NOBODY)
            assert b"may not read" not in self.run(theirs, text, "check")

    def test_nor_one_of_theirs_that_root_keeps_from_them(self, theirs: Path, folder: Path) -> None:
        secret = folder / "backup/old"
        secret.parent.mkdir(0o700)
        secret.touch(0o600)
        secret.write_text("secret\n")
        os.chown(secret, NOBODY, NOBODY)
        with Sandbox() as pbx:
            text = sender(pbx, f"password_file = {secret}")
            assert b"may not" in self.run(theirs, text, "send", "+39333123456")
            assert pbx.requests == []


def test_who_runs_this_does_its_own_work(tmp_path: Path) -> None:
    """So does root, where all is root's: Asterisk that runs as root, a container."""
    for done in (as_user(None, os.getpid), as_changer(tmp_path / "x", os.getpid)):
        assert done == os.getpid()
    drop_privileges(tmp_path / "x")


@pytest.mark.slow
@pytest.mark.usefixtures("as_root")
class TestTheChild:
    def test_it_has_become_that_user_for_good(self) -> None:
        def look() -> tuple[object, ...]:
            for change in (os.setuid, os.seteuid, os.setgid):
                with contextlib.suppress(PermissionError):
                    change(0)
            return os.getresuid(), os.getresgid(), sorted(os.getgroups())

        user = by_id(1)
        assert as_user(user, look) == ((1, 1, 1), (user.gids[0],) * 3, sorted(user.gids))
        assert os.geteuid() == 0

    def test_what_it_raises_is_raised(self) -> None:
        def fail(error: BaseException) -> None:
            raise error

        for error in (HostError("no"), PermissionError(13, "denied", "/x"), KeyboardInterrupt()):
            with pytest.raises(type(error)) as raised:
                as_user(by_id(1), lambda error=error: fail(error))  # type: ignore[misc]
            assert str(raised.value) == str(error)

    def test_that_user_can_end_it_not_look_into_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(HostError, match="as the user nobody was ended by a signal"):
            as_user(by_id(NOBODY), lambda: os.kill(os.getpid(), 9))
        whole = pickle.dumps
        with monkeypatch.context() as patched:  # ended while it answers
            patched.setattr(pickle, "dumps", lambda answer: whole(answer)[:-9])
            with pytest.raises(HostError, match="as the user nobody was ended by a signal"):
                as_user(by_id(NOBODY), lambda: "x" * 99)

        def look() -> str:
            command = ["cat", f"/proc/{os.getpid()}/environ"]
            return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False).stderr

        assert "denied" in as_user(by_id(NOBODY), look)

    def test_root_that_cannot_become_that_user_does_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As in a container without CAP_SETUID."""

        def refused(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "setresuid", refused)
        with pytest.raises(HostError, match="root cannot become the user nobody here, Operation"):
            as_user(by_id(NOBODY), (tmp_path / "made").touch)
        assert not (tmp_path / "made").exists()


def test_a_program_is_given_a_time() -> None:
    began = time.monotonic()
    ran = run(["sh", "-c", "sleep 30 & sleep 30"], 0.2)
    assert time.monotonic() - began < 3
    assert ran == Ran(process.NOT_ENDED, "no end within 0 s")
    assert run(["/nowhere/at/all"], 1) == Ran(process.NOT_STARTED, "No such file or directory")


def test_no_program_fills_the_memory() -> None:
    began = time.monotonic()
    ran = run(["sh", "-c", "echo begun; exec cat /dev/zero"], 30)
    assert time.monotonic() - began < 20
    assert ran.status not in (0, process.NOT_ENDED)
    assert ran.output.startswith("begun")
    assert len(ran.output) < 8 << 20


def test_what_a_program_leaves_running_takes_no_longer() -> None:
    began = time.monotonic()
    assert run(["sh", "-c", "setsid sleep 9 & echo said; exit 3"], 8) == Ran(3, "said\n")
    assert time.monotonic() - began < 5
    ran = run(["sh", "-c", "echo said; echo why >&2; exit 3"], 5)
    assert (ran.status, ran.last_line) == (3, "why")


def test_a_program_is_run_beside_more_files_than_select_takes(tmp_path: Path) -> None:
    program = """
import os, resource
from dialplan_sms.host.process import run
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 2000), most))
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
print(run(["/bin/echo", "here"], 5.0).last_line)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.stdout == "here\n", said.stderr
