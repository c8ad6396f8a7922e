"""Which Asterisk ``dialplan-sms setup`` asks, and whom it believes.

There may be users on a host who would like root to work for them.
"""

import errno
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from dialplan_sms.host import asterisk, identity, process
from dialplan_sms.host.asterisk import Process, refuse_foreign, running, user_of
from dialplan_sms.host.identity import HostError, by_id
from tests.unit.host.test_asterisk import process as shown
from tests.unit.host.test_identity import NOBODY, STRANGER, give
from tests.unit.pbxhost import NEW, PbxHost

ONE, OTHER = [each for each in pwd.getpwall() if each.pw_uid not in (0, os.geteuid())][:2]
"""Users that are neither root nor who runs the tests."""


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """What /proc hides of another user's process."""
    real = os.readlink

    def refused(path: Any, **more: Any) -> str:
        if Path(path).name in ("root", "exe", "cwd"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return str(real(path, **more))

    monkeypatch.setattr(os, "readlink", refused)


@pytest.mark.usefixtures("hidden")
class TestWithoutRoot:
    @pytest.mark.parametrize(
        "command", [["vi", "/usr/sbin/asterisk"], ["/r/ld.so", "/r/usr/sbin/asterisk"]]
    )
    def test_one_that_only_names_it_is_not(self, tmp_path: Path, command: list[str]) -> None:
        shown(tmp_path, *command)
        assert running(tmp_path, guess=True) == []

    def test_one_of_a_container_is_not(self, tmp_path: Path) -> None:
        shown(tmp_path, "/usr/sbin/asterisk")
        with (tmp_path / "7/status").open("a") as status:
            status.write("NSpid:\t7\t1\n")
        assert running(tmp_path, guess=True) == []

    def test_a_dry_run_takes_its_file_and_root_believes_none(self, pbx: PbxHost) -> None:
        other = pbx.etc / "other.conf"
        other.write_text(pbx.conf.read_text())
        pbx.run_asterisk("/usr/sbin/asterisk", "-C", str(other))
        (pbx.root / "bin/asterisk").unlink()
        assert f"Asterisk: {other}, runs as" in pbx.setup("--dry-run", is_root=False).output
        assert "warning: Asterisk does not run" in pbx.install()

    def test_a_dry_run_sees_that_there_are_two(self, pbx: PbxHost) -> None:
        shown(pbx.root / "proc", "asterisk", "-fC", "/srv/other/asterisk.conf", pid=4712)
        result = pbx.setup("--dry-run", is_root=False)
        assert (result.exit_code, "--asterisk-conf" in result.output) == (1, True)

    def test_a_console_that_needs_root_is_no_asterisk_that_does_not_run(self, pbx: PbxHost) -> None:
        (pbx.fakes / "mute").touch()
        said = pbx.setup("--dry-run", is_root=False).output
        assert "Asterisk does not run" not in said
        assert "Asterisk's console does not answer" in said


class TestTheConsole:
    @pytest.fixture
    def own(self, pbx: PbxHost) -> Path:
        program = pbx.root / "opt/other/sbin/asterisk"
        program.parent.mkdir(parents=True)
        program.touch(mode=0o755)
        pbx.run_asterisk(program=program)
        return program

    @pytest.mark.parametrize("mark", ["", " (deleted)"])  # by its update
    def test_it_is_the_running_asterisks_own(self, pbx: PbxHost, own: Path, mark: str) -> None:
        pbx.run_asterisk(program=f"{own}{mark}")
        pbx.install()
        assert set(pbx.consoles) == {str(own)}

    def test_one_that_another_user_can_change_is_not_run(
        self, pbx: PbxHost, own: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        give(monkeypatch, own)
        pbx.install()
        assert set(pbx.consoles) == {str(pbx.root / "bin/asterisk")}

    def test_another_asterisk_that_answers_is_not_believed(self, pbx: PbxHost) -> None:
        pbx.told_etc = pbx.root / "etc/other"
        said = pbx.refused(*NEW)
        assert f"answers with the folder {pbx.told_etc}, not {pbx.etc}" in said
        assert f"astetcdir => {pbx.etc}" in said

    @pytest.mark.parametrize("named", ["etc", "link"])
    def test_a_folder_by_another_name_is_the_same(self, pbx: PbxHost, named: str) -> None:
        link = pbx.root / "link"
        link.symlink_to(pbx.etc)
        if named == "etc":
            pbx.told_etc = link
        else:
            pbx.conf.write_text(pbx.conf.read_text().replace(str(pbx.etc), str(link)))
            pbx.conf = link / "asterisk.conf"
            pbx.run_asterisk()
        pbx.install()

    def test_one_that_does_not_answer_is_told(self, pbx: PbxHost) -> None:
        (pbx.fakes / "mute").touch()
        said = pbx.install()
        assert "Asterisk does not run" not in said
        assert "Asterisk's console does not answer" in said


class TestTheFile:
    def test_a_template_is_not_what_asterisk_uses(self, pbx: PbxHost) -> None:
        elsewhere = pbx.root / "real-agi-bin"
        elsewhere.mkdir()
        pbx.write_conf("(!)")
        pbx.conf.write_text(pbx.conf.read_text() + f"[directories]\nastagidir = {elsewhere}\n")
        pbx.stop_asterisk()
        pbx.install()
        assert (elsewhere / "sms.agi").is_symlink()

    def test_two_asterisks_must_be_told_apart(self, pbx: PbxHost) -> None:
        second = shutil.copytree(pbx.root / "proc/4711", pbx.root / "proc/4712", symlinks=True)
        (second / "cmdline").write_bytes(b"asterisk\0-fC\0/srv/other/asterisk.conf\0")
        assert "--asterisk-conf" in pbx.refused(*NEW)
        pbx.install("--asterisk-conf", str(pbx.conf))

    @pytest.mark.parametrize(
        "text",
        [
            b"", b"\xff\xfe\0\0[directories", b"[directories]\nastetcdir => relative\n",
            b"[directories\nastetcdir => /x\n", b"[directories]\nastagidir => /a\x00b\n",
            b";--\n[directories]\nastetcdir => /x\n", b"[" * 99999, b"=\n=>\n[]\n[directories]\n=x\n",
            b"[directories]\nastetcdir => /nowhere/at/all\n", b"[options]\nrunuser = no-such\n",
            b"[options]\nrunuser = \0\n", b"[directories]\nastspooldir => /proc/self/mem\n",
        ],
    )  # fmt: skip
    def test_a_hostile_one_is_no_crash(self, pbx: PbxHost, text: bytes) -> None:
        pbx.conf.write_bytes(text)
        pbx.stop_asterisk()
        before = pbx.tree()
        assert pbx.setup("--dry-run", *NEW).exit_code in (0, 1)
        assert pbx.tree() == before

    def test_without_asterisk_it_says_what_to_do(self, pbx: PbxHost) -> None:
        pbx.conf.unlink()
        pbx.stop_asterisk()
        assert "--asterisk-conf FILE" in pbx.refused()

    @pytest.mark.parametrize("place", ["pipe", "star", "huge"])
    def test_none_of_the_dialplan_keeps_root_waiting(self, pbx: PbxHost, place: str) -> None:
        pbx.extensions.unlink()
        if place == "pipe":
            os.mkfifo(pbx.extensions)
        elif place == "huge":
            with pbx.extensions.open("wb") as file:
                file.truncate(1 << 40)
        else:
            pbx.extensions.write_text("#tryinclude /*/*/*/*/*/*/*/*\n")
        began = time.monotonic()
        assert pbx.setup(*NEW, "--dry-run").exit_code in (0, 1)
        assert time.monotonic() - began < 60


class TestTheProcess:
    def test_one_of_a_stranger_is_not_asked_who_runs_asterisk(self, pbx: PbxHost) -> None:
        pbx.run_asterisk("asterisk", "-f", user=(STRANGER, STRANGER))
        pbx.install()
        unit = pbx.drop_in.read_text()
        assert f"--reuid={os.getuid()} " in unit
        assert str(STRANGER) not in unit

    def test_a_file_of_a_stranger_has_to_be_named(
        self, pbx: PbxHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        theirs = tmp_path / "home/asterisk.conf"
        theirs.parent.mkdir()
        theirs.write_text(pbx.conf.read_text())
        pbx.run_asterisk("asterisk", "-C", str(theirs), user=(STRANGER, STRANGER))
        give(monkeypatch, theirs.parent)
        assert f"name it with --asterisk-conf {theirs}" in pbx.refused(*NEW)
        pbx.install("--asterisk-conf", str(pbx.conf))

    def test_a_path_too_long_to_follow_is_not_believed(self, pbx: PbxHost, tmp_path: Path) -> None:
        """By links the kernel gets there; by names it is longer than it allows."""
        deep = os.open(tmp_path, os.O_RDONLY)
        for _ in range(20):
            os.mkdir("d" * 240, dir_fd=deep)
            below = os.open("d" * 240, os.O_RDONLY, dir_fd=deep)
            os.close(deep)
            deep = below
        os.close(deep)
        middle = tmp_path.joinpath(*["d" * 240] * 10)
        (tmp_path / "first").symlink_to(middle)
        (tmp_path / "first/second").symlink_to("/".join(["d" * 240] * 10))
        theirs = tmp_path / "first/second/asterisk.conf"
        theirs.write_text(pbx.conf.read_text())
        pbx.run_asterisk("asterisk", "-C", str(theirs), user=(STRANGER, STRANGER))
        assert "name it with --asterisk-conf" in pbx.refused(*NEW)

    @pytest.mark.slow
    @pytest.mark.usefixtures("as_root")
    def test_a_program_that_only_calls_itself_asterisk(self) -> None:
        """By another user, with all that a real one shows; no other process of the host is seen."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            home = Path(folder)
            for name in ("etc", "agi-bin", "spool"):
                (home / name).mkdir()
            (home / "etc/asterisk.conf").write_text(
                f"[directories]\nastetcdir => {home}/etc\nastagidir => {home}/agi-bin\n"
                f"astspooldir => {home}/spool\n"
            )
            shutil.copy("/bin/sh", home / "asterisk")
            for path in (home, *home.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
            done = subprocess.run(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                 "sh", "-c", _FAKE, home, str(NOBODY), f"{sys.prefix}/bin/dialplan-sms", *NEW],
                capture_output=True, text=True, check=False, timeout=100,
                env={"PATH": os.environ["PATH"], "DIALPLAN_SMS_PASSWORD": "sms101api"},
            )  # fmt: skip
            assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
            says = "which the user nobody can change: if that is the one that is meant"
            assert says in " ".join(done.stderr.split())
            assert not (home / "etc/sms.conf").exists()


_FAKE = """
user=$1; shift
mkfifo "$0/wait"
setpriv --reuid=$user --regid=$user --clear-groups \\
  "$0/asterisk" -c 'read -r end' -C "$0/etc/asterisk.conf" <>"$0/wait" &
until [ "$(readlink /proc/$!/exe)" = "$0/asterisk" ]; do sleep 0.05; done
program=$1; shift
"$program" setup "$@" --yes
"""
"""Its process ends with the namespace."""


class TestTheUser:
    @pytest.fixture
    def theirs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """asterisk.conf in a folder that ONE can change."""
        (tmp_path / "spool").mkdir()
        give(monkeypatch, tmp_path, user=ONE.pw_uid)
        return tmp_path / "asterisk.conf"

    def of(self, conf: Path, spool: str = "none", **options: str) -> int:
        return user_of(None, options, conf.parent / spool, conf).uid

    def test_root_names_whom_it_will(self, tmp_path: Path) -> None:
        """root, too: Asterisk may run as root."""
        for name, uid in ((ONE.pw_name, ONE.pw_uid), ("root", 0)):
            assert self.of(tmp_path / "asterisk.conf", runuser=name) == uid

    def test_who_can_change_the_file_names_nobody_else(self, theirs: Path) -> None:
        assert self.of(theirs, runuser=ONE.pw_name) == ONE.pw_uid
        for refused in ({"runuser": "root"}, {"runuser": OTHER.pw_name}, {"spool": "spool"}):
            with pytest.raises(
                HostError, match=f"the user {ONE.pw_name} can change .*: start Asterisk"
            ):
                self.of(theirs, **refused)
        with pytest.raises(HostError, match=f"would run as {ONE.pw_name}"):
            self.of(theirs, runuser=ONE.pw_name, rungroup="root")

    def test_of_several_none_names_one(self, theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(identity, "_writers", lambda *_: {STRANGER, ONE.pw_uid})
        with pytest.raises(HostError, match="more than one"):
            self.of(theirs, runuser=ONE.pw_name)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"runuser": "no-such"}, "no user 'no-such' .*adduser --system --group no-such"),
            ({"runuser": "root", "rungroup": "no-such"}, "no group 'no-such'"),
            ({"runuser": "a; reboot\n"}, r"--group <name>[^\n]*\Z"),
        ],
    )
    def test_one_unknown_is_named(self, tmp_path: Path, options: dict[str, str], says: str) -> None:
        with pytest.raises(HostError, match=says) as refused:
            self.of(tmp_path / "asterisk.conf", **options)
        assert "\n" not in str(refused.value)

    def test_one_without_a_name_is_named_by_its_number(self, tmp_path: Path) -> None:
        nameless = Process(by_id(STRANGER), ("asterisk",), None)
        says = f"user id {STRANGER}, group id {STRANGER}, and one of them has no"
        with pytest.raises(HostError, match=says):
            user_of(nameless, {}, tmp_path, tmp_path / "asterisk.conf")


class TestTheFolders:
    def test_one_that_several_users_can_change_is_refused(
        self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        etc, several = pbx.etc.stat().st_ino, {STRANGER, STRANGER + 1}
        monkeypatch.setattr(
            identity, "_writers", lambda _, found: several if found.st_ino == etc else {0}
        )
        said = pbx.refused(*NEW, "--asterisk-conf", str(pbx.conf))
        assert f"user {STRANGER} ({pbx.etc})" in said

    def test_one_of_others_is_refused_where_one_of_them_names_it(
        self, pbx: PbxHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = tmp_path / "profile.d"
        other.mkdir()
        pbx.conf.write_text(pbx.conf.read_text().replace(str(pbx.agi_bin), str(other)))
        (pbx.root / "bin/asterisk").unlink()  # which would say what is compiled in
        give(monkeypatch, pbx.etc)
        monkeypatch.setattr(process, "as_user", lambda _, work: work())  # there is no such user
        assert "does not look like Asterisk's" in pbx.refused(*NEW)

    @pytest.mark.parametrize("key", ["astetcdir", "astspooldir", "astagidir"])
    @pytest.mark.parametrize("path", ["/", "//", "/var/lib/../../etc", "/etc/.."])
    def test_the_root_and_a_way_up_are_none(self, pbx: PbxHost, key: str, path: str) -> None:
        text = pbx.conf.read_text()
        before = next(line for line in text.splitlines() if line.startswith(key))
        pbx.conf.write_text(text.replace(before, f"{key} => {path}"))
        (pbx.root / "bin/asterisk").unlink()  # which would say what is compiled in
        says = f"{path}, {key} in {pbx.conf}, is no folder of Asterisk's"
        assert says in pbx.refused(*NEW)

    def test_what_is_no_path_is_not_taken(self) -> None:
        folders = {"a": "relative", "b": "/with\0nul", "c": "", "d": "/srv/asterisk"}
        found = [asterisk.folder(folders, key, Path("/x")) for key in "abcde"]
        assert found == [None, None, None, Path("/srv/asterisk"), None]

    @pytest.mark.parametrize(
        "path", ["/etc", "/usr/lib", "/etc/cron.d", "/proc/1", "/dev/shm", "/root/.ssh"]
    )
    def test_one_of_the_whole_host_is_refused_where_others_name_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        conf = tmp_path / "etc/asterisk.conf"
        conf.parent.mkdir()
        (tmp_path / "mine").mkdir()
        refuse_foreign(Path(path), "astagidir", conf)  # root names it
        give(monkeypatch, conf.parent)
        refuse_foreign(Path("/var/lib/asterisk/agi-bin"), "astagidir", conf)
        for each in (Path(path), tmp_path / "mine"):
            with pytest.raises(HostError, match=f"the user {STRANGER} can change {conf}"):
                refuse_foreign(each, "astagidir", conf)
