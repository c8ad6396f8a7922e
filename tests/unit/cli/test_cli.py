import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from dialplan_sms import __version__
from dialplan_sms.cli import main
from dialplan_sms.sandbox import Fault, Sandbox
from tests.unit.cli.sending import COMMAND, conf, outbox, run, server

__all__ = ["conf", "outbox", "server"]

A = "+39333123456"


def process(
    *arguments: str | bytes | Path, streams: str = "", given: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """The command with the shell's redirections *streams*."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", COMMAND, *arguments], input=given,
        capture_output=True, check=False, timeout=60, env=os.environ | environment,
    )  # fmt: skip


def test_help_and_version() -> None:
    listed = (
        CliRunner().invoke(main.main, ["--help"]).output.partition("Commands:\n")[2].splitlines()
    )
    assert len(listed) == 10
    for line in listed:
        assert re.fullmatch(r"  [a-z]+ +[^,]+[^,.]\.", line)  # fish cuts what it shows at a comma
    assert __version__ in CliRunner().invoke(main.main, ["--version"]).output
    assert CliRunner().invoke(main.main, ["sned"]).exit_code == 2


def test_send_sends_what_comes_on_standard_input(server: Sandbox, conf: Path) -> None:
    result = run(conf, A, "--gsm", "9C:75:14:33:00:01", text="two\nlines\n")
    assert (result.exit_code, result.output) == (0, "SUCCESS\n")
    (message,) = server.messages
    assert (message.original, message.gsm) == ("two\nlines", "9c7514330001")


def test_a_dry_run_shows_and_sends_nothing(server: Sandbox, conf: Path) -> None:
    result = run(conf, "333 1234567,+39333123457", "--dry-run", text="see https://example.com\n")
    assert result.exit_code == 0
    for shown in ("+393331234567, +39333123457", "23 characters of 670", "the PBX chooses",
                  "may replace with spaces: /", "nothing was sent"):  # fmt: skip
        assert shown in result.output
    assert "see" not in result.output
    assert server.requests == []


def test_what_gsm7_saves_is_told_everywhere(server: Sandbox, conf: Path, outbox: Path) -> None:
    conf.write_text(conf.read_text() + "gsm7 = typographic\nmax_parts = 1\n")
    quoted, plain = "The pump’s off. " * 9, "The pump's off. " * 9
    said = run(conf, A, "--dry-run", text=quoted).output
    assert re.search(r"parts +1 \(GSM-7, 144 of 160\) *\nas given +3 parts", said)
    dry = json.loads(run(conf, A, "--dry-run", "--json", text=quoted).output)
    assert (dry["parts"], dry["parts_from"], dry["numbers"]) == (1, 3, [A])
    assert (dry["coding"], dry["units"]) == ("GSM-7", 144)
    assert run(conf, A, text=quoted).output == "SUCCESS\n"
    (message,) = server.messages
    assert message.original == plain
    assert "QUEUED, id 1" in run(conf, A, "--mode", "queue", text=quoted).output
    assert "QUEUED, id 2" in run(conf, A, "--mode", "queue", text=plain).output
    log = conf.with_name("log").read_text().splitlines()
    assert [" chars=144 parts=1 parts_from=3 " in line for line in log] == [True, True, False]

    def shown(*arguments: str) -> str:
        return CliRunner().invoke(main.main, ["outbox", *arguments, "--config", str(conf)]).output

    assert shown().count("parts 1, not 3") == 1
    assert re.search(r"parts +1, as given 3", shown("show", "1"))
    assert "parts" not in shown("show", "2")
    parts = [(each["parts"], each["parts_from"]) for each in json.loads(shown("--json"))]
    assert parts == [(None, None), (1, 3)]


@pytest.mark.parametrize(
    ("arguments", "line", "status", "says"),
    [
        (["12"], "", 1, "INVALID_NUMBER: 12 is no phone number"),
        (["12", "--dry-run"], "", 1, "INVALID_NUMBER: 12 is no phone number"),
        ([A, "--mode", "queue"], "", 1, "ERROR OUTBOX: mode queue needs the outbox"),
        ([A, "--dry-run"], "mode = queue", 1, "set outbox"),
        ([A, "--dry-run"], "verify = /etc/passwd", 1, "no certificate"),
        ([A, "--mode", "later"], "", 2, "later"),
        ([A, "Hello"], "", 2, "the text comes from standard input"),
        ([A, "--config", "/none.conf"], "", 1, "there is no"),
    ],
)
def test_what_is_refused_says_why_in_one_line(
    server: Sandbox, conf: Path, arguments: list[str], line: str, status: int, says: str
) -> None:
    conf.write_text(conf.read_text().replace("http:", "https:") + f"{line}\n")
    result = run(conf, *arguments)
    assert result.exit_code == status
    assert says in result.output
    assert result.output.count("\n") == (1 if status == 1 else 4)  # with the usage


@pytest.mark.parametrize("output", ["/dev/full", "/dev/null"])
def test_nobody_who_reads_is_no_failure(server: Sandbox, conf: Path, output: str) -> None:
    ended = process(
        "send", "--config", conf, A,
        streams=f">{output}", given=b"Hi", LC_ALL="en_US.ISO-8859-1",
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert len(server.messages) == 1


@pytest.mark.parametrize("arguments", [[b"\xff\xfe"], [A, "--sender", b"\xff"]])
def test_strange_bytes_are_no_traceback(conf: Path, arguments: list[str | bytes]) -> None:
    ended = process("send", "--config", conf, *arguments, given=b"Hi")
    assert ended.returncode == 1
    assert b"Traceback" not in ended.stdout + ended.stderr


def test_mode_and_key_are_those_of_the_dialplan(server: Sandbox, outbox: Path) -> None:
    # given an outbox, and a sender that sends at once; when the same SMS is stored twice under one key
    first, second = (run(outbox, A, "--mode", "queue", "--key", "order 7") for _ in range(2))
    # then it is one, nothing went out, and both commands succeed
    assert (first.exit_code, first.output) == (0, "QUEUED, id 1\n")
    assert (second.exit_code, second.output) == (0, "QUEUED, id 1\n")
    assert server.messages == []
    other = run(outbox, A, "--key", "order 7", text="Another text")
    assert (other.exit_code, "SMS_KEY was used before" in other.output) == (1, True)
    dry = run(outbox, A, "--mode", "fallback", "--key", "8", "--dry-run").output
    assert "fallback" in dry


def test_a_file_that_is_closed_is_one_line(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError

    # given a user for whom the file is closed, which it never is for root
    monkeypatch.setattr("dialplan_sms.config.parser.os.open", refuse)
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    for command in (["send", A, "--dry-run"], ["status"], ["outbox"]):
        result = CliRunner().invoke(main.main, [*command, "--config", str(conf)], input="Hi")
        assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output
        assert f"Error: {conf} cannot be read by user id" in result.output


def test_what_the_pbx_did_not_take_is_named(server: Sandbox, conf: Path) -> None:
    server.fault = Fault.PARTIAL
    result = run(conf, "+39333123456,+39333123457")
    assert result.exit_code == 1
    assert result.output == (
        "WARNING NOT_QUEUED: Unable to add a SMS to the queue (not accepted: +39333123457)\n"
    )
    server.fault = Fault.REJECT
    assert json.loads(run(conf, A, "--json").stdout)["cause"] == "REJECTED"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("dialplan-sms se", {"plain,send", "plain,serve", "plain,setup"}),
        ("dialplan-sms send --list gues", {"file,gues"}),
        ("dialplan-sms outbox --state fa", {"plain,failed"}),
    ],
)
def test_the_shell_completes(words: str, expected: set[str]) -> None:
    at = str(words.count(" "))
    done = process(_DIALPLAN_SMS_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=at)
    assert done.returncode == 0
    assert set(done.stdout.decode().split()) == expected


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_failure(streams: str) -> None:
    done = process("--version", streams=streams)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", [["check"], ["--help"], ["send", "--help"]])
def test_a_full_disk_is_one_line(command: list[str]) -> None:
    done = process(*command, streams=">/dev/full")
    assert done.returncode != 0
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("arguments", [["user", "wms"], ["check", "--config", "/none.conf"]])
def test_closed_streams_are_no_bug_of_ours(arguments: list[str]) -> None:
    done = process(*arguments, streams="<&- >&-")
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr


def test_a_closed_input_is_one_line(conf: Path) -> None:
    done = process("send", "--config", conf, A, streams="<&-")
    assert done.stderr.count(b"\n") == 1
    assert b"standard input" in done.stderr


def test_who_carried_it_is_told(server: Sandbox, conf: Path) -> None:
    keys = conf.read_text().partition("[101]")[2]
    conf.write_text(
        f"[general]\nlog = log\ndefault_sender = 102\n[101]{keys}"
        "[102]\nurl = http://127.0.0.1:1\npassword = x\nbackup = 101\n"
    )
    shown = run(conf, A).output
    assert shown.startswith("SUCCESS via 101: 102: no connection to 127.0.0.1 port 1, Connection")
    told = json.loads(run(conf, A, "--json").output)
    assert (told["status"], told["via"]) == ("SUCCESS", "101")
    assert len(server.messages) == 2
    assert "backup    101" in run(conf, A, "--dry-run").output
    told = json.loads(run(conf, A, "--sender", "101", "--json").output)
    empty = {"cause": "", "reason": "", "failed": [], "id": "", "via": ""}
    assert told == {"status": "SUCCESS"} | empty
