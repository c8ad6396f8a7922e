"""Calls on a running Asterisk, their CPU time and latencies, and what several rounds make together."""

import os
import re
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.asterisk.pbx import Pbx
from tests.bench.ways import Api, Way

_TICK = 1000 / os.sysconf("SC_CLK_TCK")  # milliseconds
_QUIET = 0.06  # seconds without CPU after which a round is over
_LONGEST_END = 3.0
_READY = 30.0  # seconds until C channels must stand ready
_LONGEST = 120.0  # seconds that a round may take; calls that are not over then are lost

Key = tuple[int, str, str, int]
"""Asterisk's major version, API, way, concurrency."""


class Call(NamedTuple):
    """When a call was placed, when its way began and ended (microseconds), and what that left."""

    placed: int
    began: int
    ended: int
    result: str


@dataclass(frozen=True)
class Round:
    """One way, measured once: so many *calls*, and those that ended; *cpu* is ms a call."""

    key: Key
    calls: int
    cpu: Mapping[str, float]
    good: Sequence[Call]
    bad: Sequence[Call]

    @property
    def per_second(self) -> float:
        """Good calls a second."""
        seen = [*self.good, *self.bad]
        took = max(call.ended for call in seen) - min(call.placed for call in seen) if seen else 0
        return len(self.good) / took * 1_000_000 if took else 0.0


@dataclass(frozen=True)
class Row:
    """One way over all of its rounds: medians, and percentiles over all of its calls."""

    asterisk: int
    api: str
    way: str
    concurrency: int
    rounds: int
    calls: int
    lost: int
    cpu: float
    cpu_by_process: Mapping[str, float]
    p50: float
    p99: float
    whole_p50: float  # from the placing of the call
    per_second: float
    results: Mapping[str, int]


@dataclass(frozen=True)
class Measured:
    """All rounds of a run, and the service's memory in MiB: before, and the most it had."""

    rounds: list[Round]
    memory_before: float
    memory_most: float
    seconds: float
    skipped: list[str]
    fsync: float  # milliseconds, the median on the outbox's disk


def summarize(rounds: Iterable[Round]) -> dict[Key, Row]:
    """The rows of all rounds, in the order of their first rounds."""
    grouped: dict[Key, list[Round]] = defaultdict(list)
    for each in rounds:
        grouped[each.key].append(each)
    return {key: _row(key, several) for key, several in grouped.items()}


def _row(key: Key, rounds: list[Round]) -> Row:
    good = [call for each in rounds for call in each.good]
    latencies = sorted((call.ended - call.began) / 1000 for call in good)
    waits = sorted((call.ended - call.placed) / 1000 for call in good)
    bad = Counter(call.result[:80] or "nothing" for each in rounds for call in each.bad)
    calls = sum(each.calls for each in rounds)
    cpu = {name: statistics.median(each.cpu[name] for each in rounds) for name in rounds[0].cpu}
    return Row(
        *key,
        rounds=len(rounds),
        calls=calls,
        lost=calls - len(good),
        cpu=statistics.median(sum(each.cpu.values()) for each in rounds),
        cpu_by_process=cpu,
        p50=percentile(latencies, 50),
        p99=percentile(latencies, 99),
        whole_p50=percentile(waits, 50),
        per_second=statistics.median(each.per_second for each in rounds),
        results=dict(bad),
    )


