"""What ``dialplan-sms setup`` finds on a host and must not take for its own, or for good."""

import os
from pathlib import Path

import pytest

from dialplan_sms.cli.setup import dialplan, plan
from dialplan_sms.cli.setup.plan import make_outbox_folder
from dialplan_sms.cli.setup.steps import Action, Manifest, StepState, Work
from dialplan_sms.host import files
from dialplan_sms.host.identity import HostError, by_id
from dialplan_sms.host.installation import EXTENSIONS as CONF
from tests.unit.cli.test_setup import LINE, WITH_LINE
from tests.unit.pbxhost import EXTENSIONS, NEW, SECOND, PbxHost


class TestTheOutboxFolder:
    def found(self, pbx: PbxHost, uid: int | None = None) -> Action:
        user = by_id(os.getuid() if uid is None else uid, [os.getgid()])
        work = Work(pbx.host(), Manifest(None))
        return next(make_outbox_folder(work, pbx.spool / "sms", user))

    def test_one_of_another_user_is_no_place(self, pbx: PbxHost) -> None:
        (pbx.spool / "sms").mkdir(mode=0o700)
        with pytest.raises(HostError, match=r"nobody cannot write .*: run chown -R nobody /"):
            self.found(pbx, 65534)

    @pytest.mark.parametrize("mode", [0o500, 0o600, 0o070, 0])
    def test_one_that_its_owner_cannot_write(self, pbx: PbxHost, mode: int) -> None:
        uid = os.getuid() or 65534  # root can write to all
        (pbx.spool / "sms").mkdir()
        os.chown(pbx.spool / "sms", uid, -1)
        (pbx.spool / "sms").chmod(mode)
        with pytest.raises(HostError, match=f"run chmod u.rwx {pbx.spool}/sms, then setup"):
            self.found(pbx, uid)

    def test_root_writes_to_all(self, pbx: PbxHost) -> None:
        (pbx.spool / "sms").mkdir(mode=0o500)
        assert self.found(pbx, 0).state is StepState.THERE

    def test_the_group_and_everybody_may_do(self, pbx: PbxHost) -> None:
        (pbx.spool / "sms").mkdir()
        for mode in (0o770, 0o1777):
            (pbx.spool / "sms").chmod(mode)
            assert self.found(pbx, 65534).state is StepState.THERE

    def test_a_link_to_a_folder_is_one_and_to_nothing_none(self, pbx: PbxHost) -> None:
        (pbx.spool / "sms").symlink_to(pbx.root / "elsewhere")
        before = pbx.tree()
        assert f"\nError: {pbx.spool}/sms is no folder" in pbx.fails(*NEW)
        assert pbx.tree() == before
        (pbx.root / "elsewhere").mkdir()
        assert self.found(pbx).state is StepState.THERE

    @pytest.mark.parametrize("place", ["sms", ""])
    def test_a_file_in_its_place(self, pbx: PbxHost, place: str) -> None:
        file = pbx.spool / place
        if not place:
            pbx.spool.rmdir()
        file.touch()
        with pytest.raises(HostError, match=f"^{file} is no folder, .*: move it away"):
            self.found(pbx)

    def test_one_a_dry_run_may_not_see(self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch) -> None:
        real = Path.stat

        def refused(path: Path, **more: bool) -> os.stat_result:
            if path == pbx.spool / "sms":
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, **more)

        monkeypatch.setattr(Path, "stat", refused)
        result = pbx.setup(*NEW, "--dry-run", is_root=False)
        assert result.exit_code == 0, result.output
        assert f"note    {pbx.spool}/sms: only root can look at it" in result.output


