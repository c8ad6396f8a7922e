"""``dialplan-sms setup``: no option is passed over in silence; what it ends with."""

import os
import re
from pathlib import Path

import pytest

from dialplan_sms.agi.doors import Capacity
from dialplan_sms.cli.setup.command import TRIAL
from dialplan_sms.config import config
from dialplan_sms.sandbox import Sandbox
from tests.pages import README
from tests.unit.cli.test_setup_pbx import normal
from tests.unit.doors import hearing, opened
from tests.unit.pbxhost import EXTENSIONS, NEW, PASSWORD, PbxHost

SAVES = "takes about a tenth of the CPU time of sms.agi"


def beside(pbx: PbxHost) -> config.Sender:
    return config.load(pbx.etc / "sms.conf.new").senders["101"]


class TestOneThatComesAlone:
    """On a host where all is there."""

    @pytest.fixture
    def installed(self, pbx: PbxHost, sandbox: Sandbox) -> PbxHost:
        result = pbx.setup("--url", sandbox.url, "--sender", "101", "--pin")
        assert result.exit_code == 0, result.output
        pbx.environ = {}
        return pbx

    def renewed(self, pbx: PbxHost) -> str:
        """sms.conf pins another certificate than the PBX shows now."""
        text = pbx.sms_conf.read_text()
        pinned = config.load(pbx.sms_conf).senders["101"].verify
        pbx.sms_conf.write_text(re.sub("(?m)^verify = .*$", f"verify = sha256:{'0' * 64}", text))
        return pinned

    @pytest.mark.parametrize("sender", [[], ["--sender", "101"]])
    def test_pin_looks_at_the_certificate(self, installed: PbxHost, sender: list[str]) -> None:
        assert "all is there: nothing to change" in installed.setup("--pin", *sender).output
        shown = self.renewed(installed)
        result = installed.setup("--pin", *sender)
        assert (result.exit_code, "the old verify of [101] stays" in result.output) == (1, True)
        assert "is pinned" not in result.output
        assert (beside(installed).verify, beside(installed).password) == (shown, PASSWORD)

    def test_a_fingerprint_is_compared_with_what_is_shown(
        self, installed: PbxHost, sandbox: Sandbox
    ) -> None:
        shown = self.renewed(installed)
        result = installed.setup("--fingerprint", sandbox.fingerprint)
        assert (result.exit_code, "the old verify of [101] stays" in result.output) == (1, True)
        assert beside(installed).verify == shown == normal(sandbox.fingerprint)
        other = installed.setup("--fingerprint", "11" * 32)
        assert (other.exit_code, "shows another certificate" in other.output) == (1, True)

    @pytest.mark.parametrize(
        ("key", "given", "value"),
        [("country", "it", "IT"), ("gsm", "9C:75:14:33:00:01", "9c7514330001")],
    )
    def test_another_value(self, installed: PbxHost, key: str, given: str, value: str) -> None:
        result = installed.setup(f"--{key}", given)
        assert (result.exit_code, f"the old {key} of [101] stays" in result.output) == (1, True)
        assert getattr(beside(installed), key) == value

    def test_a_country_is_not_lost_with_another_address(self, installed: PbxHost) -> None:
        installed.sms_conf.write_text(f"{installed.sms_conf.read_text()}country = DE\n")
        installed.setup("--url", "http://192.0.2.9")
        assert beside(installed).country == "DE"

    def test_a_certificate_out_of_reach_cannot_be_pinned(self, pbx: PbxHost) -> None:
        pbx.setup("--url", "https://127.0.0.1:9", "--sender", "101")
        before = pbx.tree()
        result = pbx.setup("--pin")
        assert (result.exit_code, result.output.count("\n")) == (1, 1)
        assert "so its certificate cannot be pinned" in result.output
        assert pbx.tree() == before

    @pytest.mark.parametrize("option", [["--pin"], ["--fingerprint", "11" * 32]])
    def test_http_has_no_certificate(self, pbx: PbxHost, option: list[str]) -> None:
        first = pbx.setup(*NEW, *option)
        pbx.install()
        again = pbx.setup(*option)
        for result in (first, again):
            assert (result.exit_code, result.output.count("\n")) == (1, 1)
            assert f"{option[0]}: http://192.0.2.1" in result.output

    @pytest.mark.parametrize(
        "option", [["--pin"], ["--fingerprint", "11" * 32], ["--country", "IT"],
                   ["--url", "http://192.0.2.8"], ["--password-file", "/dev/null"]],
    )  # fmt: skip
    @pytest.mark.parametrize("interactive", [False, True])
    def test_of_whom_nobody_knows(
        self, pbx: PbxHost, option: list[str], interactive: bool, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").write_text("other\n")
        option = [word.replace("/dev/null", str(tmp_path / "secret")) for word in option]
        pbx.install()
        pbx.setup("--url", "http://192.0.2.1", "--sender", "102")
        text = pbx.sms_conf.read_text().replace("default_sender = 101\n", "")
        pbx.sms_conf.write_text(text)
        pbx.interactive = interactive
        for way in ([], ["--dry-run"]):
            result = pbx.setup(*option, *way)
            assert (result.exit_code, result.output.count("\n")) == (1, 1)
            assert "101, 102" in result.output
            assert "give --sender" in result.output

    def test_a_dry_run_says_that_a_new_sender_is_not_shown(self, installed: PbxHost) -> None:
        said = installed.setup("--sender", "102", "--dry-run").output
        assert "note: 102 is not in sms.conf: give --url" in said

    @pytest.mark.slow
    @pytest.mark.usefixtures("as_root")
    def test_a_dry_run_that_cannot_read_sms_conf_says_so(
        self, installed: PbxHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        access = os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode: path != installed.sms_conf and access(path, mode)
        )
        said = installed.setup("--country", "IT", "--dry-run").output
        assert f"note: only root reads {installed.sms_conf}" in said
        assert "note" not in installed.setup("--dry-run").output


class TestTheSecret:
    @pytest.mark.parametrize("option", ["--password-file", "--token-file"])
    def test_it_is_read_once(self, pbx: PbxHost, option: str) -> None:
        """What is no file gives it once only."""
        pbx.environ = {}
        for way in (["--dry-run"], []):
            result = pbx.setup(*NEW, option, "-", *way, said="abc\n")
            assert result.exit_code == 0, result.output
        sender = config.load(pbx.sms_conf).senders["101"]
        assert "abc" in (sender.password, sender.token)

    def test_a_pipe_gives_it_once(self, pbx: PbxHost) -> None:
        reader, writer = os.pipe()
        os.write(writer, b"abc\n")
        os.close(writer)
        result = pbx.setup(*NEW, "--password-file", f"/proc/self/fd/{reader}", "--dry-run")
        os.close(reader)
        assert result.exit_code == 0, result.output

    @pytest.mark.parametrize("more", [[], list(NEW)])
    def test_two_in_the_environment_are_one_too_many(self, pbx: PbxHost, more: list[str]) -> None:
        pbx.install()
        pbx.environ |= {"DIALPLAN_SMS_TOKEN": "abc"}
        result = pbx.setup(*more)
        assert (result.exit_code, result.output.count("\n")) == (1, 1)
        assert "DIALPLAN_SMS_PASSWORD and DIALPLAN_SMS_TOKEN do not go together" in result.output

    def test_a_file_goes_before_the_environment(self, pbx: PbxHost, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("of a file\n")
        pbx.environ |= {"DIALPLAN_SMS_TOKEN": "abc"}
        pbx.install("--token-file", str(tmp_path / "token"))
        assert config.load(pbx.sms_conf).senders["101"].token == "of a file"


class TestRemove:
    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (["--url", "http://192.0.2.1", "--pin"], "--url, --pin"),
            (["--sender", "101"], "--sender"),
            (["--pin", "--fingerprint", "1"], "--fingerprint, --pin"),
            (["--password-file", "a"], "--password-file"),
            (["--token-file", "a", "--country", ""], "--token-file, --country"),
        ],
    )
    def test_what_does_not_go_with_it(self, pbx: PbxHost, options: list[str], named: str) -> None:
        pbx.install()
        before = pbx.tree()
        result = pbx.setup("--remove", *options)
        assert (result.exit_code, result.output.count("\n")) == (2, 1)
        assert f"--remove takes all back, so leave out {named}" in result.output
        assert pbx.tree() == before

    def test_what_goes_with_it(self, pbx: PbxHost) -> None:
        pbx.install()
        options = ["--asterisk-conf", str(pbx.conf)]
        assert pbx.setup("--remove", "--dry-run", *options).exit_code == 0
        assert pbx.setup("--remove", *options).exit_code == 0


