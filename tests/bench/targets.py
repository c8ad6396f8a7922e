"""The targets that a run is held against, and whether they hold."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench.bed import FAST, FULL, SLOW, STALE
from tests.bench.measure import Key, Row
from tests.bench.peers import KANNEL, POSTGRESQL, SQLITE, TWO
from tests.bench.relay import RelayRow
from tests.bench.ways import (
    ALONE,
    CURL_UNVERIFIED,
    CURL_VERIFIED,
    EMPTY,
    FASTAGI,
    FLOOR,
    NAIVE,
    QUEUE,
    SYSTEM,
    THIN,
    Way,
)

MEMORY = 80.0  # MiB


@dataclass(frozen=True)
class Verdict:
    """One target: `holds` is None where it was not measured."""

    target: str
    limit: str
    measured: str
    holds: bool | None


@dataclass(frozen=True)
class _Ratio:
    """CPU a call of one way, divided by another's."""

    above: Way
    below: Way
    limit: Mapping[int, float]  # by Asterisk's major version
    at_least: bool
    api: str = FAST

    def judge(self, rows: Mapping[Key, Row], major: int) -> Verdict:
        note = ", keep-alive expired" if self.api == STALE else ""
        name = f"Asterisk {major}: {self.above.title} ÷ {self.below.title}, CPU{note}"
        sign = "≥" if self.at_least else "≤"
        limit = self.limit[major]
        at_a_time = 1 if self.api == STALE else 8
        above = rows.get((major, self.api, self.above.key, at_a_time))
        below = rows.get((major, self.api, self.below.key, at_a_time))
        if above is None or below is None or not below.cpu:
            return Verdict(name, f"{sign} {limit:g}", "not measured", None)
        ratio = above.cpu / below.cpu
        holds = ratio >= limit if self.at_least else ratio <= limit
        return Verdict(name, f"{sign} {limit:g}", f"{ratio:.2f}", holds)


_RATIOS = (
    _Ratio(CURL_VERIFIED, FASTAGI, {22: 4, 16: 3}, True),
    _Ratio(CURL_UNVERIFIED, FASTAGI, {22: 1.4, 16: 3}, True),
    _Ratio(FASTAGI, CURL_VERIFIED, {22: 1.5, 16: 1.5}, False, STALE),
    _Ratio(FASTAGI, FLOOR, {22: 1.2, 16: 1.2}, False),
    _Ratio(THIN, SYSTEM, {22: 1.2, 16: 1.2}, False),
    _Ratio(ALONE, NAIVE, {22: 0.8, 16: 0.8}, False),
)


def judge(
    rows: Mapping[Key, Row], majors: list[int], memory: float | None, fsync: float
) -> list[Verdict]:
    """Each target with what was measured.

    *memory* is the service's peak at 200 calls at once in MiB, *fsync* the disk's in milliseconds.
    """
    verdicts = [ratio.judge(rows, major) for ratio in _RATIOS for major in majors]
    for major in majors:
        verdicts += _crowd(rows, major)
    verdicts.append(
        Verdict(
            "memory of the service, 200 calls at once",
            f"≤ {MEMORY:g} MiB",
            "not measured" if memory is None else f"{memory:.0f} MiB",
            None if memory is None else memory <= MEMORY,
        )
    )
    return verdicts + [_queue(rows, major, fsync, api) for api in (FAST, FULL) for major in majors]


_RELAYED = (
    ("delivered a second, one process", SQLITE, "delivered", True, {64: 0.25}),
    ("delivered a second, serve and a worker", TWO, "delivered", True, {64: 0.4}),
    ("accepted a second, nothing delivered", SQLITE, "accepted", False, {64: 0.6, 8: 0.45}),
    ("accepted a second while it delivers", SQLITE, "accepted", True, {64: 0.35}),
)


def judge_relay(rows: Mapping[tuple[str, int, bool], RelayRow]) -> list[Verdict]:
    """The targets of stage "relay", most of them as a share of Kannel's."""
    verdicts = []
    for name, peer, what, delivers, limits in _RELAYED:
        for connections, limit in limits.items():
            ours, theirs = (rows.get((p.key, connections, delivers)) for p in (peer, KANNEL))
            verdicts.append(
                _share(
                    f"HTTP, {connections} connections: {name} ÷ Kannel", what, ours, theirs, limit
                )
            )
    alone, server = (rows.get((p.key, 64, True)) for p in (SQLITE, POSTGRESQL))
    name = "HTTP, 64 connections: delivered a second, PostgreSQL ÷ SQLite"
    verdicts.append(_share(name, "delivered", server, alone, 0.6))
    cpu = None if alone is None else alone.cpu
    name = "CPU a message from accept to sent, SQLite, one process"
    said = "not measured" if cpu is None else f"{cpu:.2f} ms"
    return [*verdicts, Verdict(name, "≤ 1.2 ms", said, None if cpu is None else cpu <= 1.2)]


def _share(
    name: str, what: str, above: RelayRow | None, below: RelayRow | None, limit: float
) -> Verdict:
    if above is None or below is None:
        return Verdict(name, f"≥ {limit:g}", "not measured", None)
    mine, other = getattr(above, what), getattr(below, what)
    said = f"{mine / other:.2f} ({mine:.0f} ÷ {other:.0f})"
    return Verdict(name, f"≥ {limit:g}", said, mine / other >= limit)


def _queue(rows: Mapping[Key, Row], major: int, fsync: float, api: str) -> Verdict:
    name = f"Asterisk {major}: mode queue, p99 in the dialplan at 8 calls at a time"
    name += ", 100,000 SMS wait and are being sent" if api == FULL else ""
    ours = rows.get((major, api, QUEUE.key, 8))
    empty = rows.get((major, FAST, EMPTY.key, 8))
    if ours is None or empty is None:
        return Verdict(name, "", "not measured", None)
    most = 2 * empty.p99 + 3 * fsync
    limit = f"≤ {most:.1f} ms, 2 × {EMPTY.title} + 3 × {fsync:.2f} ms fsync"
    return Verdict(name, limit, f"{ours.p99:.1f} ms", ours.p99 <= most)


def _crowd(rows: Mapping[Key, Row], major: int) -> list[Verdict]:
    name = f"Asterisk {major}: 200 calls at once on an API that takes 100 ms"
    ours = rows.get((major, SLOW, FASTAGI.key, 200))
    theirs = rows.get((major, SLOW, CURL_UNVERIFIED.key, 200))
    if ours is None or theirs is None:
        return [Verdict(name, "none lost", "not measured", None)]
    return [
        Verdict(f"{name}, lost", "none", f"{ours.lost} of {ours.calls}", ours.lost == 0),
        # From the placing of the call on: where 200 want two cores at once, a way that takes much of
        # them makes calls wait before they come to it, which a clock around the way does not see.
        Verdict(
            f"{name}, p50 of the whole call",
            f"≤ {theirs.whole_p50:.0f} ms ({CURL_UNVERIFIED.title}; around the way"
            f" {theirs.p50:.0f})",
            f"{ours.whole_p50:.0f} ms (around the way {ours.p50:.0f})",
            ours.whole_p50 <= theirs.whole_p50,
        ),
    ]
