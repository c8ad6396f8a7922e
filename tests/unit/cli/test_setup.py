"""``dialplan-sms setup`` on a host of its own: what it does first, again, at an upgrade, and back."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dialplan_sms.cli.setup import dialplan, plan, service
from dialplan_sms.cli.setup.steps import Manifest, lock
from dialplan_sms.config import config
from dialplan_sms.config.http import DECOY
from dialplan_sms.host.installation import EXTENSIONS as CONF
from dialplan_sms.host.installation import UNIT, shared_file
from tests.unit.pbxhost import EXTENSIONS, GROUP, NEW, PASSWORD, USER, PbxHost

LINE = dialplan.LINE.encode()


def newer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From now on another version of the dialplan's file comes with the program."""
    changed = tmp_path / "newer"
    changed.mkdir(exist_ok=True)
    other = changed / CONF
    other.write_bytes(shared_file(CONF).read_bytes() + b"; newer\n")
    monkeypatch.setattr(
        plan, "shared_file", lambda name: other if name == CONF else shared_file(name)
    )


class TestFirst:
    def test_all_is_in_its_place(self, pbx: PbxHost) -> None:
        pbx.install()
        assert (pbx.agi_bin / "sms.agi").readlink() == pbx.prefix / "bin/sms.agi"
        assert pbx.extensions.read_bytes() == EXTENSIONS.replace(
            b"[general]", LINE + b"\n[general]", 1
        )
        loaded = config.load(pbx.sms_conf)
        assert loaded.senders["101"].password == PASSWORD
        assert loaded.outbox == f"sqlite:///{pbx.spool}/sms/outbox.sqlite"
        assert pbx.sms_conf.stat().st_mode & 0o777 == 0o640
        assert (pbx.spool / "sms").stat().st_mode & 0o777 == 0o750
        assert (pbx.root / "units" / UNIT).read_bytes() == shared_file(UNIT).read_bytes()

    def test_the_service_runs_and_the_dialplan_is_proven(self, pbx: PbxHost) -> None:
        said = pbx.install().output
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
        for options in ([], [*NEW]):
            result = pbx.setup("--dry-run", *options, is_root=False)
            assert result.exit_code == 0
            assert "dry run: nothing was changed" in result.output
            assert f"change  {pbx.extensions}" in result.output
        pbx.install()
        before = pbx.tree()
        pbx.setup("--dry-run", is_root=False)
        result = pbx.setup("--dry-run", "--remove", is_root=False)
        assert f"kept: {pbx.sms_conf}\n" in result.output
        assert pbx.tree() == before

    def test_answers_are_asked_for(self, pbx: PbxHost) -> None:
        pbx.interactive = True
        pbx.environ = {}
        said = f"ftp://x\nhttp://192.0.2.1\ngeneral\n102\n{PASSWORD}\nUK\nit\ny\n"
        result = pbx.setup(yes=False, said=said)
        assert result.exit_code == 0, result.output
        assert result.output.count("--url: allowed") == 1
        assert "--country: GB is the United Kingdom" in result.output
        sender = config.load(pbx.sms_conf).senders["102"]
        assert (sender.password, sender.country) == (PASSWORD, "IT")

    def test_no_country_is_an_answer(self, pbx: PbxHost) -> None:
        pbx.interactive = True
        result = pbx.setup(said="http://192.0.2.1\n102\n\n")
        assert result.exit_code == 0, result.output
        assert not config.load(pbx.sms_conf).senders["102"].country

    def test_the_password_comes_from_a_file(self, pbx: PbxHost, tmp_path: Path) -> None:
        pbx.environ = {}
        secret = tmp_path / "secret"
        secret.write_text("semi;colon\\;\nsecond line\n")
        pbx.install("--password-file", str(secret), "--country", "it")
        sender = config.load(pbx.sms_conf).senders["101"]
        assert (sender.password, sender.country) == ("semi;colon\\;", "IT")

    def test_a_token_takes_the_place_of_a_password(self, pbx: PbxHost) -> None:
        pbx.environ = {"DIALPLAN_SMS_TOKEN": "abc"}
        pbx.install()
        assert config.load(pbx.sms_conf).senders["101"].token == "abc"

    def test_no_drop_in_is_named_where_none_is_needed(
        self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "drop_in", lambda *_: "")
        assert "setup.conf" not in pbx.install().output

    def test_where_the_commands_find_another_folder_is_told(self, pbx: PbxHost) -> None:
        said = pbx.install().output
        assert f"run export AST_CONFIG_DIR={pbx.etc} first (and put it into /root/" in said

    def test_an_asterisk_that_does_not_run_is_no_error(self, tmp_path: Path) -> None:
        pbx = PbxHost(tmp_path / "host", running=False)
        assert "warning: Asterisk does not run" in pbx.install().output
        pbx.run_asterisk()
        assert "the dialplan has [sub-sms]" in pbx.setup().output

    def test_without_systemd_it_says_how_to_start(self, tmp_path: Path) -> None:
        pbx = PbxHost(tmp_path / "host", systemd=False)
        make = f"install -d -o {USER} -g {GROUP} -m 0750 /run/dialplan-sms"
        serve = f"{pbx.prefix}/bin/dialplan-sms serve"
        said = f"let your supervisor run as root {make}, then as {USER} {serve}\n"
        assert said in pbx.install().output
        assert not any("systemctl" in line for line in pbx.commands)
        assert not any((pbx.root / "units").iterdir())

    def test_a_service_that_does_not_start_is_told(self, pbx: PbxHost) -> None:
        (pbx.fakes / "broken").touch()
        result = pbx.setup(*NEW)
        assert result.exit_code == 1
        assert "systemctl restart dialplan-sms.service failed" in result.output
        (pbx.fakes / "broken").unlink()
        again = pbx.setup()
        assert (again.exit_code, "the service runs" in again.output) == (0, True)

    def test_a_dialplan_that_does_not_take_it_is_told(self, pbx: PbxHost) -> None:
        pbx.extensions.write_bytes(b"[general]\n#include /nowhere/extensions-sms.conf\n")
        (pbx.etc / CONF).mkdir()
        result = pbx.setup(*NEW)
        assert result.exit_code == 1
        assert str(pbx.etc / CONF) in result.output

    def test_the_debian_package_keeps_what_is_its_own(self, pbx: PbxHost) -> None:
        package = pbx.root / "package"
        pbx.put_program(package)
        (pbx.root / "units/dialplan-sms.service").touch()
        (pbx.etc / CONF).write_bytes(shared_file(CONF).read_bytes())
        refused = pbx.setup(*NEW)
        assert "run /usr/bin/dialplan-sms setup" in refused.output
        pbx.prefix = package
        pbx.install()
        assert (pbx.agi_bin / "sms.agi").readlink() == package / "bin/sms.agi"
        assert not (pbx.root / "bin/dialplan-sms").exists()
        drop_in = (pbx.root / "units/dialplan-sms.service.d/setup.conf").read_text()
        assert "ExecStart=" not in drop_in.replace("ExecStartPre=", "")
        pbx.setup("--remove")
        assert (pbx.etc / CONF).exists()
        assert (pbx.root / "units/dialplan-sms.service").exists()


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
    """Its PBX may be who asks it to."""
    pbx.install()
    pbx.sms_conf.write_text(f"{pbx.sms_conf.read_text()}\n[http]\nuser = 102:{DECOY}\n")
    pbx.interactive, pbx.environ = True, {}
    given = ("--url", "http://192.0.2.1", "--sender", sender, *options)
    result = pbx.setup(*given, said=f"{PASSWORD}\n\n{said}")
    assert result.exit_code == 0, result.output
    assert config.load(pbx.sms_conf).senders[sender].gsm == gsm


