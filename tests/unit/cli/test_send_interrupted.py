"""A list that is interrupted: none lost, none doubled, each bad row named by its line."""

import json
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dialplan_sms.sandbox import Sandbox
from tests.unit.cli.sending import COMMAND, List, conf, listed, outbox, server
from tests.waiting import until

__all__ = ["conf", "listed", "outbox", "server"]

TEXT = b"Dear {name}, it is {{ready}}"
HANGS = "+99900000001"


class Run:
    """The command on a list, as a process."""

    def __init__(self, conf: Path, file: Path, *more: str) -> None:
        self._out = conf.with_name("out")
        with self._out.open("w") as out:
            self.process = subprocess.Popen(
                [COMMAND, "send", "--config", conf, "--list", file, "--json", *more],
                stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write(TEXT)
        self.process.stdin.close()

    def end(self, *signals: signal.Signals) -> list[dict[str, Any]]:
        """Send it *signals*, and wait; all that it printed."""
        for each in signals:
            self.process.send_signal(each)
        try:
            self.process.wait(100)
        finally:
            self.process.kill()
        lines = self._out.read_text().splitlines()
        assert "Traceback (most recent call last):" not in lines
        return [json.loads(line) for line in lines if line[:1] == "{" and line[-1:] == "}"]


def make_list(path: Path, size: int) -> tuple[dict[int, str], list[int]]:
    """Writes a list; the numbers of its good rows by line, and the lines of its bad ones."""
    chance = random.Random(size)
    good: dict[int, str] = {}
    bad: list[int] = []
    out, line = ["number;name"], 2
    for at in range(size):
        number, kind = f"+39333{at:06}", chance.random()
        row = f'{number};"N{at}"'
        if kind < 0.01:
            row = chance.choice(
                ["12;short", f'{number};""', f"{number};a;b", f'{number};"open', "3.9E+11;x", ";x"]
            )
            bad.append(line)
        else:
            good[line] = number
            row = f'{number};"N{at}\nof two lines"' if kind < 0.1 else row
        out += [row, ""] if kind > 0.99 else [row]
        line += row.count("\n") + 1 + (kind > 0.99)
    path.write_text("\n".join(out))
    return good, bad


@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_none_is_lost_and_none_doubled(server: Sandbox, conf: Path, size: int) -> None:
    # given a list with bad rows
    file = conf.with_name("list.csv")
    good, bad = make_list(file, size)
    assert bad
    chance = random.Random()
    unknown: set[int] = set()
    # when it is interrupted three times, each in another way, wherever it is
    for part, each in enumerate((signal.SIGINT, signal.SIGKILL, signal.SIGTERM), 1):
        run = Run(conf, file)
        server.wait(messages=size * part // 4 - chance.randrange(size // 10), timeout=100)
        time.sleep(chance.random() / 20)
        told = run.end(each)
        assert run.process.returncode == (-9 if each is signal.SIGKILL else 130)
        assert [row["line"] for row in told if row.get("result") == "bad"] == bad
        if each is not signal.SIGKILL:
            assert told[-1]["summary"]["interrupted"]
            assert told[-1]["summary"]["left"] > 0
    rows = Run(conf, file).end()
    summary = rows.pop()["summary"]
    unknown = {row["line"] for row in rows if row["result"] == "unknown"}
    # then nobody has two
    received = Counter(number for each in server.messages for number in each.numbers)
    assert set(received.values()) == {1}
    # and all have one, but for at most the one that was under way when the process was killed
    assert len(unknown) <= 1
    assert set(good.values()) - set(received) <= {good[line] for line in unknown}
    assert set(received) <= set(good.values())
    assert (summary["rows"], summary["bad"]) == (len(good) + len(bad), len(bad))
    assert (summary["accepted"], summary["left"]) == (len(good) - len(unknown), 0)


def test_what_was_under_way_at_a_kill_is_unknown(server: Sandbox, listed: List) -> None:
    listed.write(f"{HANGS},a", "+39333123456,b")
    run = Run(listed.conf, listed.path)
    server.wait(requests=1)
    time.sleep(0.1)
    run.end(signal.SIGKILL)
    rows = Run(listed.conf, listed.path).end()
    assert [(row["line"], row["result"]) for row in rows[:-1]] == [(2, "unknown"), (3, "accepted")]
    assert len(server.requests) == 2
    assert rows[-1]["summary"]["unknown"] == 1


def test_a_second_signal_ends_at_once(server: Sandbox, listed: List) -> None:
    listed.write(f"{HANGS},a", "+39333123456,b")
    run = Run(listed.conf, listed.path)
    server.wait(requests=1)
    began = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert run.process.poll() is None
    rows = run.end(signal.SIGINT)
    assert time.monotonic() - began < 3
    assert run.process.returncode == 130
    assert (
        rows[-1]["summary"] | {"unknown": 1, "left": 1, "interrupted": True} == rows[-1]["summary"]
    )
    # given the same with one signal, it waits and notes what became of it
    run = Run(listed.conf, listed.path, "--retry-unknown")
    server.wait(requests=3)
    rows = run.end(signal.SIGINT)
    assert run.process.returncode == 130
    assert [(row["line"], row.get("cause")) for row in rows[:-1]] == [(3, ""), (2, "NO_ANSWER")]


def test_a_rest_between_two_ends_at_a_signal(server: Sandbox, listed: List) -> None:
    listed.configure("pace = 0s", "pace = 1m")
    listed.write("+39333123456,a", "+39333123457,b")
    run = Run(listed.conf, listed.path)
    server.wait(messages=1)
    time.sleep(0.2)
    began = time.monotonic()
    rows = run.end(signal.SIGTERM)
    assert time.monotonic() - began < 3
    assert run.process.returncode == 130
    assert rows[-1]["summary"]["left"] == 1


def test_with_the_outbox_not_even_a_kill_leaves_one_unknown(server: Sandbox, outbox: Path) -> None:
    # given a list that is stored
    file = outbox.with_name("list.csv")
    good, bad = make_list(file, 300)
    journal = Path(f"{file}.journal")

    def kill_at(enough: int) -> None:
        run = Run(outbox, file, "--mode", "queue")
        until(journal.exists, seconds=100)
        until(lambda: journal.read_bytes().count(b"accepted") >= enough, seconds=100)
        time.sleep(random.random() / 50)
        run.end(signal.SIGKILL)

    # when it is killed three times
    for enough in (60, 120, 180):
        kill_at(enough)
    summary = Run(outbox, file, "--mode", "queue").end()[-1]["summary"]
    # then each is stored once
    with closing(sqlite3.connect(outbox.with_name("outbox.sqlite"))) as connection:
        stored = [number for (number,) in connection.execute("select number from sms_number")]
    assert sorted(stored) == sorted(good.values())
    assert (summary["accepted"], summary["unknown"], summary["bad"]) == (len(good), 0, len(bad))
    assert server.requests == []


def test_nohup_goes_on_when_the_terminal_is_closed(server: Sandbox, listed: List) -> None:
    listed.write("+39333123456,a", "+39333123457,b", header="number,message")
    listed.configure("pace = 0s", "pace = 1s")
    process = subprocess.Popen(
        ["nohup", COMMAND, "send", "--config", listed.conf, "--list", listed.path],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    server.wait(messages=1)
    process.send_signal(signal.SIGHUP)
    assert process.wait(10) == 0
    assert len(server.messages) == 2
