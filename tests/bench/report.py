"""What a run says: tables for the terminal, JSON for whoever compares runs, a chart."""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.bed import FAST, FULL, SLOW, STALE
from tests.bench.measure import Key, Measured, Row
from tests.bench.relay import Key as Relayed
from tests.bench.relay import RelayRow
from tests.bench.targets import Verdict
from tests.bench.ways import ALONE, FASTAGI, THIN, WAYS

HOW = (
    "A call is a Local channel of its own; C channels each place one call after another. An AMI"
    " client is connected, as on most PBXs, so Asterisk builds the events of each call.",
    "CPU: user and system milliseconds a call of Asterisk with all that it starts, the service and"
    " nginx (from /proc, waited-for children included), medians of interleaved rounds; nothing is"
    " subtracted, so the empty call is part of each.",
    "p50, p99: milliseconds in the dialplan around the way, over all calls of all rounds, by"
    " STRFTIME(,,%s%6q), which counts microseconds; whole: p50 from the placing of the call on."
    " ÷: CPU divided by that of FastAGI.",
    "FastAGI in C holds the dialogue of our mode wait and sends nothing, so that it is what FastAGI"
    " costs at least; its process counts as the service.",
    "The API is nginx over TLS. The one that takes 100 ms is nginx before a small asyncio server,"
    " which is not counted.",
    "CURL() verified trusts a bundle of the usual size plus that certificate (the path in a copy of"
    " libcurl points to it), the naive script the same; ours has verify = <certificate>.",
    "HTTP: wrk asks the SMS API of `serve` and Kannel's sendsms as Debian starts it (store-type ="
    " spool) for 3 seconds, each with an empty store, before the same API; delivered: until all is."
    " pace = 0s, 8 workers. CPU: that of their processes, a message, without the database server's."
    " fsyncs a message: a round of its own under strace. Kannel calls none.",
)
_PLACES = {
    FAST: "an API that answers at once",
    SLOW: "an API that takes 100 ms",
    STALE: "every connection has expired since the last call",
    FULL: "100,000 SMS of the sender wait, and are being sent",
}
_TITLES = {way.key: way.title for way in WAYS}
_OURS = (ALONE, THIN, FASTAGI)
_LEFT, _WIDTH, _RIGHT = 215, 430, 75
_TOP, _BAR, _GAP = 56, 11, 12
_DECADES = (0.5, 1, 10, 100, 500)
_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 14px }
.faint { fill: #57606a; font-size: 11px }
.own { font-weight: 600 }
line { stroke: #8c959f; stroke-opacity: .35 }
.a { fill: #0969da } .b { fill: #7cb8f5 }
.c { fill: #6e7781 } .d { fill: #b3bac2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .faint { fill: #9198a1 }
  .a { fill: #4493f8 } .b { fill: #1f5fae }
  .c { fill: #9198a1 } .d { fill: #59626d }
}
"""


@dataclass(frozen=True)
class Report:
    """All that a run has found."""

    rows: Mapping[Key, Row]
    relays: Mapping[Relayed, RelayRow]
    verdicts: Sequence[Verdict]
    measured: Measured
    versions: Mapping[str, str]

    def show(self, console: Console) -> None:
        """Print everything."""
        for line in HOW:
            console.print(line, style="dim")
        rows, measured, versions = self.rows.values(), self.measured, self.versions
        for concurrency, api in dict.fromkeys((row.concurrency, row.api) for row in rows):
            console.print(self._table(concurrency, api))
        console.print(self._relayed())
        for row in rows:
            if row.lost:
                console.print(
                    f"Asterisk {row.asterisk}, {_TITLES[row.way]}, {row.concurrency} at a time:"
                    f" {row.lost} of {row.calls} lost:"
                    f" {dict(row.results) or 'they did not end in time'}",
                    style="yellow", markup=False,
                )  # fmt: skip
        for line in measured.skipped:
            console.print(line, style="yellow")
        console.print(_verdicts(self.verdicts))
        console.print(
            f"memory of the service: {measured.memory_before:.0f} MiB at first,"
            f" {measured.memory_most:.0f} MiB at most; {os.cpu_count()} cores,"
            f" Python {versions['python']}, Linux {versions['kernel']};"
            f" certificate of the API: {versions['certificate']}; {measured.seconds:.0f} s",
            style="dim",
        )

    def _table(self, concurrency: int, api: str) -> Table:
        majors = list(dict.fromkeys(row.asterisk for row in self.rows.values()))
        calls = "call" if concurrency == 1 else "calls"
        table = _empty(f"\n{concurrency} {calls} at a time, {_PLACES[api]}", pad_edge=False)
        table.add_column("way", no_wrap=True)
        for major in majors:
            title = f"{self.versions[str(major)]}\nCPU ms"
            table.add_column(title, justify="right", style="bold", no_wrap=True)
            for name in ("÷", "p50", "p99", "whole", "call/s", "lost"):
                table.add_column(f"\n{name}", justify="right", no_wrap=True)
        for way in WAYS:
            cells = []
            for major in majors:
                row = self.rows.get((major, api, way.key, concurrency))
                ours = self.rows.get((major, api, FASTAGI.key, concurrency))
                cells += _cells(row, ours)
            if any(cells):
                table.add_row(way.title, *cells)
        return table

    def _relayed(self) -> Table:
        table = _empty(f"\nHTTP SMS servers, Kannel {self.versions['kannel']}")
        table.add_column("")
        for name in ("C", "accepted/s", "delivered/s", "CPU ms", "p50", "p99", "fsyncs", "lost"):
            table.add_column(name, justify="right")
        for row in self.relays.values():
            table.add_row(
                row.title, str(row.connections), f"{row.accepted:.0f}",
                f"{row.delivered:.0f}" if row.delivers else "–", f"{row.cpu:.2f}", _short(row.p50),
                _short(row.p99), "" if row.fsyncs is None else f"{row.fsyncs:.2f}", str(row.lost),
            )  # fmt: skip
        return table

    def write(self, path: Path) -> None:
        """Write all of it as JSON; times are milliseconds, memory MiB."""
        measured, rows = self.measured, self.rows.values()
        document = {
            "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "how": HOW,
            "versions": self.versions,
            "cores": os.cpu_count(),
            "seconds": round(measured.seconds),
            "memory": {
                "before": round(measured.memory_before, 1),
                "most": round(measured.memory_most, 1),
            },
            "skipped": measured.skipped,
            "fsync": round(measured.fsync, 3),
            "rows": [_rounded(asdict(row) | {"title": _TITLES[row.way]}) for row in rows],
            "relay": [_rounded(asdict(row)) for row in self.relays.values()],
            "targets": [asdict(verdict) for verdict in self.verdicts],
        }
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _empty(title: str, pad_edge: bool = True) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=pad_edge)


def _cells(row: Row | None, ours: Row | None) -> list[str]:
    if row is None:
        return [""] * 7
    ratio = f"{row.cpu / ours.cpu:.1f}" if ours and ours.cpu else ""
    lost = f"[red]{row.lost}[/]" if row.lost else "0"
    cpu = f"{row.cpu:.2f}" if row.cpu < 10 else f"{row.cpu:.0f}"
    times = map(_short, (row.p50, row.p99, row.whole_p50))
    return [cpu, ratio, *times, f"{row.per_second:.0f}", lost]


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.1f}" if milliseconds < 100 else f"{milliseconds:.0f}"


def _verdicts(verdicts: Sequence[Verdict]) -> Table:
    table = Table(title="\ntargets", title_justify="left", box=None)
    for name in ("", "target", "limit", "measured"):
        table.add_column(name, min_width=1)
    marks = {True: "[green]✓[/]", False: "[red]✗[/]", None: "–"}
    for verdict in verdicts:
        table.add_row(marks[verdict.holds], verdict.target, verdict.limit, verdict.measured)
    return table


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def draw(path: Path, rows: Mapping[Key, Row], concurrency: int = 8) -> None:
    """Draw the CPU a call by way, as SVG for docs/service.md; the axis is logarithmic, the numbers stand at the bars."""
    majors = list(dict.fromkeys(row.asterisk for row in rows.values()))
    step = len(majors) * _BAR + _GAP
    drawn = [way for way in WAYS if any((m, FAST, way.key, concurrency) in rows for m in majors)]
    bottom = _TOP + len(drawn) * step
    title = f"CPU milliseconds of a whole call, {concurrency} calls at a time"
    places = zip(("upper", "lower"), majors, strict=False)
    legend = " · ".join(f"{place} bar: Asterisk {major}" for place, major in places)
    legend += " · blue: dialplan-sms · logarithmic, shorter is better"
    body = [_text(8, 20, title, "title"), _text(8, 38, legend, "faint")]
    for value in _DECADES[1:-1]:
        x = _x(value)
        body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{bottom}"/>')
        body.append(_text(x, bottom + 14, f"{value:g} ms", "faint", 'text-anchor="middle"'))
    for index, way in enumerate(drawn):
        y = _TOP + index * step
        own = way in _OURS
        middle = y + len(majors) * _BAR / 2 + 4
        body.append(_text(_LEFT - 8, middle, way.title, "own" if own else "", 'text-anchor="end"'))
        for place, major in enumerate(majors):
            row = rows.get((major, FAST, way.key, concurrency))
            if row is None:
                continue
            top, end = y + place * _BAR, _x(row.cpu)
            kind = ("ab" if own else "cd")[place % 2]
            body.append(
                f'<rect class="{kind}" x="{_LEFT}" y="{top}" width="{end - _LEFT:.1f}"'
                f' height="{_BAR - 1}" rx="2"/>'
            )
            number = f"{row.cpu:.1f}" if row.cpu < 100 else f"{row.cpu:.0f}"
            body.append(_text(end + 5, top + _BAR - 2, number, "faint"))
    height, width = bottom + 24, _LEFT + _WIDTH + _RIGHT
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n"
        + "\n".join([*body, "</svg>\n"])
    )


def _x(value: float) -> float:
    low, high = math.log10(_DECADES[0]), math.log10(_DECADES[-1])
    share = (math.log10(max(value, _DECADES[0])) - low) / (high - low)
    return _LEFT + _WIDTH * min(1.0, share)


def _text(x: float, y: float, text: str, kind: str = "", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" {more}>{escape(text)}</text>'
