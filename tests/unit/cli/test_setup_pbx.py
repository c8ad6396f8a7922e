"""What ``dialplan-sms setup`` asks the PBX: its certificate, and whether it accepts who sends."""

import shlex
import socket
import ssl
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from dialplan_sms import __version__
from dialplan_sms.cli.check import Finding
from dialplan_sms.cli.setup.pbx import __name__ as MODULE
from dialplan_sms.cli.setup.pbx import look_at, sentence
from dialplan_sms.config import config
from dialplan_sms.host import process
from dialplan_sms.host.identity import User
from dialplan_sms.host.process import Ran
from dialplan_sms.sandbox import Fault, Sandbox
from tests.unit.asking import answering
from tests.unit.pbxhost import PASSWORD, PbxHost


def verify(pbx: PbxHost) -> str:
    return config.load(pbx.sms_conf).senders["101"].verify


def normal(fingerprint: str) -> str:
    return f"sha256:{fingerprint.lower().removeprefix('sha256:').replace(':', '')}"


def test_what_a_person_compares_is_shown(pbx: PbxHost, sandbox: Sandbox) -> None:
    pbx.interactive = True
    result = pbx.setup("--url", sandbox.url, "--sender", "101", said="y\n")
    assert result.exit_code == 0, result.output
    for word in ("issued to", "issued by", "valid", f"fingerprint {sandbox.fingerprint}"):
        assert word in result.output
    assert verify(pbx) == normal(sandbox.fingerprint)


def test_a_no_changes_nothing(pbx: PbxHost, sandbox: Sandbox) -> None:
    pbx.interactive = True
    result = pbx.setup("--url", sandbox.url, "--sender", "101", said="n\n")
    assert (result.exit_code, pbx.sms_conf.exists()) == (1, False)


def test_unattended_it_stops_with_the_fingerprint(pbx: PbxHost, sandbox: Sandbox) -> None:
    result = pbx.setup("--url", sandbox.url, "--sender", "101")
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert f"--fingerprint {sandbox.fingerprint}" in result.output
    assert not pbx.sms_conf.exists()


def test_a_fingerprint_that_was_given_is_compared(pbx: PbxHost, sandbox: Sandbox) -> None:
    given = ["--url", sandbox.url, "--sender", "101", "--fingerprint"]
    other = pbx.setup(*given, "00" * 32)
    assert (other.exit_code, sandbox.fingerprint in other.output) == (1, True)
    assert pbx.setup(*given, normal(sandbox.fingerprint)).exit_code == 0
    assert verify(pbx) == normal(sandbox.fingerprint)


def test_pin_takes_what_is_shown(pbx: PbxHost, sandbox: Sandbox) -> None:
    options = ["--url", sandbox.url, "--sender", "101", "--pin"]
    assert pbx.setup(*options).exit_code == 0
    assert verify(pbx) == normal(sandbox.fingerprint)
    before = pbx.tree()
    assert "all is there" in pbx.setup(*options).output
    assert pbx.tree() == before


