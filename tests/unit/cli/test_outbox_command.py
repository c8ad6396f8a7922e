import csv
import io
import json
import re
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from dialplan_sms.cli import main
from dialplan_sms.config.config import Sender
from dialplan_sms.outbox import leases, transitions
from dialplan_sms.outbox.database import open_engine
from dialplan_sms.outbox.leases import Ended
from dialplan_sms.outbox.retry import Verdict
from dialplan_sms.outbox.schema import State, gateway, message, number, prepare
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.transitions import Try
from dialplan_sms.sms.outcome import Cause, error
from dialplan_sms.sms.sms import Sms
from tests.unit.stored import insert

ROME, MILAN = "+39069999001", "+39029999002"
SENDERS = """
[101]
url = https://pbx.example.com
password = sms101api
{}
[102]
url = https://pbx.example.com
password = sms102api
"""


class Host:
    """A host with an sms.conf and an outbox, and its admin."""

    def __init__(self, folder: Path) -> None:
        self.conf = folder / "sms.conf"
        self.file = folder / "o.sqlite"
        self.engine = open_engine(f"sqlite:///{self.file}")
        self.configure()
        with self.engine.begin() as connection:
            prepare(connection)

    def configure(self, sender: str = "", general: str | None = None) -> None:
        outbox = f"outbox = sqlite:///{self.file}" if general is None else general
        self.conf.touch(0o600)
        self.conf.write_text(f"[general]\n{outbox}\n{SENDERS.format(sender)}")

    def store(self, *numbers: str, age: float = 0.0, **columns: Any) -> int:
        columns = {"text": "Hello"} | columns
        columns |= {"chars": len(columns["text"])}
        with self.engine.begin() as connection:
            id_ = insert(connection, *(numbers or (ROME,)), **columns)
        if age:
            then = time.time() - age
            ended = then if columns.get("state", State.PENDING) is not State.PENDING else None
            self.set(id_, created=then, due=then, ended=ended)
            self.do(number.update().where(number.c.message_id == id_).values(created=then))
        return id_

    def do(self, statement: sa.Executable | str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement) if isinstance(statement, str) else statement)

    def set(self, id_: int, **values: object) -> None:
        self.do(message.update().where(message.c.id == id_).values(**values))

    def hold(self, sender: str, until: float) -> None:
        """As a worker whose password was refused."""
        held = gateway.update().where(gateway.c.sender == sender)
        self.do(held.values(free_at=until, held="UNAUTHORIZED"))

    def states(self, *ids: int) -> list[str]:
        with self.engine.begin() as connection:
            found = connection.execute(sa.select(message.c.id, message.c.state)).all()
        return [state for id_ in ids for each, state in found if each == id_]

    def run(self, *arguments: object) -> Result:
        command = ["outbox", *map(str, arguments), "--config", str(self.conf)]
        return CliRunner().invoke(main.main, command)

    def shows(self, *arguments: object) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.output

    def one_line(self, *arguments: object, status: int = 1) -> str:
        result = self.run(*arguments)
        assert (result.exit_code, result.output.count("\n")) == (status, 1), result.output
        return result.output

    def json(self, *arguments: object) -> Any:
        return json.loads(self.shows(*arguments, "--json"))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_list_fits_a_terminal_and_shows_numbers_whole(host: Host) -> None:
    host.store(ROME, MILAN, planned=time.time() + 9000)
    failed = host.store(MILAN, state=State.FAILED)
    host.set(failed, cause="REJECTED")
    output = host.shows()
    _, first, second, *_, last = output.splitlines()
    assert max(map(len, output.splitlines())) <= 80
    assert re.search(rf"{re.escape(MILAN)} .*failed.*REJECTED", first)
    assert re.search(rf"{re.escape(MILAN)} \+1 .*pending.*due 20", second)
    assert "1 pending, 0 leased, 0 sending" in last
    assert "Hello" not in output


@pytest.mark.parametrize(
    ("arguments", "found"),
    [(["--state", "sent", "--state", "failed"], [3, 2]), (["--number", "+39 06 9999"], [2, 1]),
     (["--number", "0039069999001"], [2, 1]), (["--sender", "102"], [3]), (["--since", "1h"], [3, 2]),
     (["--limit", "1"], [3]), (["--state", "unknown"], [])],
)  # fmt: skip
def test_filters(host: Host, arguments: list[str], found: list[int]) -> None:
    host.store(ROME, age=7200)
    host.store(ROME, state=State.SENT)
    host.store(MILAN, state=State.FAILED, sender="102")
    assert [sms["id"] for sms in host.json(*arguments)] == found


