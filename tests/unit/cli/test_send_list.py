"""``dialplan-sms send --list`` against the stand-in, with outbox and without."""

import json
import os
import re
import stat
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dialplan_sms.cli.send import view
from dialplan_sms.cli.send.journal import Journal, JournalError, opened
from dialplan_sms.cli.send.listfile import Result as Became
from dialplan_sms.cli.send.run import RunProgress
from dialplan_sms.sandbox import Fault, Sandbox
from tests.unit.cli.sending import COMMAND, List, conf, listed, outbox, run, server, stored

__all__ = ["conf", "listed", "outbox", "server", "stored"]

A, B, C = "+39333123456", "+39333123457", "+39333123458"
REJECTED, LOST = "+99900000013", "+99900000103"
TWENTY = [f"+3933312345{at:02}" for at in range(20)]


def test_each_row_gets_its_text_once(listed: List) -> None:
    # given a list with a bad row and a row twice
    listed.write(f"{A},Zoë", "333 1234567,Max", "12,Eva", f'"{A}",Zoë', f"{A},Ann", f"{B},")
    # when it is sent
    result = listed.send()
    # then each good one is sent, and the others are named with their lines
    assert listed.texts == [(A, "Dear Zoë"), ("+393331234567", "Dear Max"), (A, "Dear Ann")]
    assert result.exit_code == 1
    for says in (
        "line     4  12",
        "the same SMS as in line 2",
        "line     7  +39333123457     bad row   BAD_ROW: {name} of the text is empty",
        "6 rows: 3 accepted, 2 bad rows, 1 duplicate",
    ):
        assert says in result.stdout
    assert "Dear" not in result.output


def test_all_accepted_is_success_and_the_same_again_sends_nothing(listed: List) -> None:
    listed.write(f"{A},Zoë", f"{B},Max")
    assert listed.send().exit_code == 0
    again = run(listed.conf, "--to-file", str(listed.path), text="Dear {name}\n")
    assert again.exit_code == 0
    assert "2 accepted (2 of them before)" in again.stdout
    assert "once more, remove " in again.stdout
    assert len(listed.texts) == 2
    # (by the option's old name, which is not shown)
    shown = run(listed.conf, "--help").output
    assert ("--list FILE" in shown, "--to-file" in shown) == (True, False)
    # and what it knows that by is private, and holds no text
    assert stat.S_IMODE(listed.journal.stat().st_mode) == 0o600
    assert not re.search("Zo|Dear|333123", listed.journal.read_text())


def test_columns_say_gateway_date_and_text(listed: List) -> None:
    when = (datetime.now() + timedelta(days=2)).replace(second=0, microsecond=0)
    listed.write(f"{A},hello {{x}},9C:75:14:33:00:01,{when:%d/%m/%Y %H:%M}", f"{B},plain,,",
                 header="number,message,gsm,postpone")  # fmt: skip
    assert listed.send(text="").exit_code == 0
    first, second = listed.server.messages
    assert (first.original, first.gsm, first.postpone) == ("hello {x}", "9c7514330001", when)
    assert (second.original, second.postpone) == ("plain", None)
    # and one text is enough, or it is made of the other
    assert listed.send(text="Hi").exit_code == 2
    assert listed.send("--changed", text="{message}!").exit_code == 0
    assert listed.texts[2:] == [(A, "hello {x}!"), (B, "plain!")]


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("3.9333E+11", "rounded by a spreadsheet"),
        ('"3,93E+11"', "rounded by a spreadsheet"),
        ("39333123456.0", "with decimals"),
        ("4915112345678", "perhaps \\+4915112345678: a spreadsheet drops the \\+"),
        (f'"{A},{B}"', "more than one number"),
        ("Dear all of you who have subscribed,x", "BAD_ROW: has 3 cells"),
        ('"Dear all of you who have subscribed"', "35 characters.* 1 of 1 numbers"),
        ("", "the number is empty: fill the cell"),
    ],
)
def test_numbers_that_a_spreadsheet_spoilt_are_bad_rows(listed: List, cell: str, says: str) -> None:
    listed.configure("country = IT", "country = DE")
    listed.write(f"{A},Zoë", f"{cell},Max")
    (bad, *others), summary = listed.json()
    assert (bad["line"], bad["result"], summary["bad"]) == (3, "bad", 1)
    assert [row["number"] for row in others] == [A]
    result = listed.send()
    assert re.search(says, " ".join(result.stdout.split())), result.stdout
    assert "Dear" not in result.output


