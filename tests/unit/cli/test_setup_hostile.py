"""``dialplan-sms setup`` by root on hosts as they are, whoever owns Asterisk's folders.

Asterisk's user can often write to the folders that root writes to.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dialplan_sms.cli.setup.answers import PASSWORD, TOKEN
from dialplan_sms.cli.setup.steps import Manifest, StepState, Work, lock, put_link
from dialplan_sms.host import files, process
from dialplan_sms.host.files import Ownership
from dialplan_sms.host.identity import HostError, User, changer
from tests.unit.host.test_identity import DAEMON, NOBODY
from tests.unit.pbxhost import NEW, PbxHost

TOP = Path(__file__).parents[3]


def test_a_closed_pipe_ends_it_in_silence(pbx: PbxHost, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "from dialplan_sms.cli.main import main; main()"
    command = [sys.executable, "-c", code, "setup", "--dry-run", "--asterisk-conf", str(pbx.conf)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_relative_link_to_the_program_is_ours(pbx: PbxHost) -> None:
    work = Work(pbx.host(), Manifest(None))
    ours = pbx.prefix / "bin/sms.agi"
    link = pbx.script
    link.symlink_to("../opt/dialplan-sms/bin/sms.agi")
    assert next(put_link(work, link, ours)).state is StepState.THERE
    link.unlink()
    link.symlink_to("../elsewhere")
    link.with_name("elsewhere").touch()
    (pbx.root / "elsewhere").touch()
    assert next(put_link(work, link, ours)).state is StepState.KEEP
    link.unlink()
    link.symlink_to(link)
    assert next(put_link(work, link, ours)).state is StepState.CHANGE


def test_remove_gives_no_file_the_rights_of_another(pbx: PbxHost, tmp_path: Path) -> None:
    pbx.install()
    pbx.extensions.chmod(0o4755)
    found = files.look(pbx.extensions)
    assert found is not None
    assert found.mode == 0o755
    program = tmp_path / "su"
    program.touch()
    program.chmod(0o4755)
    pbx.extensions.unlink()
    pbx.extensions.symlink_to(program)
    pbx.setup("--remove")
    assert pbx.extensions.is_symlink()
    assert (program.read_bytes(), program.stat().st_mode & 0o7777) == (b"", 0o4755)


def test_a_pipe_does_not_keep_root_waiting(pbx: PbxHost) -> None:
    os.mkfifo(pbx.etc / "extensions-sms.conf")
    assert "is no file" in pbx.fails(*NEW)


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


def test_purge_reads_the_outbox_as_its_owner_and_tells_of_the_line() -> None:
    text = (TOP / "debian/postrm").read_text()
    assert text.index("setpriv --reuid=asterisk") < text.index("python3 -IS")
    assert "keeps its line #tryinclude" in text


def test_a_link_in_an_agi_bin_that_is_refused_does_not_stop_what_is_taken_back(
    pbx: PbxHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    pbx.install()
    refused = changer

    def refusing(path: Path, itself: bool = True) -> User | None:
        if path == pbx.agi_bin and itself:
            raise HostError("several users can change it")
        return refused(path, itself)

    monkeypatch.setattr(process, "changer", refusing)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(process, "as_user", lambda _, work: work())
    result = pbx.setup("--remove")
    assert f"kept: {pbx.script}: several users can change it" in result.output
    assert (result.exit_code, (pbx.root / "state/setup.json").exists()) == (0, False)


def test_a_link_into_what_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").touch()
    for name in ("circle", "file", "none"):
        with pytest.raises((OSError, HostError), match=r"Too many|No such|Not a dir"):
            files.link(tmp_path / name / "sms.agi", Path("/opt/sms.agi"))


@pytest.fixture
def precious(folder: Path) -> Iterator[Path]:
    """A file of root's, alone in a folder of root's, and so in the end."""
    file = folder / "precious/passwd"
    file.parent.mkdir()
    file.write_text("[general]\n")
    file.chmod(0o600)
    yield file
    unharmed(file)


def unharmed(precious: Path) -> None:
    assert (precious.read_text(), precious.stat().st_mode & 0o777) == ("[general]\n", 0o600)
    assert (precious.stat().st_uid, precious.parent.stat().st_uid) == (0, 0)
    assert [each.name for each in precious.parent.iterdir()] == ["passwd"]


def asterisks(pbx: PbxHost) -> None:
    """Asterisk runs as a user of its own, which has its spool."""
    pbx.write_conf(options="runuser = daemon\nrungroup = daemon")
    pbx.run_asterisk(user=(DAEMON, DAEMON))
    os.chown(pbx.spool, DAEMON, DAEMON)


def root_runs_all(pbx: PbxHost) -> int:
    """Asterisk that runs as root, and a container."""
    return 0


def debian(pbx: PbxHost) -> int:
    """Asterisk's own user has the spool, /etc/asterisk is root's."""
    asterisks(pbx)
    return 0


def group_may_write(pbx: PbxHost) -> int:
    """/etc/asterisk is of root, and its group may write."""
    asterisks(pbx)
    os.chown(pbx.etc, 0, DAEMON)
    pbx.etc.chmod(0o2775)
    return DAEMON


def freepbx(pbx: PbxHost) -> int:
    """asterisk owns all."""
    asterisks(pbx)
    (pbx.root / "freepbx.conf").touch()
    (pbx.etc / "extensions_custom.conf").touch()
    pbx.extensions.write_bytes(pbx.extensions.read_bytes() + b"#include extensions_custom.conf\n")
    for path in (pbx.etc, *pbx.etc.iterdir(), pbx.agi_bin):
        os.chown(path, DAEMON, DAEMON)
        path.chmod(0o775 if path.is_dir() else 0o664)
    return DAEMON


@pytest.mark.slow
@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("host", [root_runs_all, debian, group_may_write, freepbx])
def test_it_is_set_up_and_taken_back(folder: Path, host: object) -> None:
    pbx = PbxHost(folder / "asterisk")
    owner = host(pbx)  # type: ignore[operator]
    before = pbx.tree("state", "opt", "units", "bin", "spool")
    pbx.install()
    made = pbx.sms_conf.stat()
    assert (made.st_uid, (pbx.etc / "extensions-sms.conf").stat().st_uid) == (owner, owner)
    asterisk = 0 if host is root_runs_all else DAEMON
    assert ((pbx.spool / "sms").stat().st_uid, made.st_gid) == (asterisk, asterisk)
    assert made.st_mode & 0o777 == 0o640
    assert pbx.script.is_symlink()
    pbx.settled()
    pbx.setup("--remove")
    pbx.sms_conf.unlink()
    assert pbx.tree("state", "opt", "units", "bin", "spool") == before


@pytest.mark.slow
@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(
    "place",
    [
        "etc/asterisk/sms.conf", "etc/asterisk/extensions.conf", "etc/asterisk/asterisk.conf",
        "etc/asterisk/extensions_custom.conf", "etc/asterisk/extensions-sms.conf",
        "etc/asterisk/.sms.conf.dialplan-sms", "agi-bin/sms.agi", "agi-bin", "spool/sms", "spool",
        "etc/asterisk",
    ],
)  # fmt: skip
@pytest.mark.parametrize("to", ["precious/passwd", "precious/none", "precious"])
def test_links_lead_root_nowhere(folder: Path, precious: Path, place: str, to: str) -> None:
    """Whose are the folders that root writes to, to change a file of that user's choice."""
    pbx = PbxHost(folder / "asterisk")
    freepbx(pbx)
    link = pbx.root / place
    if link.is_dir():
        link.rename(folder / "away")
    link.unlink(missing_ok=True)
    link.symlink_to(folder / to)
    os.lchown(link, DAEMON, DAEMON)
    for command in (NEW, ("--remove",)):
        pbx.setup(*command, "--asterisk-conf", str(pbx.conf))
        unharmed(precious)


