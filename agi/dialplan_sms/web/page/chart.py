"""Charts as SVG that a strict Content-Security-Policy lets through: attributes, no styles."""

import time
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from dialplan_sms.web.page.board import Hour

_WIDTH, _HEIGHT, _FLOOR, _TOP = 288, 96, 80, 14
"""Units of the viewBox: bars stand on _FLOOR, the labels below."""


def hours(counted: Sequence[Hour]) -> Markup:
    """Bars of what was sent in each hour; the last one is not over."""
    most = max((hour.sent or 0 for hour in counted), default=0)
    step = _WIDTH / max(len(counted), 1)
    parts = [
        Markup('<line class="axis" x1="0" x2="{}" y1="{}" y2="{}"/>').format(
            _WIDTH, _FLOOR + 0.5, _FLOOR + 0.5
        )
    ]
    for place, hour in enumerate(counted):
        left = place * step
        if hour.sent:
            height = max(1.5, (_FLOOR - _TOP) * hour.sent / most)
            parts.append(
                Markup(
                    '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                    "<title>{}</title></rect>"
                ).format(
                    "bar now" if place == len(counted) - 1 else "bar", left + 1, _FLOOR - height,
                    step - 2, height, f"{clock(hour)}: {hour.sent} sent",
                )
            )  # fmt: skip
        if place % 6 == 5:
            parts.append(
                Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
                    left + (step if place == len(counted) - 1 else step / 2), _HEIGHT - 4,
                    "end" if place == len(counted) - 1 else "middle", clock(hour),
                )
            )  # fmt: skip
    if most:
        parts.append(Markup('<text class="tick" x="0" y="10">{}</text>').format(f"most {most:,}"))
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, hours_in_words(counted), Markup("").join(parts))


def hours_in_words(counted: Sequence[Hour]) -> str:
    """What the chart of hours shows, in a sentence."""
    known = [hour for hour in counted if hour.sent is not None]
    if not known:
        return "Sent an hour: not counted yet."
    best = max(known, key=lambda hour: hour.sent or 0)
    total = sum(hour.sent or 0 for hour in known)
    if not total:
        return "Sent an hour, last 24 hours: none."
    return (
        f"Sent an hour, last 24 hours: {total} in all, most from {clock(best)} on with"
        f" {best.sent}, {known[-1].sent} in this hour."
    )


def clock(hour: Hour) -> str:
    """When an hour began: ``14:00``."""
    return time.strftime("%H:%M", time.localtime(hour.since))


def share(count: int, counts: Mapping[str, int]) -> Markup:
    """A bar for one of *counts*, beside its number; the number says it all to a screen reader."""
    most = max(counts.values(), default=1) or 1
    return Markup(
        '<svg class="share" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="bad" width="{:.1f}" height="8"/></svg>'
    ).format(max(1.0, 100 * count / most))
