"""The command line of the stand-in PBX: as a process, and what it shows of hostile texts."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import dialplan_sms
from dialplan_sms.cli import main
from dialplan_sms.cli.sandbox import record, show, visible
from dialplan_sms.host.console import Console
from dialplan_sms.sandbox.faults import Fault, magic_number
from dialplan_sms.sandbox.pbx import Pbx, Request, Served
from dialplan_sms.sms import api
from tests.waiting import until

COMMAND = (Path(sys.prefix) / "bin/dialplan-sms", "sandbox", "--listen", "127.0.0.1:0")
NUMBER = "+391234567890"
AUTH = ("101", "sms101api")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command keeps its certificate: not in that of who runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def heed_signals() -> None:
    """Also if the tests run in the background, or with nohup."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def sandbox(*options: str) -> Result:
    return CliRunner().invoke(main.main, ["sandbox", *options])


class Running:
    """The command as a process, its output in a file; *url* is where it listens."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._output = folder / "output"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*COMMAND, *options], stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(Path(dialplan_sms.__file__).parents[1])},
                preexec_fn=heed_signals,
            )  # fmt: skip
        until(lambda: "password" in self.shown or self._process.poll() is not None, seconds=90)
        match = re.search(r"on (https?://\S+)", self.shown)
        assert match, self.shown
        self.url = match[1]

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def shown(self) -> str:
        return self._output.read_text("utf-8")

    def end(self, number: signal.Signals) -> int:
        """The exit status after the signal, which has 20 s to end it."""
        self._process.send_signal(number)
        return self._process.wait(timeout=20)


def test_a_message_is_shown_and_recorded(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "messages.jsonl"
    text = "evil \x1b[31m [red]x[ red]\u202e\x9b :smile: Привет"
    options = ("--no-tls", "--record", str(file), "--fault", "500:1", "--token", "wsk-v1-example",
               "--pace", "0")  # fmt: skip
    with Running(tmp_path, *options) as command:
        form = {"number": NUMBER, "message": text, "postpone": "14/07/2014 15:35"}
        for status in (500, 200):
            answer = requests.post(command.url + api.PATH, form, auth=AUTH, timeout=5)
            assert answer.status_code == status
        assert f"\nPage: {command.url}/\n" in command.shown
        until(lambda: "Привет" in requests.get(command.url, timeout=5).text)
        assert not cache.exists()  # without TLS it has no certificate to keep
        assert command.end(signal.SIGTERM) == 0
        shown = command.shown
    assert "evil \\x1b[31m [red]x[ red]\\u202e\\x9b :smile: Привет" in shown
    assert "on 14/07/2014 15:35" in shown
    assert "wsk-v1" not in shown
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
    [line] = file.read_text("ascii").splitlines()
    taken = json.loads(line)
    assert (taken["text"], taken["numbers"], taken["user"]) == (text, [NUMBER], "101")
    assert taken["postpone"] == "2014-07-14T15:35"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_though_a_request_hangs(number: signal.Signals, tmp_path: Path) -> None:
    with Running(tmp_path, "--fault", "hang", "--user", "102:secret-word") as command:
        host, port = command.url.removeprefix("https://").split(":")
        context = ssl._create_unverified_context()
        with (
            socket.create_connection((host, int(port))),  # amid its handshake
            socket.create_connection((host, int(port)), timeout=20) as plain,
            context.wrap_socket(plain) as hanging,
        ):
            hanging.sendall(f"GET {api.PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            hanging.settimeout(0.5)
            with pytest.raises(TimeoutError):
                hanging.recv(1)
            status = command.end(number)
        shown = command.shown
    assert status == 0
    assert "Traceback" not in shown
    assert "secret-word" not in shown
    assert re.search(r"verify = sha256:(?:[0-9A-F]{2}:){31}[0-9A-F]{2}\n", shown)


def test_what_trusts_it_goes_on_after_a_restart(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "certificate.pem"
    with Running(tmp_path, "--certificate-file", str(file)) as command:
        before = re.findall("verify = .*", command.shown)
    trusted = file.read_bytes()
    file.unlink()
    with Running(tmp_path) as command:
        file.write_bytes(trusted)
        page = requests.get(command.url, verify=str(file), timeout=5)
        after = re.findall("verify = .*", command.shown)
        shown = command.shown
    assert page.ok
    assert len(before) == 1
    assert before == after
    assert "Warning" not in shown
    [kept] = (cache / "dialplan-sms/sandbox").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, cache: Path) -> None:
    cache.write_text("no folder")
    with Running(tmp_path) as command:
        until(lambda: "Warning" in command.shown)
        [line] = [line for line in command.shown.splitlines() if "Warning" in line]
    assert line == (
        f"Warning: the next start has another certificate, because {cache}/dialplan-sms/sandbox cannot"
        " be written, Not a directory: set XDG_CACHE_HOME to a folder of your own"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--listen", "x"], "such as 127.0.0.1:8443"),
        (["--listen", "127.0.0.1:99999"], "such as 127.0.0.1:8443"),
        (["--listen", "192.0.2.1:0"], "not an address of this machine"),
        (["--listen", "pbx.invalid:0"], "not the name of a host"),
        (["--user", "hunter2"], "give NAME:PASSWORD"),
        (["--gateway", "9c75"], "not a MAC address"),
        (["--fault", "nope"], "there are hang, reset"),
        (["--fault", "hang:x"], "write hang:2"),
        (["--wms", "new"], "WMS version such as"),
        (["--pace", "slow"], "'slow' is no time such as 5s, or 0 for none"),
        (["--certificate-file", "/nowhere/c.pem"], "/nowhere/c.pem: No such file"),
        (["--certificate-file", "c.pem", "--no-tls"], "--no-tls is HTTP: leave one out"),
        (["--record", "/nowhere/r.jsonl"], "/nowhere/r.jsonl: No such file"),
    ],
)
def test_a_bad_option_is_one_clear_line(options: list[str], words: str) -> None:
    result = sandbox("--listen", "127.0.0.1:0", *options)
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    [line] = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert words in line
    assert "hunter2" not in result.output


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = sandbox("--listen", f"127.0.0.1:{port}")
    assert result.exit_code == 1
    assert f"127.0.0.1:{port} is in use" in result.output


def test_an_address_others_reach_is_warned_about() -> None:
    output = sandbox("--listen", "192.0.2.1:0").output
    assert "Warning: 192.0.2.1:0 is not the loopback address" in output


def test_help_lists_the_magic_numbers() -> None:
    output = sandbox("--help").output
    for fault in Fault:
        assert re.search(rf"^ *{fault} +{re.escape(magic_number(fault))}  \w", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("prefix", "advice"),
    [(Path(__file__).parents[3] / ".venv", "in the source folder, run make venv"),
     ("/usr/lib/dialplan-sms", "install the Debian package again")],
)  # fmt: skip
def test_without_its_packages_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, prefix: str | Path, advice: str
) -> None:
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setitem(sys.modules, "h11", None)
    for module in ("sandbox.server", "web.server", "web.connection"):
        monkeypatch.delitem(sys.modules, f"dialplan_sms.{module}", raising=False)
    result = sandbox("--listen", "x")
    assert result.exit_code == 1
    assert f"sandbox needs the Python package h11: {advice}" in result.output
    assert CliRunner().invoke(main.main, ["--help"]).exit_code == 0


def handled(text: str, number: str = NUMBER) -> Served:
    form = (("number", number), ("message", text))
    return Pbx().handle(Request("POST", api.PATH, form, "101"))


def shown_of(text: str, number: str = NUMBER) -> str:
    output = StringIO()
    show(Console(file=output, width=60), handled(text, number))
    return output.getvalue()


@given(st.text(max_size=300), st.text(max_size=40))
def test_no_text_moves_the_cursor_or_forges_a_line(text: str, number: str) -> None:
    shown = shown_of(text, number).rstrip("\n")
    assert all(char.isprintable() or char in "\n\u200c\u200d" for char in shown)
    first, *rest = shown.split("\n")
    assert re.match(r"\d\d:\d\d:\d\d  101 → ", first)
    assert all(line.startswith(" " * 10) or not line for line in rest)


def test_a_long_text_cannot_wrap_into_a_line_of_its_own() -> None:
    shown = shown_of("x" * 50 + " " + "13:00:00  101 → forged " * 3)
    assert sum(bool(re.match(r"\d\d:", line)) for line in shown.splitlines()) == 1


def test_scripts_and_emoji_stay_readable() -> None:
    assert visible("👨‍👩‍👧 مرحبا नमस्ते\n日本") == "👨‍👩‍👧 مرحبا नमस्ते\n日本"


def test_a_record_has_every_text_in_one_ascii_line() -> None:
    message = handled("a\n\u2028\u009b😀").message
    assert message is not None
    line = record(message)
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line)["text"] == "a\n\u2028\u009b😀"
