"""``dialplan-sms send --list`` against the stand-in, with outbox and without."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from dialplan_sms.cli.send import view
from dialplan_sms.cli.send.journal import Journal, JournalError, opened
from dialplan_sms.cli.send.listfile import Result as Became
from dialplan_sms.cli.send.run import RunProgress
from dialplan_sms.sandbox import Fault, Sandbox
from tests.unit.cli.sending import conf, outbox, run, server

__all__ = ["conf", "outbox", "server"]

A, B, C = "+39333123456", "+39333123457", "+39333123458"
REJECTED = "+99900000013"


Send = Callable[..., Result]


@pytest.fixture
def send(conf: Path) -> Send:
    """Runs the command on list.csv beside sms.conf."""

    def send(*arguments: str, text: str = "Dear {name}\n") -> Result:
        return run(conf, "--list", str(conf.with_name("list.csv")), *arguments, text=text)

    return send


def write(conf: Path, *rows: str, header: str = "number,name") -> Path:
    path = conf.with_name("list.csv")
    path.write_text("\n".join([header, *rows, ""]))
    return path


def texts(server: Sandbox) -> list[tuple[str, str]]:
    return [(number, each.original) for each in server.messages for number in each.numbers]


def lines(result: Result) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows and the summary of --json."""
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return rows[:-1], rows[-1]["summary"]


def forget_the_last(journal: Path) -> None:
    """As if the command was killed before the last answer was written down."""
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))


def test_each_row_gets_its_text_once(server: Sandbox, conf: Path, send: Send) -> None:
    # given a list with a bad row and a row twice
    write(conf, f"{A},Zoë", "333 1234567,Max", "12,Eva", f'"{A}",Zoë', f"{A},Ann", f"{B},")
    # when it is sent
    result = send()
    # then each good one is sent, and the others are named with their lines
    assert texts(server) == [(A, "Dear Zoë"), ("+393331234567", "Dear Max"), (A, "Dear Ann")]
    assert result.exit_code == 1
    assert "line     4  12" in result.stdout
    assert "the same SMS as in line 2" in result.stdout
    assert (
        "line     7  +39333123457     bad row   BAD_ROW: {name} of the text is empty"
        in result.stdout
    )
    assert "6 rows: 3 accepted, 2 bad rows, 1 duplicate" in result.stdout
    assert "Dear" not in result.output


def test_all_accepted_is_success_and_the_same_again_sends_nothing(
    server: Sandbox, conf: Path, send: Send
) -> None:
    write(conf, f"{A},Zoë", f"{B},Max")
    assert send().exit_code == 0
    again = send()
    assert again.exit_code == 0
    assert "2 accepted (2 of them before)" in again.stdout
    assert "once more, remove " in again.stdout
    assert len(server.messages) == 2


def test_the_journal_is_private_and_holds_no_text(conf: Path, send: Send) -> None:
    journal = Path(f"{write(conf, f'{A},Zoë')}.journal")
    send()
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    for secret in ("Zo", "Dear", "333123"):
        assert secret not in journal.read_text()


def test_columns_say_gateway_date_and_text(server: Sandbox, conf: Path, send: Send) -> None:
    when = (datetime.now() + timedelta(days=2)).replace(second=0, microsecond=0)
    write(conf, f"{A},hello {{x}},9C:75:14:33:00:01,{when:%d/%m/%Y %H:%M}", f"{B},plain,,",
          header="number,message,gsm,postpone")  # fmt: skip
    assert send(text="").exit_code == 0
    first, second = server.messages
    assert (first.original, first.gsm, first.postpone) == ("hello {x}", "9c7514330001", when)
    assert (second.original, second.postpone) == ("plain", None)


def test_two_texts_are_one_too_many(server: Sandbox, conf: Path, send: Send) -> None:
    write(conf, f"{A},hello", header="number,message")
    assert send(text="Hi").exit_code == 2
    assert send(text="{message}!").exit_code == 0
    assert texts(server) == [(A, "hello!")]


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
def test_numbers_that_a_spreadsheet_spoilt_are_bad_rows(
    server: Sandbox, conf: Path, send: Send, cell: str, says: str
) -> None:
    conf.write_text(conf.read_text().replace("country = IT", "country = DE"))
    write(conf, f"{A},Zoë", f"{cell},Max")
    rows, summary = lines(send("--json"))
    bad = rows[0]
    assert (bad["line"], bad["result"], summary["bad"]) == (3, "bad", 1)
    assert [row["number"] for row in rows[1:]] == [A]
    result = send()
    assert re.search(says, " ".join(result.stdout.split())), result.stdout
    assert "Dear" not in result.output