class TestFreePbx:
    @pytest.mark.parametrize("mark", ["freepbx.conf", "header"])
    def test_the_line_goes_to_the_custom_file(self, pbx: PbxHost, mark: str) -> None:
        head = b"; Do NOT edit this file as it is auto-generated by FreePBX.\n"
        generated = (head if mark == "header" else b"") + b"#include extensions_custom.conf\n"
        pbx.extensions.write_bytes(generated)
        if mark == "freepbx.conf":
            (pbx.root / "freepbx.conf").touch()
        pbx.extensions.chmod(0o664)
        pbx.install()
        custom = pbx.etc / "extensions_custom.conf"
        assert custom.read_bytes() == LINE + b"\n"
        assert custom.stat().st_mode & 0o777 == 0o664  # FreePBX's pages write both
        assert pbx.extensions.read_bytes() == generated
        # FreePBX's own #include of it would fail, were it gone.
        assert pbx.setup("--remove").exit_code == 0
        assert custom.read_bytes() == b""

    def test_a_custom_file_that_nothing_includes_is_told(self, pbx: PbxHost) -> None:
        (pbx.root / "freepbx.conf").touch()
        result = pbx.setup(*NEW)
        assert f"does not include {pbx.etc}/extensions_custom.conf" in result.output
        assert (result.exit_code, "no [sub-sms] after its reload" in result.output) == (1, True)

    def test_a_custom_file_keeps_all_else(self, pbx: PbxHost) -> None:
        (pbx.root / "freepbx.conf").touch()
        custom = pbx.etc / "extensions_custom.conf"
        before = b"; mine\r\n[from-internal-custom]\r\nexten => 1,1,NoOp()"
        custom.write_bytes(before)
        custom.chmod(0o664)
        pbx.extensions.write_bytes(b"#include extensions_custom.conf\n")
        pbx.install()
        assert custom.read_bytes() == before.replace(b"[from", LINE + b"\r\n[from")
        assert custom.stat().st_mode & 0o777 == 0o664
        pbx.setup("--remove")
        assert custom.read_bytes() == before


