"""``dialplan-sms setup`` on a host of its own: what it does first, again, at an upgrade, and back."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dialplan_sms.cli.setup import dialplan, plan, service
from dialplan_sms.cli.setup.steps import Manifest
from dialplan_sms.config import config
from dialplan_sms.config.http import DECOY
from dialplan_sms.host.installation import EXTENSIONS as CONF
from dialplan_sms.host.installation import UNIT, shared_file
from tests.unit.pbxhost import EXTENSIONS, GROUP, NEW, PASSWORD, SECOND, USER, PbxHost

LINE = dialplan.LINE.encode()
WITH_LINE = EXTENSIONS.replace(b"[general]", LINE + b"\n[general]", 1)


def newer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From now on another version of the dialplan's file comes with the program."""
    other = tmp_path / CONF
    other.write_bytes(shared_file(CONF).read_bytes() + b"; newer\n")
    monkeypatch.setattr(
        plan, "shared_file", lambda name: other if name == CONF else shared_file(name)
    )


class TestFirst:
    def test_all_is_in_its_place_and_the_dialplan_is_proven(self, pbx: PbxHost) -> None:
        said = pbx.install()
        assert pbx.script.readlink() == pbx.prefix / "bin/sms.agi"
        assert pbx.extensions.read_bytes() == WITH_LINE
        loaded = config.load(pbx.sms_conf)
        assert loaded.senders["101"].password == PASSWORD
        assert loaded.outbox == f"sqlite:///{pbx.spool}/sms/outbox.sqlite"
        assert pbx.sms_conf.stat().st_mode & 0o777 == 0o640
        assert (pbx.spool / "sms").stat().st_mode & 0o777 == 0o750
        assert f"run export AST_CONFIG_DIR={pbx.etc} first (and put it into /root/" in said
        # The unit is fitted to this host, and root makes no folder for the service by name.
        assert (pbx.units / UNIT).read_bytes() == shared_file(UNIT).read_bytes()
        drop_in = pbx.drop_in.read_text()
        assert f"User={USER}\nGroup={GROUP}\n" in drop_in
        assert f'ExecStart=\nExecStart="{pbx.prefix}/bin/dialplan-sms" serve\n' in drop_in
        assert f'Environment="DIALPLAN_SMS_CONF={pbx.sms_conf}"' in drop_in
        assert f'ReadWritePaths="-{pbx.spool}/sms"' in drop_in
        assert "install -d" not in drop_in
        assert f"setpriv --reuid={os.getuid()} " in drop_in
        # The service runs, and Asterisk is asked for [sub-sms] after its reload.
        log, restart = pbx.commands, "systemctl restart dialplan-sms.service"
        assert log.index("systemctl daemon-reload") < log.index(restart)
        shows = [n for n, line in enumerate(log) if line.endswith("dialplan show sub-sms")]
        reload = next(n for n, line in enumerate(log) if line.endswith("dialplan reload"))
        assert shows[-1] > reload
        assert "the dialplan has [sub-sms]" in said

    def test_the_plan_is_shown_first_and_can_be_refused(self, pbx: PbxHost) -> None:
        before = pbx.tree()
        pbx.interactive = True
        result = pbx.setup(*NEW, yes=False, said="n\n")
        assert result.exit_code == 1
        assert f"make    {pbx.sms_conf}: sender 101; mode 0640, group {GROUP}" in result.output
        assert pbx.tree() == before

    def test_a_dry_run_changes_nothing_and_needs_no_root(self, pbx: PbxHost) -> None:
        before = pbx.tree()
        for options in ((), NEW):
            result = pbx.setup("--dry-run", *options, is_root=False)
            assert result.exit_code == 0
            assert "dry run: nothing was changed" in result.output
            assert f"change  {pbx.extensions}" in result.output
        assert pbx.tree() == before
        pbx.install()
        before = pbx.tree()
        pbx.setup("--dry-run", is_root=False)
        result = pbx.setup("--dry-run", "--remove", is_root=False)
        assert f"kept: {pbx.sms_conf}\n" in result.output
        assert pbx.tree() == before

    def test_answers_are_asked_for(self, pbx: PbxHost) -> None:
        pbx.interactive, pbx.environ = True, {}
        said = f"ftp://x\nhttp://192.0.2.1\ngeneral\n102\n{PASSWORD}\nUK\nit\ny\n"
        result = pbx.setup(yes=False, said=said)
        assert result.exit_code == 0, result.output
        assert result.output.count("--url: allowed") == 1
        assert "--country: GB is the United Kingdom" in result.output
        assert (pbx.sender("102").password, pbx.sender("102").country) == (PASSWORD, "IT")

    def test_the_password_comes_from_a_file(self, pbx: PbxHost, tmp_path: Path) -> None:
        pbx.environ = {}
        secret = tmp_path / "secret"
        secret.write_text("semi;colon\\;\nsecond line\n")
        pbx.install("--password-file", str(secret), "--country", "it")
        assert (pbx.sender().password, pbx.sender().country) == ("semi;colon\\;", "IT")

    def test_no_needless_drop_in(self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(service, "drop_in", lambda *_: "")
        assert "setup.conf" not in pbx.install()

    def test_an_asterisk_that_does_not_run_is_no_error(self, pbx: PbxHost) -> None:
        pbx.stop_asterisk()
        assert "warning: Asterisk does not run" in pbx.install()
        pbx.run_asterisk()
        assert "the dialplan has [sub-sms]" in pbx.setup().output

    def test_without_systemd_it_says_how_to_start(self, pbx: PbxHost) -> None:
        (pbx.root / "run").rmdir()
        make = f"install -d -o {USER} -g {GROUP} -m 0750 /run/dialplan-sms"
        serve = f"{pbx.prefix}/bin/dialplan-sms serve"
        said = f"let your supervisor run as root {make}, then as {USER} {serve}\n"
        assert said in pbx.install()
        assert not any("systemctl" in line for line in pbx.commands)
        assert not any(pbx.units.iterdir())

    def test_a_service_that_does_not_start_is_told(self, pbx: PbxHost) -> None:
        (pbx.fakes / "broken").touch()
        assert "systemctl restart dialplan-sms.service failed" in pbx.fails(*NEW)
        (pbx.fakes / "broken").unlink()
        assert "the service runs" in pbx.install()

    def test_a_dialplan_that_does_not_take_it_is_told(self, pbx: PbxHost) -> None:
        pbx.extensions.write_bytes(b"[general]\n#include /nowhere/extensions-sms.conf\n")
        (pbx.etc / CONF).mkdir()
        assert str(pbx.etc / CONF) in pbx.fails(*NEW)

    def test_the_debian_package_keeps_what_is_its_own(self, pbx: PbxHost) -> None:
        package = pbx.put_program(pbx.root / "package")
        (pbx.units / UNIT).touch()
        (pbx.etc / CONF).write_bytes(shared_file(CONF).read_bytes())
        assert "run /usr/bin/dialplan-sms setup" in pbx.refused(*NEW)
        pbx.prefix = package
        pbx.install()
        assert pbx.script.readlink() == package / "bin/sms.agi"
        assert not (pbx.root / "bin/dialplan-sms").exists()
        assert "ExecStart=" not in pbx.drop_in.read_text().replace("ExecStartPre=", "")
        pbx.setup("--remove")
        assert (pbx.etc / CONF).exists()
        assert (pbx.units / UNIT).exists()


@pytest.mark.parametrize(
    ("sender", "said", "options", "gsm"),
    [
        ("102", "9c75\n9C:75:14:33:00:01\n", (), "9c7514330001"),
        ("102", "\n", (), None),  # none is an answer
        ("102", "", ("--gsm", "9c:75:14:33:00:01"), "9c7514330001"),
        ("103", "", (), None),  # another sender needs none
    ],
)
def test_the_gateway_is_asked_for_if_the_http_sms_server_sends_as_the_new_sender(
    pbx: PbxHost, sender: str, said: str, options: tuple[str, ...], gsm: str | None
) -> None:
    """Its PBX may be who asks it to. No country is an answer, too."""
    pbx.install()
    pbx.sms_conf.write_text(f"{pbx.sms_conf.read_text()}\n[http]\nuser = 102:{DECOY}\n")
    pbx.interactive, pbx.environ = True, {}
    given = ("--url", "http://192.0.2.1", "--sender", sender, *options)
    result = pbx.setup(*given, said=f"{PASSWORD}\n\n{said}")
    assert result.exit_code == 0, result.output
    assert (pbx.sender(sender).gsm, pbx.sender(sender).country) == (gsm, None)


class TestFreePbx:
    MINE = b"; mine\r\n[from-internal-custom]\r\nexten => 1,1,NoOp()"

    @pytest.mark.parametrize("mark", ["freepbx.conf", "header"])
    @pytest.mark.parametrize(
        ("before", "after"),
        [(b"", LINE + b"\n"), (MINE, MINE.replace(b"[from", LINE + b"\r\n[from"))],
        ids=["none", "mine"],
    )
    def test_custom_file_has_it(self, pbx: PbxHost, mark: str, before: bytes, after: bytes) -> None:
        head = b"; Do NOT edit this file as it is auto-generated by FreePBX.\n"
        generated = (head if mark == "header" else b"") + b"#include extensions_custom.conf\n"
        pbx.extensions.write_bytes(generated)
        pbx.extensions.chmod(0o664)
        if mark == "freepbx.conf":
            (pbx.root / mark).touch()
        custom = pbx.etc / "extensions_custom.conf"
        if before:
            custom.write_bytes(before)
            custom.chmod(0o664)
        pbx.install()
        assert custom.read_bytes() == after
        assert custom.stat().st_mode & 0o777 == 0o664  # FreePBX's pages write both
        assert pbx.extensions.read_bytes() == generated
        # FreePBX's own #include of it would fail, were it gone.
        assert pbx.setup("--remove").exit_code == 0
        assert custom.read_bytes() == before

    def test_a_custom_file_that_nothing_includes_is_told(self, pbx: PbxHost) -> None:
        (pbx.root / "freepbx.conf").touch()
        said = pbx.fails(*NEW)
        assert f"does not include {pbx.etc}/extensions_custom.conf" in said
        assert "no [sub-sms] after its reload" in said


class TestAgain:
    def test_the_second_run_changes_nothing(self, pbx: PbxHost) -> None:
        pbx.install()
        number = len(pbx.commands)
        pbx.settled(*NEW)
        told = [line for line in pbx.commands[number:] if "systemctl is-" not in line]
        assert not any("systemctl" in line or "reload" in line for line in told)
        assert "all is there" in pbx.setup(yes=False).output

    def test_an_old_file_of_ours_is_replaced_at_an_upgrade(
        self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        pbx.install()
        newer(monkeypatch, tmp_path)
        assert f"change  {pbx.etc / CONF}:" in pbx.setup().output
        assert (pbx.etc / CONF).read_bytes().endswith(b"; newer\n")
        assert sum(line.endswith("dialplan reload") for line in pbx.commands) == 2

    def test_an_edited_file_stays_and_ours_goes_beside_it(
        self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        pbx.install()
        edited, beside = pbx.etc / CONF, pbx.etc / f"{CONF}.new"
        edited.write_bytes(edited.read_bytes() + b"; edited\n")
        newer(monkeypatch, tmp_path)
        assert f"{edited} was edited and stays: compare it with {beside}" in pbx.setup().output
        assert edited.read_bytes().endswith(b"; edited\n")
        assert beside.read_bytes().endswith(b"; newer\n")
        pbx.settled()
        pbx.setup("--remove")
        assert (edited.exists(), beside.exists()) == (True, False)

    @pytest.mark.parametrize("is_link", [False, True])
    def test_a_foreign_sms_agi_stays(self, pbx: PbxHost, is_link: bool) -> None:
        script = pbx.root / "other" if is_link else pbx.script
        script.write_text("#!/bin/sh\n")
        if is_link:
            pbx.script.symlink_to(script)
        said = pbx.install()
        assert "it is another's" in said
        assert f"SMS_AGI={pbx.prefix}/bin/sms.agi" in said
        assert pbx.script.read_text() == "#!/bin/sh\n"
        assert (pbx.agi_bin / "sms.agi.new").readlink() == pbx.prefix / "bin/sms.agi"
        pbx.settled()

    def test_another_sub_sms_is_named(self, pbx: PbxHost) -> None:
        own = pbx.etc / "own.conf"
        own.write_text("; by hand\n[sub-sms]\nexten => s,1,NoOp()\n")
        pbx.extensions.write_bytes(b"#include own.conf\n" + EXTENSIONS)
        says = f"[sub-sms] is also in {own}:2: Asterisk merges"
        assert f"note    [sub-sms]: {says}" in pbx.setup("--dry-run", *NEW).output
        for _ in range(2):
            said = pbx.fails(*NEW)
            assert says in said
            assert "Send a first SMS" not in said
        own.unlink()
        pbx.install()


class TestSmsConf:
    OWN = "[101]\r\nurl = http://192.0.2.7\r\npassword = other"

    def write(self, pbx: PbxHost, text: str) -> None:
        pbx.sms_conf.touch(mode=0o640)
        pbx.sms_conf.write_bytes(text.encode())

    def test_one_that_is_there_stays_and_nothing_is_asked(self, pbx: PbxHost) -> None:
        self.write(pbx, self.OWN)
        pbx.environ = {}
        assert pbx.setup().exit_code == 0
        assert pbx.sms_conf.read_bytes() == self.OWN.encode()

    def test_a_password_in_the_environment_that_is_not_in_force_is_told(self, pbx: PbxHost) -> None:
        self.write(pbx, self.OWN)
        assert "the old password of [101] stays in force: " in pbx.fails()
        assert pbx.sms_conf.read_bytes() == self.OWN.encode()
        assert pbx.sender(file="sms.conf.new").password == PASSWORD

    def test_but_not_one_of_which_nobody_knows_whose_it_is(self, pbx: PbxHost) -> None:
        self.write(pbx, f"{self.OWN}\r\n" + self.OWN.replace("[101]", "[102]"))
        assert pbx.setup().exit_code == 0
        assert not (pbx.etc / "sms.conf.new").exists()

    @pytest.mark.parametrize(
        "general", ["", "[general]\r\nlog = syslog\r\n", "\ufeff[general]\r\n"]
    )
    def test_another_is_added_and_the_default_stays(self, pbx: PbxHost, general: str) -> None:
        self.write(pbx, general + self.OWN)
        pbx.setup(*SECOND)
        loaded = config.load(pbx.sms_conf)
        assert (list(loaded.senders), loaded.default_sender) == (["101", "102"], "101")
        assert loaded.senders["101"].password == "other"
        pbx.settled(*SECOND)
        assert b"\n" not in pbx.sms_conf.read_bytes().replace(b"\r\n", b"")

    WHOLE = """\
; ours, by hand
[general]
default_sender = 101\t; who rings
outbox = sqlite:////srv/o.sqlite
country = IT

[101]
  url => http://192.0.2.7   ; the old PBX
password = o\\;ther\\\\;x ; ask Ann
;--
password = of a comment
--;
per_number = 5/1h

[102]
url = http://192.0.2.9
token = x
"""

    @pytest.mark.parametrize("times", [1, 2])
    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    def test_another_answer_for_the_same_sender_goes_beside_in_a_whole_file(
        self, pbx: PbxHost, times: int, newline: str
    ) -> None:
        whole = "\ufeff" + self.WHOLE.replace("\n", newline)
        self.write(pbx, whole)
        pbx.sms_conf.chmod(0o600)
        for _ in range(times):
            said = pbx.fails(*NEW, "--country", "fr")
        beside = pbx.etc / "sms.conf.new"
        assert (
            "the old url and password and country of [101] stay in force:"
            f" {beside} is the whole file with the new, in lines 8, 9, 10: look at it, then"
            f" mv {beside} {pbx.sms_conf} and systemctl reload dialplan-sms\n"
        ) in said
        assert "Send a first SMS" not in said
        assert pbx.sms_conf.read_bytes() == whole.encode()
        assert beside.stat().st_mode & 0o777 == 0o600
        # Nothing but the answers is another in it.
        new = whole.replace(f"[101]{newline}", f"[101]{newline}country = FR{newline}")
        new = new.replace("url => http://192.0.2.7", "url = http://192.0.2.1")
        new = new.replace("o\\;ther\\\\;x", PASSWORD)
        assert beside.read_bytes() == new.encode()
        beside.replace(pbx.sms_conf)
        said = pbx.install("--country", "fr")
        assert f"there   {pbx.sms_conf}: it stays as it is" in said

    def test_a_secret_of_another_kind_takes_the_old_one_s_line(self, pbx: PbxHost) -> None:
        (pbx.etc / "secret").touch(mode=0o600)
        (pbx.etc / "secret").write_text("old\n")
        whole = "[general]\npassword = all\n[101]\nurl = http://192.0.2.7\npassword_file = secret"
        self.write(pbx, whole)
        pbx.environ = {"DIALPLAN_SMS_TOKEN": "a;b"}
        assert "the whole file with the new, in line 5: look" in pbx.fails("--sender", "101")
        new = whole.replace("password_file = secret", "token = a\\;b")
        assert (pbx.etc / "sms.conf.new").read_text() == new
        assert pbx.setup("--sender", "101", "--dry-run").exit_code == 0

    def test_no_file_is_left_beside_where_it_would_not_be_right(self, pbx: PbxHost) -> None:
        # What is put below this header stands in its comment.
        whole = "[101] ;-- of Ann\n--;\nurl = http://192.0.2.7\npassword = other\n"
        self.write(pbx, whole)
        said = pbx.fails("--sender", "101", "--country", "it")
        assert f"{pbx.sms_conf}: correct country of [101] there" in said
        assert pbx.sms_conf.read_text() == whole
        assert not [path for path in pbx.etc.iterdir() if "sms.conf." in path.name]

    def test_one_that_cannot_be_read_is_told(self, pbx: PbxHost) -> None:
        self.write(pbx, "[101]\nurl = http://192.0.2.7\nsecret = abc-very-secret\n")
        said = pbx.fails(*SECOND)
        assert f"{pbx.sms_conf}:3: secret: unknown" in said
        assert "abc-very" not in said

    @pytest.mark.slow
    @pytest.mark.usefixtures("as_root")
    def test_a_dry_run_of_another_user_needs_no_secret(self, folder: Path) -> None:
        pbx = PbxHost(folder / "host")
        pbx.install()
        (pbx.fakes / "log").chmod(0o666)
        os.setegid(65534)
        os.seteuid(65534)
        try:
            said = pbx.setup("--dry-run", is_root=False).output
        finally:
            os.seteuid(0)
            os.setegid(0)
        assert "all is there: nothing to change" in said

    @pytest.mark.slow
    @pytest.mark.usefixtures("as_root")
    def test_a_link_to_another_users_file_is_not_followed(self, pbx: PbxHost) -> None:
        target = pbx.root / "shadow"
        target.write_text("secret")
        pbx.extensions.unlink()
        pbx.extensions.symlink_to(target)
        os.lchown(pbx.extensions, 65534, 65534)
        pbx.fails(*NEW)
        assert target.read_text() == "secret"
        os.lchown(pbx.extensions, 0, 0)
        pbx.install()
        assert target.read_text() == f"secret\n{LINE.decode()}"

    def test_what_asterisks_user_cannot_read_is_told(self, pbx: PbxHost) -> None:
        (pbx.fakes / "unreadable").touch()
        assert "chgrp asterisk" in pbx.fails(*NEW)

    def test_a_damaged_manifest_is_told(self, pbx: PbxHost) -> None:
        pbx.install()
        for text in ("{", "[]", '{"entries": {"x": 1}, "pending": []}', "\0"):
            (pbx.root / "state/setup.json").write_text(text)
            assert "is damaged" in pbx.fails()


class TestRemove:
    def test_all_is_taken_back_but_what_is_the_admins(self, pbx: PbxHost) -> None:
        before = pbx.tree()
        pbx.install()
        (pbx.spool / "sms/outbox.sqlite").touch()
        pbx.extensions.write_bytes(pbx.extensions.read_bytes() + b" same => n,Gosub(sub-sms,s,1)\n")
        # What holds passwords is named.
        ends = ("before-dialplan-sms", "before-dialplan-sms-2", "new")
        beside = [pbx.etc / f"sms.conf.{end}" for end in ends]
        for path in beside:
            path.touch()
        result = pbx.setup("--remove")
        assert result.exit_code == 0
        for path in (pbx.sms_conf, pbx.spool / "sms"):
            assert f"kept: {path}\n" in result.output
        for path in beside:
            says = f"kept: {path}, which may hold a password: rm {path} deletes it\n"
            assert says in result.output
            path.unlink()
        assert f"still use sub-sms or sms.agi: see {pbx.extensions}" in result.output
        assert result.output.count(f"{pbx.spool}/sms") == 1
        left = {name for name in pbx.tree() if name not in before}
        assert left == {"etc/asterisk/sms.conf", "spool/sms", "spool/sms/outbox.sqlite"}
        assert pbx.extensions.read_bytes() == EXTENSIONS + b" same => n,Gosub(sub-sms,s,1)\n"
        assert not (pbx.fakes / "active").exists()
        assert not (pbx.fakes / "loaded").exists()
        before = pbx.tree()
        again = pbx.setup("--remove")
        assert (again.exit_code, again.output) == (0, "nothing of setup is here\n")
        assert pbx.tree() == before

    def test_the_program_is_named(self, pbx: PbxHost) -> None:
        pbx.install()
        said = pbx.setup("--remove").output
        assert f"kept: {pbx.prefix}, the program: rm -r {pbx.prefix} deletes it\n" in said
        (pbx.prefix / "pipx_metadata.json").touch()
        pbx.install()
        said = pbx.setup("--remove").output
        assert f"kept: {pbx.prefix}, the program: PIPX_HOME=/opt/pipx PIPX_BIN_DIR=" in said
        assert "pipx uninstall dialplan-sms deletes it\n" in said

    def test_a_file_that_is_gone_is_not_shown(self, pbx: PbxHost) -> None:
        pbx.install()
        (pbx.etc / CONF).unlink()
        assert str(pbx.etc / CONF) not in pbx.setup("--remove").output
        assert not (pbx.root / "state").exists()

    def test_without_asterisk_too(self, pbx: PbxHost) -> None:
        pbx.install()
        pbx.conf.unlink()
        pbx.stop_asterisk()
        assert pbx.setup("--remove").exit_code == 0
        assert LINE not in pbx.extensions.read_bytes()
        assert not pbx.script.is_symlink()

    def test_a_file_that_an_include_needs_stays(self, pbx: PbxHost) -> None:
        pbx.extensions.write_bytes(b"#include extensions-sms.conf\n" + EXTENSIONS)
        pbx.install()
        assert "has an #include of it" in pbx.setup("--remove").output
        assert (pbx.etc / CONF).exists()
        pbx.extensions.write_bytes(EXTENSIONS)
        pbx.setup("--remove")
        assert not (pbx.etc / CONF).exists()
        assert not (pbx.root / "state").exists()

    @pytest.mark.parametrize("before", [
        b"", b"; only a comment", b"[a]", b"\xef\xbb\xbf[a]\n", b"\xef\xbb\xbf", b"#include x\r\n",
        b";-- block\n[no]\n--; [no]\n[yes]\n", b"x = 1\n\n  [a](!)\n[b](+)\n", EXTENSIONS,
    ])  # fmt: skip
    def test_the_line_goes_in_and_out_to_the_byte(self, pbx: PbxHost, before: bytes) -> None:
        pbx.extensions.write_bytes(before)
        pbx.install()
        assert [found[0] for found in dialplan.find_includes(pbx.etc)] == [pbx.extensions]
        pbx.setup("--remove")
        assert pbx.extensions.read_bytes() == before

    def test_an_include_that_the_admin_took_out_is_no_matter(self, pbx: PbxHost) -> None:
        pbx.install()
        pbx.extensions.write_bytes(b"[other]\n")
        assert pbx.setup("--remove").exit_code == 0
        assert pbx.extensions.read_bytes() == b"[other]\n"


class TestInterrupted:
    @staticmethod
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def test_during_the_questions(self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch) -> None:
        pbx.interactive = True
        before = pbx.tree()
        monkeypatch.setattr("click.termui.visible_prompt_func", self.interrupt)
        result = pbx.setup()
        assert (result.exit_code, "nothing was changed\n" in result.output) == (130, True)
        assert "Aborted" not in result.output
        assert pbx.tree() == before

    @pytest.mark.parametrize("arguments", [NEW, ["--remove"]])
    def test_during_the_work_it_goes_on_from_here(
        self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
    ) -> None:
        if arguments == ["--remove"]:
            pbx.install()
        monkeypatch.setattr(Manifest, "save", self.interrupt)
        result = pbx.setup(*arguments)
        assert result.exit_code == 130
        assert "interrupted: run it again, it goes on from here\n" in result.output
        assert "nothing was changed" not in result.output
        monkeypatch.undo()
        assert pbx.setup("--remove").exit_code == 0


EVENTS = {"os.rename", "os.mkdir", "os.symlink", "os.remove", "os.rmdir", "os.chmod", "open"}


def killed_at(number: int, root: Path, run: Callable[[], object]) -> bool:
    """Whether *run*, in a process of its own, was killed before its change *number* below root."""
    pid = os.fork()
    if pid == 0:
        left = [number]

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event not in EVENTS or not str(arguments[0]).startswith(str(root)):
                return
            if event == "open" and not int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR):
                return
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)

        try:
            sys.addaudithook(hook)
            run()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", ["setup", "upgrade", "remove", "edited"])
def test_a_run_that_was_killed_is_finished_by_the_next(
    pbx: PbxHost, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    if what != "setup":
        pbx.install()
    if what in ("upgrade", "edited"):
        newer(monkeypatch, tmp_path)
    if what == "edited":
        (pbx.etc / CONF).write_bytes(b"; mine\n")
    shutil.copytree(pbx.root, tmp_path / "before", symlinks=True)

    def act() -> None:
        pbx.setup("--remove") if what == "remove" else pbx.install()

    act()
    tree, loaded = pbx.tree("state"), (pbx.fakes / "loaded").exists()
    pbx.setup("--remove")
    without = pbx.tree("opt")
    number, killed = 0, True
    while killed:
        shutil.rmtree(pbx.root)
        shutil.copytree(tmp_path / "before", pbx.root, symlinks=True)
        killed = killed_at(number, pbx.root, act)
        act()
        assert pbx.tree("state") == tree, number
        assert (pbx.fakes / "active").exists() == (what != "remove"), number
        assert (pbx.fakes / "loaded").exists() == loaded, number
        if what == "remove":
            assert not (pbx.root / "state").exists(), number
        else:
            assert json.loads((pbx.root / "state/setup.json").read_text())["pending"] == []
        if what == "setup":  # and all of it can be taken back
            pbx.setup("--remove")
            assert pbx.tree("opt") == without, number
        number += 1
    assert number > 10