def test_what_was_refused_is_tried_again_and_what_is_unknown_only_when_asked(listed: List) -> None:
    # given one that is refused, and one whose answer is lost
    listed.write(f"{REJECTED},Rob", f"{LOST},Una", f"{A},Zoë")
    rows, summary = listed.json()
    assert [(row["line"], row["result"]) for row in rows] == [
        (2, "refused"), (3, "unknown"), (4, "accepted"),
    ]  # fmt: skip
    assert (summary["accepted"], summary["refused"], summary["unknown"]) == (1, 1, 1)
    # when the same command runs again, then only the refused one is tried
    before = len(listed.server.requests)
    rows, summary = listed.json()
    assert len(listed.server.requests) == before + 1
    assert [(row["line"], row["result"]) for row in rows] == [(3, "unknown"), (2, "refused")]
    assert summary["unknown"] == 1
    dry, counts = listed.json("--dry-run")
    assert [row["result"] for row in dry] == ["ready", "before", "before"]
    assert (counts["ready"], counts["before"], counts["unknown"]) == (1, 1, 1)
    # and the unknown one when it is asked for
    listed.json("--retry-unknown")
    assert len(listed.server.requests) == before + 3


def test_a_list_that_has_changed_is_noticed(listed: List) -> None:
    listed.write(f"{A},Zoë", "12,Max")
    assert listed.send().exit_code == 1
    # given the bad row mended, and another text for nobody
    listed.write(f"{A},Zoë", f"{B},Max")
    refused = listed.send()
    assert refused.exit_code == 2
    assert "1 of its 2 SMS are new or changed" in refused.output
    assert "--changed is needed" in " ".join(listed.send("--dry-run").output.split())
    assert len(listed.texts) == 1
    # when that is wanted, only what is new goes out
    assert listed.send("--changed").exit_code == 0
    assert listed.texts[1:] == [(B, "Dear Max")]
    # and from then on it is the list
    assert listed.send().exit_code == 0
    assert listed.send(text="Another {name}").exit_code == 2
    assert len(listed.texts) == 2


@pytest.mark.parametrize(
    ("fault", "tries", "says"),
    [
        (Fault.UNAUTHORIZED, 1, "UNAUTHORIZED would meet all others, too"),
        (Fault.SERVER_ERROR, 3, "BAD_ANSWER 3 times"),
        (Fault.REJECT, 10, "REJECTED 10 times"),
    ],
)
def test_it_stops_where_all_would_fail(listed: List, fault: Fault, tries: int, says: str) -> None:
    listed.write(*(f"{number},N" for number in TWENTY))
    listed.server.fault = fault
    result = listed.send()
    listed.server.fault = None
    assert result.exit_code == 1
    assert f"stopped: {says}" in result.stdout
    assert len(listed.server.requests) == tries
    # what was not tried comes first the next time, so that it goes on in any case
    assert listed.send().exit_code == (1 if fault is Fault.SERVER_ERROR else 0)
    assert listed.texts[0][0] == TWENTY[tries]


def test_a_stopped_run_does_not_forget_what_an_earlier_one_was_refused(listed: List) -> None:
    # given a row that the PBX refuses, one that it accepts, and then a wrong password
    listed.write(f"{REJECTED},Rob", f"{A},Zoë")
    assert "2 rows: 1 accepted, 1 refused\n" in listed.send().stdout
    listed.write(f"{REJECTED},Rob", f"{A},Zoë", f"{B},Max", f"{C},Eva")
    listed.server.fault = Fault.UNAUTHORIZED
    # when the longer list stops at its first row
    result = listed.send("--changed")
    _, summary = listed.json()
    # then each row is counted as what it is: Max is refused, Eva was never tried
    counts = "4 rows: 1 accepted (1 of them before), 2 refused (1 of them before), 1 not tried\n"
    assert counts in result.stdout
    assert "when that is mended, the same command goes on" in result.stdout
    # and the next run is refused with Eva, for what was never tried goes first
    assert (summary["refused"], summary["refused_before"], summary["left"]) == (3, 2, 0)


def test_a_row_with_two_faults_names_both(listed: List) -> None:
    listed.write("3.9E+11,", f'{A}," "')
    (first, second), _ = listed.json()
    empty = "{name} of the text is empty in this row"
    assert first["cause"] == "INVALID_NUMBER"
    assert "3.9E+11 is rounded by a spreadsheet" in first["reason"]
    assert first["reason"].endswith(f"; and {empty}")
    assert (second["cause"], second["reason"]) == ("BAD_ROW", empty)