def test_what_was_refused_is_tried_again_and_what_is_unknown_only_when_asked(
    server: Sandbox, conf: Path, send: Send
) -> None:
    # given one that is refused, and one whose answer is lost
    write(conf, f"{REJECTED},Rob", "+99900000103,Una", f"{A},Zoë")
    rows, summary = lines(send("--json"))
    assert [(row["line"], row["result"]) for row in rows] == [
        (2, "refused"), (3, "unknown"), (4, "accepted"),
    ]  # fmt: skip
    assert (summary["accepted"], summary["refused"], summary["unknown"]) == (1, 1, 1)
    # when the same command runs again, then only the refused one is tried
    before = len(server.requests)
    rows, summary = lines(send("--json"))
    assert len(server.requests) == before + 1
    assert [(row["line"], row["result"]) for row in rows] == [(3, "unknown"), (2, "refused")]
    assert summary["unknown"] == 1
    dry, counts = lines(send("--json", "--dry-run"))
    assert [row["result"] for row in dry] == ["ready", "before", "before"]
    assert (counts["ready"], counts["before"], counts["unknown"]) == (1, 1, 1)
    # and the unknown one when it is asked for
    lines(send("--json", "--retry-unknown"))
    assert len(server.requests) == before + 3


def test_a_list_that_has_changed_is_noticed(server: Sandbox, conf: Path, send: Send) -> None:
    write(conf, f"{A},Zoë", "12,Max")
    assert send().exit_code == 1
    # given the bad row mended, and another text for nobody
    write(conf, f"{A},Zoë", f"{B},Max")
    refused = send()
    assert refused.exit_code == 2
    assert "1 of its 2 SMS are new or changed" in refused.output
    assert "--changed is needed" in send("--dry-run").output.replace("\n", " ").replace("  ", " ")
    assert len(server.messages) == 1
    # when that is wanted, only what is new goes out
    assert send("--changed").exit_code == 0
    assert texts(server)[1:] == [(B, "Dear Max")]
    # and from then on it is the list
    assert send().exit_code == 0
    assert send(text="Another {name}").exit_code == 2
    assert len(server.messages) == 2


@pytest.mark.parametrize(
    ("fault", "tries", "says"),
    [
        (Fault.UNAUTHORIZED, 1, "UNAUTHORIZED would meet all others, too"),
        (Fault.SERVER_ERROR, 3, "BAD_ANSWER 3 times"),
        (Fault.REJECT, 10, "REJECTED 10 times"),
    ],
)
def test_it_stops_where_it_makes_no_sense_to_go_on(
    server: Sandbox, conf: Path, send: Send, fault: Fault, tries: int, says: str
) -> None:
    write(conf, *(f"+3933312345{at:02},N{at}" for at in range(20)))
    server.fault = fault
    result = send()
    server.fault = None
    assert result.exit_code == 1
    assert f"stopped: {says}" in result.stdout
    assert len(server.requests) == tries
    # what was not tried comes first the next time, so that it goes on in any case
    assert send().exit_code == (1 if fault is Fault.SERVER_ERROR else 0)
    assert next(to for to, _ in texts(server)) == f"+3933312345{tries:02}"


def test_a_stopped_run_does_not_forget_what_an_earlier_one_was_refused(
    server: Sandbox, conf: Path, send: Send
) -> None:
    # given a row that the PBX refuses, one that it accepts, and then a wrong password
    write(conf, f"{REJECTED},Rob", f"{A},Zoë")
    assert "2 rows: 1 accepted, 1 refused\n" in send().stdout
    write(conf, f"{REJECTED},Rob", f"{A},Zoë", f"{B},Max", f"{C},Eva")
    server.fault = Fault.UNAUTHORIZED
    # when the longer list stops at its first row
    result = send("--changed")
    _, summary = lines(send("--json"))
    # then each row is counted as what it is: Max is refused, Eva was never tried
    counts = "4 rows: 1 accepted (1 of them before), 2 refused (1 of them before), 1 not tried\n"
    assert counts in result.stdout
    assert "when that is mended, the same command goes on" in result.stdout
    # and the next run is refused with Eva, for what was never tried goes first
    assert (summary["refused"], summary["refused_before"], summary["left"]) == (3, 2, 0)