class TestTheAsteriskOfTheHost:
    def test_a_template_is_not_what_asterisk_uses(self, pbx: PbxHost) -> None:
        elsewhere = pbx.root / "real-agi-bin"
        elsewhere.mkdir()
        pbx.write_conf("(!)")
        pbx.conf.write_text(pbx.conf.read_text() + f"[directories]\nastagidir = {elsewhere}\n")
        (pbx.root / "proc/4711/cmdline").unlink()
        pbx.install()
        assert (elsewhere / "sms.agi").is_symlink()

    def test_the_unit_is_fitted_by_a_drop_in(self, pbx: PbxHost) -> None:
        pbx.install()
        drop_in = (pbx.root / "units/dialplan-sms.service.d/setup.conf").read_text()
        assert f"User={USER}\nGroup={GROUP}\n" in drop_in
        assert f'ExecStart=\nExecStart="{pbx.prefix}/bin/dialplan-sms" serve\n' in drop_in
        assert f'Environment="DIALPLAN_SMS_CONF={pbx.sms_conf}"' in drop_in
        assert f'ReadWritePaths="-{pbx.spool}/sms"' in drop_in

    def test_two_asterisks_must_be_told_apart(self, pbx: PbxHost) -> None:
        second = shutil.copytree(pbx.root / "proc/4711", pbx.root / "proc/4712", symlinks=True)
        (second / "cmdline").write_bytes(b"asterisk\0-fC\0/srv/other/asterisk.conf\0")
        result = pbx.setup(*NEW)
        assert (result.exit_code, "--asterisk-conf" in result.output) == (1, True)
        pbx.install("--asterisk-conf", str(pbx.conf))

    @pytest.mark.parametrize(
        "text",
        [
            b"", b"\xff\xfe\0\0[directories", b"[directories]\nastetcdir => relative\n",
            b"[directories\nastetcdir => /x\n", b"[directories]\nastagidir => /a\x00b\n",
            b";--\n[directories]\nastetcdir => /x\n", b"[" * 99999, b"=\n=>\n[]\n[directories]\n=x\n",
            b"[directories]\nastetcdir => /nowhere/at/all\n", b"[options]\nrunuser = no-such\n",
            b"[options]\nrunuser = \0\n", b"[directories]\nastspooldir => /proc/self/mem\n",
        ],
    )  # fmt: skip
    def test_a_hostile_asterisk_conf_is_no_crash(self, pbx: PbxHost, text: bytes) -> None:
        pbx.conf.write_bytes(text)
        (pbx.root / "proc/4711/cmdline").unlink()
        before = pbx.tree()
        result = pbx.setup("--dry-run", "--url", "http://192.0.2.1", "--sender", "101")
        assert result.exit_code in (0, 1)
        assert pbx.tree() == before

    def test_without_asterisk_it_says_what_to_do(self, pbx: PbxHost) -> None:
        pbx.conf.unlink()
        (pbx.root / "proc/4711/cmdline").unlink()
        result = pbx.setup()
        assert (result.exit_code, result.output.count("\n")) == (1, 1)
        assert "--asterisk-conf FILE" in result.output


