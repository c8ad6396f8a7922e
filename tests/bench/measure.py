"""CPU time, memory and latencies of one round, and what several rounds make together."""

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_TICK = 1000 / os.sysconf("SC_CLK_TCK")  # milliseconds
_QUIET = 0.06  # seconds without CPU after which a round is over
_LONGEST_END = 3.0


@dataclass(frozen=True)
class Round:
    """One way, measured once: *cpu* is milliseconds a call by process, *latencies* milliseconds."""

    asterisk: int
    api: str
    way: str
    concurrency: int
    calls: int
    lost: int
    cpu: Mapping[str, float]
    latencies: list[float] = field(repr=False)
    waits: list[float] = field(repr=False)  # the same from the placing of the call
    per_second: float
    results: Mapping[str, int]  # what calls left that are counted as lost


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


Key = tuple[int, str, str, int]
"""Asterisk's major version, API, way, concurrency."""


def summarize(rounds: Iterable[Round]) -> dict[Key, Row]:
    """The rows of all rounds, in the order of their first rounds."""
    grouped: dict[Key, list[Round]] = defaultdict(list)
    for each in rounds:
        grouped[each.asterisk, each.api, each.way, each.concurrency].append(each)
    return {key: _row(key, several) for key, several in grouped.items()}


def _row(key: Key, rounds: list[Round]) -> Row:
    latencies = sorted(latency for each in rounds for latency in each.latencies)
    waits = sorted(wait for each in rounds for wait in each.waits)
    results: dict[str, int] = defaultdict(int)
    for each in rounds:
        for result, count in each.results.items():
            results[result] += count
    return Row(
        *key,
        rounds=len(rounds),
        calls=sum(each.calls for each in rounds),
        lost=sum(each.lost for each in rounds),
        cpu=statistics.median(sum(each.cpu.values()) for each in rounds),
        cpu_by_process={
            name: statistics.median(each.cpu[name] for each in rounds) for name in rounds[0].cpu
        },
        p50=percentile(latencies, 50),
        p99=percentile(latencies, 99),
        whole_p50=percentile(waits, 50),
        per_second=statistics.median(each.per_second for each in rounds),
        results=dict(results),
    )


def percentile(ordered: list[float], percent: int) -> float:
    """Of values in ascending order, the one that so many percent do not exceed; 0 of none."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


class Meter:
    """The CPU of named processes, with the children that they have waited for."""

    def __init__(self, processes: Mapping[str, Iterable[int]]) -> None:
        self._processes = {name: list(pids) for name, pids in processes.items()}

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
            pids = [pid for several in self._processes.values() for pid in several]
            waited = not any(_has_scripts(pid) for pid in pids)
            if waited and sum(after.values()) - sum(before.values()) < 2 * _TICK:
                return after
            before = after
        return before


def _cpu(pid: int) -> float:
    # The name in parentheses may hold anything; user, system and the same of children are the
    # 12th to 15th field after it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return _TICK * sum(map(int, fields[11:15]))


def _has_scripts(pid: int) -> bool:
    """Whether any thread of a process has a child (nginx's workers are measured themselves)."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                if "nginx" not in Path(f"/proc/{child}/comm").read_text():
                    return True
    return False


def children(pid: int) -> list[int]:
    """The children of a process with one thread."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def memory(pid: int) -> tuple[float, float]:
    """Resident memory of a process in MiB: now, and the most it ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    now, most = (int(values[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def available() -> float:
    """GiB of memory that the host has free."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    found = next(line for line in lines if line.startswith("MemAvailable:"))
    return int(found.split()[1]) / 1024**2


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