def percentile(ordered: list[float], percent: int) -> float:
    """Of values in ascending order, the one that so many percent do not exceed; 0 of none."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


class Meter:
    """The CPU of named processes, with the children that they have waited for."""

    def __init__(self, processes: Mapping[str, list[int]]) -> None:
        self._processes = processes
        self._pids = [pid for several in processes.values() for pid in several]

    def read(self) -> dict[str, float]:
        """Milliseconds of user and system time so far, by name."""
        return {name: sum(map(_cpu, pids)) for name, pids in self._processes.items()}

    def settle(self) -> dict[str, float]:
        """Read once everything is quiet: Asterisk still handles events when its calls are over.

        A child that is still ending has no CPU time yet that its parent could know.
        """
        deadline = time.monotonic() + _LONGEST_END
        before = self.read()
        while time.monotonic() < deadline:
            time.sleep(_QUIET)
            after = self.read()
            started = {child for pid in self._pids for child in children(pid)}
            quiet = sum(after.values()) - sum(before.values()) < 2 * _TICK
            if quiet and started <= set(self._pids):
                return after
            before = after
        return before


def _cpu(pid: int) -> float:
    # The name in parentheses may hold anything; user, system and the same of children are the
    # 12th to 15th field after it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return _TICK * sum(map(int, fields[11:15]))


def children(pid: int) -> list[int]:
    """The children of all threads of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def memory(pid: int) -> tuple[float, float]:
    """Resident memory of a process in MiB: now, and the most it ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    most, now = re.findall(r"^Vm(?:HWM|RSS):\s+(\d+)", status, re.MULTILINE)
    return int(now) / 1024, int(most) / 1024


def available() -> float:
    """GiB of memory that the host has free."""
    found = re.findall(r"^MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found[0]) / 1024**2


def fsync(folder: Path, times: int = 50) -> float:
    """Median milliseconds in which the disk of *folder* makes 4 KiB last."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(times):
            os.write(file.fileno(), bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


class Load:
    """Places calls on one Asterisk and measures them; `processes` are those besides Asterisk."""

    def __init__(self, asterisk: Pbx, processes: Mapping[str, list[int]]) -> None:
        self.asterisk = asterisk
        # Events would cost more than the calls do.
        asterisk.ami.action("Events", EventMask="off")
        pid = int((asterisk.etc.parent / "run/asterisk.pid").read_text())
        self._meter = Meter({"asterisk": [pid], **processes})
        self._rounds = 0

    def round(self, way: Way, api: Api, concurrency: int, calls: int, pause: float = 0) -> Round:
        """Place at least so many calls, C at a time, each channel pausing after each call."""
        self._rounds += 1
        each = max(1, -(-calls // concurrency))
        calls = each * concurrency
        out = self.asterisk.etc.parent / f"out-{self._rounds}"
        out.touch()
        self._set("OUT", str(out))
        drive = f"drive-{api.name}-{way.key}-{each}-{pause:g}-{self._rounds}"
        for _ in range(concurrency):
            self.asterisk.ami.action(
                "Originate", Channel=f"Local/{drive}@bench/n", Application="Wait", Data="3600",
                Timeout="3600000", Async="true",
            )  # fmt: skip
        _wait(out, "ready", concurrency, _READY)
        before = self._meter.settle()
        self._set("GO", str(self._rounds))
        complete = _wait(out, "done", concurrency, _LONGEST)
        after = self._meter.settle()
        if not complete:
            self.asterisk.cli("channel request hangup all")
            time.sleep(2)
        seen = _calls(out)
        return Round(
            (self.asterisk.installation.major, api.name, way.key, concurrency),
            calls,
            {name: (after[name] - before[name]) / calls for name in before},
            good=[call for call in seen if way.proof in call.result],
            bad=[call for call in seen if way.proof not in call.result],
        )

    def _set(self, name: str, value: str) -> None:
        self.asterisk.ami.action("Setvar", Variable=name, Value=value)


def _wait(out: Path, word: str, count: int, patience: float) -> bool:
    """Wait until *count* of the lines that channels append are *word*; whether they came."""
    deadline = time.monotonic() + patience
    text = ""
    with out.open(encoding="utf-8", errors="replace") as lines:
        while time.monotonic() < deadline:
            text += lines.read()
            if text.count(f"{word}\n") >= count:
                return True
            time.sleep(0.02)
    return False


def _calls(out: Path) -> list[Call]:
    """The calls that have ended."""
    found = []
    for line in out.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("call "):
            _, placed, began, ended, result = line.split(" ", 4)
            found.append(Call(int(placed), int(began), int(ended), result))
    return found