def test_a_row_with_two_faults_names_both(conf: Path, send: Send) -> None:
    write(conf, "3.9E+11,", f'{A}," "')
    (first, second), _ = lines(send("--json"))
    assert first["cause"] == "INVALID_NUMBER"
    assert "3.9E+11 is rounded by a spreadsheet" in first["reason"]
    assert first["reason"].endswith("; and {name} of the text is empty in this row")
    assert (second["cause"], second["reason"]) == (
        "BAD_ROW", "{name} of the text is empty in this row",
    )  # fmt: skip


def test_nobody_there_is_tried_three_times(conf: Path, send: Send) -> None:
    conf.write_text(conf.read_text().replace("http://127.0.0.1", "http://127.0.0.2"))
    write(conf, *(f"+3933312345{at:02},N{at}" for at in range(9)))
    result = send()
    assert "3 refused, 6 not tried" in result.stdout
    assert "the same command goes on" in result.stdout


def test_a_limit_of_the_sender_ends_it_one_of_a_number_does_not(
    server: Sandbox, outbox: Path, send: Send
) -> None:
    outbox.write_text(outbox.read_text() + "per_number = 1/1h\nper_sender = 3/1h\n")
    write(outbox, f"{A},1", f"{A},2", f"{B},3", f"{C},4", f"{C},5", "+39333123450,6")
    rows, summary = lines(send("--json"))
    assert [row["result"] for row in rows] == [
        "accepted", "refused", "accepted", "accepted", "refused", "refused",
    ]  # fmt: skip
    assert summary["stopped"] == "the limit per_sender is reached"


def test_what_the_outbox_keeps_is_stored_once_even_where_nobody_knows(
    server: Sandbox, outbox: Path, send: Send
) -> None:
    # given a list that was stored
    path = Path(f"{write(outbox, f'{A},Zoë', f'{B},Max')}.journal")
    first, summary = lines(send("--json", "--mode", "queue"))
    assert (summary["accepted"], summary["queued"]) == (2, 2)
    assert [row["id"] for row in first] == ["1", "2"]
    # when it was killed before the last answer was written down
    forget_the_last(path)
    again, summary = lines(send("--json", "--mode", "queue"))
    # then the outbox knows it, whether or not it is to be sent again
    assert (summary["accepted"], summary["unknown"]) == (2, 0)
    assert [(row["line"], row["id"]) for row in again] == [(3, "2")]
    forget_the_last(path)
    again, _ = lines(send("--json", "--mode", "queue", "--retry-unknown"))
    assert [row["id"] for row in again] == ["2"]
    # but the PBX does not
    forget_the_last(path)
    again, summary = lines(send("--json", "--mode", "wait"))
    assert [(row["line"], row["result"]) for row in again] == [(3, "unknown")]
    assert server.messages == []


def test_a_row_that_is_past_is_bad_but_not_one_that_was_sent(
    server: Sandbox, conf: Path, send: Send
) -> None:
    path = write(conf, f"{A},Zoë,01/01/2020 10:00", f"{B},Max,", header="number,name,postpone")
    rows, _ = lines(send("--json"))
    assert (rows[0]["line"], rows[0]["cause"]) == (2, "INVALID_POSTPONE")
    # given that it was sent when it was not past
    with opened(Path(f"{path}.journal")) as journal:
        digest = journal.digest("sms", A, "Dear Zoë", "", "202001011000")
        journal.going_out(digest, 2, "", 0)
        journal.ended(digest, 2, Became.ACCEPTED, "")
    # then it is done: a list without it would be another list
    assert send().exit_code == 0
    assert len(server.messages) == 1