class TestTheProgram:
    def test_the_first_line_that_pip_writes_is_made_the_quick_one(self, pbx: PbxHost) -> None:
        script = pbx.prefix / "bin/sms.agi"
        text = script.read_text()
        quick = f"#!{pbx.prefix}/bin/python3 -IS\n"
        assert text.startswith(quick)
        script.write_text(text.replace(quick, f"#!{pbx.prefix}/bin/python\n"))
        assert f"change  {script}: its first line" in pbx.install()
        assert (script.read_text(), script.stat().st_mode & 0o777) == (text, 0o755)
        assert f"{script}: " not in pbx.setup().output

    def test_the_link_leads_to_the_one_that_runs(self, pbx: PbxHost) -> None:
        other = pbx.put_program(pbx.root / "A/sms")
        pbx.script.symlink_to(other / "bin/sms.agi")  # that no setup has made
        pbx.install()
        assert pbx.script.readlink() == pbx.prefix / "bin/sms.agi"
        pbx.prefix = other
        assert f"change  {pbx.script}: a link to {other}/bin/sms.agi" in pbx.setup().output
        assert pbx.script.readlink() == other / "bin/sms.agi"
        assert (pbx.root / "bin/dialplan-sms").readlink() == other / "bin/dialplan-sms"
        pbx.settled()

    def test_one_that_asterisks_user_cannot_run(self, pbx: PbxHost) -> None:
        (pbx.fakes / "closed").touch()
        said = pbx.refused(*NEW)
        assert f"cannot run the program in {pbx.prefix}, no module named" in said
        assert said.endswith(
            ": in the source folder, run umask 022; make install PYTHON=/usr/bin/python3\n"
        )
        (pbx.prefix / "pipx_metadata.json").touch()
        says = ": run PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install --force"
        assert says in pbx.refused(*NEW)

    def test_one_others_can_change(self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch) -> None:
        script = pbx.prefix / "bin/sms.agi"
        monkeypatch.setattr(plan, "changer", {script: by_id(65534)}.get)
        assert f"the user nobody can change the program in {pbx.prefix}" in pbx.refused(*NEW)

    @pytest.mark.parametrize("place", ["a b", "x" * 120])
    def test_one_whose_place_no_first_line_can_name(self, pbx: PbxHost, place: str) -> None:
        pbx.prefix = pbx.root / place
        assert "install into a shorter path" in pbx.refused(*NEW)


class TestTheCopyOfAnEarlierSetup:
    """Of 0.1.0, which copied the program that it ran from to /opt/dialplan-sms."""

    @pytest.fixture
    def copy(self, pbx: PbxHost) -> Path:
        """It is there, with all that 0.1.0's setup has recorded of it; another program runs."""
        pbx.install()
        copy = pbx.prefix
        (copy / ".setup").write_text("0123\n")
        Manifest(pbx.root / "state").note(copy, "program", "setup")
        pbx.prefix = pbx.put_program(pbx.root / "opt/pipx")
        return copy

    def test_it_goes_once_nothing_leads_there(self, pbx: PbxHost, copy: Path) -> None:
        assert str(copy) in pbx.drop_in.read_text()
        said = pbx.setup().output
        assert f"remove  {copy}: an earlier setup's copy of the program" in said
        assert not copy.exists()
        assert pbx.script.readlink() == pbx.prefix / "bin/sms.agi"
        assert (pbx.root / "bin/dialplan-sms").readlink() == pbx.prefix / "bin/dialplan-sms"
        assert f'ExecStart="{pbx.prefix}/bin/dialplan-sms" serve' in pbx.drop_in.read_text()
        assert pbx.commands[-1].startswith("/opt/pipx/bin/python3 ")
        pbx.settled()
        assert pbx.setup("--remove").exit_code == 0
        assert not (pbx.root / "state").exists()

    def test_remove_takes_it_back(self, pbx: PbxHost, copy: Path) -> None:
        assert f"remove  {copy}: the program" in pbx.setup("--remove").output
        assert not copy.exists()
        assert not pbx.script.is_symlink()
        assert not (pbx.root / "state").exists()

    def test_not_while_something_is_wrong(self, pbx: PbxHost, copy: Path) -> None:
        (pbx.fakes / "broken").touch()
        assert "stays until all is well" in pbx.fails()
        assert copy.exists()

    @pytest.mark.parametrize(
        "place", ["etc/asterisk/more/globals.conf", "units/dialplan-sms.service"]
    )
    def test_it_is_named_where_an_admin_uses_it(self, pbx: PbxHost, copy: Path, place: str) -> None:
        file = pbx.root / place
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"[globals]\nSMS_AGI={copy}/bin/sms.agi\n")
        for _ in range(2):
            said = pbx.setup().output
            assert f"note: {copy} is an earlier setup's copy" in said
            assert f"since {file} names it" in said
            assert copy.exists()

    def test_without_systemd_it_is_named(self, pbx: PbxHost, copy: Path) -> None:
        (pbx.root / "run").rmdir()
        assert f"rm -r {copy} deletes it" in pbx.setup().output
        assert copy.exists()

    def test_the_package_takes_its_unit_and_command_away(self, pbx: PbxHost, copy: Path) -> None:
        pbx.prefix = pbx.put_program(pbx.root / "package")
        (pbx.prefix / "dialplan-sms.service").touch()
        theirs = [pbx.root / "units/dialplan-sms.service", pbx.root / "bin/dialplan-sms"]
        assert all(map(Path.exists, theirs))
        assert pbx.setup().exit_code == 0
        assert not any(map(Path.exists, (copy, *theirs)))

    def test_what_was_installed_over_it_stays(self, pbx: PbxHost, copy: Path) -> None:
        (copy / ".setup").unlink()
        pbx.setup()
        pbx.setup("--remove")
        assert (copy / "bin/sms.agi").exists()


