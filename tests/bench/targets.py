"""The targets that a run is held against, and whether they hold."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench import relay, ways
from tests.bench.bed import FAST, FULL, SLOW, STALE
from tests.bench.measure import Key, Row
from tests.bench.relay import KANNEL, POSTGRESQL, SQLITE, TWO, RelayRow
from tests.bench.ways import CURL_UNVERIFIED, CURL_VERIFIED, EMPTY, FASTAGI, Way

_MEMORY = 80  # MiB
_RATIOS = (  # CPU a call of one way, divided by another's: at least or at most, on Asterisk 22, 16
    (CURL_VERIFIED, FASTAGI, "≥", {22: 4, 16: 3}, FAST),
    (CURL_UNVERIFIED, FASTAGI, "≥", {22: 1.4, 16: 3}, FAST),
    (FASTAGI, CURL_VERIFIED, "≤", {22: 1.5, 16: 1.5}, STALE),
    (FASTAGI, ways.FLOOR, "≤", {22: 1.2, 16: 1.2}, FAST),
    (ways.THIN, ways.SYSTEM, "≤", {22: 1.2, 16: 1.2}, FAST),
    (ways.ALONE, ways.NAIVE, "≤", {22: 0.8, 16: 0.8}, FAST),
)
_RELAYED = (  # shares of Kannel's, by connections
    ("delivered a second, one process", SQLITE, "delivered", True, {64: 0.25}),
    ("delivered a second, serve and a worker", TWO, "delivered", True, {64: 0.4}),
    ("accepted a second, nothing delivered", SQLITE, "accepted", False, {64: 0.6, 8: 0.45}),
    ("accepted a second while it delivers", SQLITE, "accepted", True, {64: 0.35}),
)


@dataclass(frozen=True)
class Verdict:
    """One target: `holds` is None where it was not measured."""

    target: str
    limit: str
    measured: str = "not measured"
    holds: bool | None = None


def judge(rows: Mapping[Key, Row], majors: list[int], memory: float, fsync: float) -> list[Verdict]:
    """Each target with what was measured.

    *memory* is the service's peak at 200 calls at once in MiB, *fsync* the disk's in milliseconds.
    """
    verdicts = [_ratio(rows, major, *ratio) for ratio in _RATIOS for major in majors]
    for major in majors:
        verdicts += _crowd(rows, major)
    name = "memory of the service, 200 calls at once"
    verdicts.append(Verdict(name, f"≤ {_MEMORY} MiB", f"{memory:.0f} MiB", memory <= _MEMORY))
    return verdicts + [_queue(rows, major, fsync, api) for api in (FAST, FULL) for major in majors]


def _ratio(
    rows: Mapping[Key, Row], major: int, above: Way, below: Way, sign: str,
    limits: Mapping[int, float], api: str,
) -> Verdict:  # fmt: skip
    note, at_a_time = (", keep-alive expired", 1) if api == STALE else ("", 8)
    name = f"Asterisk {major}: {above.title} ÷ {below.title}, CPU{note}"
    limit = f"{sign} {limits[major]:g}"
    ours, theirs = (rows.get((major, api, way.key, at_a_time)) for way in (above, below))
    if ours is None or theirs is None or not theirs.cpu:
        return Verdict(name, limit)
    ratio = ours.cpu / theirs.cpu
    holds = ratio >= limits[major] if sign == "≥" else ratio <= limits[major]
    return Verdict(name, limit, f"{ratio:.2f}", holds)


def _crowd(rows: Mapping[Key, Row], major: int) -> list[Verdict]:
    name = f"Asterisk {major}: 200 calls at once on an API that takes 100 ms"
    ours, theirs = (rows.get((major, SLOW, way.key, 200)) for way in (FASTAGI, CURL_UNVERIFIED))
    if ours is None or theirs is None:
        return [Verdict(name, "none lost")]
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


def _queue(rows: Mapping[Key, Row], major: int, fsync: float, api: str) -> Verdict:
    name = f"Asterisk {major}: mode queue, p99 in the dialplan at 8 calls at a time"
    name += ", 100,000 SMS wait and are being sent" if api == FULL else ""
    ours, empty = rows.get((major, api, ways.QUEUE.key, 8)), rows.get((major, FAST, EMPTY.key, 8))
    if ours is None or empty is None:
        return Verdict(name, "")
    most = 2 * empty.p99 + 3 * fsync
    limit = f"≤ {most:.1f} ms, 2 × {EMPTY.title} + 3 × {fsync:.2f} ms fsync"
    return Verdict(name, limit, f"{ours.p99:.1f} ms", ours.p99 <= most)


def judge_relay(rows: Mapping[relay.Key, RelayRow]) -> list[Verdict]:
    """The targets of stage "relay", most of them as a share of Kannel's."""
    verdicts = []
    for name, peer, what, delivers, limits in _RELAYED:
        for connections, limit in limits.items():
            ours, theirs = (rows.get((p.key, connections, delivers)) for p in (peer, KANNEL))
            title = f"HTTP, {connections} connections: {name} ÷ Kannel"
            verdicts.append(_share(title, what, ours, theirs, limit))
    alone, server = (rows.get((p.key, 64, True)) for p in (SQLITE, POSTGRESQL))
    name = "HTTP, 64 connections: delivered a second, PostgreSQL ÷ SQLite"
    verdicts.append(_share(name, "delivered", server, alone, 0.6))
    name = "CPU a message from accept to sent, SQLite, one process"
    measured = (f"{alone.cpu:.2f} ms", alone.cpu <= 1.2) if alone else ()
    return [*verdicts, Verdict(name, "≤ 1.2 ms", *measured)]


def _share(
    name: str, what: str, above: RelayRow | None, below: RelayRow | None, limit: float
) -> Verdict:
    if above is None or below is None:
        return Verdict(name, f"≥ {limit:g}")
    mine, other = getattr(above, what), getattr(below, what)
    said = f"{mine / other:.2f} ({mine:.0f} ÷ {other:.0f})"
    return Verdict(name, f"≥ {limit:g}", said, mine / other >= limit)
