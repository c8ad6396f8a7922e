"""The service on both real Asterisks: FastAGI, the thin script, and what happens where it breaks."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dialplan_sms.sandbox import Fault, Sandbox
from tests.asterisk.pbx import processes
from tests.asterisk.serving import Service, free_port
from tests.asterisk.site import NUMBER, SMS, Site
from tests.asterisk.test_texts import TEXTS, expected
from tests.asterisk.test_trouble import FORGED
from tests.waiting import until

DIALPLAN = """[test]
exten => agi,1,AGI({url})
 same => n,Set(AFTER=went on)
exten => thin,1,AGI(sms.agi)
 same => n,Set(AFTER=went on)
exten => arguments,1,AGI({url},+39333123457,from arguments)
exten => thin-arguments,1,AGI(sms.agi,+39333123457,"Пример, with a comma")
exten => path,1,AGI({url}x)
exten => sub,1,Set(GLOBAL(SMS_AGI)={url})
 same => n,Gosub(sub-sms,s,1)
exten => sub-thin,1,Set(GLOBAL(SMS_AGI)=)
 same => n,Gosub(sub-sms,s,1)
"""


@pytest.fixture
def bed(_site: Site) -> Site:
    """A site whose service runs, without an outbox."""
    _site.serve(sender="", outbox=False, fresh=False)
    _site.asterisk.set_dialplan(DIALPLAN.format(url=_site.service.url))
    return _site


WAYS = ["agi", "thin"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name", ["newlines", "smiley", "forged reply", "expression", "670 CJK", "emoji"]
)
def test_texts_are_exact(bed: Site, way: str, name: str) -> None:
    call = bed.asterisk.call(way, variables=SMS | {"SMS_MESSAGE": TEXTS[name]}, ask=["AFTER"])
    assert call.variables["SMS_STATUS"] == "SUCCESS", call.variables
    assert call.variables["AFTER"] == "went on"
    assert bed.received == [expected(TEXTS[name])]


def test_it_was_the_service_that_sent(bed: Site) -> None:
    for way in WAYS:
        bed.asterisk.call(way, variables=SMS)
    assert bed.service.log.count("status=SUCCESS") == 2
    assert bed.sandbox.connections <= 1


def test_arguments_arrive(bed: Site) -> None:
    bed.asterisk.call("arguments")
    bed.asterisk.call("thin-arguments")
    assert bed.texts == [
        ("+39333123457", "from arguments"), ("+39333123457", "Пример, with a comma"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", FORGED.values(), ids=FORGED)
def test_a_forged_caller_id_sends_nothing_to_the_forged_number(bed: Site, name: str) -> None:
    for way in WAYS:
        call = bed.asterisk.call(way, variables={"CALLERID(name)": name})
        assert call.variables["SMS_CAUSE"] == "INVALID_NUMBER"
    call = bed.asterisk.call("agi", variables=SMS | {"CALLERID(name)": name})
    assert call.variables["SMS_STATUS"] == "SUCCESS"
    # Arguments of a forged environment are refused; what is in the variables is not.
    bed.asterisk.call("arguments", variables={"CALLERID(name)": name})
    assert [message.numbers for message in bed.messages] == [(NUMBER,)]


def test_asterisk_sets_several_outputs_at_once(bed: Site) -> None:
    begin = len(bed.asterisk.log)
    sent = [bed.asterisk.call("agi", variables=SMS) for _ in range(2)]
    bed.sandbox.fault = Fault.CLOSE
    lost = bed.asterisk.call("agi", variables=SMS).variables
    for call in sent:
        assert {name: call.variables[name] for name in call.variables if name[:4] == "SMS_"} == {
            "SMS_STATUS": "SUCCESS", "SMS_CAUSE": "", "SMS_REASON": "", "SMS_FAILED": "",
            "SMS_ID": "", "SMS_VIA": "",
        }  # fmt: skip
    assert (lost["SMS_STATUS"], lost["SMS_CAUSE"]) == ("ERROR", "NO_ANSWER")
    options = "(MSet) Options: (SMS_STATUS=SUCCESS,SMS_CAUSE=)"
    until(lambda: bed.asterisk.log[begin:].count(options) == 2)  # it is written a moment late


def test_another_path_is_told(bed: Site) -> None:
    call = bed.asterisk.call("path", variables=SMS)
    assert (call.variables["SMS_STATUS"], call.variables["SMS_CAUSE"]) == ("ERROR", "CONFIG")
    assert "/smsx is no path" in call.variables["SMS_REASON"]
    assert bed.sandbox.requests == []


@pytest.mark.parametrize("way", WAYS)
def test_a_hang_up_in_the_request_changes_nothing(bed: Site, way: str) -> None:
    call = bed.under_way(Fault.SLOW, way)
    assert call.end().variables["SMS_STATUS"] == "SUCCESS"
    assert len(bed.messages) == len(bed.sandbox.requests) == 1


def test_calls_that_do_not_fit_are_told_busy_and_start_no_script(bed: Site) -> None:
    bed.serve("max_calls = 1", outbox=False)
    first = bed.under_way(Fault.HANG, "agi")
    for _ in range(5):
        call = bed.asterisk.call("sub", variables=SMS)
        assert (call.variables["SMS_STATUS"], call.variables["SMS_CAUSE"]) == ("ERROR", "BUSY")
        assert call.applications().count(f"AGI({bed.service.url})") == 1
        assert "AGI(sms.agi)" not in call.applications()
    assert len(bed.sandbox.requests) == 1
    bed.sandbox.fault = None
    assert first.wait().variables["SMS_CAUSE"] == "NO_ANSWER"
    assert bed.asterisk.call("sub", variables=SMS).variables["SMS_STATUS"] == "SUCCESS"


GARBAGE = {
    "nothing": b"",
    "no AGI": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a megabyte": b"agi_network: yes\n" + b"agi_x: y\n" * 130_000,
    "half an environment": b"agi_network: yes\nagi_network_script: sms\nagi_req",
    "an environment and gone": b"agi_network: yes\nagi_network_script: sms\n\n",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_call_costs_one_line_however_often_it_comes(bed: Site, data: bytes) -> None:
    bed.serve(outbox=False)  # one that has noted nothing yet
    until(lambda: "service started" in bed.service.log)
    os.truncate(bed.service.log_file, 0)
    for _ in range(3):
        with (
            socket.create_connection(("127.0.0.1", bed.service.port)) as peer,
            contextlib.suppress(OSError),
        ):
            peer.sendall(data)
    until(lambda: bed.service.log)
    assert len(bed.service.log.splitlines()) == 1
    assert bed.asterisk.call("agi", variables=SMS).variables["SMS_STATUS"] == "SUCCESS"


CALLER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5, (sys.argv[3], 0)) as peer:
    try:
        peer.sendall(b"agi_network: yes\\nagi_network_script: sms\\n\\n")
        print(peer.recv(4).decode(), end="")
    except ConnectionError:
        pass
"""