def test_list_and_limit_have_other_ways_to_be_written(host: Host) -> None:
    ids = [host.store(ROME), host.store(MILAN, state=State.FAILED)]
    for arguments in ([], ["--csv"], ["--state", "failed", "--limit", "1"]):
        assert host.shows("list", *arguments) == host.shows(*arguments)
    misplaced = host.run("--limit", "1", "list")
    assert misplaced.exit_code == 2
    assert "options belong after list" in misplaced.output
    # the old name of the limit works, and is not shown
    for command in ([], ["list"]):
        assert [sms["id"] for sms in host.json(*command, "--most", "1")] == ids[1:]
        shown = host.shows(*command, "--help")
        assert ("--limit" in shown, "--most" in shown) == (True, False)
    assert "the newest 1: --limit N shows more" in host.shows("--most", "1")
    # --config is taken before the command, too
    before = ["outbox", "--config", str(host.conf), "show", str(ids[0])]
    assert CliRunner().invoke(main.main, before).exit_code == 0


@pytest.mark.parametrize(
    ("log", "where"), [("", "journalctl -t dialplan-sms"), ("log = /var/log/sms", "/var/log/sms")]
)
def test_an_empty_list_says_where_the_rest_is(
    host: Host, tmp_path: Path, log: str, where: str
) -> None:
    says = (
        ". The outbox shows what modes queue and fallback store, and what the service sends; what"
        f" was sent at once without the service, as by send, is only in the log: {where}\n"
    )
    used, new = (f"outbox = sqlite:///{tmp_path}/{name}.sqlite\n{log}" for name in ("o", "new"))
    host.configure(general=used)
    assert f"no SMS{says}" in host.shows("--number", "7")
    host.configure(general=new)
    assert host.shows().endswith(f"is made with the first SMS that is stored{says}")
    host.store(ROME)
    host.configure(general=used)
    assert says not in host.shows()


def test_a_cell_of_the_csv_is_no_formula(host: Host) -> None:
    strange = "=HYPERLINK(\"http://192.0.2.1\")"  # fmt: skip
    host.store(ROME, call="@SUM(A1)", caller=strange)
    host.store(ROME, MILAN, caller="-1")
    second, first = csv.DictReader(io.StringIO(host.run("--csv").output))
    assert (first["to"], first["caller"], first["call"]) == (ROME, f"'{strange}", "'@SUM(A1)")
    assert (second["to"], second["caller"]) == (f"'{MILAN} {ROME}", "-1")
    assert "=" not in {value[:1] for value in first.values()}


def test_what_callers_supplied_does_nothing_on_a_terminal(host: Host) -> None:
    evil = "\x1b]0;owned\x07[bold]x[/]\u202e\r\n2"
    id_ = host.store("+39\x1b[2J", sender=evil, call=evil, caller=evil, text=f"{evil}\nline")
    host.set(id_, reason=evil, cause="\x1b[2J", state="\x1b[31m")
    for arguments in ([], ["--csv"], ["--json"], ["show", id_, "--text"], ["show", id_, "--json"],
                      ["limits"]):  # fmt: skip
        assert not set(host.shows(*arguments)) & set("\x1b\x07\u202e\r")
    assert "[bold]x[/]" in host.shows("show", id_)


def test_show_tells_each_try_and_the_text_only_where_asked(host: Host) -> None:
    id_ = host.store(ROME, MILAN, text="code 1234\nbye")
    with host.engine.begin() as connection:
        (claimed,) = leases.claim(connection, "worker", 60.0, 10, {})
        outcome = replace(error(Cause.UNREACHABLE, "no route to host"), via="102")
        verdict = Verdict(sent=(ROME,), again=(MILAN,))
        leases.finish(connection, [Ended(claimed, outcome, verdict, 0.5, True)])
    shown = host.shows("show", id_)
    for part in (f"{ROME} sent", f"{MILAN} pending", "UNREACHABLE via 102", "no route to host",
                 "13 charac"):  # fmt: skip
        assert part in shown
    assert "1234" not in shown
    assert "code 1234" in host.shows("show", id_, "--text")
    whole = host.json("show", id_)
    assert (whole["text_kept"], "text" in whole) == (True, False)
    assert (whole["tries"][0]["reason"], whole["tries"][0]["via"]) == ("no route to host", "102")
    assert host.json("show", id_, "--text")["text"] == "code 1234\nbye"
    assert host.one_line("show", 99) == "Error: there is no SMS 99\n"


