"""What ``dialplan-sms setup`` finds on a host and must not take for its own, or for good."""

import os
import shutil
from pathlib import Path

import pytest

from dialplan_sms.cli.setup import include
from dialplan_sms.cli.setup.folder_step import MakeFolder
from dialplan_sms.cli.setup.manifest import Manifest
from dialplan_sms.cli.setup.steps import State, Work
from dialplan_sms.host import files
from dialplan_sms.host.files import Ownership
from dialplan_sms.host.identity import HostError
from tests.unit.cli.test_setup import LINE, small
from tests.unit.pbxhost import EXTENSIONS, PbxHost

__all__ = ["small"]

NEW = ("--url", "http://192.0.2.1", "--sender", "101")


@pytest.fixture
def pbx(tmp_path: Path) -> PbxHost:
    return PbxHost(tmp_path / "host")


class TestTheOutboxFolder:
    def step(self, pbx: PbxHost, uid: int | None = None) -> tuple[MakeFolder, Work]:
        owner = Ownership(os.getuid() if uid is None else uid, os.getgid())
        work = Work(pbx.host(), Manifest(pbx.root / "state"))
        return MakeFolder(pbx.spool / "sms", 0o750, owner, "for the outbox"), work

    def test_one_of_another_user_is_no_place(self, pbx: PbxHost) -> None:
        (pbx.spool / "sms").mkdir(mode=0o700)
        step, work = self.step(pbx, 65534)
        with pytest.raises(HostError, match=r"nobody cannot write .*: run chown -R nobody /"):
            step.state(work)

    @pytest.mark.parametrize("mode", [0o500, 0o600, 0o070, 0])
    def test_one_that_its_owner_cannot_write(self, pbx: PbxHost, mode: int) -> None:
        uid = os.getuid() or 65534  # root can write to all
        (pbx.spool / "sms").mkdir()
        os.chown(pbx.spool / "sms", uid, -1)
        (pbx.spool / "sms").chmod(mode)
        step, work = self.step(pbx, uid)
        with pytest.raises(HostError, match=f"run chmod u.rwx {pbx.spool}/sms, then setup"):
            step.state(work)

    def test_root_writes_to_all(self, pbx: PbxHost) -> None:
        (pbx.spool / "sms").mkdir(mode=0o500)
        step, work = self.step(pbx, 0)
        assert step.state(work)[0] is State.THERE

    def test_the_group_and_everybody_may_do(self, pbx: PbxHost) -> None:
        (pbx.spool / "sms").mkdir()
        step, work = self.step(pbx, 65534)
        for mode in (0o770, 0o1777):
            (pbx.spool / "sms").chmod(mode)
            assert step.state(work)[0] is State.THERE

    @pytest.mark.parametrize("place", ["sms", ""])
    def test_a_file_in_its_place(self, pbx: PbxHost, place: str) -> None:
        file = pbx.spool / place
        if not place:
            pbx.spool.rmdir()
        file.touch()
        step, work = self.step(pbx)
        with pytest.raises(HostError, match=f"^{file} is no folder, .*: move it away"):
            step.state(work)

    def test_a_link_to_nothing(self, pbx: PbxHost) -> None:
        (pbx.spool / "sms").symlink_to("nowhere")
        before = pbx.tree()
        result = pbx.setup(*NEW)
        assert result.exit_code == 1
        assert f"\nError: {pbx.spool}/sms is no folder" in result.output
        assert pbx.tree() == before

    def test_a_link_to_a_folder_is_one(self, pbx: PbxHost) -> None:
        (pbx.root / "elsewhere").mkdir()
        (pbx.spool / "sms").symlink_to(pbx.root / "elsewhere")
        step, work = self.step(pbx)
        assert step.state(work)[0] is State.THERE

    def test_one_that_a_dry_run_may_not_see(
        self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = Path.stat

        def refused(path: Path, **more: bool) -> os.stat_result:
            if path == pbx.spool / "sms":
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, **more)

        monkeypatch.setattr(Path, "stat", refused)
        result = pbx.setup(*NEW, "--dry-run", is_root=False)
        assert result.exit_code == 0, result.output
        assert f"note    {pbx.spool}/sms: only root can look at it" in result.output


