"""Nothing from outside acts on a terminal, whichever command shows it, nor on one that shows a log."""

import ast
import json
import re
import signal
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

import dialplan_sms
from dialplan_sms.cli import main
from dialplan_sms.host.console import Console
from dialplan_sms.host.terminal import clean, plain
from dialplan_sms.sms import log
from tests.unit.asking import answering

HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\x08\u202egnp\u2066\u200f\u2028end"
"""Clears the screen, sets the title, colours, overwrites, and turns round what follows."""
ACTS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]"
)


def harmless(output: str) -> bool:
    return not ACTS.search(output) and "end" in output


@given(st.text())
def test_whatever_is_shown_does_nothing_and_keeps_its_lines(text: str) -> None:
    shown = clean(text)
    assert not ACTS.search(shown)
    assert shown.count("\n") == text.count("\n")
    assert clean(shown) == shown
    assert len(plain(text).splitlines()) < 2


def test_what_does_nothing_stays() -> None:
    text = "Grüezi,\tשלום 👨\u200d👩\u200d👧 नमस्ते\nnext"
    assert clean(text) == text
    assert clean("\x1b[2J") == "\\u001b[2J"


@given(st.text())
def test_json_stays_json(text: str) -> None:
    assert json.loads(clean(json.dumps({"a": text}))) == {"a": text}


def test_a_table_has_its_own_colours_and_no_others() -> None:
    out = StringIO()
    table = Table(box=None)
    table.add_row(HOSTILE, "[bold link=http://192.0.2.1]no markup[/]")
    console = Console(file=out, force_terminal=True, color_system="standard", width=200)
    console.print(table, style="red")
    colours = re.sub("\x1b\\[[0-9;]*m", "", out.getvalue())
    assert harmless(colours)
    assert "[bold link=http://192.0.2.1]no markup[/]" in colours
    assert "\x1b[31m" in out.getvalue()


def test_no_module_has_a_way_to_the_terminal_of_its_own() -> None:
    """rich writes past what cleans standard output, so all of it goes through our Console."""
    for path in Path(dialplan_sms.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            named += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if "rich.console" in named or "rich" in named:
                assert path.name == "console.py", path


FIGURES = {
    "uptime": 1, "in_flight": 0, "max_calls": 1, "last_minute": HOSTILE, "p50": None, "p99": None,
    "calls": {HOSTILE: 1},
    "last_errors": [f"{HOSTILE}\nup  99 d"],
    "outbox": {
        "works": True, "stored": {HOSTILE: 1}, "oldest_due_seconds": 0, "by_workers": {HOSTILE: 1},
        "held": {HOSTILE: HOSTILE}, "last_failures": [HOSTILE],
    },
    "version": HOSTILE,
}  # fmt: skip


def ask(sms_conf: Callable[[str], Path], figures: object, *command: str) -> Result:
    """A command that asks a service, which says *figures*."""
    with answering(figures) as port:
        monitor = f"[general]\nmonitor = 127.0.0.1:{port}\n"
        conf = sms_conf(f"{monitor}[101]\nurl = http://127.0.0.1:9\npassword = x")
        return CliRunner().invoke(main.main, [*command, "--config", str(conf)])


@pytest.mark.parametrize("command", ["status", "check"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_another_process_says_nothing_to_the_terminal(
    sms_conf: Callable[[str], Path], command: str, options: list[str]
) -> None:
    done = ask(sms_conf, FIGURES, command, *options)
    assert harmless(done.output), ascii(done.output)
    assert not re.search(r"(?m)^ *up +99 d", done.output)


@pytest.mark.parametrize(
    "figures", [{"in_flight": 0, "max_calls": 1}, FIGURES | {"calls": [1]}, FIGURES | {"p50": "x"}]
)
def test_other_figures_are_no_traceback(sms_conf: Callable[[str], Path], figures: object) -> None:
    done = ask(sms_conf, figures, "status")
    assert (done.exit_code, done.output.count("Error: the service tells")) == (1, 1), done.output
    assert isinstance(done.exception, SystemExit)


@pytest.fixture
def signals() -> Iterator[None]:
    """As they were: what a service blocks in this process, each program started later would, too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(
    "arguments",
    [["status"], ["check"], ["send", "--dry-run", "+39333123456"], ["worker"], ["serve"],
     ["outbox"], ["outbox", "limits"]],
)  # fmt: skip
@pytest.mark.parametrize("line", ["mode = {}", "{} = 1", "gsm = {}"])
def test_a_file_says_nothing_to_the_terminal(
    sms_conf: Callable[[str], Path], arguments: list[str], line: str
) -> None:
    hostile = HOSTILE.replace("\r", "")  # which ends a line of sms.conf
    conf = sms_conf(f"[101]\nurl = http://192.0.2.1\npassword = x\n{line.format(hostile)}\n")
    done = CliRunner().invoke(main.main, [*arguments, "--config", str(conf)], input="x")
    assert done.exit_code != 0
    assert not ACTS.search(done.output), ascii(done.output)


def test_a_path_begins_no_line(sms_conf: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / f"a\n{HOSTILE}\nError: all is lost"
    done = CliRunner().invoke(main.main, ["status", "--config", str(path)])
    assert harmless(done.output)
    assert done.output.count("\n") == 1


def test_a_dialplan_says_nothing_to_the_terminal(tmp_path: Path) -> None:
    dialplan = tmp_path / "extensions.conf"
    curl = "Set(m=${CURL(http://127.0.0.1/api/v1/originate/sms,number=%2B39&message=Hi)})"
    dialplan.write_text(f"[a{HOSTILE}]\nexten => 1,1,NoOp({HOSTILE})\n same => n,{curl}\n")
    conf = ["--config", str(tmp_path / "sms.conf")]
    done = CliRunner().invoke(main.main, ["migrate", str(dialplan), *conf])
    assert not ACTS.search(done.output), ascii(done.output)
    pasted = f"Set(CURLOPT(userpwd)=101:x)\n{curl}\nNoOp({HOSTILE})\n"
    done = CliRunner().invoke(main.main, ["migrate", "-", *conf], input=pasted)
    assert "NoOp(" in done.output
    assert not ACTS.search(done.output), ascii(done.output)


def test_a_log_says_nothing_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "sms.log"
    log.write(str(path), f"{HOSTILE}\nstatus=SUCCESS")
    written = path.read_text()
    assert harmless(written)
    assert written.count("\n") == 1