def test_retry_by_id_and_by_state(host: Host) -> None:
    unknown = [host.store(state=State.UNKNOWN) for _ in range(3)]
    sent, failed = host.store(state=State.SENT), host.store(state=State.FAILED)
    result = host.run("retry", failed, sent)
    assert result.exit_code == 1
    assert f"{sent}: is sent" in result.output
    assert "1 pending again" in result.output
    assert host.states(failed) == ["pending"]
    assert host.shows("retry", "--state", "unknown", "--since", "1h") == "3 pending again\n"
    assert host.states(*unknown) == ["pending"] * 3


def test_retry_says_why_there_is_no_text(host: Host) -> None:
    # given what failed: a call in mode wait, one that was stored for later, and a stored one
    wait, later, queue = (host.store(state=State.FAILED) for _ in range(3))
    host.set(wait, text=None, mode="wait")
    host.set(later, text=None, mode="wait", planned=time.time())
    host.set(queue, text=None, mode="queue")
    output = host.run("retry", wait, later, queue).output
    assert f"{wait}: is failed, and mode wait keeps no text: send it anew\n" in output
    for id_ in (later, queue):
        assert f"{id_}: is failed, and its text is gone: keep_text in sms.conf keeps" in output
    assert output.endswith("0 pending again\n")
    host.set(wait, state=State.SENT)
    assert f"{wait}: is sent\n" in host.run("retry", wait).output


def test_cancel_by_id_and_by_filter(host: Host) -> None:
    one, other, theirs = host.store(), host.store(MILAN), host.store(sender="102")
    sent = host.store(state=State.SENT)
    assert host.shows("cancel", one) == "1 cancelled\n"
    refused = host.run("cancel", one, sent)
    assert refused.exit_code == 1
    assert f"{one}: is cancelled already" in refused.output
    assert host.shows("cancel", "--sender", "102") == "1 cancelled\n"
    assert host.states(other, theirs) == ["pending", "cancelled"]
    assert "--all cancels all of it" in host.one_line("cancel", "--state", "pending", status=2)
    assert host.states(other, theirs) == ["pending", "cancelled"]
    assert host.shows("cancel", "--all") == "1 cancelled\n"
    assert host.states(other, sent) == ["cancelled", "sent"]


@pytest.mark.parametrize(
    "arguments",
    [["cancel"], ["cancel", "1", "--all"], ["cancel", "--sender", "102", "--all"],
     ["--sender", "102", "cancel", "--all"], ["retry"], ["retry", "--since", "1h"], ["retry", "1", "--state", "failed"], ["retry", "--state", "sent"],
     ["show", "0"], ["show", "99999999999999999999"], ["--since", "soon"], ["--number", "%"],
     ["--state", "lost"], ["--json", "--csv"], ["purge", "--older", "90"]],
)  # fmt: skip
def test_what_is_not_clear_changes_nothing(host: Host, arguments: list[str]) -> None:
    waits, failed = host.store(), host.store(state=State.FAILED)
    assert host.run(*arguments).exit_code == 2
    assert host.states(waits, failed) == ["pending", "failed"]


def test_purge_takes_the_age_from_the_command_or_from_retention(host: Host) -> None:
    for days in (100, 50, 10):
        host.store(state=State.SENT, age=days * 86400.0)
    waits = host.store(age=100 * 86400.0)
    assert host.run("purge").output == "1 deleted\n"
    assert host.run("purge", "--older", "30d").output == "1 deleted\n"
    host.configure(general=f"outbox = sqlite:///{host.file}\nretention = 5d")
    assert host.run("purge").output == "1 deleted\n"
    assert [sms["id"] for sms in host.json()] == [waits]