@pytest.mark.slow
@pytest.mark.usefixtures("as_root", "precious")
class TestInAFolderOfAnotherUsers:
    """Which that user prepares as it likes, for root to write to: nothing of root's changes.

    agi-bin and the spool lie below /var/lib/asterisk, which is often Asterisk's user's.
    """

    @pytest.fixture
    def theirs(self, folder: Path) -> Path:
        path = folder / "theirs"
        path.mkdir()
        os.chown(path, NOBODY, NOBODY)
        return path

    def test_what_is_written_is_that_users(self, theirs: Path) -> None:
        file, folder, link = theirs / "x.conf", theirs / "spool/sms", theirs / "sms.agi"
        files.put(file, b"x", 0o640, Ownership(0, NOBODY))
        files.make_folder(folder, 0o750, Ownership(NOBODY, NOBODY))
        files.link(link, Path("/opt/sms.agi"))
        assert files.content_of(file) == b"x"
        assert {each.lstat().st_uid for each in (file, folder, folder.parent, link)} == {NOBODY}
        assert [each.stat().st_mode & 0o777 for each in (file, folder)] == [0o640, 0o750]
        files.remove(link)
        files.remove(file)
        files.remove_folder(folder)
        assert [each.name for each in theirs.rglob("*")] == ["spool"]

    def test_a_group_that_cannot_be_given_reads_no_more_than_everybody(self, theirs: Path) -> None:
        for mode, left in ((0o640, 0o600), (0o664, 0o644)):
            files.put(theirs / "sms.conf", b"x", mode, Ownership(0, 0))
            assert (theirs / "sms.conf").stat().st_mode & 0o777 == left

    def test_a_link_in_the_place_of_a_file_to_come(self, theirs: Path, precious: Path) -> None:
        (theirs / ".x.conf.dialplan-sms").symlink_to(precious)
        files.put(theirs / "x.conf", b"x", 0o644)
        assert (theirs / "x.conf").read_bytes() == b"x"
        (theirs / "y.conf").symlink_to(precious.parent / "new")
        with pytest.raises(HostError, match="is a link to nothing: remove it"):
            files.put(theirs / "y.conf", b"x", 0o644)

    @pytest.mark.parametrize("name", ["agi-bin", ".spool.dialplan-sms", "spool"])
    def test_a_link_in_the_place_of_a_folder(self, theirs: Path, precious: Path, name: str) -> None:
        (theirs / name).symlink_to(precious.parent)
        with suppress(OSError):
            files.link(theirs / name / "sms.agi", Path("/opt/sms.agi"))
        with suppress(OSError):
            files.make_folder(theirs / "spool/sms", 0o777, Ownership(NOBODY, NOBODY))
        with suppress(OSError):
            files.remove(theirs / name / "passwd")

    @pytest.mark.parametrize(
        "work",
        [
            lambda path: files.link(path, Path("/opt/sms.agi")),
            lambda path: files.put(path, b"x", 0o666),
            lambda path: files.make_folder(path, 0o777),
        ],
    )
    def test_a_folder_that_is_turned_meanwhile(
        self, theirs: Path, precious: Path, monkeypatch: pytest.MonkeyPatch, work: Any
    ) -> None:
        """Elsewhere, just before root writes to it."""
        (theirs / "agi-bin").mkdir()
        os.chown(theirs / "agi-bin", NOBODY, NOBODY)
        replace = os.replace

        def turned(*paths: Any) -> None:
            os.rename(theirs / "agi-bin", theirs / "away")
            os.symlink(precious.parent, theirs / "agi-bin")
            replace(*paths)

        monkeypatch.setattr(os, "replace", turned)
        with pytest.raises(OSError, match="denied|No such"):
            work(theirs / "agi-bin/passwd")
        assert (theirs / "agi-bin").is_symlink()

    def test_a_new_file_that_is_not_as_it_must_be_takes_no_place(self, theirs: Path) -> None:
        """It is looked at as that user, too."""
        files.put(theirs / "x.conf", b"old", 0o644)

        def check(fresh: Path) -> None:
            raise HostError(f"{fresh.read_text()} by {os.geteuid()}")

        with pytest.raises(HostError, match=f"new by {NOBODY}"):
            files.put(theirs / "x.conf", b"new", 0o644, check=check)
        assert files.content_of(theirs / "x.conf") == b"old"
        assert [each.name for each in theirs.iterdir()] == ["x.conf"]

    def test_a_file_of_that_users_in_a_folder_of_roots_stays_its(self, folder: Path) -> None:
        """As extensions.conf of asterisk in /etc/asterisk of root."""
        file = folder / "extensions.conf"
        file.touch()
        os.chown(file, NOBODY, NOBODY)
        found = files.look(file)
        assert found is not None
        files.put(file, b"x", found.mode, found.owner)
        assert (file.stat().st_uid, file.stat().st_gid) == (NOBODY, NOBODY)
