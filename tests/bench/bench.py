"""The benchmark: which ways, how many at a time, and in what order the rounds go."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.bench import bed as places
from tests.bench.bed import FAST, SLOW, STALE, Bed
from tests.bench.measure import Round, available, fsync, memory
from tests.bench.ways import (
    ALONE,
    CURL_HTTP,
    CURL_UNVERIFIED,
    CURL_VERIFIED,
    EMPTY,
    FASTAGI,
    FLOOR,
    HISTORY,
    NOOP,
    PROCESSES,
    QUEUE,
    WAYS,
    Way,
)

PAUSE = 0.2
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
    pause: float = 0.0

    def size(self, way: Way) -> int:
        """Calls in a round."""
        return self.calls or max(self.concurrency, round(way.calls * self.share))


_NETWORKED = (CURL_HTTP, CURL_UNVERIFIED, CURL_VERIFIED, FASTAGI)
_IN_PLACE = (NOOP, *_NETWORKED, FLOOR, EMPTY, HISTORY, QUEUE)
FULL = (
    Stage(FAST, 1, WAYS, rounds=3, share=0.25),
    Stage(FAST, 8, WAYS, rounds=5),
    # The same again for those that differ by little: a median of five still moves by a tenth.
    Stage(FAST, 8, _IN_PLACE, rounds=5),
    Stage(FAST, 64, _IN_PLACE, rounds=2),
    Stage(FAST, 64, PROCESSES, rounds=1),
    # One at a time: several share their connections, which would be warm then, or just expiring.
    Stage(STALE, 1, (CURL_VERIFIED, FASTAGI), rounds=3, calls=16, pause=PAUSE),
    Stage(SLOW, 200, _NETWORKED, rounds=4, calls=600),
    Stage(SLOW, 200, PROCESSES, rounds=1, calls=200),
    Stage(places.FULL, 8, (EMPTY, QUEUE), rounds=3),
)
QUICK = (
    Stage(FAST, 8, WAYS, rounds=2, share=0.2),
    Stage(STALE, 1, (CURL_VERIFIED, FASTAGI), rounds=1, calls=12, pause=PAUSE),
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
    skipped = [f"{way.title}: {why}" for way, why in bed.lacking.items()]
    say("warming up")
    for way in _possible(bed, WAYS):
        for major in bed.loads:
            one(bed, major, way, Stage(FAST, 1, (way,), 1, calls=2))
    before = memory(bed.service)[0]
    rounds = []
    for stage in stages:
        if stage.concurrency == 200 and stage.ways is PROCESSES and available() < _ROOM:
            skipped.append(f"200 processes at once: this host has less than {_ROOM:g} GiB free")
            continue
        if stage.api == places.FULL:
            bed.fill()
        for number in range(stage.rounds):
            for way in _possible(bed, stage.ways):
                for major in bed.loads:
                    say(
                        f"{stage.concurrency} at a time, round {number + 1} of {stage.rounds}:"
                        f" {way.title}, Asterisk {major} ({time.monotonic() - began:.0f} s)"
                    )
                    rounds.append(one(bed, major, way, stage))
    return Measured(
        rounds,
        before,
        memory(bed.service)[1],
        time.monotonic() - began,
        skipped,
        fsync(bed.socket.parent),
    )


def _possible(bed: Bed, ways: Sequence[Way]) -> list[Way]:
    return [way for way in ways if way not in bed.lacking]


def one(bed: Bed, major: int, way: Way, stage: Stage) -> Round:
    """One round of one way on one Asterisk."""
    with _hidden(bed) if way is ALONE else _as_it_is():
        return bed.loads[major].round(
            way, bed.apis[stage.api], stage.concurrency, stage.size(way), stage.pause
        )


@contextmanager
def _hidden(bed: Bed) -> Iterator[None]:
    """The service cannot be found by scripts, as if there were none."""
    away = bed.socket.with_suffix(".away")
    bed.socket.rename(away)
    try:
        yield
    finally:
        away.rename(bed.socket)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield
