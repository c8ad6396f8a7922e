"""Whom ``dialplan-sms setup`` believes: users of this host who would like root to work for them."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dialplan_sms.host import account, asterisk_conf, files, trust
from dialplan_sms.host.rights import HostError
from tests.unit.pbxhost import USER, PbxHost

STRANGER = 47110
NOBODY = 65534
ANSWERS = ("--url", "http://192.0.2.1", "--sender", "101")


@pytest.fixture
def pbx(tmp_path: Path) -> PbxHost:
    return PbxHost(tmp_path / "asterisk")


def give(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Those *folders* are a stranger's, all others root's."""
    theirs = {folder.stat().st_ino for folder in folders}
    monkeypatch.setattr(
        trust, "_changed_by", lambda status: STRANGER if status.st_ino in theirs else 0
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
        result = pbx.setup(*ANSWERS)
        assert result.exit_code == 1
        assert f"name it with --asterisk-conf {theirs}" in result.output.replace("\n", " ")
        assert not pbx.sms_conf.exists()
        assert pbx.setup(*ANSWERS, "--asterisk-conf", str(pbx.conf)).exit_code == 0

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
                 "sh", "-c", _FAKE, home, str(NOBODY), f"{sys.prefix}/bin/dialplan-sms", *ANSWERS],
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
    def test_one_who_can_change_the_file_names_nobody_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        conf, spool = tmp_path / "asterisk.conf", tmp_path / "spool"
        conf.touch()
        spool.mkdir()
        found = account.of_asterisk(None, {"runuser": "nobody"}, spool, conf)
        assert found[0] == NOBODY
        # Who runs the tests, root or not, is now one whose word is not taken.
        monkeypatch.setattr(trust, "ours", lambda: frozenset({0} - {os.getuid()}))
        with pytest.raises(HostError, match=r"would run as nobody: start Asterisk"):
            account.of_asterisk(None, {"runuser": "nobody"}, spool, conf)
        assert account.of_asterisk(None, {}, spool, conf)[0] == os.getuid()
        monkeypatch.setattr(account, "_user_called", lambda *_: (NOBODY, NOBODY))
        with pytest.raises(HostError, match="would run as nobody"):
            account.of_asterisk(None, {}, tmp_path / "none", conf)
        monkeypatch.setattr(account, "_user_called", lambda *_: (os.getuid(), os.getgid()))
        with pytest.raises(HostError, match=f"would run as {USER}"):
            account.of_asterisk(None, {"runuser": USER, "rungroup": "nogroup"}, spool, conf)


