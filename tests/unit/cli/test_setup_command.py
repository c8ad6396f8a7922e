"""``dialplan-sms setup``: its answers, what it asks the PBX, and what it ends with.

No option is passed over in silence.
"""

import os
import re
import shlex
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from dialplan_sms import __version__
from dialplan_sms.agi.doors import Capacity
from dialplan_sms.cli.check import Finding
from dialplan_sms.cli.setup.command import TRIAL
from dialplan_sms.cli.setup.pbx import __name__ as MODULE
from dialplan_sms.cli.setup.pbx import look_at, sentence
from dialplan_sms.cli.setup.steps import lock
from dialplan_sms.config.config import Sender
from dialplan_sms.host import process
from dialplan_sms.host.identity import User
from dialplan_sms.host.process import Ran
from dialplan_sms.sandbox import Fault, Sandbox
from tests.pages import README
from tests.unit import checked
from tests.unit.asking import answering
from tests.unit.doors import hearing, opened
from tests.unit.pbxhost import EXTENSIONS, NEW, PASSWORD, SECOND, PbxHost

SAVES = "takes about a tenth of the CPU time of sms.agi"


def normal(fingerprint: str) -> str:
    return f"sha256:{fingerprint.lower().removeprefix('sha256:').replace(':', '')}"


def at(sandbox: Sandbox, sender: str = "101") -> list[str]:
    return ["--url", sandbox.url, "--sender", sender]


def without_default(pbx: PbxHost) -> None:
    """sms.conf has two senders, and none is the default."""
    text = pbx.sms_conf.read_text()
    assert "[102]" in text
    pbx.sms_conf.write_text(text.replace("default_sender = 101\n", ""))


