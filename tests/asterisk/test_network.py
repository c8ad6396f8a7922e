"""A PBX on another host: service and caller in network namespaces of their own (needs root)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.asterisk.serving import free_port
from tests.waiting import until

pytestmark = pytest.mark.slow
SERVICE, PBX, STRANGER = "192.0.2.7", "192.0.2.10", "192.0.2.11"
CALLER = """
import socket, sys
with socket.create_connection(("192.0.2.7", 4573), 5, (sys.argv[1], 0)) as peer:
    peer.sendall(b"agi_network: yes\\nagi_network_script: sms\\n\\n")
    try:
        print(peer.recv(17))
    except ConnectionResetError:
        print(b"")
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """The names of two namespaces that see each other: the service's and the callers'."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.fail(
            "this test makes network namespaces: run make test-all as root, with iproute2", False
        )
    here, there = f"sms-{os.getpid()}-a", f"sms-{os.getpid()}-b"
    try:
        ip("netns", "add", here)
        ip("netns", "add", there)
        ip("link", "add", "sms0", "netns", here, "type", "veth", "peer", "sms0", "netns", there)
        for name, addresses in ((here, [SERVICE]), (there, [PBX, STRANGER])):
            for address in addresses:
                ip("-n", name, "address", "add", f"{address}/24", "dev", "sms0")
            ip("-n", name, "link", "set", "sms0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield here, there
    finally:
        for name in (here, there):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def test_only_the_allowed_host_is_served(hosts: tuple[str, str], tmp_path: Path) -> None:
    here, there = hosts
    conf = tmp_path / "sms.conf"
    conf.touch(0o600)
    conf.write_text(
        f"[general]\nlog = log\nlisten = {SERVICE}:4573\nallow = {PBX}/32\n"
        f"monitor = 127.0.0.1:{free_port()}\n[101]\nurl = http://127.0.0.1\npassword = x\n"
    )
    command = [f"{sys.prefix}/bin/dialplan-sms", "serve", "--config", str(conf)]
    with subprocess.Popen(
        ["ip", "netns", "exec", here, *command],
        env=os.environ | {"DIALPLAN_SMS_SOCKET": str(tmp_path / "agi.sock")},
    ) as service:
        try:
            until(lambda: "started" in read(tmp_path / "log"))
            assert call(there, PBX).startswith(("b'EXEC MSet", "b'GET FULL"))
            assert call(there, STRANGER) == "b''"
            assert f"connection from {STRANGER} refused" in read(tmp_path / "log")
        finally:
            service.terminate()
            assert service.wait(30) == 0


def call(namespace: str, source: str) -> str:
    return subprocess.run(
        ["ip", "netns", "exec", namespace, sys.executable, "-c", CALLER, source],
        check=True, capture_output=True, text=True, timeout=30,
    ).stdout.strip()  # fmt: skip


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
