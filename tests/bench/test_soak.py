"""10,000 calls in a row and 1,000 hang-ups: each SMS exactly once, and nothing grows.

Asterisk's side of FastAGI is played over a socket here, to make so many calls in a minute; that
real Asterisks speak like this is what tests/asterisk shows.
"""

import re
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dialplan_sms.sandbox import Sandbox
from tests.asterisk.serving import Service
from tests.unit.fakes import ENVIRONMENT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FASTAGI = b"agi_network: yes\nagi_network_script: sms\n" + ENVIRONMENT + b"\n"
MIB = 1024


def call(port: int, text: str, hang_up: bool = False) -> str:
    """One call; SMS_STATUS. With *hang_up* the peer is gone once the request has gone out."""
    variables = {"SMS_NUMBER": "+39333123456", "SMS_MESSAGE": text}
    with socket.create_connection(("127.0.0.1", port), 30) as peer, peer.makefile("rb") as lines:
        peer.sendall(FASTAGI)
        for line in lines:
            if found := re.fullmatch(rb'GET FULL VARIABLE "(.*)"\n', line):
                value = re.sub(r"\$\{(\w+)\}", lambda m: variables.get(m[1], ""), found[1].decode())
                peer.sendall(f"200 result=1 ({value})\n".encode())
            elif found := re.fullmatch(rb'SET VARIABLE "(\w+)" "(.*)"\n', line):
                variables[found[1].decode()] = found[2].decode()
                peer.sendall(b"200 result=1\n")
                if hang_up and found[1] == b"SMS_STATUS":
                    break
            elif found := re.fullmatch(rb'EXEC MSet "(.*)"\n', line):
                variables.update(re.findall(r"(\w+)=(\w*)", found[1].decode()))
                peer.sendall(b"200 result=0\n")
                if hang_up and variables.get("SMS_CAUSE") == "NO_ANSWER":
                    break
    return variables.get("SMS_STATUS", "")


def size(service: Service) -> tuple[int, int, int]:
    """Resident KiB, threads and open files of the service."""
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    files = len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))
    values = {
        name: int(re.search(rf"{name}:\s+(\d+)", status)[1])  # type: ignore[index]
        for name in ("VmRSS", "Threads")
    }
    return values["VmRSS"], values["Threads"], files


def test_10000_calls_and_1000_hang_ups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Sandbox(tls=False) as sandbox, Service(tmp_path, sandbox) as service:
        sent: Counter[str] = Counter()

        def one(number: int, hang_up: bool) -> str:
            status = call(service.port, text := f"n{number}", hang_up)
            deadline = time.monotonic() + 30
            # Else the more of those who hung up were under way at once, the busier the machine is.
            while hang_up and all(each.text != text for each in sandbox.messages[-20:]):
                assert time.monotonic() < deadline, text
                time.sleep(0.001)
            return status

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
        print(f"\nafter 1,000 calls: {before} KiB, threads, files; after 11,000: {after}")
    assert after[0] - before[0] <= 5 * MIB
    # Both follow the most calls at once, which the machine decides; 10,000 leaks would show.
    assert after[1] <= before[1] + 20
    assert after[2] <= before[2] + 20