class TestTheCertificate:
    def test_a_person_compares_and_may_say_no(self, pbx: PbxHost, sandbox: Sandbox) -> None:
        pbx.interactive = True
        before = pbx.tree()
        assert pbx.setup(*at(sandbox), said="n\n").exit_code == 1
        assert pbx.tree() == before
        result = pbx.setup(*at(sandbox), said="y\n")
        assert result.exit_code == 0, result.output
        for word in ("issued to", "issued by", "valid", f"fingerprint {sandbox.fingerprint}"):
            assert word in result.output
        assert pbx.sender().verify == normal(sandbox.fingerprint)

    def test_unattended_it_stops_with_the_fingerprint_and_compares_one_that_is_given(
        self, pbx: PbxHost, sandbox: Sandbox
    ) -> None:
        assert f"--fingerprint {sandbox.fingerprint}" in pbx.refused(*at(sandbox))
        given = [*at(sandbox), "--fingerprint"]
        assert sandbox.fingerprint in pbx.refused(*given, "00" * 32)
        assert pbx.setup(*given, normal(sandbox.fingerprint)).exit_code == 0
        assert pbx.sender().verify == normal(sandbox.fingerprint)

    def test_one_that_the_host_trusts_is_not_pinned(
        self, pbx: PbxHost, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        host, _, port = sandbox.url.rpartition("/")[2].partition(":")
        (tmp_path / "ca.pem").write_text(ssl.get_server_certificate((host, int(port))))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert pbx.setup(*at(sandbox)).exit_code == 0
        assert pbx.sender().verify == "yes"

    def test_out_of_reach_it_is_a_warning_and_cannot_be_pinned(self, pbx: PbxHost) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        result = pbx.setup("--url", f"127.0.0.1:{port}", "--sender", "101")
        assert (result.exit_code, pbx.sender().verify) == (0, "yes")
        assert "cannot be reached now, Connection refused" in result.output
        assert "so its certificate cannot be pinned" in pbx.refused("--pin")

    def test_a_port_that_speaks_no_tls_is_a_warning(self) -> None:
        with checked.stranger() as port:
            found, why = look_at(f"https://127.0.0.1:{port}")
        assert (found, "version" in why) == (None, True)

    @pytest.mark.parametrize("option", [["--pin"], ["--fingerprint", "11" * 32]])
    def test_http_has_none(self, pbx: PbxHost, option: list[str]) -> None:
        says = f"{option[0]}: http://192.0.2.1"
        assert says in pbx.refused(*NEW, *option)
        pbx.install()
        assert says in pbx.refused(*option)


class TestAnOptionThatComesAlone:
    """On a host where all is there."""

    @pytest.fixture
    def installed(self, pbx: PbxHost, sandbox: Sandbox) -> PbxHost:
        result = pbx.setup(*at(sandbox), "--pin")
        assert result.exit_code == 0, result.output
        pbx.environ = {}
        return pbx

    def renewed(self, pbx: PbxHost) -> str:
        """sms.conf pins another certificate than the PBX shows now."""
        pinned, text = pbx.sender().verify, pbx.sms_conf.read_text()
        pbx.sms_conf.write_text(re.sub("(?m)^verify = .*$", f"verify = sha256:{'0' * 64}", text))
        return pinned

    @pytest.mark.parametrize("sender", [[], ["--sender", "101"]])
    def test_pin_looks_at_the_certificate(self, installed: PbxHost, sender: list[str]) -> None:
        installed.settled("--pin", *sender)
        shown = self.renewed(installed)
        said = installed.fails("--pin", *sender)
        assert "the old verify of [101] stays" in said
        assert "is pinned" not in said
        beside = installed.sender(file="sms.conf.new")
        assert (beside.verify, beside.password) == (shown, PASSWORD)

    def test_a_fingerprint_is_compared(self, installed: PbxHost, sandbox: Sandbox) -> None:
        shown = self.renewed(installed)
        said = installed.fails("--fingerprint", sandbox.fingerprint)
        assert "the old verify of [101] stays" in said
        beside = installed.sender(file="sms.conf.new")
        assert beside.verify == shown == normal(sandbox.fingerprint)
        assert "shows another certificate" in installed.refused("--fingerprint", "11" * 32)

    @pytest.mark.parametrize(
        ("key", "given", "value"),
        [("country", "it", "IT"), ("gsm", "9C:75:14:33:00:01", "9c7514330001")],
    )
    def test_another_value(self, installed: PbxHost, key: str, given: str, value: str) -> None:
        assert f"the old {key} of [101] stays" in installed.fails(f"--{key}", given)
        assert getattr(installed.sender(file="sms.conf.new"), key) == value

    def test_a_country_is_not_lost_with_another_address(self, installed: PbxHost) -> None:
        installed.sms_conf.write_text(f"{installed.sms_conf.read_text()}country = DE\n")
        installed.setup("--url", "http://192.0.2.9")
        assert installed.sender(file="sms.conf.new").country == "DE"

    @pytest.mark.parametrize(
        "option", [["--pin"], ["--fingerprint", "11" * 32], ["--country", "IT"],
                   ["--url", "http://192.0.2.8"], ["--password-file", "{}/secret"]],
    )  # fmt: skip
    @pytest.mark.parametrize("interactive", [False, True])
    def test_of_whom_nobody_knows(
        self, pbx: PbxHost, option: list[str], interactive: bool, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").write_text("other\n")
        pbx.install()
        pbx.setup(*SECOND)
        without_default(pbx)
        pbx.interactive = interactive
        for way in ([], ["--dry-run"]):
            said = pbx.refused(*(word.format(tmp_path) for word in option), *way)
            assert "101, 102" in said
            assert "give --sender" in said

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
        assert "abc" in (pbx.sender().password, pbx.sender().token)
        reader, writer = os.pipe()
        os.write(writer, b"abc\n")
        os.close(writer)
        result = pbx.setup(*NEW, option, f"/proc/self/fd/{reader}", "--dry-run")
        os.close(reader)
        assert result.exit_code == 0, result.output

    @pytest.mark.parametrize("more", [[], NEW])
    def test_two_in_the_environment_are_one_too_many(self, pbx: PbxHost, more: list[str]) -> None:
        pbx.install()
        pbx.environ |= {"DIALPLAN_SMS_TOKEN": "abc"}
        says = "DIALPLAN_SMS_PASSWORD and DIALPLAN_SMS_TOKEN do not go together"
        assert says in pbx.refused(*more)

    def test_a_file_goes_before_the_environment(self, pbx: PbxHost, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("of a file\n")
        pbx.environ |= {"DIALPLAN_SMS_TOKEN": "abc"}
        pbx.install("--token-file", str(tmp_path / "token"))
        assert pbx.sender().token == "of a file"

    @pytest.mark.parametrize("content", [b"", b"\n", b"\xff\n", b" x\n", b"a\tb\n"])
    def test_a_file_that_holds_none(self, pbx: PbxHost, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "secret").write_bytes(content)
        pbx.refused(*NEW, "--password-file", str(tmp_path / "secret"))
        pbx.environ = {}
        assert "DIALPLAN_SMS_PASSWORD" in pbx.refused(*NEW)


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
        assert said in pbx.refused(*options)

    @pytest.mark.parametrize(
        ("options", "left_out"),
        [
            (["--url", "http://192.0.2.1", "--pin"], "--url, --pin"),
            (["--sender", "101"], "--sender"),
            (["--pin", "--fingerprint", "1"], "--fingerprint, --pin"),
            (["--password-file", "a"], "--password-file"),
            (["--token-file", "a", "--country", ""], "--token-file, --country"),
        ],
    )
    def test_not_with_remove(self, pbx: PbxHost, options: list[str], left_out: str) -> None:
        pbx.install()
        said = pbx.refused("--remove", *options, status=2)
        assert f"--remove takes all back, so leave out {left_out}" in said

    def test_what_goes_with_remove(self, pbx: PbxHost) -> None:
        pbx.install()
        for options in (["--dry-run"], []):
            result = pbx.setup("--remove", *options, "--asterisk-conf", str(pbx.conf))
            assert result.exit_code == 0

    def test_two_secrets_are_wrong_usage(self, pbx: PbxHost) -> None:
        says = "Error: --password-file and --token-file do not go together: give one\n"
        assert pbx.refused("--password-file", "a", "--token-file", "b", status=2) == says

    def test_it_needs_root_and_a_yes(self, pbx: PbxHost) -> None:
        assert "run it as root" in pbx.setup(is_root=False).output
        asked = pbx.setup(*NEW, yes=False)
        assert (asked.exit_code, "give --yes" in asked.output) == (1, True)
        assert not pbx.sms_conf.exists()

    def test_only_one_setup_runs_at_a_time(self, pbx: PbxHost) -> None:
        pbx.install()
        with lock(pbx.root / "state"):
            assert "another dialplan-sms setup runs" in pbx.fails()


class Asking(PbxHost):
    """A host whose program asks the PBX, as a real one does."""

    def run(self, command: Sequence[str], timeout: float, user: User | None = None) -> Ran:
        done = super().run(command, timeout, user)
        if MODULE not in command:
            return done
        return process.run([sys.executable, *command[list(command).index("-I") :]], timeout)


class TestWhetherThePbxAcceptsTheSender:
    @pytest.fixture
    def asking(self, tmp_path: Path) -> Asking:
        return Asking(tmp_path / "host")

    def test_it_does(self, asking: Asking, sandbox: Sandbox) -> None:
        asking.setup(*at(sandbox), "--pin", "--dry-run")
        assert not any(MODULE in line for line in asking.commands)
        result = asking.setup(*at(sandbox), "--pin")
        assert (result.exit_code, "\nthe PBX accepts 101\n" in result.output) == (0, True)
        assert "Send a first SMS" in result.output
        assert sandbox.messages == []
        assert "\nthe PBX accepts 101\n" in asking.setup().output  # the default sender

    def test_it_refuses_the_password(self, asking: Asking, sandbox: Sandbox) -> None:
        sandbox.fault = Fault.UNAUTHORIZED
        said = asking.fails(*at(sandbox), "--pin")
        assert (
            f"\nthe PBX refuses user or password of [101]: correct password in {asking.sms_conf},"
            " then systemctl reload dialplan-sms\n"
        ) in said
        assert "Send a first SMS" not in said

    def test_out_of_reach_it_is_a_warning(self, asking: Asking) -> None:
        result = asking.setup("--url", "http://127.0.0.1:9", "--sender", "101")
        assert result.exit_code == 0
        assert "\nwarning: the PBX could not be asked whether it accepts 101, " in result.output
        assert "Send a first SMS" in result.output

    def test_without_a_default_none_is_asked(self, asking: Asking, sandbox: Sandbox) -> None:
        for sender in ("101", "102"):
            asking.setup(*at(sandbox, sender), "--pin")
        without_default(asking)
        asking.environ = {}
        result = asking.setup()
        assert result.exit_code == 0
        assert (
            "\nnote: the PBX was not asked, since sms.conf has several senders and no"
            " default_sender: run dialplan-sms check\n"
        ) in result.output
        asked = asking.setup("--sender", "102").output
        assert "\nthe PBX refuses user or password of [102]" in asked  # it knows 101 only

    @pytest.mark.parametrize(
        ("found", "says", "good"),
        [
            (Finding("credentials").wrong("no", "do"),
             "the PBX refuses the token of [101]: correct token in /sms.conf", False),
            (Finding("SMS API").wrong("HTTP 404", "correct url"),
             "no SMS of 101 can be sent, SMS API: HTTP 404: correct url", False),
            (Finding("credentials").warning("neither", "try an SMS"),
             "warning: neither: try an SMS", True),
        ],
    )  # fmt: skip
    def test_what_else_it_says(self, found: Finding, says: str, good: bool) -> None:
        sender = Sender("101", "http://192.0.2.1", token="x")
        assert sentence(sender, found, "/sms.conf") == (says, good)

    @pytest.mark.parametrize("answer", ["", "null", "[1, 2, 3]", "Traceback"])
    def test_a_probe_that_says_nothing_is_a_warning(self, pbx: PbxHost, answer: str) -> None:
        pbx.answer = answer
        assert "\nwarning: the PBX was not asked: run dialplan-sms check\n" in pbx.install()


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"in_flight": 0, "max_calls": 9, "version": "0.0.1"}, "version 0.0.1 runs"),
        ({"in_flight": 0, "max_calls": 9}, "an older version runs"),
        ({"in_flight": 0, "max_calls": 9, "version": __version__}, ""),
        ({"version": "9"}, ""),
        ({"in_flight": "0", "max_calls": None}, ""),
        (["another program"], ""),
    ],
)
def test_a_service_of_another_version_restarts(pbx: PbxHost, figures: object, says: str) -> None:
    pbx.install()
    restart = "systemctl restart dialplan-sms.service"
    before = pbx.commands.count(restart)
    with answering(figures) as port:
        text = pbx.sms_conf.read_text()
        assert PASSWORD in text
        pbx.sms_conf.write_text(text.replace("[general]", f"[general]\nmonitor = 127.0.0.1:{port}"))
        result = pbx.setup()
    assert (result.exit_code, pbx.commands.count(restart) - before) == (0, 1 if says else 0)
    assert f"{says}, {__version__} is installed" in result.output or not says