class TestTheProgramsPlace:
    def test_it_stays_where_it_was_put(self, pbx: PbxHost) -> None:
        place = pbx.root / "A/sms"
        pbx.install("--prefix", str(place))
        before = pbx.tree()
        assert "all is there: nothing to change" in pbx.setup().output
        assert pbx.tree() == before
        assert not pbx.prefix.exists()
        (place / ".setup").write_text("older")
        assert f"change  {place}:" in pbx.setup().output
        assert (pbx.agi_bin / "sms.agi").readlink() == place / "bin/sms.agi"

    def test_but_where_another_is_named(self, pbx: PbxHost) -> None:
        pbx.install("--prefix", str(pbx.root / "A/sms"))
        pbx.install("--prefix", str(pbx.root / "B/sms"))
        assert (pbx.agi_bin / "sms.agi").readlink() == pbx.root / "B/sms/bin/sms.agi"
        assert "all is there" in pbx.setup().output
        pbx.install("--prefix", str(pbx.root / "A/sms"))  # named again, it is the one
        assert "all is there" in pbx.setup().output
        assert (pbx.agi_bin / "sms.agi").readlink() == pbx.root / "A/sms/bin/sms.agi"

    def test_also_one_of_make_install(self, pbx: PbxHost) -> None:
        pbx.here = pbx.root / "opt/other"
        (pbx.here / "bin").mkdir(parents=True)
        for name in ("bin/sms.agi", "pyvenv.cfg"):
            (pbx.here / name).touch()
        pbx.install("--prefix", str(pbx.here))
        assert "all is there" in pbx.setup().output
        assert not pbx.prefix.exists()

    def test_a_foreign_sms_agi_says_nothing_of_it(self, pbx: PbxHost) -> None:
        pbx.install("--prefix", str(pbx.root / "A/sms"))
        (pbx.agi_bin / "sms.agi").unlink()
        (pbx.root / "other/bin").mkdir(parents=True)
        (pbx.root / "other/bin/sms.agi").touch()
        (pbx.agi_bin / "sms.agi").symlink_to(pbx.root / "other/bin/sms.agi")
        assert pbx.setup().exit_code == 0
        assert (pbx.agi_bin / "sms.agi.new").readlink() == pbx.root / "A/sms/bin/sms.agi"
        assert not pbx.prefix.exists()

    def test_not_the_place_of_a_package_that_is_gone(self, pbx: PbxHost) -> None:
        package = pbx.root / "package"
        (package / "bin").mkdir(parents=True)
        (package / "bin/sms.agi").touch()
        (pbx.root / "units/dialplan-sms.service").touch()
        pbx.here = package
        pbx.install()
        shutil.rmtree(package)
        pbx.here = pbx.root / "elsewhere"
        pbx.install()
        assert (pbx.agi_bin / "sms.agi").readlink() == pbx.prefix / "bin/sms.agi"


def test_a_link_to_nothing_is_no_edited_file(pbx: PbxHost) -> None:
    (pbx.etc / include.NAME).symlink_to("nowhere")
    before = pbx.tree()
    result = pbx.setup(*NEW)
    assert result.exit_code == 1
    assert f"\nError: {pbx.etc / include.NAME} is a link to nothing: remove it" in result.output
    assert pbx.tree() == before


class TestTheInclude:
    @pytest.mark.parametrize(
        "line", ['"custom/extensions-sms.conf"', "/usr/share/x/extensions-sms.conf", "{top}/*.conf",
                 "*/extensions-sms.conf", "\\0/extensions-sms.conf", "xextensions-sms.conf"],
    )  # fmt: skip
    def test_one_of_another_folder_is_not_ours(self, pbx: PbxHost, line: str) -> None:
        line = line.replace("\\0", "\0").replace("{top}", str(pbx.root))
        text = f"#tryinclude {line}\n".encode()
        pbx.extensions.write_bytes(text + EXTENSIONS)
        pbx.install()
        assert LINE + b"\n" in pbx.extensions.read_bytes()

    @pytest.mark.parametrize(
        "line", ["./extensions-sms.conf", "x/../extensions-sms.conf", "{etc}/extensions-sms.conf",
                 "{etc}/../*/extensions-s?s.conf", "linked/extensions-sms.conf"],
    )  # fmt: skip
    def test_the_same_by_another_name_is(self, pbx: PbxHost, line: str) -> None:
        (pbx.etc / "x").mkdir()
        (pbx.etc / "linked").symlink_to(pbx.etc)
        text = f"#tryinclude {line}\n".format(etc=pbx.etc).encode() + EXTENSIONS
        pbx.extensions.write_bytes(text)
        pbx.install()
        assert pbx.extensions.read_bytes() == text
        assert files.content_of(pbx.etc / include.NAME)
