"""The benchmark: which ways, how many at a time, and in what order the rounds go."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.bench import bed as places
from tests.bench import ways
from tests.bench.bed import FAST, SLOW, STALE, Bed
from tests.bench.measure import Round, available, fsync, memory
from tests.bench.ways import CURL_UNVERIFIED, CURL_VERIFIED, FASTAGI, NETWORKED, PROCESSES, Way

_PAUSE = 0.2
"""Seconds between two calls of a channel where connections are to expire."""
_ROOM = 12.0
"""GiB that 200 processes at once may need."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """Rounds of some ways at one concurrency; *share* of each way's calls, or *calls* of all."""

    api: str
    concurrency: int
    ways: Sequence[Way]
    rounds: int
    share: float = 1.0
    calls: int = 0


_IN_PLACE = (ways.NOOP, *NETWORKED, ways.FLOOR, ways.EMPTY, ways.HISTORY, ways.QUEUE)
FULL = (
    Stage(FAST, 1, ways.WAYS, rounds=3, share=0.25),
    Stage(FAST, 8, ways.WAYS, rounds=5),
    # The same again for those that differ by little: a median of five still moves by a tenth.
    Stage(FAST, 8, _IN_PLACE, rounds=5),
    Stage(FAST, 64, _IN_PLACE, rounds=2),
    Stage(FAST, 64, PROCESSES, rounds=1),
    # One at a time: several share their connections, which would be warm then, or just expiring.
    Stage(STALE, 1, (CURL_VERIFIED, FASTAGI), rounds=3, calls=16),
    Stage(SLOW, 200, NETWORKED, rounds=4, calls=600),
    Stage(SLOW, 200, PROCESSES, rounds=1, calls=200),
    Stage(places.FULL, 8, (ways.EMPTY, ways.QUEUE), rounds=3),
)
QUICK = (
    Stage(FAST, 8, ways.WAYS, rounds=2, share=0.2),
    Stage(STALE, 1, (CURL_VERIFIED, FASTAGI), rounds=1, calls=12),
    Stage(SLOW, 200, (CURL_UNVERIFIED, FASTAGI), rounds=1, calls=200),
)


@dataclass(frozen=True)
class Measured:
    """All rounds of a run, and the service's memory in MiB: before, and the most it had."""

    rounds: list[Round]
    memory_before: float
    memory_most: float
    seconds: float
    skipped: list[str]
    fsync: float  # milliseconds, the median on the outbox's disk


def run(bed: Bed, stages: Sequence[Stage], say: Say) -> Measured:
    """Measure all stages, the rounds of both Asterisks and of all ways interleaved."""
    began = time.monotonic()

    def told(what: str) -> None:
        say(f"{what} ({time.monotonic() - began:.0f} s)")

    skipped = [f"{way.title}: {why}" for way, why in bed.lacking.items()]
    say("warming up")
    list(_round(bed, Stage(FAST, 1, ways.WAYS, 1, calls=2), 1, lambda _: None))
    before = memory(bed.service)[0]
    rounds: list[Round] = []
    for stage in stages:
        if stage.concurrency == 200 and stage.ways is PROCESSES and available() < _ROOM:
            skipped.append(f"200 processes at once: this host has less than {_ROOM:g} GiB free")
            continue
        if stage.api == places.FULL:
            bed.fill()
        for number in range(1, stage.rounds + 1):
            rounds += _round(bed, stage, number, told)
    most, took = memory(bed.service)[1], time.monotonic() - began
    return Measured(rounds, before, most, took, skipped, fsync(bed.socket.parent))


def _round(bed: Bed, stage: Stage, number: int, say: Say) -> Iterator[Round]:
    """One round of each way on each Asterisk."""
    name = f"{stage.concurrency} at a time, round {number} of {stage.rounds}"
    pause = _PAUSE if stage.api == STALE else 0.0
    for way in stage.ways:
        calls = stage.calls or max(stage.concurrency, round(way.calls * stage.share))
        for major, load in bed.loads.items():
            if way not in bed.lacking:
                say(f"{name}: {way.title}, Asterisk {major}")
                with _hidden(bed, way is ways.ALONE):
                    yield load.round(way, bed.apis[stage.api], stage.concurrency, calls, pause)


@contextmanager
def _hidden(bed: Bed, hidden: bool) -> Iterator[None]:
    """The service cannot be found by scripts, as if there were none, if it is to be *hidden*."""
    away = bed.socket.with_suffix(".away")
    if hidden:
        bed.socket.rename(away)
    try:
        yield
    finally:
        if hidden:
            away.rename(bed.socket)
