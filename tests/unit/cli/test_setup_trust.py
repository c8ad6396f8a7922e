"""Whom ``dialplan-sms setup`` believes: users of this host who would like root to work for them."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dialplan_sms.host import asterisk, identity, process
from dialplan_sms.host.asterisk import refuse_foreign, user_of
from dialplan_sms.host.identity import HostError
from tests.unit.pbxhost import NEW, PbxHost

STRANGER = 47110
NOBODY = 65534
ONE, OTHER = [each for each in pwd.getpwall() if each.pw_uid not in (0, os.geteuid())][:2]
"""Users that are neither root nor who runs the tests."""


@pytest.fixture
def pbx(tmp_path: Path) -> PbxHost:
    return PbxHost(tmp_path / "asterisk")


def give(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Those *folders* are a stranger's, all others root's."""
    theirs = {folder.stat().st_ino for folder in folders}
    monkeypatch.setattr(
        identity, "_writers", lambda _, found: {STRANGER if found.st_ino in theirs else 0}
    )


class TestTheProcess:
    def test_one_of_a_stranger_is_not_asked_who_runs_asterisk(self, pbx: PbxHost) -> None:
        pbx.run_asterisk("asterisk", "-f", user=(STRANGER, STRANGER))
        pbx.install()
        unit = (pbx.root / "units/dialplan-sms.service.d/setup.conf").read_text()
        assert f"--reuid={os.getuid()} " in unit
        assert str(STRANGER) not in unit

    def test_a_file_of_a_stranger_has_to_be_named(
        self, pbx: PbxHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = tmp_path / "home"
        home.mkdir()
        theirs = home / "asterisk.conf"
        theirs.write_text(pbx.conf.read_text())
        pbx.run_asterisk("asterisk", "-C", str(theirs), user=(STRANGER, STRANGER))
        give(monkeypatch, home)
        result = pbx.setup(*NEW)
        assert result.exit_code == 1
        assert f"name it with --asterisk-conf {theirs}" in result.output.replace("\n", " ")
        assert not pbx.sms_conf.exists()
        assert pbx.setup(*NEW, "--asterisk-conf", str(pbx.conf)).exit_code == 0

    @pytest.mark.slow
    @pytest.mark.usefixtures("as_root")
    def test_a_program_that_only_calls_itself_asterisk(self) -> None:
        """By another user, with all that a real one shows; no other process of the host is seen."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            home = Path(folder)
            for name in ("etc", "agi-bin", "spool"):
                (home / name).mkdir()
            conf = home / "etc/asterisk.conf"
            conf.write_text(
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
            assert "which the user nobody can change: if that is the one that is meant" in " ".join(
                done.stderr.split()
            )
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
        folder = tmp_path.stat().st_ino
        monkeypatch.setattr(
            identity, "_writers", lambda _, found: {ONE.pw_uid if found.st_ino == folder else 0}
        )
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


class TestTheFolders:
    def test_one_that_several_users_can_change_is_refused(
        self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        etc = pbx.etc.stat().st_ino
        monkeypatch.setattr(
            identity,
            "_writers",
            lambda _, found: {STRANGER, STRANGER + 1} if found.st_ino == etc else {0},
        )
        before = pbx.tree()
        result = pbx.setup(*NEW, "--asterisk-conf", str(pbx.conf))
        assert (result.exit_code, pbx.tree()) == (1, before)
        assert f"user {STRANGER} ({pbx.etc})" in " ".join(result.output.split())

    def test_a_folder_of_others_is_refused_where_one_of_them_names_it(
        self, pbx: PbxHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "profile.d").mkdir()
        pbx.conf.write_text(
            pbx.conf.read_text().replace(str(pbx.agi_bin), str(tmp_path / "profile.d"))
        )
        (pbx.root / "bin/asterisk").unlink()  # which would say what is compiled in
        give(monkeypatch, pbx.etc)
        monkeypatch.setattr(process, "as_user", lambda _, work: work())  # there is no such user
        result = pbx.setup(*NEW)
        assert (result.exit_code, "does not look like Asterisk's" in result.output) == (1, True)

    @pytest.mark.parametrize("key", ["astetcdir", "astspooldir", "astagidir"])
    @pytest.mark.parametrize("path", ["/", "//", "/var/lib/../../etc", "/etc/.."])
    def test_the_root_and_a_way_up_are_none_of_asterisk(
        self, pbx: PbxHost, key: str, path: str
    ) -> None:
        text = pbx.conf.read_text()
        before = next(line for line in text.splitlines() if line.startswith(key))
        pbx.conf.write_text(text.replace(before, f"{key} => {path}"))
        (pbx.root / "bin/asterisk").unlink()  # which would say what is compiled in
        result = pbx.setup(*NEW)
        assert result.exit_code == 1
        assert f"{path}, {key} in {pbx.conf}, is no folder of Asterisk's" in " ".join(
            result.output.split()
        )

    def test_what_is_no_path_is_not_taken(self) -> None:
        folders = {"a": "relative", "b": "/with\0nul", "c": "", "d": "/srv/asterisk"}
        found = [asterisk.folder(folders, key, Path("/x")) for key in "abcde"]
        assert found == [None, None, None, Path("/srv/asterisk"), None]

    def test_a_path_too_long_to_be_followed_is_not_believed(
        self, pbx: PbxHost, tmp_path: Path
    ) -> None:
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
        result = pbx.setup(*NEW)
        assert (result.exit_code, "name it with --asterisk-conf" in result.output) == (1, True)
        assert not pbx.sms_conf.exists()

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


@pytest.mark.parametrize("place", ["pipe", "star", "huge"])
def test_no_file_keeps_root_waiting(pbx: PbxHost, place: str) -> None:
    pbx.extensions.unlink()
    if place == "pipe":
        os.mkfifo(pbx.extensions)
    elif place == "huge":
        with pbx.extensions.open("wb") as file:
            file.truncate(1 << 40)
    else:
        pbx.extensions.write_text("#tryinclude /*/*/*/*/*/*/*/*\n")
    began = time.monotonic()
    result = pbx.setup(*NEW, "--dry-run")
    assert result.exit_code in (0, 1)
    assert time.monotonic() - began < 60
