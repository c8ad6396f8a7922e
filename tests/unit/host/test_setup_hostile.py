"""``dialplan-sms setup`` where Asterisk's user can write to the folders that root writes to."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dialplan_sms.cli.setup.manifest import Manifest, lock
from dialplan_sms.cli.setup.options import PASSWORD, TOKEN
from dialplan_sms.cli.setup.steps import State, Work, put_link
from dialplan_sms.host import account, files, process, trust
from dialplan_sms.host.files import Owner
from dialplan_sms.host.rights import HostError
from tests.unit.pbxhost import PbxHost

TOP = Path(__file__).parents[3]


@pytest.fixture
def pbx(tmp_path: Path) -> PbxHost:
    return PbxHost(tmp_path / "host")


def test_a_closed_pipe_ends_it_in_silence(pbx: PbxHost, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "from dialplan_sms.cli.main import main; main()"
    command = [sys.executable, "-c", code, "setup", "--dry-run", "--asterisk-conf", str(pbx.conf)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_user_that_does_not_exist_is_named(tmp_path: Path) -> None:
    conf = tmp_path / "asterisk.conf"
    with pytest.raises(HostError, match=r"no user 'no-such' .*adduser --system --group no-such"):
        account.of_asterisk(None, {"runuser": "no-such"}, tmp_path, conf)
    with pytest.raises(HostError, match="no group 'no-such'"):
        account.of_asterisk(None, {"runuser": "root", "rungroup": "no-such"}, tmp_path, conf)
    with pytest.raises(HostError) as hostile:
        account.of_asterisk(None, {"runuser": "a; reboot\n"}, tmp_path, conf)
    assert "--group <name>" in str(hostile.value)
    assert "\n" not in str(hostile.value)


def test_a_relative_link_to_the_program_is_ours(pbx: PbxHost) -> None:
    work = Work(pbx.host(), Manifest(None))
    ours = pbx.prefix / "bin/sms.agi"
    link = pbx.agi_bin / "sms.agi"
    link.symlink_to("../opt/dialplan-sms/bin/sms.agi")
    step = put_link(link, ours)
    assert step(work).state is State.THERE
    link.unlink()
    link.symlink_to("../elsewhere")
    link.with_name("elsewhere").touch()
    (pbx.root / "elsewhere").touch()
    assert step(work).state is State.KEEP
    link.unlink()
    link.symlink_to(link)
    assert step(work).state is State.CHANGE


def test_a_file_that_becomes_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("secret")
    (tmp_path / "extensions.conf").symlink_to("shadow")
    with pytest.raises(HostError, match="has become a link"):
        files.look(tmp_path / "extensions.conf")


def test_remove_gives_no_file_the_rights_of_another(pbx: PbxHost) -> None:
    pbx.install()
    pbx.extensions.chmod(0o4755)
    found = files.look(pbx.extensions)
    assert found is not None
    assert found.mode == 0o755
    assert files.kept(pbx.extensions)[0] == 0o755
    pbx.extensions.unlink()
    pbx.extensions.symlink_to("/usr/bin/su")
    result = pbx.setup("--remove")
    assert (result.exit_code, "has become a link" in result.output) == (1, True)


def test_a_pipe_does_not_keep_root_waiting(pbx: PbxHost) -> None:
    os.mkfifo(pbx.etc / "extensions-sms.conf")
    result = pbx.setup("--url", "http://192.0.2.1", "--sender", "101")
    assert (result.exit_code, "is no file" in result.output) == (1, True)


def test_a_link_in_place_of_a_folder_that_is_made_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o700)
    real = os.mkdir

    def swapped(name: str, mode: int, *, dir_fd: int) -> None:
        real(name, mode, dir_fd=dir_fd)
        os.rmdir(name, dir_fd=dir_fd)
        os.symlink(precious, name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", swapped)
    with pytest.raises(OSError, match="directory"):
        files.make_folder(tmp_path / "sms", 0o750, Owner(65534, 65534))
    assert (precious.stat().st_mode & 0o777, precious.stat().st_uid) == (0o700, os.getuid())


def test_an_odd_umask_lets_nobody_in(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with lock(tmp_path / "state"):
            (tmp_path / "made").mkdir()
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o755


def test_commands_are_not_told_of_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (PASSWORD, TOKEN):
        monkeypatch.setenv(name, "abc-very-secret")
    assert "abc-very" not in process.run(["env"], 10).output


def test_root_makes_no_folder_for_the_service_by_name(pbx: PbxHost) -> None:
    pbx.install()
    drop_in = (pbx.root / "units/dialplan-sms.service.d/setup.conf").read_text()
    assert "install -d" not in drop_in
    assert f"setpriv --reuid={os.getuid()} " in drop_in


def test_purge_reads_the_outbox_as_its_owner_and_tells_of_the_line() -> None:
    text = (TOP / "debian/postrm").read_text()
    assert text.index("setpriv --reuid=asterisk") < text.index("python3 -IS")
    assert "keeps its line #tryinclude" in text


class TestTheLinkInAFolderOfAnotherUsers:
    """agi-bin lies below /var/lib/asterisk, which is often Asterisk's user's."""

    def test_a_link_of_that_user_is_not_followed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "cron.d").mkdir()
        (tmp_path / "agi-bin").symlink_to("cron.d")
        files.link(tmp_path / "agi-bin/sms.agi", Path("/opt/sms.agi"))
        assert (tmp_path / "cron.d/sms.agi").is_symlink()  # of whom we trust, it is

        monkeypatch.setattr(trust, "ours", lambda: frozenset((0,)) - {os.geteuid()})
        with pytest.raises(HostError, match=r"through the link .*put a folder in its place"):
            files.link(tmp_path / "agi-bin/other.agi", Path("/opt/sms.agi"))
        with pytest.raises(HostError):
            files.unlink(tmp_path / "agi-bin/sms.agi", ["/opt/sms.agi"])
        assert [path.name for path in (tmp_path / "cron.d").iterdir()] == ["sms.agi"]

    def test_the_folder_that_was_looked_at_is_the_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Turned elsewhere just before the link is made."""
        (tmp_path / "agi-bin").mkdir()
        (tmp_path / "cron.d").mkdir()
        symlink = os.symlink

        def turned(*arguments: Any, **more: Any) -> None:
            os.rename(tmp_path / "agi-bin", tmp_path / "away")
            symlink(tmp_path / "cron.d", tmp_path / "agi-bin")
            symlink(*arguments, **more)

        monkeypatch.setattr(os, "symlink", turned)
        files.link(tmp_path / "agi-bin/sms.agi", Path("/opt/sms.agi"))
        assert list((tmp_path / "cron.d").iterdir()) == []
        assert (tmp_path / "away/sms.agi").readlink() == Path("/opt/sms.agi")

    def test_no_folder_is_made_where_such_a_link_leads(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As /var/lib/asterisk/spool, turned to /etc just before the outbox's folder is made."""
        (tmp_path / "etc").mkdir()
        (tmp_path / "spool").symlink_to("etc")
        monkeypatch.setattr(trust, "ours", lambda: frozenset((0,)) - {os.geteuid()})
        with pytest.raises(HostError, match="through the link"):
            files.make_folder(tmp_path / "spool/sms", 0o750)
        assert list((tmp_path / "etc").iterdir()) == []

    def test_nor_does_it_stop_what_is_taken_back(
        self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pbx.install()
        os.rename(pbx.agi_bin, pbx.root / "away")
        pbx.agi_bin.symlink_to("away")
        opened = trust.open_folder

        def refusing(path: Path) -> int:
            if path == pbx.agi_bin:
                raise HostError("through a link")
            return opened(path)

        monkeypatch.setattr(trust, "open_folder", refusing)
        result = pbx.setup("--remove", "--yes")
        assert f"kept: {pbx.agi_bin}/sms.agi: through a link" in result.output
        assert (result.exit_code, (pbx.root / "state/setup.json").exists()) == (0, False)

    def test_only_ours_is_removed(self, tmp_path: Path) -> None:
        (tmp_path / "sms.agi").symlink_to("elsewhere")
        files.unlink(tmp_path / "sms.agi", ["/opt/sms.agi"])
        assert (tmp_path / "sms.agi").is_symlink()
        files.unlink(tmp_path / "sms.agi", ["/opt/sms.agi", "elsewhere"])
        assert not (tmp_path / "sms.agi").is_symlink()

    def test_a_circle_and_what_is_no_folder_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "circle").symlink_to("circle")
        (tmp_path / "file").touch()
        for name in ("circle", "file", "none"):
            with pytest.raises(OSError, match=r"Too many|No such|Not a dir"):
                files.link(tmp_path / name / "sms.agi", Path("/opt/sms.agi"))
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match=r"Too many|No such|Not a dir"):
            trust.open_folder(tmp_path / "circle")
        assert len(set(os.listdir("/proc/self/fd"))) == len(before)
