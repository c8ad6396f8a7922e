"""The benchmark runs from end to end: every way works on both Asterisks, and it says so."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench.relay import PEERS
from tests.bench.ways import FLOOR, WAYS
from tests.tools import obtain

TOP = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_quick_run_shows_a_table_and_writes_json_and_chart(tmp_path: Path) -> None:
    obtain()
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", "--write", "--out", tmp_path],
        cwd=TOP, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 calls at a time" in done.stdout
    assert "✓" in done.stdout
    found = json.loads((tmp_path / "results.json").read_text())
    measured = [way for way in WAYS if way is not FLOOR or shutil.which("cc")]
    assert len(found["skipped"]) == len(WAYS) - len(measured)
    rows = [row for row in found["rows"] if row["api"] == "fast"]
    assert {(row["asterisk"], row["way"]) for row in rows} == {
        (major, way.key) for major in (22, 16) for way in measured
    }
    assert [row for row in rows if row["lost"]] == []
    assert all(row["cpu"] > 0 and row["p99"] >= row["p50"] for row in rows)
    relayed = {(row["peer"], row["delivers"]): row for row in found["relay"]}
    assert set(relayed) == {(peer.key, delivers) for peer in PEERS for delivers in (False, True)}
    assert [row for row in relayed.values() if row["lost"] or not row["accepted"]] == []
    assert all(row["delivered"] > 0 for (_, delivers), row in relayed.items() if delivers)
    chart = ElementTree.parse(tmp_path / "cpu.svg")
    texts = {each.text for each in chart.iter("{http://www.w3.org/2000/svg}text")}
    assert {way.title for way in measured} <= texts
