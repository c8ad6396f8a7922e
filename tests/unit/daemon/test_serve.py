"""What a service loads, and how it runs."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dialplan_sms.cli.check import CheckState, service
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.http import make_hash
from dialplan_sms.daemon.server import LiveConfig
from dialplan_sms.routes.pbx import Routes
from dialplan_sms.sandbox import Sandbox
from dialplan_sms.sandbox.certificate import self_signed
from dialplan_sms.sms.outcome import Cause, Outcome, Status
from dialplan_sms.sms.sms import Sms
from dialplan_sms.web.view import ENVIRONMENT
from tests.asterisk.serving import Service, free_port
from tests.unit.caller import Call
from tests.waiting import until

Write = Callable[[str], Path]


def test_a_service_without_an_outbox_does_without_sqlalchemy() -> None:
    check = "import sys, dialplan_sms.cli.serve as _; print('sqlalchemy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "False\n"


def test_its_threads_wake_up_gently(tmp_path: Path) -> None:
    """sched(7): one that wakes up does not take the processor from the one with Python's lock."""
    with Sandbox(tls=False) as sandbox, Service(tmp_path, sandbox) as running:
        assert running.process is not None
        folder = f"/proc/{running.process.pid}/task"
        until(lambda: len(os.listdir(folder)) > 1)  # it listens before its threads are there
        policies = {os.sched_getscheduler(int(task)) for task in os.listdir(folder)}
        assert policies == {os.SCHED_BATCH}


def test_what_an_admin_has_chosen_for_it_stays() -> None:
    """Not by a whole service: beside a busy loop an idle process gets too little time to start."""
    code = """import os
from dialplan_sms.cli.serve import _prepare_process
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
_prepare_process()
os.write(1, b"%d" % os.sched_getscheduler(0))
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (str(os.SCHED_IDLE), "")


def test_a_pause_of_the_process_does_not_end_it(tmp_path: Path) -> None:
    """As of a host that is suspended; the watchdog's interval is shorter than that."""
    with Sandbox(tls=False) as sandbox, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
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
            assert running.figures()["in_flight"] == 0
            running.signal(signal.SIGTERM)
            assert running.wait() == 0
            assert running.log.splitlines()[-1].endswith("service ends: SIGTERM")


def _hear(systemd: socket.socket, word: bytes) -> None:
    while systemd.recv(99) != word:
        pass


def test_it_tells_which_version_of_its_file_is_in_force(tmp_path: Path) -> None:
    with Sandbox(tls=False) as sandbox, Service(tmp_path, sandbox) as running:
        conf = running.conf
        assert _found(running) == (CheckState.OK, "")
        conf.write_text(conf.read_text().replace("sms101api", "sms101new"))
        assert _found(running) == (CheckState.WARNING, "systemctl reload dialplan-sms")
        _reload(running)
        assert _found(running) == (CheckState.OK, "")
        before = conf.read_text()
        conf.write_text(before.replace(f":{running.port}", f":{free_port()}"))
        _reload(running)
        conf.touch()  # changed again, and read again: it still listens where it did
        _reload(running)
        assert _found(running) == (CheckState.WARNING, "systemctl restart dialplan-sms")
        assert running.figures()["sms_conf"]["waiting"] == ["listen"]
        conf.write_text(before)
        _reload(running)
        assert _found(running) == (CheckState.OK, "")


@pytest.mark.parametrize("key", ["verify", "password_file"])
def test_a_new_content_of_a_file_that_it_names_is_told_and_read(tmp_path: Path, key: str) -> None:
    with Sandbox() as sandbox:
        running = Service(tmp_path, sandbox)
        ca, secret = tmp_path / "ca.pem", tmp_path / "secret"
        ca.write_bytes(self_signed(["127.0.0.1"]).pem)
        secret.touch(0o600)
        secret.write_text("sms101api\n")
        text = running.conf.read_text().replace("password = sms101api", "password_file = secret")
        running.conf.write_text(text.replace(f"verify = {sandbox.fingerprint}", "verify = ca.pem"))
        with running:
            assert _found(running) == (CheckState.OK, "")
            if key == "verify":
                ca.write_bytes(sandbox.certificate.read_bytes())
            else:
                secret.write_text("sms101new\n")
            assert _found(running) == (CheckState.WARNING, "systemctl reload dialplan-sms")
            _reload(running)
            assert _found(running) == (CheckState.OK, "")