class TestAgain:
    def test_the_second_run_changes_nothing(self, pbx: PbxHost) -> None:
        pbx.install()
        before = pbx.tree()
        number = len(pbx.commands)
        again = pbx.install()
        assert "all is there: nothing to change" in again.output
        assert pbx.tree() == before
        told = [line for line in pbx.commands[number:] if "systemctl is-" not in line]
        assert not any("systemctl" in line or "reload" in line for line in told)
        assert "all is there" in pbx.setup(yes=False).output

    def test_an_old_file_of_ours_is_replaced_at_an_upgrade(
        self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        pbx.install()
        newer(monkeypatch, tmp_path)
        result = pbx.setup()
        assert f"change  {pbx.etc / CONF}:" in result.output
        assert (pbx.etc / CONF).read_bytes().endswith(b"; newer\n")
        assert sum(line.endswith("dialplan reload") for line in pbx.commands) == 2

    def test_an_edited_file_stays_and_ours_goes_beside_it(
        self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        pbx.install()
        edited = pbx.etc / CONF
        edited.write_bytes(edited.read_bytes() + b"; edited\n")
        newer(monkeypatch, tmp_path)
        assert f"{edited} was edited and stays: compare it with {edited}.new" in pbx.setup().output
        assert edited.read_bytes().endswith(b"; edited\n")
        beside = edited.with_name(edited.name + ".new")
        assert beside.read_bytes().endswith(b"; newer\n")
        before = pbx.tree()
        assert "all is there: nothing to change" in pbx.setup().output
        assert pbx.tree() == before
        pbx.setup("--remove")
        assert (edited.exists(), beside.exists()) == (True, False)

    @pytest.mark.parametrize("line", [
        '#include "extensions-sms.conf"', "#tryinclude ./extensions-sms.conf",
        "#TRYINCLUDE <extensions-sms.conf> ; here", "#include extensions-*.conf",
    ])  # fmt: skip
    def test_a_line_of_the_admins_is_enough(self, pbx: PbxHost, line: str) -> None:
        pbx.extensions.write_bytes(b"#include more.conf\n" + EXTENSIONS)
        (pbx.etc / "more.conf").write_text(line + "\n")
        before = pbx.extensions.read_bytes()
        pbx.install()
        assert pbx.extensions.read_bytes() == before

    @pytest.mark.parametrize("is_link", [False, True])
    def test_a_foreign_sms_agi_stays(self, pbx: PbxHost, is_link: bool) -> None:
        script = pbx.root / "other" if is_link else pbx.agi_bin / "sms.agi"
        script.write_text("#!/bin/sh\n")
        if is_link:
            (pbx.agi_bin / "sms.agi").symlink_to(script)
        said = pbx.install().output
        assert "it is another's" in said
        assert f"SMS_AGI={pbx.prefix}/bin/sms.agi" in said
        assert (pbx.agi_bin / "sms.agi").read_text() == "#!/bin/sh\n"
        assert (pbx.agi_bin / "sms.agi.new").readlink() == pbx.prefix / "bin/sms.agi"
        assert "all is there" in pbx.setup().output

    def test_another_sub_sms_is_named(self, pbx: PbxHost) -> None:
        own = pbx.etc / "own.conf"
        own.write_text("; by hand\n[sub-sms]\nexten => s,1,NoOp()\n")
        pbx.extensions.write_bytes(b"#include own.conf\n" + EXTENSIONS)
        dry = pbx.setup("--dry-run", *NEW).output
        assert f"note    [sub-sms]: [sub-sms] is also in {own}:2: Asterisk merges" in dry
        for _ in range(2):
            result = pbx.setup(*NEW)
            assert f"[sub-sms] is also in {own}:2: Asterisk merges" in result.output
            assert (result.exit_code, "Send a first SMS" in result.output) == (1, False)
        own.unlink()
        assert pbx.setup(*NEW).exit_code == 0


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
        result = pbx.setup()
        assert result.exit_code == 1
        assert "the old password of [101] stays in force: " in result.output
        assert pbx.sms_conf.read_bytes() == self.OWN.encode()
        assert config.load(pbx.etc / "sms.conf.new").senders["101"].password == PASSWORD

    def test_but_not_one_of_which_nobody_knows_whose_it_is(self, pbx: PbxHost) -> None:
        self.write(pbx, f"{self.OWN}\r\n" + self.OWN.replace("[101]", "[102]"))
        result = pbx.setup()
        assert (result.exit_code, (pbx.etc / "sms.conf.new").exists()) == (0, False)

    @pytest.mark.parametrize(
        "general", ["", "[general]\r\nlog = syslog\r\n", "\ufeff[general]\r\n"]
    )
    def test_another_sender_is_added_and_the_default_stays(
        self, pbx: PbxHost, general: str
    ) -> None:
        self.write(pbx, general + self.OWN)
        pbx.setup("--url", "http://192.0.2.1", "--sender", "102")
        loaded = config.load(pbx.sms_conf)
        assert list(loaded.senders) == ["101", "102"]
        assert loaded.default_sender == "101"
        assert loaded.senders["101"].password == "other"
        before = pbx.tree()
        assert "all is there" in pbx.setup("--url", "http://192.0.2.1", "--sender", "102").output
        assert pbx.tree() == before
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
            result = pbx.setup(*NEW, "--country", "fr")
        beside = pbx.sms_conf.with_name("sms.conf.new")
        said = result.output
        assert (
            "the old url and password and country of [101] stay in force:"
            f" {beside} is the whole file with the new, in lines 8, 9, 10: look at it, then"
            f" mv {beside} {pbx.sms_conf} and systemctl reload dialplan-sms\n"
        ) in said
        assert (result.exit_code, "Send a first SMS" in said) == (1, False)
        assert pbx.sms_conf.read_bytes() == whole.encode()
        assert beside.stat().st_mode & 0o777 == 0o600
        # Nothing but the answers is another in it.
        old = (
            "[101]\n  url => http://192.0.2.7   ; the old PBX\n"
            "password = o\\;ther\\\\;x ; ask Ann\n"
        )
        new = (
            "[101]\ncountry = FR\n  url = http://192.0.2.1   ; the old PBX\n"
            f"password = {PASSWORD} ; ask Ann\n"
        )
        expected = "\ufeff" + self.WHOLE.replace(old, new).replace("\n", newline)
        assert beside.read_bytes() == expected.encode()
        beside.replace(pbx.sms_conf)
        said = pbx.setup(*NEW, "--country", "fr").output
        assert f"there   {pbx.sms_conf}: it stays as it is" in said

    def test_a_secret_of_another_kind_takes_the_old_one_s_line(self, pbx: PbxHost) -> None:
        (pbx.etc / "secret").touch(mode=0o600)
        (pbx.etc / "secret").write_text("old\n")
        whole = "[general]\npassword = all\n[101]\nurl = http://192.0.2.7\npassword_file = secret"
        self.write(pbx, whole)
        pbx.environ = {"DIALPLAN_SMS_TOKEN": "a;b"}
        assert "the whole file with the new, in line 5: look" in pbx.setup("--sender", "101").output
        beside = pbx.etc / "sms.conf.new"
        assert beside.read_text() == whole.replace("password_file = secret", "token = a\\;b")
        assert pbx.setup("--sender", "101", "--dry-run").exit_code == 0

    def test_no_file_is_left_beside_where_it_would_not_be_right(self, pbx: PbxHost) -> None:
        # What is put below this header stands in its comment.
        whole = "[101] ;-- of Ann\n--;\nurl = http://192.0.2.7\npassword = other\n"
        self.write(pbx, whole)
        result = pbx.setup("--sender", "101", "--country", "it")
        assert (result.exit_code, pbx.sms_conf.read_text()) == (1, whole)
        assert f"{pbx.sms_conf}: correct country of [101] there" in result.output
        assert not [path for path in pbx.etc.iterdir() if "sms.conf." in path.name]

    def test_one_that_cannot_be_read_is_told(self, pbx: PbxHost) -> None:
        self.write(pbx, "[101]\nurl = http://192.0.2.7\nsecret = abc-very-secret\n")
        result = pbx.setup("--url", "http://192.0.2.1", "--sender", "102")
        assert result.exit_code == 1
        assert f"{pbx.sms_conf}:3: secret: unknown" in result.output
        assert "abc-very" not in result.output

    @pytest.mark.slow
    def test_a_dry_run_of_another_user_needs_no_secret(self, tmp_path: Path) -> None:
        if os.getuid() != 0:
            pytest.fail("only root can be another user", pytrace=False)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            pbx = PbxHost(Path(folder) / "host")
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


class TestBadAnswers:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ([], "--url is missing"),
            (["--url", "http://192.0.2.1"], "--sender is missing"),
            (["--url", "ftp://192.0.2.1"], "--url: allowed"),
            (["--url", "http://a:b@192.0.2.1"], "name and password do not belong"),
            (["--sender", "a]b"], "--sender: no brackets"),
            (["--sender", "general"], "not general and not http"),
            (["--country", "UK"], "--country: GB is the United Kingdom"),
            (["--fingerprint", "sha1:00"], "--fingerprint: allowed"),
        ],
    )
    def test_one_line_names_the_option(self, pbx: PbxHost, options: list[str], said: str) -> None:
        before = pbx.tree()
        result = pbx.setup(*options)
        assert (result.exit_code, result.output.count("\n")) == (1, 1)
        assert said in result.output
        assert pbx.tree() == before

    def test_two_secrets_are_wrong_usage(self, pbx: PbxHost) -> None:
        result = pbx.setup("--password-file", "a", "--token-file", "b")
        says = "Error: --password-file and --token-file do not go together: give one\n"
        assert (result.exit_code, result.output) == (2, says)

    @pytest.mark.parametrize("content", [b"", b"\n", b"\xff\n", b" x\n", b"a\tb\n"])
    def test_a_password_file_that_holds_none(
        self, pbx: PbxHost, tmp_path: Path, content: bytes
    ) -> None:
        (tmp_path / "secret").write_bytes(content)
        result = pbx.setup(*NEW, "--password-file", str(tmp_path / "secret"))
        assert (result.exit_code, pbx.sms_conf.exists()) == (1, False)
        pbx.environ = {}
        missing = pbx.setup(*NEW)
        assert "DIALPLAN_SMS_PASSWORD" in missing.output

    def test_it_needs_root_and_a_yes(self, pbx: PbxHost) -> None:
        assert "run it as root" in pbx.setup(is_root=False).output
        asked = pbx.setup(*NEW, yes=False)
        assert (asked.exit_code, "give --yes" in asked.output) == (1, True)
        assert not pbx.sms_conf.exists()

    @pytest.mark.slow
    def test_a_link_to_another_users_file_is_not_followed(self, pbx: PbxHost) -> None:
        if os.getuid() != 0:
            pytest.fail("only root can make a link for another user", pytrace=False)
        target = pbx.root / "shadow"
        target.write_text("secret")
        pbx.extensions.unlink()
        pbx.extensions.symlink_to(target)
        os.lchown(pbx.extensions, 65534, 65534)
        result = pbx.setup(*NEW)
        assert (result.exit_code, target.read_text()) == (1, "secret")
        os.lchown(pbx.extensions, 0, 0)
        pbx.install()
        assert target.read_text() == f"secret\n{LINE.decode()}"

    def test_only_one_setup_runs_at_a_time(self, pbx: PbxHost) -> None:
        pbx.install()
        with lock(pbx.root / "state"):
            result = pbx.setup()
        assert (result.exit_code, "another dialplan-sms setup runs" in result.output) == (1, True)

    def test_what_asterisks_user_cannot_read_is_told(self, pbx: PbxHost) -> None:
        (pbx.fakes / "unreadable").touch()
        result = pbx.setup(*NEW)
        assert (result.exit_code, "chgrp asterisk" in result.output) == (1, True)

    def test_a_damaged_manifest_is_told(self, pbx: PbxHost) -> None:
        pbx.install()
        for text in ("{", "[]", '{"entries": {"x": 1}, "pending": []}', "\0"):
            (pbx.root / "state/setup.json").write_text(text)
            result = pbx.setup()
            assert (result.exit_code, "is damaged" in result.output) == (1, True)