class TestTheFolders:
    def test_one_that_can_be_turned_is_refused(
        self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        give(monkeypatch, pbx.etc)
        assert pbx.setup(*ANSWERS).exit_code == 0  # Asterisk's own may be its user's
        give(monkeypatch, pbx.etc.parent)
        result = pbx.setup(*ANSWERS)
        assert result.exit_code == 1
        assert f"run chown root {pbx.etc.parent}, or move asterisk" in " ".join(
            result.output.split()
        )

    def test_a_link_in_between_is_followed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "real/x").mkdir(parents=True)
        (tmp_path / "theirs").mkdir()
        (tmp_path / "theirs/hop").symlink_to("../real")
        (tmp_path / "etc").symlink_to("theirs/hop")
        give(monkeypatch, tmp_path / "theirs")
        with pytest.raises(HostError, match="theirs"):
            trust.refuse_turned(tmp_path / "etc/x", "it")
        trust.refuse_turned(tmp_path / "real/x", "it")
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(HostError, match="too many links"):
            trust.refuse_turned(tmp_path / "loop/x", "it")
        trust.refuse_turned(tmp_path / "none/x", "it")  # for others to say
        with pytest.raises(OSError, match="links"):
            trust.owners(tmp_path / "loop")

    def test_a_folder_for_everybody_is_nobodys(self, tmp_path: Path) -> None:
        (tmp_path / "open/etc").mkdir(parents=True)
        (tmp_path / "open").chmod(0o777)
        with pytest.raises(HostError, match="user nobody"):
            trust.refuse_turned(tmp_path / "open/etc", "it")
        (tmp_path / "open").chmod(0o1777)  # as /tmp
        trust.refuse_turned(tmp_path / "open/etc", "it")

    def test_a_link_to_a_file_in_a_folder_that_can_be_turned(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "home/x").mkdir(parents=True)
        (tmp_path / "home/x/passwd").touch()
        (tmp_path / "extensions.conf").symlink_to("home/x/passwd")
        assert files.settled(tmp_path / "extensions.conf").name == "passwd"
        give(monkeypatch, tmp_path / "home")
        with pytest.raises(HostError, match="where the link .* leads, is reached through .*home"):
            files.settled(tmp_path / "extensions.conf")

    @pytest.mark.parametrize(
        "path", ["/", "/etc", "/usr/lib", "/etc/cron.d", "/proc/1", "/dev/shm"]
    )
    def test_one_of_the_whole_host_is_none_of_asterisk(self, path: str) -> None:
        with pytest.raises(HostError, match="whole host"):
            trust.refuse_system(Path(path), path, Path("/etc/asterisk"))
        trust.refuse_system(Path("/etc/asterisk/agi-bin"), path, Path("/etc/asterisk"))
        trust.refuse_system(Path("/var/lib/asterisk/agi-bin"), path, Path("/etc/asterisk"))

    def test_a_folder_of_others_is_refused_where_one_of_them_names_it(
        self, pbx: PbxHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "profile.d").mkdir()
        pbx.conf.write_text(
            pbx.conf.read_text().replace(str(pbx.agi_bin), str(tmp_path / "profile.d"))
        )
        (pbx.root / "bin/asterisk").unlink()  # which would say what is compiled in
        give(monkeypatch, pbx.etc)
        result = pbx.setup(*ANSWERS)
        assert (result.exit_code, "does not look like Asterisk's" in result.output) == (1, True)

    @pytest.mark.parametrize("key", ["astspooldir", "astagidir"])
    def test_setup_says_which(self, pbx: PbxHost, key: str) -> None:
        text = pbx.conf.read_text()
        before = next(line for line in text.splitlines() if line.startswith(key))
        pbx.conf.write_text(text.replace(before, f"{key} => /var/lib/../../etc"))
        (pbx.root / "bin/asterisk").unlink()  # which would say what is compiled in
        result = pbx.setup(*ANSWERS)
        assert result.exit_code == 1
        assert f"/etc, {key} in {pbx.conf}, is a folder of the whole host" in " ".join(
            result.output.split()
        )

    def test_dots_are_followed(self) -> None:
        assert asterisk_conf.folder("/usr/../etc") == Path("/etc")

    def test_a_link_is_its_makers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wherever it leads: it can lead elsewhere the next moment."""
        (tmp_path / "link").symlink_to("/etc")
        monkeypatch.setattr(trust, "_changed_by", lambda _: 0)
        assert trust.owners(tmp_path / "link/passwd") == {0, os.getuid()}

    def test_what_is_in_a_folder_for_all_is_its_owners(self, tmp_path: Path) -> None:
        (tmp_path / "etc").mkdir()
        assert (tmp_path / "etc", os.getuid()) not in trust._leading(tmp_path / "etc")
        tmp_path.chmod(0o1777)
        assert (tmp_path / "etc", os.getuid()) in trust._leading(tmp_path / "etc")

    def test_proc_is_no_way(self) -> None:
        with pytest.raises(OSError, match="through /proc"):
            trust.owners(Path(f"/proc/{os.getpid()}/cwd/pyproject.toml"))
        with pytest.raises(OSError, match="through /proc"):
            trust.owners(Path("/dev/fd/0"))

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
        result = pbx.setup(*ANSWERS)
        assert (result.exit_code, "name it with --asterisk-conf" in result.output) == (1, True)
        assert not pbx.sms_conf.exists()

    def test_one_that_is_nobodys_is_refused_where_others_name_it(self, tmp_path: Path) -> None:
        trust.refuse_foreign(tmp_path, "it", {0, os.geteuid()})
        trust.refuse_foreign(Path("/var/lib/asterisk/agi-bin"), "it", {STRANGER})
        if os.geteuid() == 0:
            with pytest.raises(HostError, match="does not look like Asterisk's"):
                trust.refuse_foreign(Path("/root/.ssh"), "it", {STRANGER})
        os.makedirs(tmp_path / "mine")
        with pytest.raises(HostError, match=f"the user of id {STRANGER} can change"):
            trust.refuse_foreign(tmp_path / "mine", "it", {STRANGER})


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
    result = pbx.setup(*ANSWERS, "--dry-run")
    assert result.exit_code in (0, 1)
    assert time.monotonic() - began < 60