def test_it_ends_with_the_lines_to_paste_and_how_to_try_them(pbx: PbxHost) -> None:
    assert TRIAL in README
    said = pbx.install().output
    asterisk = f"{pbx.root}/bin/asterisk -C {pbx.conf} -rx"
    assert said.endswith(
        f"\n\n{TRIAL}\nand try it:\n  {asterisk} 'dialplan reload'\n"
        f"  {asterisk} 'channel originate Local/701@sms-test application Wait 5'\n"
    )
    assert f"at the end of {pbx.extensions} (" in said
    assert f"{pbx.prefix}/share/doc/dialplan-sms/docs/limits.md\n" in said


def test_a_second_sender_is_tried_as_itself_and_is_not_the_default(pbx: PbxHost) -> None:
    pbx.install()
    said = pbx.setup("--url", "http://192.0.2.1", "--sender", "102").output
    assert "sender 102 at its end; 101 stays the default" in said
    assert "--sender 102 +39333123456" in said
    assert "exten => 701,1,Answer()\n same => n,Set(SMS_SENDER=102)\n" in said


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ("", False),
        ("exten => 7,1,AGI(sms.agi,12,Hi)", True),
        ("exten => 7,1,Gosub(sub-sms,s,1(12,TEXT))", True),
        ("exten => 7,1,Gosub(sub-sms,s,1(12,TEXT))\n[globals]\nSMS_AGI = /srv/sms.agi", True),
        ("exten => 7,1,Gosub(sub-sms,s,1(12,TEXT))\n[globals]\nSMS_AGI = agi://x/sms", False),
        ("exten => 7,1,AGI(agi://127.0.0.1/sms,12,Hi)", False),
    ],
)
def test_what_fastagi_saves(pbx: PbxHost, own: str, says: bool) -> None:
    pbx.extensions.write_bytes(EXTENSIONS + f"{own}\n".encode())
    pbx.install()
    capacity = Capacity(9)
    with opened(hearing(lambda _, __: b"NOOP\n", capacity), capacity) as house:
        port = house.address[1]
        text = pbx.sms_conf.read_text()
        pbx.sms_conf.write_text(text.replace("[general]", f"[general]\nlisten = 127.0.0.1:{port}"))
        said = pbx.setup().output
    assert said.count(f"agi://127.0.0.1:{port}/sms {SAVES}") == int(says)
    assert SAVES not in pbx.setup().output  # nothing listens there any more