def test_limits_show_what_is_used_and_when_it_frees_up(host: Host) -> None:
    assert "no sender of sms.conf has" in host.run("limits").output
    host.configure("per_sender = 200/1d\nper_number = 2/1h\nper_caller = 9/15m")
    host.store(ROME, caller="201", age=600)
    host.store(ROME, MILAN, caller="201")
    output = host.run("limits").output
    assert max(map(len, output.splitlines())) <= 80
    for part in ("per_sender = 200/1d", "3 of 200", "2 of 2", "1 of 2", "3 of 9", ROME, "201"):
        assert part in output
    first = host.json("limits")[0]
    assert (first["rule"], first["used"], first["of"]) == ("per_sender", 3, 200)
    ends = datetime.fromisoformat(first["ends"]).timestamp()
    assert abs(ends - (time.time() - 600 + 86400)) < 60


@pytest.mark.parametrize(
    ("general", "says"),
    [
        ("", "set outbox in [general] of sms.conf"),
        ("outbox = sqlite:///{}/none/o.sqlite", "folder is missing"),
        ("outbox = sqlite:///{}/broken.sqlite", "not a database"),
        ("outbox = mysql://x", "allowed: sqlite"),
    ],
)
def test_what_is_missing_is_one_line(host: Host, tmp_path: Path, general: str, says: str) -> None:
    (tmp_path / "broken.sqlite").write_bytes(b"no database at all, " * 100)
    host.configure(general=general.format(tmp_path))
    for command in ([], ["show", "1"], ["cancel", "--all"], ["purge"], ["limits"]):
        assert says in host.one_line(*command)


def test_nothing_stored_yet_is_no_error(host: Host, tmp_path: Path) -> None:
    # given an sms.conf whose outbox nobody has used yet
    host.configure(general=f"outbox = sqlite:///{tmp_path}/new.sqlite")
    # then what asks for all is answered in a plain line, and what asks for one is told
    for command in ([], ["cancel", "--all"], ["purge"], ["limits"]):
        assert host.one_line(*command, status=0).startswith("nothing is stored yet: ")
    for command in (["show", "1"], ["retry", "1"], ["cancel", "1"]):
        told = "Error: there is no SMS 1: nothing is stored yet"
        assert host.one_line(*command).startswith(told)
    assert host.json() == []
    assert host.shows("--csv").startswith("id,created,state")
    # Made by root it would not be the service's.
    assert not (tmp_path / "new.sqlite").exists()


@pytest.mark.parametrize("wrong", ["abc", "0", "1x", "99999999999999999999", "1\x1b[2J"])
@pytest.mark.parametrize("command", ["show", "retry", "cancel"])
def test_a_wrong_id_is_one_line(host: Host, command: str, wrong: str) -> None:
    shown = wrong.replace("\x1b", "\\x1b")
    told = f"Error: {shown} is no ID: see dialplan-sms outbox\n"
    assert host.one_line(command, wrong, status=2) == told


def test_times_are_local_and_the_list_says_so_once(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "XYZ-5:30")
    time.tzset()
    try:
        host.store(ROME, MILAN, call="1700000000.1", caller="201")
        assert host.shows().count("times are local, now XYZ (UTC+0530)") == 1
        (sms,) = host.json()
        created = datetime.fromisoformat(sms["created"])
        assert created.utcoffset() == timedelta(hours=5, minutes=30)
        assert abs(created.timestamp() - time.time()) < 60
        assert "+05:30" in host.shows("--csv")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (sms["to"], sms["state"], sms["caller"]) == ([MILAN, ROME], "pending", "201")
    assert sms["ended"] is None
    assert "text" not in sms


def test_a_sender_that_is_gone_is_named_and_listed(host: Host) -> None:
    host.store(ROME, sender="999")
    output = host.shows("--sender", "999")
    says = "sms.conf has no section 999 (any more), its senders are 101, 102"
    assert says in output
    assert ROME in output
    assert says not in host.shows("--sender", "102")
    assert host.run("cancel", "--sender", "999").stdout == "1 cancelled\n"