class TestRemove:
    def test_all_is_taken_back_but_what_is_the_admins(self, pbx: PbxHost) -> None:
        before = pbx.tree()
        pbx.install()
        (pbx.spool / "sms/outbox.sqlite").touch()
        pbx.extensions.write_bytes(pbx.extensions.read_bytes() + b" same => n,Gosub(sub-sms,s,1)\n")
        result = pbx.setup("--remove")
        assert result.exit_code == 0
        assert f"kept: {pbx.sms_conf}" in result.output
        assert f"kept: {pbx.spool}/sms" in result.output
        assert f"still use sub-sms or sms.agi: see {pbx.extensions}" in result.output
        assert result.output.count(f"{pbx.spool}/sms") == 1
        left = {name for name in pbx.tree() if name not in before}
        assert left == {"etc/asterisk/sms.conf", "spool/sms", "spool/sms/outbox.sqlite"}
        assert pbx.extensions.read_bytes() == EXTENSIONS + b" same => n,Gosub(sub-sms,s,1)\n"
        assert not (pbx.fakes / "active").exists()
        assert not (pbx.fakes / "loaded").exists()

    def test_what_holds_passwords_is_named(self, pbx: PbxHost) -> None:
        pbx.install()
        beside = [
            pbx.sms_conf.with_name(f"sms.conf.{end}")
            for end in ("before-dialplan-sms", "before-dialplan-sms-2", "new")
        ]
        for path in beside:
            path.touch()
        said = pbx.setup("--remove").output
        for path in beside:
            assert f"kept: {path}, which may hold a password: rm {path} deletes it\n" in said

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
        result = pbx.setup("--remove")
        assert str(pbx.etc / CONF) not in result.output
        assert not (pbx.root / "state").exists()

    def test_twice_says_that_nothing_is_there(self, pbx: PbxHost) -> None:
        pbx.install()
        pbx.setup("--remove")
        before = pbx.tree()
        again = pbx.setup("--remove")
        assert (again.exit_code, again.output) == (0, "nothing of setup is here\n")
        assert pbx.tree() == before

    def test_without_asterisk_too(self, pbx: PbxHost) -> None:
        pbx.install()
        pbx.conf.unlink()
        (pbx.root / "proc/4711/cmdline").unlink()
        assert pbx.setup("--remove").exit_code == 0
        assert LINE not in pbx.extensions.read_bytes()
        assert not (pbx.agi_bin / "sms.agi").is_symlink()

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

    def test_during_the_questions_nothing_was_changed(
        self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pbx.interactive = True
        before = pbx.tree()
        monkeypatch.setattr("click.termui.visible_prompt_func", self.interrupt)
        result = pbx.setup()
        assert (result.exit_code, "nothing was changed\n" in result.output) == (130, True)
        assert "Aborted" not in result.output
        assert pbx.tree() == before

    @pytest.mark.parametrize("arguments", [[], ["--remove"]])
    def test_during_the_work_it_goes_on_from_here(
        self, pbx: PbxHost, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
    ) -> None:
        if arguments:
            pbx.install()
        monkeypatch.setattr(Manifest, "save", self.interrupt)
        arguments = arguments or [*NEW]
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
            path = str(arguments[0])
            if event not in EVENTS or not path.startswith(str(root)):
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
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    pbx = PbxHost(tmp_path / "host")
    if what != "setup":
        pbx.install()
    if what in ("upgrade", "edited"):
        newer(monkeypatch, tmp_path)
    if what == "edited":
        (pbx.etc / CONF).write_bytes(b"; mine\n")
    shutil.copytree(pbx.root, tmp_path / "before", symlinks=True)

    def given() -> None:
        shutil.rmtree(pbx.root)
        shutil.copytree(tmp_path / "before", pbx.root, symlinks=True)

    def act() -> None:
        pbx.setup("--remove") if what == "remove" else pbx.install()

    act()
    tree, loaded = pbx.tree("state"), (pbx.fakes / "loaded").exists()
    pbx.setup("--remove")
    without = pbx.tree("opt")
    number, killed = 0, True
    while killed:
        given()
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