def test_one_that_the_host_trusts_is_not_pinned(
    pbx: PbxHost, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host, _, port = sandbox.url.rpartition("/")[2].partition(":")
    (tmp_path / "ca.pem").write_text(ssl.get_server_certificate((host, int(port))))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert pbx.setup("--url", sandbox.url, "--sender", "101").exit_code == 0
    assert verify(pbx) == "yes"


def test_a_pbx_that_is_out_of_reach_is_a_warning(pbx: PbxHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    result = pbx.setup("--url", f"127.0.0.1:{port}", "--sender", "101")
    assert (result.exit_code, verify(pbx)) == (0, "yes")
    assert "cannot be reached now, Connection refused" in result.output
    assert PASSWORD not in result.output


def test_a_port_that_speaks_no_tls_is_a_warning() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        found, why = look_at(f"https://127.0.0.1:{plain.getsockname()[1]}")
        assert (found, "version" in why) == (None, True)
        thread.join()


class Asking(PbxHost):
    """A host whose program asks the PBX, as a real one does."""

    def run(self, command: Sequence[str], timeout: float, user: User | None = None) -> Ran:
        done = super().run(command, timeout, user)
        if MODULE not in command:
            return done
        return process.run([sys.executable, *command[list(command).index("-I") :]], timeout)


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    return Asking(tmp_path / "host")


def given(sandbox: Sandbox) -> list[str]:
    return ["--url", sandbox.url, "--sender", "101", "--fingerprint", sandbox.fingerprint]


def test_a_sender_that_the_pbx_accepts(asking: Asking, sandbox: Sandbox) -> None:
    result = asking.setup(*given(sandbox))
    assert (result.exit_code, "\nthe PBX accepts 101\n" in result.output) == (0, True)
    assert "Send a first SMS" in result.output
    assert sandbox.messages == []
    assert "\nthe PBX accepts 101\n" in asking.setup().output  # the default sender


def test_a_password_that_the_pbx_refuses(asking: Asking, sandbox: Sandbox) -> None:
    sandbox.fault = Fault.UNAUTHORIZED
    result = asking.setup(*given(sandbox))
    assert result.exit_code == 1
    assert (
        f"\nthe PBX refuses user or password of [101]: correct password in {asking.sms_conf},"
        " then systemctl reload dialplan-sms\n"
    ) in result.output
    assert "Send a first SMS" not in result.output


def test_a_pbx_out_of_reach_is_a_warning(asking: Asking) -> None:
    result = asking.setup("--url", "http://127.0.0.1:9", "--sender", "101")
    assert result.exit_code == 0
    assert "\nwarning: the PBX could not be asked whether it accepts 101, " in result.output
    assert "Send a first SMS" in result.output


def test_with_several_senders_and_no_default_it_says_that_none_was_asked(
    asking: Asking, sandbox: Sandbox
) -> None:
    asking.setup(*given(sandbox))
    asking.setup("--url", sandbox.url, "--sender", "102", "--pin")
    text = asking.sms_conf.read_text().replace("default_sender = 101\n", "")
    asking.sms_conf.write_text(text)
    asking.environ = {}
    result = asking.setup()
    assert result.exit_code == 0
    assert (
        "\nnote: the PBX was not asked, since sms.conf has several senders and no default_sender:"
        " run dialplan-sms check\n"
    ) in result.output
    asked = asking.setup("--sender", "102").output
    assert "\nthe PBX refuses user or password of [102]" in asked  # it knows 101 only


def test_paths_are_written_as_the_shell_takes_them(tmp_path: Path) -> None:
    pbx = PbxHost(tmp_path / "it's $HOME/host", prefix=tmp_path / "A&B")
    said = pbx.install().output
    conf, command = shlex.quote(str(pbx.sms_conf)), shlex.quote(f"{tmp_path}/A&B/bin/dialplan-sms")
    assert f"{command} send --config {conf} +39" in said
    assert f"export AST_CONFIG_DIR={shlex.quote(str(pbx.etc))} first" in said


def test_a_dry_run_asks_nobody(asking: Asking, sandbox: Sandbox) -> None:
    asking.setup(*given(sandbox), "--dry-run")
    assert not any(MODULE in line for line in asking.commands)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            Finding("credentials").wrong("no", "do"),
            ("the PBX refuses the token of [101]: correct token in /sms.conf", False),
        ),
        (
            Finding("SMS API").wrong("HTTP 404", "correct url"),
            ("no SMS of 101 can be sent, SMS API: HTTP 404: correct url", False),
        ),
        (
            Finding("credentials").warning("neither", "try an SMS"),
            ("warning: neither: try an SMS", True),
        ),
    ],
)
def test_what_else_the_pbx_says(tmp_path: Path, found: Finding, said: tuple[str, bool]) -> None:
    conf = tmp_path / "sms.conf"
    conf.touch(mode=0o600)
    conf.write_text("[101]\nurl = http://192.0.2.1\ntoken = x\n")
    assert sentence(config.load(conf).senders["101"], found, "/sms.conf") == said


@pytest.mark.parametrize("answer", ["", "null", "[1, 2, 3]", "Traceback"])
def test_a_probe_that_says_nothing_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    pbx = PbxHost(tmp_path / "host")
    monkeypatch.setattr(PbxHost, "ANSWER", answer)
    assert "\nwarning: the PBX was not asked: run dialplan-sms check\n" in pbx.install().output


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
def test_a_service_of_another_version_is_restarted(
    tmp_path: Path, figures: object, says: str
) -> None:
    pbx = PbxHost(tmp_path / "host")
    pbx.install()
    before = pbx.commands.count("systemctl restart dialplan-sms.service")
    with answering(figures) as port:
        text = pbx.sms_conf.read_text()
        pbx.sms_conf.write_text(text.replace("[general]", f"[general]\nmonitor = 127.0.0.1:{port}"))
        result = pbx.setup()
    assert PASSWORD in text
    restarts = pbx.commands.count("systemctl restart dialplan-sms.service") - before
    assert (result.exit_code, restarts) == (0, 1 if says else 0)
    assert f"{says}, {__version__} is installed" in result.output or not says
