import errno
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from dialplan_sms.config.config import Sender
from dialplan_sms.sms import log
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, Status
from dialplan_sms.sms.sms import Draft, Handled, Sms, compose

DRAFT = Draft("+39333123456", "A private text", call="1700000000.7")
SMS = Sms(("+39333123456",), "A private text")
REFUSED = Outcome(Status.ERROR, Cause.REJECTED, "No")


def line(
    draft: Draft = DRAFT, sms: Sms | None = SMS, outcome: Outcome = REFUSED, sender: str = "101"
) -> str:
    return log.describe(Handled(draft.call, sender, sms, outcome, 0.1234))


def test_a_line_tells_what_happened() -> None:
    sent = replace(SMS, gsm="9c7514330001", postpone=datetime(2999, 1, 2, 3, 4))
    assert line(
        sms=sent, outcome=Outcome(Status.WARNING, Cause.NOT_QUEUED, "full", ("1", "2"))
    ) == (
        "call=1700000000.7 sender=101 to=…456 chars=14 gsm=9c7514330001"
        " postpone=2999-01-02T03:04 status=WARNING cause=NOT_QUEUED failed=2 ms=123 reason=full"
    )


def test_what_is_long_or_not_as_it_was_is_told() -> None:
    many = Sms(tuple(f"+3933312345{n}" for n in range(9)), 'say "hi"', cut_from=900)
    shown = line(replace(DRAFT, call="1\nNov 1 sshd: yes"), many)
    assert "to=…450,…451,…452,…453,…454+4 " in shown
    assert "cut_from=900" in shown
    assert 'note=the PBX may replace with spaces: "' in shown
    assert "\n" not in shown  # a caller cannot write a line of its own


@pytest.mark.parametrize(
    "reason",
    ["A private text", "echo: A private text!", "...private te...", "no +39333123456 here",
     "no 333 123 456", "x\n2026-01-01T00:00:00 call=1 status=SUCCESS"],
)  # fmt: skip
def test_what_a_pbx_says_shows_neither_text_nor_number(reason: str) -> None:
    shown = line(outcome=Outcome(Status.ERROR, Cause.REJECTED, reason, from_pbx=True))
    assert "private" not in shown
    assert "39333123456" not in shown
    assert "333 123 456" not in shown
    assert "\n" not in shown


NOW = datetime(2026, 1, 1)
PRIVATE = "my private PIN"


@pytest.mark.parametrize(
    "draft",
    [Draft("+39333123456", "Hello", PRIVATE), Draft(PRIVATE, "Hello"),
     Draft("+39333123456", "Hello", "", PRIVATE), Draft("0471/123456 x", "Hello"),
     Draft("\u0663\u0669\u0663\u0663\u0663\u0661\u0662\u0663x", "Hello"), Draft("x\nfake line", "Hello")],
)  # fmt: skip
def test_a_text_in_the_wrong_variable_is_not_logged(draft: Draft) -> None:
    with pytest.raises(Refused) as refused:
        compose(draft, Sender("101", "https://192.0.2.1", "x"), NOW)
    shown = line(draft, None, refused.value.outcome, "")
    for hidden in (PRIVATE, "123456", "\u0661\u0662", "\n", "fake"):
        assert hidden not in shown
    assert "sender=- status=ERROR cause=INVALID" in shown
    assert refused.value.reason.startswith(
        ("gsm my", "my private", "postpone my", "0471", "\u0663", "x")
    )


def test_reasons_that_are_harmless_are_logged_whole() -> None:
    said = Outcome(Status.ERROR, Cause.REJECTED, "Unable to add a SMS to the queue", from_pbx=True)
    assert line(outcome=said).endswith("reason=Unable to add a SMS to the queue")
    ours = Outcome(Status.ERROR, Cause.UNREACHABLE, "no connection to 192.0.2.1 port 443")
    assert "192.0.2.1 port 443" in line(outcome=ours)
    assert line(outcome=Outcome(Status.SUCCESS, for_log=" - sent")).endswith("SUCCESS ms=123")


@pytest.fixture
def syslog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What syslog gets."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "dev-log"))
        listening.settimeout(10)
        monkeypatch.setattr(log, "_SYSLOG", str(tmp_path / "dev-log"))
        yield listening


