"""Calls on a running Asterisk: C channels, each of which places one call after another."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.asterisk.pbx import Pbx
from tests.bench.measure import Meter, Round
from tests.bench.ways import Api, Way

_READY = 30.0  # seconds until C channels must stand ready
_LONGEST = 120.0  # seconds that a round may take; calls that are not over then are lost


@dataclass(frozen=True)
class Call:
    """When a call was placed, when its way began and ended (microseconds), and what that left."""

    placed: int
    began: int
    ended: int
    result: str


class Load:
    """Places calls on one Asterisk and measures them; `processes` are those besides Asterisk."""

    def __init__(self, asterisk: Pbx, processes: Mapping[str, list[int]]) -> None:
        self.asterisk = asterisk
        self.major = asterisk.installation.major
        # Events would cost more than the calls do.
        asterisk.ami.action("Events", EventMask="off")
        pid = int((asterisk.etc.parent / "run/asterisk.pid").read_text())
        self._meter = Meter({"asterisk": [pid]} | dict(processes))
        self._rounds = 0

    def round(self, way: Way, api: Api, concurrency: int, calls: int, pause: float = 0) -> Round:
        """Place at least so many calls, C at a time, each channel pausing after each call."""
        self._rounds += 1
        each = max(1, -(-calls // concurrency))
        out = self.asterisk.etc.parent / f"out-{self._rounds}"
        out.touch()
        self._set("OUT", str(out))
        drive = f"drive-{api.context}-{way.key}-{each}-{pause:g}-{self._rounds}"
        for _ in range(concurrency):
            self.asterisk.ami.action(
                "Originate", Channel=f"Local/{drive}@bench/n", Application="Wait", Data="3600",
                Timeout="3600000", Async="true",
            )  # fmt: skip
        lines = Lines(out)
        lines.wait("ready", concurrency, _READY)
        before = self._meter.settle()
        self._set("GO", str(self._rounds))
        complete = lines.wait("done", concurrency, _LONGEST)
        after = self._meter.settle()
        if not complete:
            self.asterisk.cli("channel request hangup all")
            time.sleep(2)
        return self._round(way, api, concurrency, each * concurrency, before, after, lines.calls())

    def _set(self, name: str, value: str) -> None:
        self.asterisk.ami.action("Setvar", Variable=name, Value=value)

    def _round(
        self, way: Way, api: Api, concurrency: int, calls: int,
        before: Mapping[str, float], after: Mapping[str, float],
        seen: list[Call],
    ) -> Round:  # fmt: skip
        good = [call for call in seen if way.proof in call.result]
        bad = Counter(
            call.result[:80] or "nothing" for call in seen if way.proof not in call.result
        )
        took = max(call.ended for call in seen) - min(call.placed for call in seen) if seen else 0
        return Round(
            asterisk=self.major,
            api=api.context,
            way=way.key,
            concurrency=concurrency,
            calls=calls,
            lost=calls - len(good),
            cpu={name: (after[name] - before[name]) / calls for name in before},
            latencies=[(call.ended - call.began) / 1000 for call in good],
            waits=[(call.ended - call.placed) / 1000 for call in good],
            per_second=len(good) / took * 1_000_000 if took else 0.0,
            results=dict(bad),
        )


class Lines:
    """The lines that the channels of a round append to their file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open(encoding="utf-8", errors="replace")
        self._text = ""

    def wait(self, word: str, count: int, patience: float) -> bool:
        """Wait until *count* lines are *word*; whether they came."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            self._text += self._file.read()
            if self._text.count(f"{word}\n") >= count:
                return True
            time.sleep(0.02)
        return False

    def calls(self) -> list[Call]:
        """The calls that have ended; closes the file."""
        self._text += self._file.read()
        self._file.close()
        found = []
        for line in self._text.splitlines():
            if line.startswith("call "):
                _, placed, began, ended, result = line.split(" ", 4)
                found.append(Call(int(placed), int(began), int(ended), result))
        return found
