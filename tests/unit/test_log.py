from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from dialplan_sms import log
from dialplan_sms.outcome import Cause, Outcome, Status
from dialplan_sms.sms import Draft, Sms

DRAFT = Draft("+39333123456", "A private text", call="1700000000.7")
SMS = Sms(("+39333123456",), "A private text")
REFUSED = Outcome(Status.ERROR, Cause.REJECTED, "No")


def line(draft: Draft = DRAFT, sms: Sms | None = SMS, outcome: Outcome = REFUSED) -> str:
    return log.describe(draft, sms, "101", outcome, 0.1234)


def test_a_line_tells_what_happened() -> None:
    sent = replace(SMS, gsm="9c7514330001", postpone=datetime(2999, 1, 2, 3, 4))
    assert line(
        sms=sent, outcome=Outcome(Status.WARNING, Cause.NOT_QUEUED, "full", ("1", "2"))
    ) == (
        "call=1700000000.7 sender=101 to=…456 chars=14 gsm=9c7514330001"
        " postpone=2999-01-02T03:04 status=WARNING cause=NOT_QUEUED failed=2 ms=123 reason=full"
    )


def test_many_numbers_are_counted() -> None:
    many = Sms(tuple(f"+3933312345{n}" for n in range(9)), "x")
    assert "to=…450,…451,…452,…453,…454+4 " in line(sms=many)


def test_what_the_pbx_replaces_and_what_was_cut_is_told() -> None:
    noted = line(sms=Sms(("+39333123456",), 'say "hi"', cut_from=900))
    assert "cut_from=900" in noted
    assert 'note=the PBX may replace with spaces: "' in noted


@pytest.mark.parametrize(
    "reason", ["A private text", "echo: A private text!", "no +39333123456 here", "no 333 123 456"]
)
def test_a_reason_shows_neither_text_nor_number(reason: str) -> None:
    shown = line(outcome=Outcome(Status.ERROR, Cause.REJECTED, reason))
    assert "private" not in shown
    assert "39333123456" not in shown
    assert "333 123 456" not in shown


def test_a_caller_cannot_write_a_line_of_its_own() -> None:
    shown = line(replace(DRAFT, call="1\nNov 1 sshd: yes", sender="x\ny"))
    assert "\n" not in shown


def test_a_file_is_written_for_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "sms.log"
    log.write(str(path), "one")
    log.write(str(path), "two")
    assert [entry.split(" ", 1)[1] for entry in path.read_text().splitlines()] == ["one", "two"]
    assert path.stat().st_mode & 0o007 == 0


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    log.write(str(tmp_path), "a folder")
    log.write(str(tmp_path / "no/such/folder"), "x")
    log.write("/dev/full", "x")