def test_a_sender_that_is_held_is_told_and_until_when(host: Host) -> None:
    # given a sender whose password is refused, and another whose SMS no worker takes
    id_, until = host.store(age=900), time.time() + 240
    host.hold("101", until)
    host.store(sender="102", age=900)
    # then the list says who waits, and the SMS why
    output = host.shows()
    assert "sender 101 waits: UNAUTHORIZED, next try 20" in output
    assert "no worker took an SMS for 15 min" in output
    output = " ".join(host.shows("show", id_).split())
    assert "all SMS of sender 101 wait, UNAUTHORIZED: the next try is 20" in output
    held = host.json("show", id_)["held"]
    assert held["cause"] == "UNAUTHORIZED"
    assert abs(datetime.fromisoformat(held["until"]).timestamp() - until) < 2
    # and from when on its backup may send it, unless nobody knows whether it was sent
    host.configure("backup = 102\nbackup_after = 1h")
    due = datetime.fromisoformat(host.json("show", id_)["created"]).timestamp() + 3600
    overdue = datetime.fromtimestamp(due).astimezone().isoformat()
    assert f"; 102 may have it from {overdue} on" in " ".join(host.run("show", id_).output.split())
    assert "; what is overdue goes by 102" in " ".join(host.run().output.split())
    with host.engine.begin() as connection:
        transitions.end_tries(
            connection, [Try(id_, error(Cause.NO_ANSWER, ""), Verdict(again=(ROME,)))]
        )
    host.set(id_, due=time.time())
    assert "102" not in host.run("show", id_).output
    # and one that does not wait says nothing of it
    host.set(id_, state=State.SENT)
    assert "UNAUTHORIZED" not in host.shows("show", id_)


def test_show_says_whether_on_failure_was_told(host: Host) -> None:
    id_ = host.store(state=State.FAILED, age=60)
    for told, columns in (
        ("", {"lease_until": None}), ("was not told yet", {"lease_until": 1.0}),
        ("was told", {"lease_by": "told", "lease_until": None}),
    ):  # fmt: skip
        host.set(id_, **columns)
        assert host.json("show", id_)["on_failure"] == told
        assert (f"on_failure  {told}" in host.run("show", id_).output) is bool(told)


@pytest.mark.parametrize("column", ["text", "reason", "caller", "created", "due", "chars", "state"])
def test_a_damaged_row_is_one_line_and_hides_no_other(host: Host, column: str) -> None:
    # given a row with bytes where there is text or a number
    good, bad = host.store(MILAN), host.store(ROME)
    host.do(f"UPDATE sms_message SET {column} = x'ff00' WHERE id = {bad}")
    # then
    for flags in ([], ["--json"]):
        told = host.one_line("show", bad, *flags)
        assert f"SMS {bad} is damaged in the database, {column}: " in told
    for flags in ([], ["--csv"], ["--json"]):
        assert MILAN in host.shows(*flags)
    host.shows("show", good)


def test_a_damaged_number_or_try_is_no_traceback(host: Host) -> None:
    id_ = host.store(ROME)
    host.do("UPDATE sms_number SET number = x'ff', state = x'ff'")
    host.shows("show", id_)
    host.shows()
    host.do(
        "INSERT INTO sms_attempt (message_id, at, numbers, status, cause, reason)"
        f" VALUES ({id_}, x'ff', 1, 'ERROR', '', '')"
    )
    assert f"SMS {id_} is damaged in the database, at:" in host.run("show", id_).output


def test_retry_is_refused_where_the_key_was_used_again(host: Host) -> None:
    # given an SMS that failed, after which the dialplan tried again with the same key
    outbox = Outbox(f"sqlite:///{host.file}")
    sender = Sender(name="101", url="https://192.0.2.1", password="x")

    def accept(key: str = "order 7") -> int:
        return int(outbox.accept(Sms((ROME,), "Hello", key=key), sender).id)

    def fail(id_: int) -> None:
        host.set(id_, state=State.FAILED)
        host.do(number.update().where(number.c.message_id == id_).values(state=State.FAILED))

    first, other = accept(), accept("order 8")
    fail(first)
    second = accept()
    # then the first is not sent beside it
    result = host.run("retry", first)
    assert result.exit_code == 1
    assert f"{first}: its SMS_KEY was used again, SMS {second} is in its place" in result.output
    assert host.states(first) == ["failed"]
    # and the second, and one with another key, can be tried again
    fail(second)
    fail(other)
    assert host.run("retry", second, other).output == "2 pending again\n"
    fail(second)
    third = accept()
    for gone in (first, second):
        assert f"SMS {third} is in its place" in host.run("retry", gone).output
    outbox.close()