def test_a_dry_run_shows_all_and_leaves_nothing(server: Sandbox, conf: Path, send: Send) -> None:
    path = write(conf, "333 1234567,Zoé/", "12,Max", f"{A},😀")
    result = send("--dry-run")
    assert result.exit_code == 1
    for shown in ("+393331234567", "3 rows: 2 to send, 0 accepted before, 1 bad row", "line     3  12",
                  "1 (GSM-7, 9 of 160)", "1 (UCS-2, 7 of 70)", "Dear Zoé/", "spaces: / in 1 text",
                  "2 for 2 SMS (1 in GSM-7, 1 in UCS-2)", "nothing was sent"):  # fmt: skip
        assert shown in result.stdout, shown
    assert server.requests == []
    assert sorted(each.name for each in path.parent.iterdir()) == ["list.csv", "sms.conf"]
    rows, summary = lines(send("--dry-run", "--json"))
    assert (rows[0]["text"], rows[0]["parts"], rows[0]["replaced"]) == ("Dear Zoé/", 1, "/")
    assert (summary["ready"], summary["bad"], summary["parts"]) == (2, 1, 2)
    assert "as given" not in result.stdout
    conf.write_text(conf.read_text() + "gsm7 = typographic\n")
    write(conf, f"{A},{'’' * 71}", f"{B},Zoé")
    assert re.search(r"2 for 2 SMS \(2 in GSM-7\) *\nas given +3 parts", send("--dry-run").stdout)


def test_a_list_from_a_pipe_has_no_journal_of_its_own(server: Sandbox, conf: Path) -> None:
    def send(*more: str) -> Result:
        piped = f"number,message\n{A},x\n{REJECTED},y\n"
        return run(conf, "--list", "-", *more, text=piped)

    assert "a list from a pipe needs --journal FILE" in send().stdout
    journal = str(conf.with_name("kept"))
    send("--journal", journal)
    assert "1 accepted (1 of them before)" in send("--journal", journal).stdout
    assert [to for to, _ in texts(server)] == [A, A]


def test_the_old_name_of_the_option_works_and_is_not_shown(server: Sandbox, conf: Path) -> None:
    list_ = write(conf, f"{A},Zoë")
    assert run(conf, "--to-file", str(list_), text="Dear {name}").exit_code == 0
    assert texts(server) == [(A, "Dear Zoë")]
    shown = run(conf, "--help").output
    assert ("--list FILE" in shown, "--to-file" in shown) == (True, False)


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
    [
        (["+39333123456"], 2),
        (["--key", "x"], 2),
        (["--sender", "102"], 1),
        (["--mode", "queue"], 1),
        (["--journal", "/nowhere/at/all"], 1),
        (["--journal", "/dev/null"], 1),
    ],
)
def test_wrong_usage_sends_nothing(
    server: Sandbox, conf: Path, send: Send, arguments: list[str], status: int
) -> None:
    write(conf, f"{A},Zoë")
    result = send(*arguments)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    assert server.requests == []


def test_options_of_a_list_need_a_list(conf: Path) -> None:
    for option in ([A, "--changed"], [A, "--retry-unknown"], [A, "--journal", "x"], []):
        assert run(conf, *option).exit_code == 2


def test_a_file_that_is_no_journal_is_left_alone(server: Sandbox, conf: Path, send: Send) -> None:
    path = write(conf, f"{A},Zoë")
    for content in ("number\n1\n", "x", '{"journal":"else","version":1}\n'):
        other = conf.with_name("other")
        other.write_text(content)
        result = send("--journal", str(other))
        assert (result.exit_code, other.read_text()) == (1, content)
    assert send("--journal", str(path)).exit_code == 1
    assert server.requests == []


def test_one_list_is_sent_by_one_command_at_a_time(server: Sandbox, conf: Path, send: Send) -> None:
    with opened(Path(f"{write(conf, f'{A},Zoë')}.journal")):
        result = send()
    assert (result.exit_code, server.requests) == (1, [])
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


