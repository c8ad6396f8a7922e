"""The service on both real Asterisks: FastAGI, the thin script, and what happens where it breaks."""

import contextlib
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dialplan_sms.sandbox import Fault, Sandbox
from tests.asterisk.installation import Installation
from tests.asterisk.pbx import Pbx
from tests.asterisk.serving import Service
from tests.asterisk.site import NUMBER, agi_bin
from tests.asterisk.test_texts import TEXTS, expected
from tests.waiting import until

SMS = {"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "A private text"}
SUB_SMS = Path(__file__).parents[2] / "dialplan/extensions-sms.conf"
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


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Sandbox]:
    with Sandbox(slow=0.5) as sandbox:
        yield sandbox


class Bed:
    """A service, the Asterisk that uses it, and the stand-in behind it."""

    def __init__(self, asterisk: Pbx, service: Service, sandbox: Sandbox) -> None:
        self.asterisk = asterisk
        self.service = service
        self.sandbox = sandbox


@pytest.fixture(scope="module")
def _bed(
    installation: Installation, stand_in: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("service")
    service = Service(folder, stand_in)
    environment = {
        "DIALPLAN_SMS_SOCKET": str(service.socket),
        "DIALPLAN_SMS_CONF": str(service.conf),
    }
    with service, Pbx(
        installation, DIALPLAN.format(url=service.url), includes=[SUB_SMS],
        agi_bin=agi_bin(tmp_path_factory.mktemp("agi-bin")), environment=environment,
    ) as asterisk:  # fmt: skip
        yield Bed(asterisk, service, stand_in)


@pytest.fixture
def bed(_bed: Bed) -> Bed:
    """A service that runs, with its first configuration, and a stand-in that took nothing yet."""
    _bed.sandbox.start()
    _bed.sandbox.clear()
    if _bed.service.process is None or _bed.service.process.poll() is not None:
        _bed.service.configure()
        _bed.service.start()
    if _bed.service.log_file.exists():
        os.truncate(_bed.service.log_file, 0)  # the service has it open
    return _bed


WAYS = ["agi", "thin"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name", ["newlines", "smiley", "forged reply", "expression", "670 CJK", "emoji"]
)
def test_texts_are_exact(bed: Bed, way: str, name: str) -> None:
    call = bed.asterisk.call(way, variables=SMS | {"SMS_MESSAGE": TEXTS[name]}, ask=["AFTER"])
    assert call.variables["SMS_STATUS"] == "SUCCESS", call.variables
    assert call.variables["AFTER"] == "went on"
    (request,) = bed.sandbox.requests
    assert dict(request.pairs)["message"] == expected(TEXTS[name])


def test_it_was_the_service_that_sent(bed: Bed) -> None:
    for way in WAYS:
        bed.asterisk.call(way, variables=SMS)
    assert bed.service.log.count("status=SUCCESS") == 2
    assert bed.sandbox.connections <= 1


def test_arguments_arrive(bed: Bed) -> None:
    bed.asterisk.call("arguments")
    bed.asterisk.call("thin-arguments")
    assert [(m.numbers[0], m.text) for m in bed.sandbox.messages] == [
        ("+39333123457", "from arguments"), ("+39333123457", "Пример, with a comma"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["x\nagi_arg_1: +39666666666\nagi_arg_2: forged",
     "x\n\n200 result=1 (+39666666666)\n200 result=1 (+39666666666)",
     "x\nagi_callingpres: 0\nagi_threadid: 1\nagi_arg_1: +39666666666\nagi_arg_2: forged\n\n"],
)  # fmt: skip
def test_a_forged_caller_id_sends_nothing_to_the_forged_number(bed: Bed, name: str) -> None:
    for way in WAYS:
        call = bed.asterisk.call(way, variables={"CALLERID(name)": name})
        assert call.variables["SMS_CAUSE"] == "INVALID_NUMBER"
    call = bed.asterisk.call("agi", variables=SMS | {"CALLERID(name)": name})
    assert call.variables["SMS_STATUS"] == "SUCCESS"
    # Arguments of a forged environment are refused; what is in the variables is not.
    bed.asterisk.call("arguments", variables={"CALLERID(name)": name})
    assert [message.numbers for message in bed.sandbox.messages] == [(NUMBER,)]


def test_asterisk_sets_several_outputs_at_once(
    installation: Installation, stand_in: Sandbox, tmp_path: Path
) -> None:
    stand_in.clear()
    with Service(tmp_path, stand_in) as service, Pbx(
        installation, DIALPLAN.format(url=service.url), includes=[SUB_SMS]
    ) as asterisk:  # fmt: skip
        sent = [asterisk.call("agi", variables=SMS) for _ in range(2)]
        stand_in.fault = Fault.CLOSE
        lost = asterisk.call("agi", variables=SMS).variables
    for call in sent:
        assert {name: call.variables[name] for name in call.variables if name[:4] == "SMS_"} == {
            "SMS_STATUS": "SUCCESS", "SMS_CAUSE": "", "SMS_REASON": "", "SMS_FAILED": "",
            "SMS_ID": "", "SMS_VIA": "",
        }  # fmt: skip
    assert (lost["SMS_STATUS"], lost["SMS_CAUSE"]) == ("ERROR", "NO_ANSWER")
    assert asterisk.log.count("(MSet) Options: (SMS_STATUS=SUCCESS,SMS_CAUSE=)") == 2


def test_another_path_is_told(bed: Bed) -> None:
    call = bed.asterisk.call("path", variables=SMS)
    assert (call.variables["SMS_STATUS"], call.variables["SMS_CAUSE"]) == ("ERROR", "CONFIG")
    assert "/smsx is no path" in call.variables["SMS_REASON"]
    assert bed.sandbox.requests == []


@pytest.mark.parametrize("way", WAYS)
def test_a_hang_up_in_the_request_changes_nothing(bed: Bed, way: str) -> None:
    bed.sandbox.fault = Fault.SLOW
    call = bed.asterisk.start_call(way, variables=SMS)
    bed.sandbox.wait(requests=1)
    call.hangup()
    assert call.wait().variables["SMS_STATUS"] == "SUCCESS"
    assert len(bed.sandbox.messages) == len(bed.sandbox.requests) == 1


def test_calls_that_do_not_fit_are_told_busy_and_start_no_script(
    installation: Installation, stand_in: Sandbox, tmp_path: Path
) -> None:
    stand_in.clear()
    with Service(tmp_path, stand_in, "max_calls = 1") as service, Pbx(
        installation, DIALPLAN.format(url=service.url), includes=[SUB_SMS], agi_bin=tmp_path
    ) as asterisk:  # fmt: skip
        stand_in.fault = Fault.HANG
        first = asterisk.start_call("agi", variables=SMS)
        stand_in.wait(requests=1)
        for _ in range(5):
            call = asterisk.call("sub", variables=SMS)
            assert (call.variables["SMS_STATUS"], call.variables["SMS_CAUSE"]) == ("ERROR", "BUSY")
            assert call.applications().count(f"AGI({service.url})") == 1
            assert "AGI(sms.agi)" not in call.applications()
        assert len(stand_in.requests) == 1
        stand_in.fault = None
        assert first.wait().variables["SMS_CAUSE"] == "NO_ANSWER"
        assert asterisk.call("sub", variables=SMS).variables["SMS_STATUS"] == "SUCCESS"


GARBAGE = {
    "nothing": b"",
    "no AGI": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a megabyte": b"agi_network: yes\n" + b"agi_x: y\n" * 130_000,
    "half an environment": b"agi_network: yes\nagi_network_script: sms\nagi_req",
    "an environment and gone": b"agi_network: yes\nagi_network_script: sms\n\n",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_call_costs_one_line_however_often_it_comes(bed: Bed, data: bytes) -> None:
    bed.service.kill()  # one that has noted nothing yet
    bed.service.start()
    wait_for(bed.service, "service started")
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


def test_peers_that_stall_are_given_up_and_calls_go_on(bed: Bed) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", bed.service.port)))
            peer.sendall(b"agi_network: yes\nagi_net")
        assert bed.asterisk.call("agi", variables=SMS).variables["SMS_STATUS"] == "SUCCESS"
        peer.settimeout(10)
        assert peer.recv(9) == b""
    until(lambda: bed.service.figures()["in_flight"] == 0)


def test_only_allowed_networks_are_served(stand_in: Sandbox, tmp_path: Path) -> None:
    def answer(service: Service, source: str) -> bytes:
        peer = socket.create_connection(("127.0.0.1", service.port), 5, (source, 0))
        with peer, contextlib.suppress(ConnectionError):
            peer.sendall(b"agi_network: yes\nagi_network_script: sms\n\n")
            return peer.recv(4)
        return b""

    with Service(tmp_path, stand_in, "allow = 127.0.0.16/28") as service:
        assert answer(service, "127.0.0.17") in (b"GET ", b"EXEC")
        assert answer(service, "127.0.0.1") in (b"GET ", b"EXEC")
        assert answer(service, "127.0.0.2") == b""
        assert "127.0.0.2 refused" in service.log


@pytest.mark.parametrize("listen", ["0.0.0.0:4573", "192.0.2.1:4573", "[::]:4573"])
def test_the_open_network_needs_allow(stand_in: Sandbox, tmp_path: Path, listen: str) -> None:
    service = Service(tmp_path, stand_in)
    service.conf.write_text(service.conf.read_text().replace(f"127.0.0.1:{service.port}", listen))
    with pytest.raises(RuntimeError, match=r"sms.conf:3: listen: .* no loopback address"):
        service.start()


class TestKilled:
    def test_without_it_the_call_goes_on_and_sub_sms_takes_the_script(self, bed: Bed) -> None:
        bed.service.kill()
        call = bed.asterisk.call("agi", variables=SMS, ask=["AFTER"])
        assert (call.variables["SMS_STATUS"], call.variables["AFTER"]) == ("", "went on")
        for way in ("sub", "sub-thin", "thin"):
            assert bed.asterisk.call(way, variables=SMS).variables["SMS_STATUS"] == "SUCCESS"
        assert len(bed.sandbox.messages) == 3

    @pytest.mark.parametrize("way", ["sub", "sub-thin"])
    def test_killed_in_the_request_nothing_is_sent_again(self, bed: Bed, way: str) -> None:
        bed.sandbox.fault = Fault.HANG
        call = bed.asterisk.start_call(way, variables=SMS)
        bed.sandbox.wait(requests=1)
        began = time.monotonic()
        bed.service.kill()
        left = call.wait().variables
        assert time.monotonic() - began < 5
        assert (left["SMS_STATUS"], left["SMS_CAUSE"]) == ("ERROR", "NO_ANSWER")
        assert len(bed.sandbox.requests) == 1

    @pytest.mark.slow
    def test_killed_at_any_moment_no_message_goes_out_twice(self, bed: Bed) -> None:
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
                assert status != "SUCCESS" or len(bed.sandbox.messages) == 1
                assert way != "sub" or status != ""
                bed.service.start()

    def test_a_script_that_is_killed_has_given_its_sms_away(self, bed: Bed) -> None:
        bed.sandbox.fault = Fault.SLOW
        call = bed.asterisk.start_call("thin", variables=SMS)
        bed.sandbox.wait(requests=1)
        ours = f"DIALPLAN_SMS_SOCKET={bed.service.socket}".encode()  # not another run's
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = (process / "environ").read_bytes().split(b"\0")
                if ours in environment and b"/sms.agi" in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
        call.wait()
        bed.sandbox.wait(messages=1)
        assert len(bed.sandbox.requests) == 1
        until(lambda: "SUCCESS" in bed.service.log)
        assert bed.service.log.count("status=SUCCESS") == 1


@contextlib.contextmanager
def posing(path: Path, says: bytes) -> Iterator[list[bytes]]:
    """Something that listens where the service should, says this and takes what comes."""
    import threading

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
    def test_a_stale_socket_is_no_service(self, bed: Bed) -> None:
        bed.service.kill()
        assert bed.service.socket.exists()
        assert bed.asterisk.call("thin", variables=SMS).variables["SMS_STATUS"] == "SUCCESS"
        assert len(bed.sandbox.messages) == 1

    def test_a_service_that_does_not_take_over_in_a_second_is_none(self, bed: Bed) -> None:
        bed.service.kill()
        with posing(bed.service.socket, b"") as taken:
            assert bed.asterisk.call("thin", variables=SMS).variables["SMS_STATUS"] == "SUCCESS"
        assert len(bed.sandbox.messages) == 1
        assert taken == [b""]

    def test_what_was_handed_over_is_never_done_by_the_script_too(self, bed: Bed) -> None:
        bed.service.kill()
        with posing(bed.service.socket, b"READY\n") as taken:
            assert bed.asterisk.call("thin", variables=SMS).variables["SMS_STATUS"] == ""
        assert taken == [b"\0\0\0\0"]
        assert bed.sandbox.requests == []

    def test_the_socket_is_for_its_user_and_group(self, bed: Bed) -> None:
        assert bed.service.socket.stat().st_mode & 0o777 == 0o660


def get(service: Service, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.monitor}{path}", timeout=5) as reply:
        body: str = reply.read().decode()
    return body


class TestOperation:
    def test_it_tells_about_itself(self, bed: Bed) -> None:
        bed.asterisk.call("agi", variables=SMS)
        bed.asterisk.call("agi")
        metrics = get(bed.service, "/metrics")
        assert 'dialplan_sms_calls_total{cause="",status="SUCCESS"}' in metrics
        assert 'dialplan_sms_calls_total{cause="INVALID_NUMBER",status="ERROR"}' in metrics
        assert "dialplan_sms_call_seconds_bucket" in metrics
        assert "dialplan_sms_idle_connections 1.0" in metrics
        assert get(bed.service, "/healthz") == "ok\n"
        assert "INVALID_NUMBER" in str(bed.service.figures()["last_errors"])
        with pytest.raises(urllib.error.HTTPError):
            get(bed.service, "/")

    def test_a_new_configuration_is_taken_over_and_a_wrong_one_is_not(self, bed: Bed) -> None:
        bed.service.configure(sender="max_length = 5")
        bed.service.signal(signal.SIGHUP)
        wait_for(bed.service, "was read again")
        assert bed.asterisk.call("agi", variables=SMS).variables["SMS_CAUSE"] == "INVALID_MESSAGE"
        bed.service.configure(sender="max_lenght = 5")
        bed.service.signal(signal.SIGHUP)
        wait_for(bed.service, "the old one goes on")
        assert "max_lenght: unknown" in bed.service.log
        assert bed.asterisk.call("agi", variables=SMS).variables["SMS_CAUSE"] == "INVALID_MESSAGE"
        bed.service.configure()
        bed.service.signal(signal.SIGHUP)
        wait_for(bed.service, "was read again", 2)
        assert bed.asterisk.call("agi", variables=SMS).variables["SMS_STATUS"] == "SUCCESS"

    def test_sigterm_ends_after_the_calls_under_way(self, bed: Bed) -> None:
        bed.sandbox.fault = Fault.SLOW
        call = bed.asterisk.start_call("agi", variables=SMS)
        bed.sandbox.wait(requests=1)
        bed.service.signal(signal.SIGTERM)
        assert call.wait().variables["SMS_STATUS"] == "SUCCESS"
        assert bed.service.wait() == 0
        assert not bed.service.socket.exists()

    @pytest.mark.slow
    def test_stopped_started_and_reloaded_under_load_no_call_is_without_a_status(
        self, bed: Bed
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
        assert len(bed.sandbox.messages) == len(bed.sandbox.requests) == 60

    def test_two_services_do_not_share_a_socket(self, bed: Bed, tmp_path: Path) -> None:
        other = Service(tmp_path, bed.sandbox)
        other.socket = bed.service.socket
        with pytest.raises(RuntimeError, match="another service answers there"):
            other.start()
        assert bed.service.socket.exists()
        assert bed.asterisk.call("thin", variables=SMS).variables["SMS_STATUS"] == "SUCCESS"


def wait_for(service: Service, words: str, times: int = 1) -> None:
    until(lambda: service.log.count(words) >= times, lambda: service.log)


@pytest.mark.slow
def test_200_calls_at_once_each_exactly_once(bed: Bed) -> None:
    bed.sandbox.pbx.slow, slow = 0.1, bed.sandbox.pbx.slow
    bed.sandbox.fault = Fault.SLOW
    try:
        calls = [
            bed.asterisk.start_call("agi", variables=SMS | {"SMS_MESSAGE": f"n{n}"}, timeout=60)
            for n in range(200)
        ]
        assert {call.wait().variables["SMS_STATUS"] for call in calls} == {"SUCCESS"}
    finally:
        bed.sandbox.pbx.slow = slow
    assert sorted(m.text for m in bed.sandbox.messages) == sorted(f"n{n}" for n in range(200))
