"""``dialplan-sms migrate`` and the files: every byte that it need not change stays."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialplan_sms.cli.migrate import senders
from dialplan_sms.cli.migrate.conversion import Conversion
from dialplan_sms.cli.migrate.dialplan import parts, split
from dialplan_sms.cli.migrate.files import Tree
from dialplan_sms.config import config
from dialplan_sms.host import files, identity
from dialplan_sms.host.identity import HostError
from tests.unit import checked
from tests.unit.cli.test_migrate import CONF, INCLUDED, NEW, ONE, THERE, URL, USER, Site, curl, site

__all__ = ["site"]

RECIPE = f"[a]\nexten => 1,1,{USER}\n same => n,{ONE}\n"
PIECES = [
    USER, ONE, "[a]", "[b](!)", "exten => 1,1,", "exten => 1,2,", "same => n,", " same => n(x),", "exten => _X.,n+5,",
    "Goto(4)", "GotoIf($[\"${res}\" =~ \"Success\"]?5)", "#include x.conf", ";--", "--;", ";", "\\;", "\r", "\n", "\n",
    "\ufeff", "${", "}", "$[", "]", "(", ")", "&", "=", ",", "message=", "&number=", "CURL(", URL, "%2B", "%", "+", "\"",
    "System(curl -u 101:x ", "-d ", "'", "\\", "[globals]", "A=", "${A}", "Set(", "Set(A=", "\udcff", "\udce8", "é", "\0",
    "hint,", "s,", "ExecIf(1?", "NoOp(",
]  # fmt: skip


@pytest.fixture
def open_site(site: Site) -> Iterator[Site]:
    """A site that other users may pass, as pytest's own folder is not."""
    with checked.folder() as folder:
        site.folder = folder / "etc"
        site.folder.mkdir()
        yield site


def convert(content: bytes) -> tuple[senders.Finder, bytes]:
    path, tree = Path("x.conf"), Tree(Path("/nowhere"))
    tree.add(path, content, (path, 0))
    finder = senders.Finder(tree, senders.Senders(Path("sms.conf")), {path})
    Conversion(finder)
    return finder, tree.changed(path)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary()
    | st.lists(st.sampled_from(PIECES))
    .map("".join)
    .map(lambda text: text.encode("utf-8", "surrogateescape"))
)
def test_whatever_the_file_only_what_is_converted_changes(content: bytes) -> None:
    finder, new = convert(content)
    replaced = {number for _, number in finder.tree.replaced}
    old = content.split(b"\n")
    if not replaced and not finder.tree.after:
        assert new == content
    # What is left of the old lines is there, in order, byte for byte.
    kept = [line for number, line in enumerate(old, 1) if number not in replaced]
    rest = iter(new.split(b"\n"))
    assert all(
        any(line in (each, each + b"\r", each.rstrip(b"\r")) for each in rest) for line in kept
    )


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_expressions_lose_nothing(text: str) -> None:
    assert "".join(piece for _, piece in parts(text)) == text
    assert "&".join(split(text, "&")) == text


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("last", ["\n", ""])
def test_endings_bom_and_latin_1_stay(ending: str, bom: str, last: str) -> None:
    def content(*lines: str) -> bytes:
        text = f"{bom}; caf\udce9\n[a]\n" + "\n".join(lines) + last
        return text.replace("\n", ending).encode("utf-8", "surrogateescape")

    send = curl("message=perch\udce8&number=%2B39333123456")
    first, last_line = f"  exten => 1,1 , {USER} ", " same => n,Hangup()"
    finder, new = convert(content(first, f"\tsame  =>  n , {send}  ; \udce9", last_line))
    assert [found.reason for found in finder.recipes] == [""]
    apps = f"{NEW[0]} ; \udce9", "Set(SMS_MESSAGE=perchè)", "Set(SMS_STATUS=)", "AGI(sms.agi)"
    same = (f"\tsame  =>  n,{app}" for app in apps)
    assert new == content("  exten => 1,1 , NoOp() ", *same, last_line)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_last_line_without_an_end_stays_one(ending: str) -> None:
    old = f"[a]\nexten => 1,1,{USER}\n same => n,{ONE}".replace("\n", ending)
    new = convert(old.encode())[1].decode()
    assert new.endswith(f"{ending} same => n,AGI(sms.agi)")
    assert new.count("\r") == (0 if ending == "\n" else new.count("\n"))


