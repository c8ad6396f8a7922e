"""Calls on a running Asterisk: C channels, each of which places one call after another."""

import time
from collections.abc import Mapping
from pathlib import Path

from tests.asterisk.pbx import Pbx
from tests.bench.measure import Call, Meter, Round
from tests.bench.ways import Api, Way

_READY = 30.0  # seconds until C channels must stand ready
_LONGEST = 120.0  # seconds that a round may take; calls that are not over then are lost


class Load:
    """Places calls on one Asterisk and measures them; `processes` are those besides Asterisk."""

    def __init__(self, asterisk: Pbx, processes: Mapping[str, list[int]]) -> None:
        self.asterisk = asterisk
        # Events would cost more than the calls do.
        asterisk.ami.action("Events", EventMask="off")
        pid = int((asterisk.etc.parent / "run/asterisk.pid").read_text())
        self._meter = Meter({"asterisk": [pid], **processes})
        self._rounds = 0

    def round(self, way: Way, api: Api, concurrency: int, calls: int, pause: float = 0) -> Round:
        """Place at least so many calls, C at a time, each channel pausing after each call."""
        self._rounds += 1
        each = max(1, -(-calls // concurrency))
        calls = each * concurrency
        out = self.asterisk.etc.parent / f"out-{self._rounds}"
        out.touch()
        self._set("OUT", str(out))
        drive = f"drive-{api.name}-{way.key}-{each}-{pause:g}-{self._rounds}"
        for _ in range(concurrency):
            self.asterisk.ami.action(
                "Originate", Channel=f"Local/{drive}@bench/n", Application="Wait", Data="3600",
                Timeout="3600000", Async="true",
            )  # fmt: skip
        _wait(out, "ready", concurrency, _READY)
        before = self._meter.settle()
        self._set("GO", str(self._rounds))
        complete = _wait(out, "done", concurrency, _LONGEST)
        after = self._meter.settle()
        if not complete:
            self.asterisk.cli("channel request hangup all")
            time.sleep(2)
        seen = _calls(out)
        return Round(
            (self.asterisk.installation.major, api.name, way.key, concurrency),
            calls,
            {name: (after[name] - before[name]) / calls for name in before},
            good=[call for call in seen if way.proof in call.result],
            bad=[call for call in seen if way.proof not in call.result],
        )

    def _set(self, name: str, value: str) -> None:
        self.asterisk.ami.action("Setvar", Variable=name, Value=value)


def _wait(out: Path, word: str, count: int, patience: float) -> bool:
    """Wait until *count* of the lines that channels append are *word*; whether they came."""
    deadline = time.monotonic() + patience
    text = ""
    with out.open(encoding="utf-8", errors="replace") as lines:
        while time.monotonic() < deadline:
            text += lines.read()
            if text.count(f"{word}\n") >= count:
                return True
            time.sleep(0.02)
    return False


def _calls(out: Path) -> list[Call]:
    """The calls that have ended."""
    found = []
    for line in out.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("call "):
            _, placed, began, ended, result = line.split(" ", 4)
            found.append(Call(int(placed), int(began), int(ended), result))
    return found