def test_it_ends_with_the_lines_to_paste_and_how_to_try_them(pbx: PbxHost) -> None:
    assert TRIAL in README
    said = pbx.install()
    asterisk = f"{pbx.root}/bin/asterisk -C {pbx.conf} -rx"
    assert said.endswith(
        f"\n\n{TRIAL}\nand try it:\n  {asterisk} 'dialplan reload'\n"
        f"  {asterisk} 'channel originate Local/701@sms-test application Wait 5'\n"
    )
    assert f"at the end of {pbx.extensions} (" in said
    assert f"{pbx.prefix}/share/doc/dialplan-sms/docs/limits.md\n" in said


def test_a_second_sender_is_tried_as_itself_and_is_not_the_default(pbx: PbxHost) -> None:
    pbx.install()
    said = pbx.setup(*SECOND).output
    assert "sender 102 at its end; 101 stays the default" in said
    assert "--sender 102 +39333123456" in said
    assert "exten => 701,1,Answer()\n same => n,Set(SMS_SENDER=102)\n" in said


def test_paths_are_written_as_the_shell_takes_them(tmp_path: Path) -> None:
    pbx = PbxHost(tmp_path / "it's $HOME/host", prefix=tmp_path / "A&B")
    said = pbx.install()
    conf, command = shlex.quote(str(pbx.sms_conf)), shlex.quote(f"{tmp_path}/A&B/bin/dialplan-sms")
    assert f"{command} send --config {conf} +39" in said
    assert f"export AST_CONFIG_DIR={shlex.quote(str(pbx.etc))} first" in said


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