class TestWriting:
    def test_nothing_is_written_without_write_and_what_to_do_next_is_said(self, site: Site) -> None:
        path = site.write(RECIPE)
        site.run(path)
        assert path.read_text() == RECIPE
        assert [each.name for each in site.folder.iterdir()] == ["extensions.conf"]
        assert re.search(
            r"1 converted\.\nNothing is written yet\.\nNext:\n  1\. .*#tryinclude.*\n"
            rf"  2\. the same command with --write: it writes \[101\] to {site.conf}, then {path}\n"
            r"  3\. if the service runs: systemctl reload dialplan-sms, .*\n"
            r"  4\. asterisk -rx 'dialplan reload'\n$",
            site.stderr,
        ), site.stderr
        site.run(path, "--write")
        assert re.search(
            r"Next:\n  1\. if the service runs: systemctl reload dialplan-sms, .*\n"
            r"  2\. .*#tryinclude.*\n  3\. asterisk -rx 'dialplan reload'\n  4\. .*check.*\n"
            rf"  5\. .*passwords: {path}\.before-dialplan-sms\n$",
            site.stderr,
        ), site.stderr
        # A second run finds nothing, and changes nothing.
        first = {each.name: each.read_bytes() for each in site.folder.iterdir()}
        site.run(path, "--write")
        assert (site.stdout, site.stderr) == ("", "No use of the SMS API is left.\n")
        assert site.status == 0
        assert {each.name: each.read_bytes() for each in site.folder.iterdir()} == first

    def test_a_section_that_is_there_is_not_announced(self, site: Site) -> None:
        site.configure(CONF)
        path = site.write(INCLUDED + RECIPE)
        site.run(path)
        assert f"--write: it writes {path}; {site.conf} is ready" in site.stderr
        assert "#tryinclude" not in site.stderr
        site.run(path, "--write")
        assert "Next:\n  1. asterisk -rx 'dialplan reload'\n" in site.stderr

    def test_the_backup_of_sms_conf_is_named(self, site: Site) -> None:
        site.configure(THERE)
        path = site.write(RECIPE)
        site.run(path, "--write")
        backups = [Path(f"{each}.before-dialplan-sms") for each in (site.conf, path)]
        assert [each.read_text() for each in backups] == [THERE, RECIPE]
        assert f"{site.conf}: written, the old one is {backups[0]}\n" in site.stderr
        assert f"{path}: written, the old one is {backups[1]}\n" in site.stderr
        assert site.stderr.endswith(f"passwords: {backups[0]}, {backups[1]}\n")

    NOTED = (
        f"{RECIPE}[b]\nexten => 2,1,{USER}\n same => n,{curl('message=a&number=${EXTEN}')}\n"
        f"exten => 3,1,{USER}\n same => n,{curl('message=a&number=+391', name='x')}\n"
        " same => n,Set(y=${CUT(x,:,2)})\n"
    )

    @pytest.mark.parametrize("first", [ONE, f"NoOp()\nexten => 1,3,{ONE}\nexten => 1,4,Hangup()"])
    def test_numbers_are_those_of_the_file_that_is_there(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, first: str
    ) -> None:
        path = site.write(self.NOTED.replace(ONE, first, 1))

        def run_and_look(*options: str) -> None:
            site.run(path, *options)
            new = path.read_text().splitlines()
            (noted,) = re.findall(r":(\d+): converted, but \$\{EXTEN\}", site.stderr)
            reads = r":(\d+): line (\d+) of extensions.conf reads the answer in \$\{x\}"
            ((left, reader),) = re.findall(reads, site.stderr)
            assert "${EXTEN}" in new[int(noted) - 1]
            assert "Set(x=${CURL(" in new[int(left) - 1]
            assert "CUT(x" in new[int(reader) - 1]

        run_and_look()
        with monkeypatch.context() as patched:
            patched.setattr(files, "put", Mock(side_effect=HostError("the disk is full")))
            run_and_look("--write")
        assert site.stderr.endswith("Error: the disk is full\n")
        run_and_look("--write")

    @pytest.mark.parametrize("ending", ["\n", "\r\n"])
    @pytest.mark.parametrize("bom", ["", "\ufeff"])
    @pytest.mark.parametrize("last", ["\n", ""])
    @pytest.mark.parametrize(
        "conf",
        [f"; ours\n{THERE}", f"; ours\n[general]\noutbox = sqlite:////x\n{THERE}",
         f"{THERE}[general]\noutbox = sqlite:////x\n", f"{THERE}[general]\n",
         "[general]\n\n[200]\nurl = https://pbx\n\npassword = x\n"],
    )  # fmt: skip
    def test_sms_conf_stays(self, site: Site, conf: str, last: str, bom: str, ending: str) -> None:
        site.configure("")
        text = bom + conf.removesuffix("\n") + last
        site.conf.write_bytes(text.replace("\n", ending).encode())
        path = site.write(RECIPE)
        site.run(path)
        shown = site.stdout[site.stdout.index(f"--- {site.conf}") :].splitlines()
        # A byte order mark stays the file's first, which the diff shows.
        assert bom or [line for line in shown[1:] if line.startswith("-")] == []
        assert {"+default_sender = 200", "+[101]"} <= set(shown)
        site.run(path, "--write")
        assert site.status == 0, site.stderr
        new = site.conf.read_bytes().decode()
        assert new.count("\n") == new.count(ending)
        assert new.startswith(bom)
        assert "\ufeff" not in new[1:]
        assert new.endswith(f"\n\n{CONF}".replace("\n", ending))
        assert config.load(site.conf).default_sender == "200"

    def test_the_help_says_first_that_it_only_shows(self, site: Site) -> None:
        site.run("--help")
        assert "Only shows a diff, and changes nothing, unless --write is given" in site.stdout

    @pytest.mark.parametrize(("mode", "after"), [(0o640, 0o640), (0o4755, 0o755)])
    def test_backup_and_mode(self, site: Site, mode: int, after: int) -> None:
        path = site.write(RECIPE)
        path.chmod(mode)
        earlier = site.folder / "extensions.conf.before-dialplan-sms"
        earlier.write_text("earlier")
        site.run(path, "--write")
        assert earlier.read_text() == "earlier"
        backup = site.folder / "extensions.conf.before-dialplan-sms-2"
        assert backup.read_text() == RECIPE
        assert {each.stat().st_mode & 0o7777 for each in (path, backup)} == {after}
        assert "CURL" not in path.read_text()

    def test_a_link_stays_a_link(self, site: Site) -> None:
        real = site.write(RECIPE, "real.conf")
        path = site.folder / "extensions.conf"
        path.symlink_to(real)
        site.run(path, "--write")
        assert path.is_symlink()
        assert "CURL" not in real.read_text()

    @pytest.mark.slow
    @pytest.mark.usefixtures("as_root")
    def test_the_owner_stays(self, open_site: Site) -> None:
        path = open_site.write(RECIPE)
        os.chown(path, 1234, 1235)
        open_site.run(path, "--write")
        backup, conf = open_site.folder / "extensions.conf.before-dialplan-sms", open_site.conf
        owners = [(each.stat().st_uid, each.stat().st_gid) for each in (path, backup, conf)]
        assert owners == [(1234, 1235), (1234, 1235), (0, 1235)]

    @pytest.mark.slow
    @pytest.mark.usefixtures("as_root")
    @pytest.mark.parametrize("name", ["../backup.env", "link.conf"])
    def test_no_secret_of_roots_comes_to_sms_conf(self, open_site: Site, name: str) -> None:
        """Who can change the dialplan includes what root alone reads, and can read sms.conf."""
        site = open_site
        secret = site.folder.parent / "backup.env"
        secret.touch(0o600)
        secret.write_text("SECRET=hunter2\n")
        (site.folder / "link.conf").symlink_to(secret)
        user = "Set(CURLOPT(userpwd)=101:${SECRET})"
        text = f"[globals]\n#include {name}\n{RECIPE.replace(USER, user)}"
        path = site.write(text)
        os.chown(path, 1234, 1235)
        site.run(path, "--write")
        assert not site.conf.exists()
        assert "who can change what names it, may not read it" in " ".join(site.stderr.split())
        secret.chmod(0o644)
        site.run(path, "--write")
        assert "hunter2" in site.conf.read_text()

    def test_no_file_is_made_through_a_link(self, site: Site, tmp_path: Path) -> None:
        """That Asterisk's user has left in its folder: root would make a file of its choice."""
        path = site.write(RECIPE)
        site.conf.symlink_to(tmp_path / "ld.so.preload")
        site.run(path, "--write")
        assert not (tmp_path / "ld.so.preload").exists()
        assert path.read_text() == RECIPE
        assert site.status != 0

    def test_no_folder_of_several_users_is_written_to(
        self, open_site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site = open_site
        theirs = site.folder.stat().st_ino
        monkeypatch.setattr(
            identity, "_writers", lambda _, found: {47110, 47111} if found.st_ino == theirs else {0}
        )
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        included = site.write(RECIPE, "sub/one.conf")
        site.run(site.write("#include sub/one.conf\n"), "--write")
        assert included.read_text() == RECIPE
        assert "more than one user can change" in " ".join(site.stderr.split())
        assert site.status == 1

    @pytest.mark.parametrize("name", ["*", "zz"])
    def test_a_pattern_for_the_whole_host_comes_to_an_end(self, site: Site, name: str) -> None:
        began = time.monotonic()
        site.run(site.write(f"#tryinclude /*/*/*/*/*/*/*/{name}\n{RECIPE}"))
        assert time.monotonic() - began < 20
        assert "extensions.conf:1: it is in too many folders: not looked at" in site.stderr

    def test_includes_are_followed(self, site: Site) -> None:
        site.write(RECIPE, "sub/one.conf")
        site.write(RECIPE.replace("1,1", "2,1"), "sub/two.conf")
        path = site.write('#include "sub/*.conf"\n#tryinclude missing.conf\n')
        site.run(path, "--write")
        assert site.status == 0, site.stderr
        for name in ("one", "two"):
            assert "CURL" not in (site.folder / f"sub/{name}.conf").read_text()

    def test_a_backup_that_would_be_included_is_not_made(self, site: Site) -> None:
        included = site.write(RECIPE, "sub/one.conf")
        site.run(site.write("#include sub/*\n"), "--write")
        assert included.read_text() == RECIPE
        assert not site.conf.exists()
        assert "its backup would be included" in site.stderr
        assert site.status == 1

    def test_globals_of_the_file_around(self, site: Site) -> None:
        site.write(f"[globals]\nPBX=http://127.0.0.1\n#include custom.conf\n{INCLUDED}")
        path = site.write(RECIPE.replace("http://127.0.0.1", "${PBX}"), "custom.conf")
        site.run(path, "--write")
        assert "Gosub(sub-sms,s,1)" in path.read_text(), site.stderr
        assert "PBX" in (site.folder / "extensions.conf").read_text()

    def test_a_file_included_twice(self, site: Site) -> None:
        lines = f"exten => 1,1,{USER}\nexten => 1,2,{ONE}\nexten => 1,3,Hangup()\n"
        included = site.write(lines, "one.conf")
        site.run(site.write("[a]\n#include one.conf\n[b]\n#include one.conf\n"), "--write")
        assert "one.conf:2: the file is included more than once" in site.stderr
        assert included.read_text() == lines
        assert site.status == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#include extensions.conf\n", "extensions.conf:1: .*is included within itself"),
        ("#include missing.conf\n", "extensions.conf:1: .*missing.conf cannot be read: there is no such file"),
        ("#include .\n", "extensions.conf:1: .* cannot be read: it is not a file"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(site: Site, text: str, reason: str) -> None:
    site.run(site.write(text))
    assert re.search(reason, site.stderr)
    assert site.status == 1


@pytest.mark.parametrize("name", ["missing.conf", ".", "x" * 300, "fifo"])
def test_a_file_that_is_none(site: Site, name: str) -> None:
    os.mkfifo(site.folder / "fifo")
    site.run(site.write(RECIPE), site.folder / name, "--write")
    assert site.stderr.startswith(f"Error: {site.folder / name}: cannot be read: ")
    assert (site.stderr.count("\n"), site.stdout, site.status) == (1, "", 2)
    assert not site.conf.exists()


def test_a_file_that_is_too_large(site: Site) -> None:
    path = site.write("")
    os.truncate(path, (16 << 20) + 1)
    site.run(path)
    assert "larger than 16 MiB" in site.stderr


def test_an_sms_conf_that_cannot_be_used(site: Site) -> None:
    site.configure("[101]\nnonsense\n")
    site.run(site.write(RECIPE), "--write")
    assert "sms.conf:2: neither" in site.stderr
    assert site.status == 1


def test_without_a_file_it_is_asterisk_s_own(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AST_CONFIG_DIR", str(site.folder))
    site.run()
    assert site.stderr.endswith("there is no such file: name the dialplan's file\n")
    assert site.status == 2
    # An include, too, starts from its folder.
    path = site.write(f"#include sub/more.conf\n{RECIPE}")
    site.write("#include one.conf\n", "sub/more.conf")
    one = site.write(RECIPE.replace("[a]", "[b]"), "one.conf")
    ael = site.write(f"context a {{ 1 => {ONE}; }}\n", "extensions.ael")
    site.run()
    assert f"+++ {path}" in site.stdout
    assert f"+++ {one}" in site.stdout
    assert f"{ael}:1: AEL is not converted" in site.stderr
    assert site.status == 1