def answer(host: str, port: int, source: str, *through: str) -> str:
    """The first word that a service says to a caller at *source*, a process by itself."""
    return subprocess.run(
        [*through, sys.executable, "-c", CALLER, host, str(port), source],
        check=True, capture_output=True, text=True, timeout=30,
    ).stdout.strip()  # fmt: skip


def test_only_allowed_networks_are_served(stand_in: Sandbox, tmp_path: Path) -> None:
    with Service(tmp_path, stand_in, "allow = 127.0.0.16/28") as service:
        assert answer("127.0.0.1", service.port, "127.0.0.17") in ("GET", "EXEC")
        assert answer("127.0.0.1", service.port, "127.0.0.1") in ("GET", "EXEC")
        assert answer("127.0.0.1", service.port, "127.0.0.2") == ""
        assert "127.0.0.2 refused" in service.log


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Network namespaces that see each other: 192.0.2.7, and 192.0.2.10 and 192.0.2.11."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.fail("network namespaces need root and iproute2: run make test-all as root", False)
    here, there = f"sms-{os.getpid()}-a", f"sms-{os.getpid()}-b"
    try:
        ip("netns", "add", here)
        ip("netns", "add", there)
        ip("link", "add", "sms0", "netns", here, "type", "veth", "peer", "sms0", "netns", there)
        for name, addresses in ((here, [7]), (there, [10, 11])):
            for address in addresses:
                ip("-n", name, "address", "add", f"192.0.2.{address}/24", "dev", "sms0")
            ip("-n", name, "link", "set", "sms0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield here, there
    finally:
        for name in (here, there):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.mark.slow
def test_a_pbx_on_another_host_is_served_if_it_is_allowed(
    hosts: tuple[str, str], tmp_path: Path
) -> None:
    here, there = hosts
    conf, log = tmp_path / "sms.conf", tmp_path / "log"
    conf.touch(0o600)
    conf.write_text(
        f"[general]\nlog = log\nlisten = 192.0.2.7:4573\nallow = 192.0.2.10/32\n"
        f"monitor = 127.0.0.1:{free_port()}\n[101]\nurl = http://127.0.0.1\npassword = x\n"
    )
    enter = ("ip", "netns", "exec")
    with subprocess.Popen(
        [*enter, here, f"{sys.prefix}/bin/dialplan-sms", "serve", "--config", conf],
        env=os.environ | {"DIALPLAN_SMS_SOCKET": str(tmp_path / "agi.sock")},
    ) as service:
        try:
            until(lambda: log.exists() and "started" in log.read_text())
            assert answer("192.0.2.7", 4573, "192.0.2.10", *enter, there) in ("GET", "EXEC")
            assert answer("192.0.2.7", 4573, "192.0.2.11", *enter, there) == ""
            assert "connection from 192.0.2.11 refused" in log.read_text()
        finally:
            service.terminate()
            assert service.wait(30) == 0


@pytest.mark.parametrize("listen", ["0.0.0.0:4573", "192.0.2.1:4573", "[::]:4573"])
def test_the_open_network_needs_allow(stand_in: Sandbox, tmp_path: Path, listen: str) -> None:
    service = Service(tmp_path, stand_in)
    service.conf.write_text(service.conf.read_text().replace(f"127.0.0.1:{service.port}", listen))
    with pytest.raises(RuntimeError, match=r"sms.conf:3: listen: .* no loopback address"):
        service.start()


class TestKilled:
    def test_without_it_the_call_goes_on_and_sub_sms_takes_the_script(self, bed: Site) -> None:
        bed.service.kill()
        call = bed.asterisk.call("agi", variables=SMS, ask=["AFTER"])
        assert (call.variables["SMS_STATUS"], call.variables["AFTER"]) == ("", "went on")
        assert bed.service.socket.exists()  # stale, and no service
        for way in ("sub", "sub-thin", "thin"):
            assert bed.asterisk.call(way, variables=SMS).variables["SMS_STATUS"] == "SUCCESS"
        assert len(bed.messages) == 3

    @pytest.mark.parametrize("way", ["sub", "sub-thin"])
    def test_killed_in_the_request_nothing_is_sent_again(self, bed: Site, way: str) -> None:
        call = bed.under_way(Fault.HANG, way)
        began = time.monotonic()
        bed.service.kill()
        left = call.wait().variables
        assert time.monotonic() - began < 5
        assert (left["SMS_STATUS"], left["SMS_CAUSE"]) == ("ERROR", "NO_ANSWER")
        assert len(bed.sandbox.requests) == 1

    @pytest.mark.slow
    def test_killed_at_any_moment_no_message_goes_out_twice(self, bed: Site) -> None:
        for delay in (0.0, 0.002, 0.004, 0.008, 0.012, 0.02):
            for way in ("sub", "sub-thin"):
                bed.sandbox.clear()
                call = bed.asterisk.start_call(way, variables=SMS)
                call.wait_for("Newexten", Application="AGI", Context="sub-sms")
                time.sleep(delay)
                bed.service.kill()
                status = call.wait().variables["SMS_STATUS"]
                time.sleep(0.05)
                assert len(bed.sandbox.requests) <= 1
                assert status != "SUCCESS" or len(bed.messages) == 1
                assert way != "sub" or status != ""
                bed.service.start()

    def test_a_script_that_is_killed_has_given_its_sms_away(self, bed: Site) -> None:
        call = bed.under_way(Fault.SLOW, "thin")
        for process in processes(f"DIALPLAN_SMS_SOCKET={bed.service.socket}"):
            with contextlib.suppress(OSError):
                if b"/sms.agi" in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
        call.wait()
        bed.sandbox.wait(messages=1)
        assert len(bed.sandbox.requests) == 1
        until(lambda: "SUCCESS" in bed.service.log)
        assert bed.service.log.count("status=SUCCESS") == 1


@contextlib.contextmanager
def posing(path: Path, says: bytes) -> Iterator[list[bytes]]:
    """Something that listens where the service should, says this and takes what comes."""
    taken: list[bytes] = []
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as peer:
                peer.settimeout(5)
                peer.sendall(says)
                data, files, _, _ = socket.recv_fds(peer, 9999, 2)
                taken.append(data)
                for file in files:
                    os.close(file)

        thread = threading.Thread(target=serve)
        thread.start()
        yield taken
        thread.join(12)
    path.unlink(missing_ok=True)


class TestHandOver:
    def test_a_service_that_does_not_take_over_in_a_second_is_none(self, bed: Site) -> None:
        bed.service.kill()
        with posing(bed.service.socket, b"") as taken:
            assert bed.asterisk.call("thin", variables=SMS).variables["SMS_STATUS"] == "SUCCESS"
        assert len(bed.messages) == 1
        assert taken == [b""]

    def test_what_was_handed_over_is_never_done_by_the_script_too(self, bed: Site) -> None:
        bed.service.kill()
        with posing(bed.service.socket, b"READY\n") as taken:
            assert bed.asterisk.call("thin", variables=SMS).variables["SMS_STATUS"] == ""
        assert taken == [b"\0\0\0\0"]
        assert bed.sandbox.requests == []

    def test_the_socket_is_for_its_user_and_group(self, bed: Site) -> None:
        assert bed.service.socket.stat().st_mode & 0o777 == 0o660


class TestOperation:
    def test_it_tells_about_itself(self, bed: Site) -> None:
        bed.asterisk.call("agi", variables=SMS)
        bed.asterisk.call("agi")

        def get(path: str) -> str:
            url = f"http://127.0.0.1:{bed.service.monitor}{path}"
            with urllib.request.urlopen(url, timeout=5) as reply:
                return str(reply.read(), "utf-8")

        metrics = get("/metrics")
        assert 'dialplan_sms_calls_total{cause="",status="SUCCESS"}' in metrics
        assert 'dialplan_sms_calls_total{cause="INVALID_NUMBER",status="ERROR"}' in metrics
        assert "dialplan_sms_call_seconds_bucket" in metrics
        assert "dialplan_sms_idle_connections 1.0" in metrics
        assert get("/healthz") == "ok\n"
        assert "INVALID_NUMBER" in str(bed.service.figures()["last_errors"])
        with pytest.raises(urllib.error.HTTPError):
            get("/")

    def test_a_new_configuration_is_taken_over_and_a_wrong_one_is_not(self, bed: Site) -> None:
        bed.service.configure(sender="max_length = 5")
        bed.service.reload()
        assert bed.asterisk.call("agi", variables=SMS).variables["SMS_CAUSE"] == "INVALID_MESSAGE"
        bed.service.configure(sender="max_lenght = 5")
        bed.service.reload("the old one goes on")
        assert "max_lenght: unknown" in bed.service.log
        assert bed.asterisk.call("agi", variables=SMS).variables["SMS_CAUSE"] == "INVALID_MESSAGE"
        bed.service.configure()
        bed.service.reload()
        assert bed.asterisk.call("agi", variables=SMS).variables["SMS_STATUS"] == "SUCCESS"

    def test_sigterm_ends_after_the_calls_under_way(self, bed: Site) -> None:
        call = bed.under_way(Fault.SLOW, "agi")
        bed.service.signal(signal.SIGTERM)
        assert call.wait().variables["SMS_STATUS"] == "SUCCESS"
        assert bed.service.wait() == 0
        assert not bed.service.socket.exists()

    @pytest.mark.slow
    def test_stopped_started_and_reloaded_under_load_no_call_is_without_a_status(
        self, bed: Site
    ) -> None:
        def one(_: int) -> str:
            return bed.asterisk.call("sub", variables=SMS, timeout=60).variables["SMS_STATUS"]

        with ThreadPoolExecutor(6) as pool:
            calls = pool.map(one, range(60))
            for _ in range(3):
                time.sleep(0.3)
                bed.service.signal(signal.SIGHUP)
                time.sleep(0.2)
                bed.service.signal(signal.SIGTERM)
                assert bed.service.wait() == 0
                bed.service.start()
            assert set(calls) == {"SUCCESS"}
        assert len(bed.messages) == len(bed.sandbox.requests) == 60

    def test_two_services_do_not_share_a_socket(self, bed: Site, tmp_path: Path) -> None:
        other = Service(tmp_path, bed.sandbox)
        other.socket = bed.service.socket
        with pytest.raises(RuntimeError, match="another service answers there"):
            other.start()
        assert bed.service.socket.exists()
        assert bed.asterisk.call("thin", variables=SMS).variables["SMS_STATUS"] == "SUCCESS"


@pytest.mark.slow
def test_200_calls_at_once_each_exactly_once(bed: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bed.sandbox.pbx, "slow", 0.1)
    bed.sandbox.fault = Fault.SLOW
    calls = [
        bed.asterisk.start_call("agi", variables=SMS | {"SMS_MESSAGE": f"n{n}"}, timeout=60)
        for n in range(200)
    ]
    assert {call.wait().variables["SMS_STATUS"] for call in calls} == {"SUCCESS"}
    assert sorted(bed.received) == sorted(f"n{n}" for n in range(200))