@pytest.mark.parametrize("target", ["syslog", "file"])
def test_without_a_descriptor_it_goes_on_with_the_one_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syslog: socket.socket, target: str
) -> None:
    """Just then there is something to say."""
    path = tmp_path / "sms.log"
    target = target if target == "syslog" else str(path)
    log.write(target, "one")
    log._outlets[log._SYSLOG if target == "syslog" else target].stale_at = 0.0

    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as short:
        short.setattr(log.os, "open", none_left)  # type: ignore[attr-defined]
        short.setattr(log, "_open_syslog", none_left)
        log.write(target, "two")
    said = [syslog.recv(999), syslog.recv(999)] if target == "syslog" else [path.read_bytes()]
    assert b"one" in said[0]
    assert b"two" in said[-1]


def test_a_file_is_for_owner_and_group_and_made_again_once_it_is_rotated_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_KEPT", 0.1)
    path, rotated = tmp_path / "sms.log", tmp_path / "sms.log.1"
    log.write(str(path), "one \udcff")
    assert path.stat().st_mode & 0o007 == 0
    path.rename(rotated)
    time.sleep(0.15)
    log.write(str(path), "two")
    entries = [each.read_text().split(" ", 1)[1] for each in (rotated, path)]
    assert entries == ["one \\udcff\n", "two\n"]


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    started = time.monotonic()
    paths = (tmp_path, tmp_path / "no/such", tmp_path / "fifo")
    for target in (*paths, "/dev/full", "/dev/stdout", "a\0b"):
        log.write(str(target), "x")
    assert time.monotonic() - started < 5


def test_a_syslog_that_nobody_reads_delays_one_line_and_no_more(
    syslog: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, tried, started = os.write, list[bytes](), time.monotonic()

    def count(file: int, data: bytes) -> int:
        tried.append(data)
        return write(file, data)

    monkeypatch.setattr(log, "_KEPT", 600.0)
    log.write("syslog", "first", failed=True)
    monkeypatch.setattr(os, "write", count)
    while not log._outlets[log._SYSLOG].deaf:  # as soon as it takes no more
        log.write("syslog", "x" * 100)
    before = len(tried)
    log.write("syslog", "lost")
    assert len(tried) == before
    assert time.monotonic() - started < 10
    entry = syslog.recv(999).decode()
    assert entry.startswith("<12>")
    assert entry.endswith(f" dialplan-sms[{os.getpid()}]: first")


@pytest.mark.parametrize("kind", ["file", "syslog"])
def test_a_line_goes_where_it_belongs_while_another_thread_opens_the_log_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syslog: socket.socket, kind: str
) -> None:
    """A number that was closed meanwhile may be that of a call's connection by now."""
    write, opened = os.write, []

    def after_another(file: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        outlets.clear()  # as the other thread does when the outlet is stale
        opened.append(os.open(tmp_path / "call", os.O_WRONLY | os.O_CREAT, 0o600))
        return write(file, data)

    outlets: dict[str, log._Outlet] = {}
    monkeypatch.setattr(log, "_outlets", outlets)
    monkeypatch.setattr(os, "write", after_another)
    log.write(str(tmp_path / "sms.log") if kind == "file" else "syslog", "the line")
    os.close(opened[0])
    assert (tmp_path / "call").read_bytes() == b""
    got = (tmp_path / "sms.log").read_text() if kind == "file" else syslog.recv(999).decode()
    assert got.rstrip().endswith(" the line")


def test_the_first_is_noted_at_once_and_the_others_counted_each_minute() -> None:
    notes, now = list[str](), [100.0]
    repeated = log.Repeated(notes.append, clock=lambda: now[0])
    for number in range(1000):
        repeated("connection from {} refused", f"192.0.2.{number}")
    repeated("another condition")
    now[0] += 59
    repeated.sum_up()
    assert notes == ["connection from 192.0.2.0 refused", "another condition"]
    now[0] += 2
    repeated.sum_up()
    repeated.sum_up()
    assert notes[2:] == ["connection from 192.0.2.0 refused - the same 999 times more within 61 s"]
    repeated("another condition")  # which comes again later
    assert notes[3:] == ["another condition"]
