"""10,000 calls in a row and 1,000 hang-ups: each SMS exactly once, and nothing grows.

Asterisk's side of FastAGI is played over a socket here, to make so many calls in a minute; that
real Asterisks speak like this is what tests/asterisk shows.
"""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dialplan_sms.sandbox import Sandbox
from tests.asterisk.serving import Service
from tests.bench.measure import memory
from tests.unit.caller import Call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def size(service: Service) -> tuple[float, int, int]:
    """Resident MiB, threads and open files of the service."""
    assert service.process is not None
    proc = Path(f"/proc/{service.process.pid}")
    threads, files = (len(list((proc / name).iterdir())) for name in ("task", "fd"))
    return memory(service.process.pid)[0], threads, files


def test_10000_calls_and_1000_hang_ups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Sandbox(tls=False) as sandbox, Service(tmp_path, sandbox) as service:
        sent: Counter[str] = Counter()

        def one(number: int, hang_up: bool) -> str:
            said = Call(service.port, SMS_MESSAGE=(text := f"n{number}")).end(hang_up)
            deadline = time.monotonic() + 30
            # Else the more of those who hung up were under way at once, the busier the machine is.
            while hang_up and all(each.text != text for each in sandbox.messages[-20:]):
                assert time.monotonic() < deadline, text
                time.sleep(0.001)
            return said["SMS_STATUS"]

        def many(numbers: range, hang_up: bool = False) -> set[str]:
            with ThreadPoolExecutor(4) as pool:
                found = set(pool.map(lambda number: one(number, hang_up), numbers))
            sandbox.wait(messages=len(numbers), timeout=30)
            sent.update(message.text for message in sandbox.messages)
            sandbox.clear()
            return found

        assert many(range(500)) == {"SUCCESS"}
        many(range(500, 1000), hang_up=True)
        before = size(service)
        for start in range(1000, 10_000, 1000):
            assert many(range(start, start + 1000)) == {"SUCCESS"}
        many(range(10_000, 11_000), hang_up=True)
        assert set(sent.values()) == {1}
        assert len(sent) == 11_000
        deadline = time.monotonic() + 10  # the line of the last call comes after its SMS
        while service.log.count("status=SUCCESS") < 11_000 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert service.log.count("status=SUCCESS") == 11_000
        after = size(service)
    with capsys.disabled():
        print(f"\nafter 1,000 calls: {before} MiB, threads, files; after 11,000: {after}")
    assert after[0] - before[0] <= 5
    # Both follow the most calls at once, which the machine decides; 10,000 leaks would show.
    assert after[1] <= before[1] + 20
    assert after[2] <= before[2] + 20