def test_a_link_to_nothing_is_no_edited_file(pbx: PbxHost) -> None:
    (pbx.etc / CONF).symlink_to("nowhere")
    before = pbx.tree()
    assert f"\nError: {pbx.etc / CONF} is a link to nothing: remove it" in pbx.fails(*NEW)
    assert pbx.tree() == before


@pytest.mark.slow
@pytest.mark.usefixtures("as_root")
def test_a_file_that_gets_another_owner_is_named(folder: Path) -> None:
    """Root writes it as the user whose folder it is in."""
    pbx = PbxHost(folder / "asterisk")
    os.chown(pbx.etc, 65534, 65534)
    said = pbx.install()
    assert f"{pbx.extensions}: #tryinclude extensions-sms.conf above the first" in said
    assert "; it will belong to the user nobody, whose folder it is in\n" in said
    assert pbx.extensions.stat().st_uid == 65534
    assert pbx.extensions.read_bytes() == WITH_LINE
    pbx.setup(*SECOND)
    assert "it will belong" not in pbx.setup("--remove").output
    assert pbx.extensions.read_bytes() == EXTENSIONS


class TestTheInclude:
    @pytest.mark.parametrize(
        "line", ['"custom/extensions-sms.conf"', "/usr/share/x/extensions-sms.conf", "{top}/*.conf",
                 "*/extensions-sms.conf", "\\0/extensions-sms.conf", "xextensions-sms.conf"],
    )  # fmt: skip
    def test_one_of_another_folder_is_not_ours(self, pbx: PbxHost, line: str) -> None:
        line = line.replace("\\0", "\0").replace("{top}", str(pbx.root))
        pbx.extensions.write_bytes(f"#tryinclude {line}\n".encode() + EXTENSIONS)
        pbx.install()
        assert LINE + b"\n" in pbx.extensions.read_bytes()

    @pytest.mark.parametrize(
        "line", ['#include "extensions-sms.conf"', "#tryinclude ./extensions-sms.conf",
                 "#TRYINCLUDE <extensions-sms.conf> ; here", "#include extensions-*.conf",
                 "#tryinclude x/../extensions-sms.conf", "#tryinclude {etc}/extensions-sms.conf",
                 "#include {etc}/../*/extensions-s?s.conf", "#include linked/extensions-sms.conf"],
    )  # fmt: skip
    def test_a_line_of_the_admins_is_enough(self, pbx: PbxHost, line: str) -> None:
        (pbx.etc / "x").mkdir()
        (pbx.etc / "linked").symlink_to(pbx.etc)
        before = b"#include more.conf\n" + EXTENSIONS
        pbx.extensions.write_bytes(before)
        (pbx.etc / "more.conf").write_text(line.format(etc=pbx.etc) + "\n")
        pbx.install()
        assert pbx.extensions.read_bytes() == before
        assert files.content_of(pbx.etc / CONF)

    def test_includes_that_go_in_circles_end(self, tmp_path: Path) -> None:
        (tmp_path / "extensions.conf").write_text(
            '#include "b.conf"\n#include /dev/zero\n#include \n'
        )
        (tmp_path / "b.conf").write_text("#tryinclude extensions.conf\n#include *.conf\n")
        os.mkfifo(tmp_path / "c.conf")
        (found,) = dialplan.find_includes(tmp_path)  # by *.conf
        assert (found[0].name, found[1]) == ("b.conf", False)

    def test_what_is_commented_out_is_not_included(self, tmp_path: Path) -> None:
        line = "#include extensions-sms.conf\n"
        (tmp_path / "extensions.conf").write_text(f";{line};--\n{line}--;\n # {line}")
        assert list(dialplan.find_includes(tmp_path)) == []
