"""The chart for docs/service.md: CPU a call by way, on both Asterisks, as SVG."""

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path

from tests.bench.bed import FAST
from tests.bench.measure import Key, Row
from tests.bench.ways import ALONE, FASTAGI, THIN, WAYS

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


def write(path: Path, rows: Mapping[Key, Row], concurrency: int = 8) -> None:
    """Draw the rows of one concurrency; the axis is logarithmic, the numbers stand at the bars."""
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
