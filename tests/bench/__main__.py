"""``make bench``, or ``python -m tests.bench [--quick] [--write] [--out FOLDER] [--ecdsa]``.

Which ways are measured, how many at a time, and in what order the rounds go.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.asterisk.installation import AsteriskUnavailable
from tests.bench import bed, relay, ways
from tests.bench.bed import FAST, SLOW, STALE, Bed
from tests.bench.measure import Measured, Round, available, fsync, memory, summarize
from tests.bench.report import Report, draw
from tests.bench.targets import judge, judge_relay
from tests.bench.ways import CURL_UNVERIFIED, CURL_VERIFIED, FASTAGI, NETWORKED, PROCESSES, Way
from tests.tools import obtain

RESULTS = Path(__file__).with_name("results.json")
PICTURE = Path(__file__).parents[2] / "docs/pictures/cpu.svg"
"""In docs/service.md."""
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
_FULL = (
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
    Stage(bed.FULL, 8, (ways.EMPTY, ways.QUEUE), rounds=3),
)
_QUICK = (
    Stage(FAST, 8, ways.WAYS, rounds=2, share=0.2),
    Stage(STALE, 1, (CURL_VERIFIED, FASTAGI), rounds=1, calls=12),
    Stage(SLOW, 200, (CURL_UNVERIFIED, FASTAGI), rounds=1, calls=200),
)


def run(on: Bed, stages: Sequence[Stage], say: Say) -> Measured:
    """Measure all stages, the rounds of both Asterisks and of all ways interleaved."""
    began = time.monotonic()

    def told(what: str) -> None:
        say(f"{what} ({time.monotonic() - began:.0f} s)")

    skipped = [f"{way.title}: {why}" for way, why in on.lacking.items()]
    say("warming up")
    list(_round(on, Stage(FAST, 1, ways.WAYS, 1, calls=2), 1, lambda _: None))
    before = memory(on.service)[0]
    rounds: list[Round] = []
    for stage in stages:
        if stage.concurrency == 200 and stage.ways is PROCESSES and available() < _ROOM:
            skipped.append(f"200 processes at once: this host has less than {_ROOM:g} GiB free")
            continue
        if stage.api == bed.FULL:
            on.fill()
        for number in range(1, stage.rounds + 1):
            rounds += _round(on, stage, number, told)
    most, took = memory(on.service)[1], time.monotonic() - began
    return Measured(rounds, before, most, took, skipped, fsync(on.socket.parent))


def _round(on: Bed, stage: Stage, number: int, say: Say) -> Iterator[Round]:
    """One round of each way on each Asterisk."""
    name = f"{stage.concurrency} at a time, round {number} of {stage.rounds}"
    pause = _PAUSE if stage.api == STALE else 0.0
    for way in stage.ways:
        calls = stage.calls or max(stage.concurrency, round(way.calls * stage.share))
        for major, load in on.loads.items():
            if way not in on.lacking:
                say(f"{name}: {way.title}, Asterisk {major}")
                with _hidden(on, way is ways.ALONE):
                    yield load.round(way, on.apis[stage.api], stage.concurrency, calls, pause)


@contextmanager
def _hidden(on: Bed, hidden: bool) -> Iterator[None]:
    """The service cannot be found by scripts, as if there were none, if it is to be *hidden*."""
    away = on.socket.with_suffix(".away")
    if hidden:
        on.socket.rename(away)
    try:
        yield
    finally:
        if hidden:
            away.rename(on.socket)


def main(arguments: Sequence[str]) -> int:
    """Measure, show, and write results.json and cpu.svg."""
    parser = argparse.ArgumentParser("python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute; ratios are rough")
    parser.add_argument("--write", action="store_true", help="write the results of --quick, too")
    parser.add_argument("--out", type=Path, help="folder for both, in place of their own")
    help_ = "the API's certificate has an ECDSA P-256 key, not RSA of 2048 bits"
    parser.add_argument("--ecdsa", action="store_true", help=help_)
    options = parser.parse_args(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 156)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with console.status("starting") as status:
            tools = obtain(lambda line: status.update(line))
            with bed.bed(tools, 0 if options.ecdsa else 2048) as running:
                stages = _QUICK if options.quick else _FULL
                measured = run(running, stages, lambda line: status.update(line))
            connections, times = ((64,), 1) if options.quick else ((1, 8, 64), 3)
            relays = relay.run(tools, connections, times, times, lambda line: status.update(line))
    except AsteriskUnavailable as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything has been ended")
        return 130
    rows, versions = summarize(measured.rounds), running.versions | {"kannel": tools.kannel}
    verdicts = judge(rows, list(running.loads), measured.memory_most, measured.fsync)
    report = Report(rows, relays, verdicts + judge_relay(relays), measured, versions)
    report.show(console)
    if options.write or not options.quick:
        results, picture = RESULTS, PICTURE
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            results, picture = options.out / RESULTS.name, options.out / PICTURE.name
        report.write(results)
        draw(picture, rows)
        console.print(f"\nwritten: {results} and {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