def test_nobody_there_is_tried_three_times(listed: List) -> None:
    listed.configure("http://127.0.0.1", "http://127.0.0.2")
    listed.write(*(f"{number},N" for number in TWENTY[:9]))
    result = listed.send()
    assert "3 refused, 6 not tried" in result.stdout
    assert "the same command goes on" in result.stdout


def test_a_limit_of_the_sender_ends_it_one_of_a_number_does_not(stored: List) -> None:
    stored.configure("pace = 0s", "pace = 0s\nper_number = 1/1h\nper_sender = 3/1h")
    stored.write(f"{A},1", f"{A},2", f"{B},3", f"{C},4", f"{C},5", "+39333123450,6")
    rows, summary = stored.json()
    assert [row["result"] for row in rows] == [
        "accepted", "refused", "accepted", "accepted", "refused", "refused",
    ]  # fmt: skip
    assert summary["stopped"] == "the limit per_sender is reached"


def test_what_the_outbox_keeps_is_stored_once_even_where_nobody_knows(stored: List) -> None:
    # given a list that was stored
    stored.write(f"{A},Zoë", f"{B},Max")
    first, summary = stored.json("--mode", "queue")
    assert (summary["accepted"], summary["queued"]) == (2, 2)
    assert [row["id"] for row in first] == ["1", "2"]
    # when it was killed before the last answer was written down
    stored.forget_the_last()
    again, summary = stored.json("--mode", "queue")
    # then the outbox knows it, whether or not it is to be sent again
    assert (summary["accepted"], summary["unknown"]) == (2, 0)
    assert [(row["line"], row["id"]) for row in again] == [(3, "2")]
    stored.forget_the_last()
    again, _ = stored.json("--mode", "queue", "--retry-unknown")
    assert [row["id"] for row in again] == ["2"]
    # but the PBX does not
    stored.forget_the_last()
    again, summary = stored.json("--mode", "wait")
    assert [(row["line"], row["result"]) for row in again] == [(3, "unknown")]
    assert stored.texts == []


def test_a_row_that_is_past_is_bad_but_not_one_that_was_sent(listed: List) -> None:
    listed.write(f"{A},Zoë,01/01/2020 10:00", f"{B},Max,", header="number,name,postpone")
    rows, _ = listed.json()
    assert (rows[0]["line"], rows[0]["cause"]) == (2, "INVALID_POSTPONE")
    # given that it was sent when it was not past
    with opened(listed.journal) as journal:
        digest = journal.digest("sms", A, "Dear Zoë", "", "202001011000")
        journal.going_out(digest, 2, "", 0)
        journal.ended(digest, 2, Became.ACCEPTED, "")
    # then it is done: a list without it would be another list
    assert listed.send().exit_code == 0
    assert len(listed.texts) == 1


def test_a_dry_run_shows_all_and_leaves_nothing(listed: List) -> None:
    listed.write("333 1234567,Zoé/", "12,Max", f"{A},😀")
    result = listed.send("--dry-run")
    assert result.exit_code == 1
    for shown in ("+393331234567", "3 rows: 2 to send, 0 accepted before, 1 bad row", "line     3  12",
                  "1 (GSM-7, 9 of 160)", "1 (UCS-2, 7 of 70)", "Dear Zoé/", "spaces: / in 1 text",
                  "2 for 2 SMS (1 in GSM-7, 1 in UCS-2)", "nothing was sent"):  # fmt: skip
        assert shown in result.stdout, shown
    assert listed.server.requests == []
    assert sorted(each.name for each in listed.path.parent.iterdir()) == ["list.csv", "sms.conf"]
    rows, summary = listed.json("--dry-run")
    assert (rows[0]["text"], rows[0]["parts"], rows[0]["replaced"]) == ("Dear Zoé/", 1, "/")
    assert (summary["ready"], summary["bad"], summary["parts"]) == (2, 1, 2)
    assert "as given" not in result.stdout
    listed.configure("pace = 0s", "pace = 0s\ngsm7 = typographic")
    listed.write(f"{A},{'’' * 71}", f"{B},Zoé")
    parts = r"2 for 2 SMS \(2 in GSM-7\) *\nas given +3 parts"
    assert re.search(parts, listed.send("--dry-run").stdout)


def test_a_list_from_a_pipe_has_no_journal_of_its_own(listed: List) -> None:
    def send(*more: str) -> str:
        piped = f"number,message\n{A},x\n{REJECTED},y\n"
        return run(listed.conf, "--list", "-", *more, text=piped).stdout

    assert "a list from a pipe needs --journal FILE" in send()
    journal = str(listed.conf.with_name("kept"))
    send("--journal", journal)
    assert "1 accepted (1 of them before)" in send("--journal", journal)
    assert [to for to, _ in listed.texts] == [A, A]


@pytest.mark.parametrize(
    ("arguments", "text", "reason"),
    [
        ([" "], "Hi", "the number is empty"),
        ([A], "", "no text to send: it comes from standard input"),
        ([A], " \n", "no text to send: it comes from standard input"),
        ([A, "--postpone", "x"], "Hi",
         "postpone x is no date as 14/07/2014 15:35 or 2014-07-14 15:35"),
        ([A, "--gsm", "x"], "Hi",
         "gsm x is no MAC address of a gateway, 12 hex digits as 9c7514330001"),
    ],
)  # fmt: skip
def test_what_the_shell_is_told_has_no_words_of_the_dialplan(
    server: Sandbox, conf: Path, arguments: list[str], text: str, reason: str
) -> None:
    told = run(conf, *arguments, "--json", text=text)
    assert (told.exit_code, json.loads(told.stdout)["reason"]) == (1, reason)
    assert run(conf, *arguments, "--dry-run", text=text).stderr.endswith(f": {reason}\n")
    assert server.requests == []
    assert not re.search("SMS_|AGI", conf.with_name("log").read_text())


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--list", "{}", A], 2), (["--list", "{}", "--key", "x"], 2), (["--list", "{}", "--sender", "102"], 1),
     (["--list", "{}", "--mode", "queue"], 1), (["--list", "{}", "--journal", "/nowhere/at/all"], 1),
     (["--list", "{}", "--journal", "/dev/null"], 1), (["--list", "{}", "--journal", "{}"], 1),
     ([A, "--changed"], 2), ([A, "--retry-unknown"], 2), ([A, "--journal", "x"], 2), ([], 2)],
)  # fmt: skip
def test_wrong_usage_sends_nothing(listed: List, arguments: list[str], status: int) -> None:
    listed.write(f"{A},Zoë")
    result = run(listed.conf, *(each.format(listed.path) for each in arguments))
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    assert listed.server.requests == []


@pytest.mark.parametrize("content", ["number\n1\n", "x", '{"journal":"else","version":1}\n'])
def test_a_file_that_is_no_journal_is_left_alone(listed: List, content: str) -> None:
    listed.write(f"{A},Zoë")
    listed.journal.write_text(content)
    assert (listed.send().exit_code, listed.journal.read_text()) == (1, content)
    assert listed.server.requests == []


def test_one_list_is_sent_by_one_command_at_a_time(listed: List) -> None:
    listed.write(f"{A},Zoë")
    with opened(listed.journal):
        result = listed.send()
    assert (result.exit_code, listed.server.requests) == (1, [])
    assert "another dialplan-sms sends this list now" in result.output


def test_a_line_that_was_cut_off_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        journal.begin("x")
        journal.going_out("a", 2, "", 0)
    whole = path.read_bytes()
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        with opened(path) as torn:
            torn.begin("x")
            torn.going_out("b", 3, "", 0)
        with opened(path, reading=True) as again:
            assert set(again.entries) == ({"a", "b"} if end == len(whole) else {"b"}), end


def test_a_full_disk_stops_it(listed: List, monkeypatch: pytest.MonkeyPatch) -> None:
    listed.write(f"{A},Zoë", f"{B},Max")
    whole = Journal.going_out

    def full(self: Journal, sms: str, line: int, key: str, resends: int) -> None:
        if line == 3:
            raise JournalError("the journal cannot be written, No space left on device")
        whole(self, sms, line, key, resends)

    monkeypatch.setattr(Journal, "going_out", full)
    result = listed.send()
    assert result.exit_code == 1
    assert "stopped: the journal cannot be written" in result.stdout
    assert [to for to, _ in listed.texts] == [A]
    (said,) = re.findall("(?m)^.*ERROR.*$", listed.conf.with_name("log").read_text())
    assert "the journal cannot be written" in said


