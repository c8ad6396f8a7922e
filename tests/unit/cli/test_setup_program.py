"""The program that ``dialplan-sms setup`` puts into its folder: a real one, run from there."""

import dataclasses
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dialplan_sms import __version__
from dialplan_sms.cli.setup import bundled, distributions, program
from dialplan_sms.cli.setup.host import Host
from dialplan_sms.cli.setup.program import Program
from dialplan_sms.host.identity import HostError
from dialplan_sms.sandbox import Sandbox
from tests.unit.process import Asterisk

NOBODY = 65534


@pytest.fixture(scope="module")
def put() -> Iterator[Program]:
    """The running program, put into a folder that everybody can reach."""
    top = Path(tempfile.mkdtemp())
    top.chmod(0o755)
    gathered = program.gather(top / "dialplan-sms")
    old = os.umask(0o077)  # an admin's own, which must not shut Asterisk out
    try:
        new = program.build(gathered, Host(), NOBODY, NOBODY)
        program.swap(new, gathered.prefix)
    finally:
        os.umask(old)
    yield gathered
    shutil.rmtree(top)


@pytest.fixture
def prefix(put: Program) -> Path:
    return put.prefix


def run(*command: str | Path) -> str:
    user = NOBODY if os.geteuid() == 0 else None
    return subprocess.run(
        command, capture_output=True, text=True, check=True, user=user, group=user, cwd="/",
        extra_groups=[] if user else None, env={"PATH": "/usr/bin:/bin"},
    ).stdout  # fmt: skip


def test_another_user_runs_it_without_what_it_was_copied_from(prefix: Path) -> None:
    assert __version__ in run(prefix / "bin/dialplan-sms", "--version")
    where = "import dialplan_sms, requests, sqlalchemy, regex; print(dialplan_sms.__file__, regex.__file__)"
    assert all(
        path.startswith(str(prefix)) for path in run(prefix / "bin/python", "-c", where).split()
    )
    # It sets up other hosts, too: what it needs for that came along.
    assert "--dry-run" in run(prefix / "bin/dialplan-sms", "setup", "--help")
    ask = "from dialplan_sms.cli.setup import bundled as b; print(b.find('sms.agi'), *b.shared().values())"
    found = run(prefix / "bin/python", "-c", ask).split()
    assert str(prefix / "share/dialplan-sms/extensions-sms.conf") in found
    assert str(prefix / "bin/sms.agi") == found[0]


def test_everybody_reads_and_nobody_writes_it(prefix: Path) -> None:
    for path in [prefix, *prefix.rglob("*")]:
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            assert mode & 0o444 == 0o444, path
            assert not mode & 0o022, path
    assert list(prefix.glob("lib/*/site-packages/dialplan_sms/agi/__pycache__/script.*.pyc"))
    assert not list(prefix.glob("lib/*/site-packages/pytest*"))


def test_a_call_sends(prefix: Path) -> None:
    with Sandbox() as sandbox:
        conf = prefix.parent / "sms.conf"
        conf.touch(mode=0o640)
        conf.write_text(
            f"[101]\nurl = {sandbox.url}\npassword = sms101api\nverify = {sandbox.fingerprint}\n"
        )
        root = os.geteuid() == 0
        if root:
            os.chown(conf, 0, NOBODY)
        call = Asterisk(prefix / "bin/sms.agi", prefix.parent, user=NOBODY if root else None)
        try:
            assert call.serve().variables["SMS_STATUS"] == "SUCCESS"
        finally:
            call.close()
        assert len(sandbox.messages) == 1


def test_it_is_there_until_something_of_it_changes(put: Program) -> None:
    assert program.is_there(put)
    assert not program.is_there(dataclasses.replace(put, mark="other"))


def test_whatever_changes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "needed", dict)
    marks = set()
    for content in (b"1", b"2"):
        item = distributions.Item("one.py", content=content)
        monkeypatch.setattr(distributions, "items", lambda _, item=item: [item])
        marks |= {program.gather(Path(place)).mark for place in ("/opt/a", "/opt/b")}
    assert len(marks) == 4


def test_packages_that_would_be_lost_stop_it(put: Program) -> None:
    fewer = dataclasses.replace(put, mark="other", names=put.names - {"psycopg"})
    with pytest.raises(HostError, match="psycopg"):
        program.is_there(fewer)


def test_the_packages_are_those_of_a_pbx() -> None:
    names = set(distributions.needed())
    assert {"dialplan-sms", "pyst2", "requests", "sqlalchemy", "psycopg", "psycopg-binary"} <= names
    assert not {"pytest", "ruff", "mypy", "pip", "hypothesis"} & names


def test_an_interpreter_in_a_home_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert program.interpreter().name == f"python{sys.version_info[0]}.{sys.version_info[1]}"
    monkeypatch.setattr(program, "_everybody_runs", lambda _: False)
    with pytest.raises(HostError, match="--python /usr/bin/python3"):
        program.interpreter()


def test_a_path_that_no_script_can_name_is_refused(tmp_path: Path) -> None:
    place = tmp_path / ("x" * 120)
    with pytest.raises(HostError, match="--prefix"):
        program.build(program.gather(place), Host(), os.getuid(), os.getgid())


def test_every_file_that_is_needed_comes_along() -> None:
    assert {"extensions-sms.conf", "dialplan-sms.service", "README.md"} <= set(bundled.shared())
    assert bundled.find("sms.agi").read_text().startswith("#!")
    with pytest.raises(HostError, match="install dialplan-sms again"):
        bundled.find("absent.conf")


@pytest.mark.parametrize("exchange", [True, False])
def test_one_program_takes_the_place_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(program, "_exchange", lambda *_: False)
    for name in ("new", "place"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "is").write_text(name)
    program.swap(tmp_path / "new", tmp_path / "place")
    assert (tmp_path / "place/is").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
