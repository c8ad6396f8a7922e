"""``make install`` keeps what is not its own; as root, calls as the user that Asterisk runs as."""

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dialplan_sms.cli.setup import install
from dialplan_sms.sandbox import Sandbox
from tests.unit.process import Asterisk

TOP = Path(__file__).parents[3]
NOBODY = 65534
pytestmark = pytest.mark.timeout(300)
CONF = "extensions-sms.conf"


def make(top: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    given = {"PYTHON": "/usr/bin/python3", "PREFIX": f"{top}/program"}
    given |= {"AGI_BIN": f"{top}/agi-bin", "ASTERISK_ETC": f"{top}/etc"}
    words = [f"{name}={value}" for name, value in (given | settings).items()]
    return subprocess.run(
        ["make", "--no-print-directory", "install", *words],
        cwd=TOP, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder with Asterisk's folders."""
    for name in ("agi-bin", "etc"):
        (tmp_path / name).mkdir()
    return tmp_path


def all_below(folder: Path) -> list[str]:
    return sorted(
        f"{path.relative_to(folder)} {path.read_bytes().hex() if path.is_file() else ''}"
        for path in folder.rglob("*")
    )


def refused(host: Path, **settings: str) -> str:
    """The line with which nothing is changed."""
    # Makes no environment and no package: a check that is missing must do no harm here.
    harmless = host / "harmless-python"
    harmless.write_text(
        '#!/bin/sh\ncase "$*" in *"-m venv"*) exit 9;; esac\nexec /usr/bin/python3 "$@"\n'
    )
    harmless.chmod(0o755)
    before = all_below(host)
    done = make(host, **{"PYTHON": str(harmless), **settings})
    assert (done.returncode, all_below(host)) == (2, before)
    assert done.stdout.count("\n") == 1, done.stdout
    return done.stdout


class TestRefused:
    def test_a_script_of_the_admin_stays(self, host: Path) -> None:
        script = host / "agi-bin/sms.agi"
        script.write_text("#!/bin/sh\n")
        says = f"{script} is not from make install: run mv {script} {script}.old, and make install again\n"
        assert refused(host) == says
        (host / "theirs").write_text("#!/usr/bin/python3\nimport sys\n")
        script.unlink()
        script.symlink_to(host / "theirs")
        assert refused(host) == says
        script.unlink()
        script.mkdir()
        assert refused(host) == says

    @pytest.mark.parametrize(
        ("prefix", "says"),
        [
            ("{}/a b", "must be one folder without a space"),
            ("{0}/a {0}/b", "must be one folder without a space"),
            ("", "must be one folder"),
            ("/", "has other programs"),
            ("/usr", "has other programs"),  # whose python3 would be removed
            ("{}", "has other programs"),
            ("{}/" + "a" * 110, "longer than the first line"),
            ("{0}/bin/python3", "PREFIX={0}/bin/python3: {0}/bin/python3 is no folder\n"),
            ("{0}/bin/python3/x", "PREFIX={0}/bin/python3/x: {0}/bin/python3 is no folder\n"),
        ],
    )
    def test_the_prefix_will_not_do(self, host: Path, prefix: str, says: str) -> None:
        (host / "bin").mkdir()
        (host / "bin/python3").touch()
        assert says.format(host) in refused(host, PREFIX=prefix.format(host))
        assert Path("/usr/bin/python3").exists()

    def test_what_only_root_may_do(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def denied(_: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", "/opt/x/bin/python3")

        monkeypatch.setattr(install, "install", denied)
        with pytest.raises(SystemExit, match="1"):
            install.main()
        says = "/opt/x/bin/python3: Permission denied: run make install as root\n"
        assert capsys.readouterr().out == says

    def test_the_python_will_not_do(self, host: Path) -> None:
        says = "PYTHON=/nonexistent cannot be run: give the path of Python 3.11 or newer\n"
        assert refused(host, PYTHON="/nonexistent") == says
        old = host / "python"
        old.write_text('#!/bin/sh\ntest -z "$2"\n')
        old.chmod(0o755)
        assert f"{old} is older than 3.11" in refused(host, PYTHON=str(old))

    @pytest.mark.slow
    @pytest.mark.usefixtures("as_root")
    def test_a_folder_that_others_cannot_enter_is_named(self, folder: Path) -> None:
        for name in ("agi-bin", "etc"):
            (folder / name).mkdir()
        closed = folder / "closed"
        closed.mkdir(mode=0o700)
        says = f"other users cannot enter {closed}: chmod o+x it, or give {{}} elsewhere\n"
        assert refused(folder, PREFIX=f"{closed}/a/b") == says.format("PREFIX")
        # No setpriv is needed to find out.
        python = shutil.copy(Path("/usr/bin/python3").resolve(), closed / "python3")
        assert refused(folder, PYTHON=str(python)) == says.format("PYTHON")


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """A folder with the result of ``make install``, which every user may enter as /opt."""
    if os.geteuid() != 0:
        pytest.fail("these tests install for another user: run make test-all as root", False)
    with tempfile.TemporaryDirectory(dir="/opt", prefix="sms-") as folder:
        top = Path(folder)
        top.chmod(0o755)
        for name in ("agi-bin", "etc", "program"):
            (top / name).mkdir()
        # given a copy of the program that setup of 0.1.0 made there
        (top / "program/.setup").touch()
        done = make(top)
        assert done.returncode == 0, done.stdout + done.stderr
        yield top


@pytest.mark.slow
def test_what_is_installed_is_in_its_place(installed: Path) -> None:
    script = installed / "agi-bin/sms.agi"
    assert script.read_text().startswith(f"#!{installed}/program/bin/python3 -IS\n")
    assert not (installed / "program/.setup").exists()
    assert (installed / "etc/extensions-sms.conf").stat().st_mode & 0o777 == 0o644
    command = installed / "program/bin/dialplan-sms"
    shown = subprocess.run([command, "send", "--help"], capture_output=True, text=True, check=True)
    assert "--dry-run" in shown.stdout
    # Its packages are no part of what a PBX needs.
    shown = subprocess.run([command, "sandbox"], capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr.count("\n")) == (1, 1)
    assert shown.stderr.endswith(": in the source folder, run make install WITH=sandbox\n")


@pytest.mark.slow
def test_asterisks_user_sends_or_is_told_what_to_do(installed: Path) -> None:
    conf = installed / "etc/sms.conf"

    def call(mode: int) -> dict[str, str]:
        conf.chmod(mode)
        session = Asterisk(installed / "agi-bin/sms.agi", conf.parent, user=NOBODY)
        try:
            return session.serve().variables
        finally:
            session.close()

    with Sandbox() as sandbox:
        conf.write_text(
            f"[101]\nurl = {sandbox.url}\npassword = sms101api\nverify = {sandbox.fingerprint}\n"
        )
        os.chown(conf, 0, NOBODY)
        assert call(0o640)["SMS_STATUS"] == "SUCCESS"
        said = call(0o600)
        assert said["SMS_CAUSE"] == "CONFIG"
        assert f"cannot be read by user id {NOBODY}" in said["SMS_REASON"]
        assert "chmod 0640" in said["SMS_REASON"]
        assert "can be read or changed by everybody" in call(0o644)["SMS_REASON"]
        assert len(sandbox.messages) == 1


@pytest.mark.slow
def test_an_update_asks_nothing_and_keeps_what_was_edited(installed: Path) -> None:
    conf, new = installed / "etc" / CONF, installed / "etc" / f"{CONF}.new"
    script = installed / "agi-bin/sms.agi"
    ours = (TOP / "dialplan" / CONF).read_text()
    # given what an earlier make install has put there, and a link into another PREFIX
    older = f"; older\n{ours}"
    (installed / "program/share/dialplan-sms" / CONF).write_text(older)
    conf.write_text(older)
    other = shutil.copy(installed / "program/bin/sms.agi", installed / "other.agi")
    script.unlink()
    script.symlink_to(other)
    done = make(installed)
    assert (done.returncode, conf.read_text()) == (0, ours), done.stdout + done.stderr
    assert not new.exists()
    assert script.readlink() == installed / "program/bin/sms.agi"
    # given one that was edited since
    conf.write_text(f"{ours}; mine\n")
    try:
        for _ in range(2):
            done = make(installed)
            assert done.returncode == 0, done.stdout + done.stderr
            assert f"{conf} was edited and stays: compare it with {new}\n" in done.stdout
            assert (conf.read_text(), new.read_text()) == (f"{ours}; mine\n", ours)
    finally:
        conf.write_text(ours)
        new.unlink(missing_ok=True)
