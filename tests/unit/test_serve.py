"""What a service loads, and how it runs."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dialplan_sms.check import service
from dialplan_sms.check.finding import State
from dialplan_sms.sandbox import Sandbox
from tests.asterisk.serving import Service, free_port


def test_a_service_without_an_outbox_does_without_sqlalchemy() -> None:
    check = "import sys, dialplan_sms.serve as _; print('sqlalchemy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "False\n"


def test_its_threads_wake_up_gently(tmp_path: Path) -> None:
    """sched(7): one that wakes up does not take the processor from the one with Python's lock."""
    with Sandbox(tls=False) as sandbox, Service(tmp_path, sandbox) as running:
        assert running.process is not None
        tasks = os.listdir(f"/proc/{running.process.pid}/task")
        assert len(tasks) > 1
        assert {os.sched_getscheduler(int(task)) for task in tasks} == {os.SCHED_BATCH}


def test_what_an_admin_has_chosen_for_it_stays(tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = Service(tmp_path, stack.enter_context(Sandbox(tls=False)))
        before = os.sched_getscheduler(0)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # what it starts is, too
        try:
            stack.enter_context(running)
        finally:
            os.sched_setscheduler(0, before, os.sched_param(0))
        assert running.process is not None
        assert os.sched_getscheduler(running.process.pid) == os.SCHED_IDLE


def test_a_pause_of_the_process_does_not_end_it(tmp_path: Path) -> None:
    """As of a host that is suspended; the watchdog's interval is shorter than that."""
    with (
        Sandbox(tls=False) as sandbox,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        environment = {"WATCHDOG_USEC": "300000", "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with Service(tmp_path, sandbox, environment=environment) as running:
            assert running.process is not None
            for _ in range(3):
                _hear(systemd, b"WATCHDOG=1")
                time.sleep(0.03)  # by then it mostly waits for a signal
                running.signal(signal.SIGSTOP)
                time.sleep(0.3)  # longer than that
                running.signal(signal.SIGCONT)
            for _ in range(10):
                _hear(systemd, b"WATCHDOG=1")
            assert _status(running)["in_flight"] == 0
            running.signal(signal.SIGTERM)
            assert running.wait() == 0
            assert running.log.splitlines()[-1].endswith("service ends: SIGTERM")


def _hear(systemd: socket.socket, word: bytes) -> None:
    while systemd.recv(99) != word:
        pass


def test_it_tells_which_version_of_its_file_is_in_force(tmp_path: Path) -> None:
    with Sandbox(tls=False) as sandbox, Service(tmp_path, sandbox) as running:
        conf = running.conf
        assert _found(running) == (State.OK, "")
        conf.write_text(conf.read_text().replace("sms101api", "sms101new"))
        assert _found(running) == (State.WARNING, "systemctl reload dialplan-sms")
        _reload(running)
        assert _found(running) == (State.OK, "")
        before = conf.read_text()
        conf.write_text(before.replace(f":{running.port}", f":{free_port()}"))
        _reload(running)
        conf.touch()  # changed again, and read again: it still listens where it did
        _reload(running)
        assert _found(running) == (State.WARNING, "systemctl restart dialplan-sms")
        assert _status(running)["sms_conf"]["waiting"] == ["listen"]
        conf.write_text(before)
        _reload(running)
        assert _found(running) == (State.OK, "")


def _found(running: Service) -> tuple[State, str]:
    found = service._up(_status(running), True, running.conf)
    assert "sms101" not in found.says
    return found.state, found.do


def _status(running: Service) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", running.monitor, timeout=10)
    try:
        connection.request("GET", "/status")
        figures: dict[str, Any] = json.loads(connection.getresponse().read())
        return figures
    finally:
        connection.close()


def _reload(running: Service) -> None:
    read = running.log.count("read again")
    running.signal(signal.SIGHUP)
    until = time.monotonic() + 20
    while running.log.count("read again") == read:
        assert time.monotonic() < until, running.log
        time.sleep(0.02)