def test_a_full_disk_stops_before_anything_goes_out(
    server: Sandbox, conf: Path, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(conf, f"{A},Zoë", f"{B},Max")
    whole = Journal.going_out

    def full(self: Journal, sms: str, line: int, key: str, resends: int) -> None:
        if line == 3:
            raise JournalError("the journal cannot be written, No space left on device")
        whole(self, sms, line, key, resends)

    monkeypatch.setattr(Journal, "going_out", full)
    result = send()
    assert result.exit_code == 1
    assert "stopped: the journal cannot be written" in result.stdout
    assert [to for to, _ in texts(server)] == [A]
    (said,) = [line for line in conf.with_name("log").read_text().splitlines() if "ERROR" in line]
    assert "the journal cannot be written" in said


def test_gateways_rest_between_their_sms(server: Sandbox, conf: Path, send: Send) -> None:
    conf.write_text(conf.read_text().replace("pace = 0s", "pace = 1s"))
    write(conf, f"{A},1", f"{B},2", header="number,name")
    result = send()
    assert "about 2 s, a gateway rests 1 s for each" in result.output
    first, second = server.messages
    assert second.received_at - first.received_at > timedelta(seconds=0.9)


def test_nobody_who_reads_does_not_stop_a_list(server: Sandbox, conf: Path) -> None:
    path = write(conf, f"{A},1", f"{REJECTED},2", f"{B},3")
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [Path(sys.prefix) / "bin/dialplan-sms", "send", "--config", conf, "--list", path, "--json"],
            input=b"Dear {name}", stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (1, b"")
    assert [to for to, _ in texts(server)] == [A, B]


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


def test_single_sends_speak_json_too(server: Sandbox, conf: Path) -> None:
    def send(*more: str) -> Any:
        return json.loads(run(conf, A, "--json", *more, text="Hi €").stdout)

    empty = {"cause": "", "reason": "", "failed": [], "id": "", "via": ""}
    assert send() == {"status": "SUCCESS"} | empty
    dry = send("--dry-run")
    assert (dry["coding"], dry["units"], dry["parts"], dry["numbers"]) == ("GSM-7", 5, 1, [A])
    server.fault = Fault.REJECT
    assert send()["cause"] == "REJECTED"


def test_what_the_outbox_never_saw_stays_unknown_in_every_mode(
    server: Sandbox, outbox: Path, send: Send
) -> None:
    # given one that was on its way to the PBX itself when it was killed
    path = Path(f"{write(outbox, f'{A},Zoë')}.journal")
    send("--mode", "wait")
    forget_the_last(path)
    # when the list goes on through the outbox, then it is not stored
    rows, summary = lines(send("--json", "--mode", "queue"))
    assert [row["result"] for row in rows] == ["unknown"]
    assert (summary["unknown"], summary["queued"]) == (1, 0)
    # but when somebody asks for it
    assert lines(send("--json", "--mode", "queue", "--retry-unknown"))[1]["queued"] == 1


def test_a_terminal_has_a_bar_that_leaves_nothing_behind(server: Sandbox, conf: Path) -> None:
    conf.write_text(conf.read_text().replace("pace = 0s", "pace = 1s"))
    path = write(conf, f"{A},1", f"{B},2", f"{C},3", header="number,message")
    master, slave = os.openpty()
    with subprocess.Popen(
        [Path(sys.prefix) / "bin/dialplan-sms", "send", "--config", conf, "--list", path],
        stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
        env={"TERM": "xterm", "COLUMNS": "80", "PATH": os.environ["PATH"]},
    ) as process:  # fmt: skip
        os.close(slave)
        shown = b""
        while data := _read(master):
            shown += data
    os.close(master)
    assert process.returncode == 0
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


def test_what_may_have_been_sent_is_not_forgotten_when_the_next_try_does_not_go_out(
    server: Sandbox, conf: Path, send: Send
) -> None:
    write(conf, "+99900000103,Una", f"{A},Zoë")
    send()
    conf.write_text(conf.read_text().replace("http://127.0.0.1", "http://127.0.0.2"))
    rows, summary = lines(send("--json", "--retry-unknown"))
    assert [(row["result"], row["cause"]) for row in rows] == [("unknown", "UNREACHABLE")]
    assert (summary["unknown"], summary["refused"], summary["left"]) == (1, 0, 0)


def test_an_outbox_that_fails_leaves_unknown_what_it_may_have(outbox: Path, send: Send) -> None:
    # given one that may be stored, and an outbox that cannot be used now
    path = Path(f"{write(outbox, f'{A},Zoë')}.journal")
    send("--mode", "queue")
    forget_the_last(path)
    box = outbox.with_name("outbox.sqlite")
    box.rename(outbox.with_name("away"))
    box.write_text("no database, but a text that is there")
    rows, summary = lines(send("--json", "--mode", "queue"))
    assert (rows[0]["result"], rows[0]["cause"], summary["unknown"]) == ("unknown", "OUTBOX", 1)
    # then it is found where it was once that is mended
    outbox.with_name("away").rename(box)
    rows, summary = lines(send("--json", "--mode", "queue"))
    assert (rows[0]["result"], rows[0]["id"], summary["unknown"]) == ("accepted", "1", 0)
