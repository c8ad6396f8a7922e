"""``make bench``, or ``python -m tests.bench [--quick] [--write] [--out FOLDER] [--ecdsa]``."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.asterisk.installation import AsteriskUnavailable
from tests.bench import bench, chart, relay
from tests.bench.bed import bed
from tests.bench.measure import summarize
from tests.bench.report import Report
from tests.bench.targets import judge, judge_relay
from tests.tools import obtain

RESULTS = Path(__file__).with_name("results.json")
PICTURE = Path(__file__).parents[2] / "docs/pictures/cpu.svg"
"""In docs/service.md."""


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
            with bed(tools, 0 if options.ecdsa else 2048) as running:
                stages = bench.QUICK if options.quick else bench.FULL
                measured = bench.run(running, stages, lambda line: status.update(line))
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
        chart.write(picture, rows)
        console.print(f"\nwritten: {results} and {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
