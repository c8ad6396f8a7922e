"""Which Asterisk ``dialplan-sms setup`` asks, and what it can tell without root."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from dialplan_sms.host import identity
from dialplan_sms.host.asterisk import running
from tests.unit.host.test_asterisk import process
from tests.unit.pbxhost import PbxHost


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
    def test_a_process_of_another_user_is_seen(self, tmp_path: Path) -> None:
        process(tmp_path, "/usr/sbin/asterisk", "-C", "/x/asterisk.conf")
        (found,) = running(tmp_path, guess=True)
        assert (found.user.uid, found.conf, found.program) == (112, Path("/x/asterisk.conf"), None)

    @pytest.mark.parametrize(
        "command", [["vi", "/usr/sbin/asterisk"], ["/r/ld.so", "/r/usr/sbin/asterisk"]]
    )
    def test_one_that_only_names_it_is_not(self, tmp_path: Path, command: list[str]) -> None:
        process(tmp_path, *command)
        assert running(tmp_path, guess=True) == []

    def test_one_of_a_container_is_not(self, tmp_path: Path) -> None:
        process(tmp_path, "/usr/sbin/asterisk")
        with (tmp_path / "7/status").open("a") as status:
            status.write("NSpid:\t7\t1\n")
        assert running(tmp_path, guess=True) == []

    def test_where_root_acts_none_is_believed(self, tmp_path: Path) -> None:
        process(tmp_path, "/usr/sbin/asterisk", "-C", "/x/asterisk.conf")
        assert running(tmp_path, guess=False) == []

    def test_nor_by_setup(self, pbx: PbxHost) -> None:
        assert "warning: Asterisk does not run" in pbx.install().output

    def test_a_dry_run_takes_its_file(self, pbx: PbxHost) -> None:
        other = pbx.etc / "other.conf"
        other.write_text(pbx.conf.read_text())
        pbx.run_asterisk("/usr/sbin/asterisk", "-C", str(other))
        (pbx.root / "bin/asterisk").unlink()
        assert f"Asterisk: {other}, runs as" in pbx.setup("--dry-run", is_root=False).output

    def test_a_dry_run_sees_that_there_are_two(self, pbx: PbxHost) -> None:
        process(pbx.root / "proc", "asterisk", "-fC", "/srv/other/asterisk.conf", pid=4712)
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

    def test_it_is_the_running_asterisks_own(self, pbx: PbxHost, own: Path) -> None:
        pbx.install()
        assert set(pbx.consoles) == {str(own)}

    def test_also_after_its_update(self, pbx: PbxHost, own: Path) -> None:
        pbx.run_asterisk(program=f"{own} (deleted)")
        pbx.install()
        assert set(pbx.consoles) == {str(own)}

    def test_one_that_another_user_can_change_is_not_run(
        self, pbx: PbxHost, own: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        theirs = own.stat().st_ino
        monkeypatch.setattr(
            identity, "_writers", lambda _, found: {47110 if found.st_ino == theirs else 0}
        )
        pbx.install()
        assert set(pbx.consoles) == {str(pbx.root / "bin/asterisk")}

    def test_another_asterisk_that_answers_is_not_believed(self, pbx: PbxHost) -> None:
        pbx.told_etc = pbx.root / "etc/other"
        before = pbx.tree()
        result = pbx.setup("--url", "http://192.0.2.1", "--sender", "101")
        assert (result.exit_code, result.output.count("\n")) == (1, 1)
        assert f"answers with the folder {pbx.told_etc}, not {pbx.etc}" in result.output
        assert f"astetcdir => {pbx.etc}" in result.output
        assert pbx.tree() == before

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

    def test_a_console_that_does_not_answer_is_told(self, pbx: PbxHost) -> None:
        (pbx.fakes / "mute").touch()
        said = pbx.install().output
        assert "Asterisk does not run" not in said
        assert "Asterisk's console does not answer" in said