def test_nobody_who_reads_does_not_stop_a_list(listed: List) -> None:
    listed.write(f"{A},1", f"{REJECTED},2", f"{B},3")
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [COMMAND, "send", "--config", listed.conf, "--list", listed.path, "--json"],
            input=b"Dear {name}", stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (1, b"")
    assert [to for to, _ in listed.texts] == [A, B]


def test_how_far_it_is_reads_well(capsys: pytest.CaptureFixture[str]) -> None:
    # given a run that is watched by nobody
    now = [0.0]
    progress = RunProgress(1000, as_json=False, clock=lambda: now[0])
    with progress.shown():
        for at in range(11):
            now[0] = 5.0 * at
            progress.advance(failed=at == 3)
        # then there is a line each half minute
        assert capsys.readouterr().err.splitlines() == [
            "7 of 1,000, 1 not accepted, 12/min, 1 h 22 min left"
        ]
        now[0] = 60.0
        progress.advance(failed=False)
    assert capsys.readouterr().err == "12 of 1,000, 1 not accepted, 11/min, 1 h 29 min left\n"
    shown = [view.duration(seconds) for seconds in (5, 65, 50000, 1e6)]
    assert shown == ["5 s", "1 min 5 s", "13 h 53 min", "11 d 13 h"]


def test_what_the_outbox_never_saw_stays_unknown_in_every_mode(stored: List) -> None:
    # given one that was on its way to the PBX itself when it was killed
    stored.write(f"{A},Zoë")
    stored.send("--mode", "wait")
    stored.forget_the_last()
    # when the list goes on through the outbox, then it is not stored
    rows, summary = stored.json("--mode", "queue")
    assert [row["result"] for row in rows] == ["unknown"]
    assert (summary["unknown"], summary["queued"]) == (1, 0)
    # but when somebody asks for it
    assert stored.json("--mode", "queue", "--retry-unknown")[1]["queued"] == 1


def test_a_terminal_has_a_bar_that_leaves_nothing_behind(listed: List) -> None:
    listed.configure("pace = 0s", "pace = 1s")
    listed.write(f"{A},1", f"{B},2", f"{C},3", header="number,message")
    master, slave = os.openpty()
    with subprocess.Popen(
        [COMMAND, "send", "--config", listed.conf, "--list", listed.path],
        stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
        env={"TERM": "xterm", "COLUMNS": "80", "PATH": os.environ["PATH"]},
    ) as process:  # fmt: skip
        os.close(slave)
        shown = b""
        while data := _read(master):
            shown += data
    os.close(master)
    assert process.returncode == 0
    # its gateway rests between two
    assert b"about 3 s, a gateway rests 1 s for each" in shown
    times = [message.received_at for message in listed.server.messages]
    assert times[2] - times[0] > timedelta(seconds=1.8)
    assert re.search(rb"2 of 3, (5\d|60)/min, \d s left", shown)
    last = shown.rpartition(b"\x1b[2K")[2]  # after the bar's line was erased
    assert re.fullmatch(
        rb"(\x1b\[[0-9;]*m)*3 rows: (\x1b\[[0-9;]*m)*3 accepted(\x1b\[0m)*\r\n", last
    )


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""


def test_what_may_have_been_sent_is_not_forgotten(listed: List) -> None:
    listed.write(f"{LOST},Una", f"{A},Zoë")
    listed.send()
    listed.configure("http://127.0.0.1", "http://127.0.0.2")
    rows, summary = listed.json("--retry-unknown")
    assert [(row["result"], row["cause"]) for row in rows] == [("unknown", "UNREACHABLE")]
    assert (summary["unknown"], summary["refused"], summary["left"]) == (1, 0, 0)


def test_an_outbox_that_fails_leaves_unknown_what_it_may_have(stored: List) -> None:
    # given one that may be stored, and an outbox that cannot be used now
    stored.write(f"{A},Zoë")
    stored.send("--mode", "queue")
    stored.forget_the_last()
    box = stored.conf.with_name("outbox.sqlite")
    box.rename(box.with_name("away"))
    box.write_text("no database, but a text that is there")
    (row,), summary = stored.json("--mode", "queue")
    assert (row["result"], row["cause"], summary["unknown"]) == ("unknown", "OUTBOX", 1)
    # then it is found where it was once that is mended
    box.with_name("away").rename(box)
    (row,), summary = stored.json("--mode", "queue")
    assert (row["result"], row["id"], summary["unknown"]) == ("accepted", "1", 0)