def test_after_a_reload_the_ca_file_counts_as_it_is_now(tmp_path: Path, sms_conf: Write) -> None:
    with Sandbox(users={"101": "sms101api"}) as sandbox:
        ca = tmp_path / "ca.pem"
        ca.write_bytes(self_signed(["127.0.0.1"]).pem)
        conf = f"[general]\nverify = {ca}\n[101]\nurl = {sandbox.url}\npassword = sms101api\n"
        live, routes = LiveConfig(sms_conf(conf)), Routes(connections=1)

        def send() -> Outcome:
            return routes(live().senders["101"]).send(Sms(("+39333123456",), "Hello"))

        assert send().cause is Cause.UNREACHABLE
        ca.write_bytes(sandbox.certificate.read_bytes())
        assert send().cause is Cause.UNREACHABLE  # until it is told to
        assert live.reload(routes) == ("sms.conf was read again", False)
        assert send().status is Status.SUCCESS
        # What is no certificate is not taken over.
        ca.write_text("none\n")
        said, failed = live.reload(routes)
        assert (failed, "no certificate in PEM format" in said) == (True, True)
        assert send().status is Status.SUCCESS
        assert "ca.pem" not in repr(live().senders["101"].files)
        assert "files" not in repr(live().senders["101"])


def test_a_new_certificate_of_the_http_server_waits_for_a_restart(
    tmp_path: Path, sms_conf: Write
) -> None:
    certificate = tmp_path / "cert.pem"
    (tmp_path / "key.pem").touch()
    certificate.write_text("the old one")
    conf = sms_conf(
        f"[general]\noutbox = sqlite:///{tmp_path}/outbox.sqlite\n"
        "[101]\nurl = http://192.0.2.1\npassword = x\n"
        f"[http]\nuser = wms:{make_hash('secret')}\ncertificate = cert.pem\nkey = key.pem\n"
    )
    live, routes = LiveConfig(conf), Routes(connections=1)
    assert live.reload(routes) == ("sms.conf was read again", False)
    certificate.write_text("the new one of this year")
    said, failed = live.reload(routes)
    assert (failed, said.endswith("only a restart of the service changes that")) == (False, True)
    assert live.state()["waiting"]


def _found(running: Service) -> tuple[CheckState, str]:
    found = service.up(running.figures(), True, smsconf.load(running.conf, http=True))
    assert "sms101" not in found.says
    return found.state, found.do


def _reload(running: Service) -> None:
    read = running.log.count("read again")
    running.signal(signal.SIGHUP)
    until(lambda: running.log.count("read again") > read, lambda: running.log)


WATCH = """
import runpy, sys
told = open(sys.argv[1], "a", buffering=1)
sys.addaudithook(lambda event, given: event == "import" and told.write(f"{given[0]}\\n"))
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script and tells in a file what it imports."""


def test_what_is_used_late_is_imported_at_the_start(tmp_path: Path) -> None:
    """An update replaces its files."""
    told = tmp_path / "imports"
    outbox = f"outbox = sqlite:///{tmp_path}/outbox.sqlite"
    with Sandbox(tls=False) as sandbox:
        running = Service(tmp_path, sandbox, outbox, "long_message = truncate\nallow = IT, US")
        running.through = (sys.executable, "-c", WATCH, str(told))
        with running:
            until(lambda: "service started" in running.log, lambda: running.log)
            before = told.read_text()
            for variables in (
                {},
                {"SMS_MODE": "queue"},
                {"SMS_NUMBER": "333 123 4567"},
                {"SMS_NUMBER": "+12025550123"},
                {"SMS_MESSAGE": "long" * 999},
            ):
                status = Call(running.port, **variables).end()["SMS_STATUS"]
                assert status in ("SUCCESS", "QUEUED"), variables
            sandbox.wait(requests=5, timeout=20)
            with running.conf.open("a") as conf:
                conf.write(f"[http]\nuser = wms:{make_hash('private')}\n")
            _reload(running)
    late = told.read_text().removeprefix(before).split()
    # Of 250 regions, all in one package that changes its numbers only, those that are asked for.
    assert [name for name in late if not name.startswith("phonenumbers.data.region_")] == []


def test_so_are_the_pages_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ENVIRONMENT.list_templates()
    assert names
    monkeypatch.setattr(ENVIRONMENT.loader, "searchpath", [])  # no file is there any more
    for name in names:
        ENVIRONMENT.get_template(name)
