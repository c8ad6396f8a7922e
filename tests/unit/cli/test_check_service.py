"""``dialplan-sms check``: the service, what Asterisk calls there, and its HTTP SMS server."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dialplan_sms import __version__
from dialplan_sms.cli.check import CheckState, Finding, service
from dialplan_sms.cli.check.command import causes_only
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.http import DECOY, Http
from dialplan_sms.daemon.server import LiveConfig
from dialplan_sms.host.identity import User, current
from dialplan_sms.sandbox import Sandbox
from tests.asterisk.serving import Service, free_port
from tests.unit import checked
from tests.unit.checked import Bed

USERS = {"wms": (DECOY,)}


def look(monitor: int, **fields: Any) -> list[Finding]:
    """The lines of a service that is asked on that port."""
    config = checked.config(monitor=(("127.0.0.1", monitor),), **fields)
    return list(causes_only(service.check(config, {}, Path("/x"), current())))


class TestTheService:
    def test_a_host_without_service_needs_none(self) -> None:
        found = look(free_port())
        assert {each.state for each in found} == {CheckState.SKIPPED}

    def test_but_http_needs_one(self) -> None:
        first, *_ = look(free_port(), outbox="sqlite:////x", http=Http(USERS))
        assert first.state is CheckState.WRONG
        assert "[http]" in first.says

    def test_a_service_that_never_answers_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(service, "_PATIENCE", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            (bad,) = checked.bad(look(listener.getsockname()[1]))
        assert "restart" in bad.do

    @pytest.mark.parametrize(
        ("figures", "healthy", "state", "do"),
        [
            ({}, True, CheckState.OK, ""),
            ({}, False, CheckState.WRONG, "restart"),
            ({"version": "0.0.1"}, True, CheckState.WARNING, "restart"),
            ({"in_flight": 9}, True, CheckState.WARNING, "max_calls"),
            ({"sms_conf": {"path": "/etc/sms.conf", "version": "1-2-3"}}, True, CheckState.WARNING, "reload"),
            ({"sms_conf": {"path": "/x", "version": "1", "waiting": ["listen"]}}, True, CheckState.WARNING, "restart"),
            ({"sms_conf": {"path": "/x", "version": "1", "waiting": []}}, True, CheckState.OK, ""),
            ({"outbox": {"works": True, "held": {"101": "UNAUTHORIZED"}}}, True, CheckState.WARNING, "mend that"),
            ({"outbox": {"works": False, "on_failure": ["x"]}}, True, CheckState.WARNING, "the program"),
            ({"outbox": {"works": True, "held": {}, "oldest_due_seconds": 999}}, True, CheckState.WARNING, "workers"),
        ],
    )  # fmt: skip
    def test_what_a_service_tells_of_itself(
        self, figures: dict[str, object], healthy: bool, state: CheckState, do: str
    ) -> None:
        told = {"version": __version__, "in_flight": 0, "max_calls": 9} | figures
        found = service.up(told, healthy, checked.config(version="1-2-4"))
        assert found.state is state
        assert do in found.do

    def test_one_that_has_an_older_ca_file_is_told(self, sms_conf: Callable[[str], Path]) -> None:
        path = sms_conf("[101]\nurl = https://192.0.2.1\npassword = x\nverify = ca.pem\n")
        ca = path.parent / "ca.pem"
        ca.write_text("the old one")
        # given a service that has read it
        figures = {"version": __version__, "in_flight": 0, "max_calls": 9}
        figures |= {"sms_conf": LiveConfig(path).state()}
        # when the file is another
        for content, state in (("", CheckState.OK), ("the new one", CheckState.WARNING)):
            if content:
                ca.unlink()
                ca.write_text(content)
            found = service.up(figures, True, smsconf.load(path))
            # then it says so
            assert found.state is state
        assert (found.says, found.do) == (
            f"{path}, or a file that it names, has changed since it was read",
            "systemctl reload dialplan-sms",
        )

    def test_the_socket_is_for_the_user_of_the_service(self, folder: Path) -> None:
        path = folder / "agi.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            path.chmod(0o666)
            found = service.sms_agi(path, User("asterisk", 64321, (64321,)))
        assert (found.state, "User=asterisk" in found.do) == (CheckState.WRONG, True)

    def test_no_call_goes_beyond_what_the_service_asks_for(self) -> None:
        # given a service that notes what it is told
        heard = b""
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                nonlocal heard
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as lines:
                    while (line := lines.readline()).strip():
                        heard += line
                    connection.sendall(b'GET FULL VARIABLE "abc${SMS_NUMBER}abc"\n')
                    heard += lines.read()

            thread = threading.Thread(target=serve)
            thread.start()
            assert service.fastagi("127.0.0.1", listener.getsockname()[1]) is None
            thread.join(5)
        # then it was told that this is a check, no number, and nothing after its question
        assert b"agi_network_script: check\n" in heard
        assert heard.endswith(b"agi_threadid: 1\n")


def check(port: int, certificate: str = "", host: str = "127.0.0.1") -> Finding:
    http = Http(USERS, ((host, port),), certificate)
    (found,) = service.check_http(checked.config(http=http))
    return found


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


OURS = answer(json.dumps({"info": {"title": "dialplan-sms"}}).encode())


def test_an_address_that_answers_is_well() -> None:
    with checked.stranger(OURS) as port:
        found = check(port)
    assert (found.state, found.says) == (CheckState.OK, f"127.0.0.1 port {port}, http")


def test_an_address_where_nothing_listens_needs_a_restart() -> None:
    found = check(free_port())
    assert found.state is CheckState.WRONG
    assert found.says.startswith("nothing listens")
    assert found.do == "the service runs with an older sms.conf? systemctl restart dialplan-sms"


@pytest.mark.parametrize(
    ("other", "certificate"),
    [(b"220 mail.example.com\r\n", ""), (answer(b"[]"), ""), (answer(b"{}"), ""),
     (answer(b"\xff"), ""), (b"", ""), (OURS, "c.pem")],
)  # fmt: skip
def test_another_program_and_plain_http_are_told_from_ours(other: bytes, certificate: str) -> None:
    with checked.stranger(other) as port:
        found = check(port, certificate)
    assert found.state is CheckState.WRONG
    assert "restart" in found.do
    assert "another listen in [http]" in found.do


def test_a_server_that_hangs_is_given_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_PATIENCE", 0.2)
    with checked.firewalled() as port:
        found = check(port)
    assert found.state is CheckState.WRONG
    assert found.says.startswith("no answer")


@pytest.fixture(params=["http", "https"])
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """A site whose service has [http], with and without a certificate."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(users={"101": "sms101api"}))
        folder = stack.enter_context(checked.folder())
        port = free_port()
        http = f"[http]\nuser = wms:{DECOY}\nlisten = 127.0.0.1:{port}\n"
        if request.param == "https":
            pem = folder / "http.pem"
            pem.touch(0o600)
            pem.write_bytes(b"".join(checked.certificate()))
            http += f"certificate = {pem}\nkey = {pem}\n"
        outbox = f"outbox = sqlite:///{folder}/outbox.sqlite"
        running = stack.enter_context(Service(folder, sandbox, outbox, http))
        made = Bed(stack.enter_context(checked.folder()), sandbox, running, stack)
        made.sender += http
        yield made


def test_the_line_is_there_with_the_service(bed: Bed) -> None:
    # given a service with [http], when it is checked
    findings = bed.check()
    # then its line is well, and nothing was sent
    (line,) = [each for each in findings if each.name == service.HTTP.name]
    assert line.state is CheckState.OK, line
    assert checked.bad(findings) == []
    assert bed.sandbox.messages == []
    # when sms.conf says another port, and the service was not restarted
    before, _, after = bed.conf.read_text().partition("[http]\n")
    after = re.sub("listen = .*", f"listen = 127.0.0.1:{free_port()}", after)
    bed.conf.write_text(f"{before}[http]\n{after}")
    # then that is the one thing that is wrong
    (bad,) = checked.bad(bed.check())
    assert (bad.name, bad.state) == (service.HTTP.name, CheckState.WRONG)
    assert "systemctl restart" in bad.do
    # when the service is gone
    bed.service.kill()
    # then the service is the cause, and the line follows from it
    findings = bed.check()
    assert [each.name for each in checked.bad(findings)] == [service.SERVICE.name]
    (line,) = [each for each in findings if each.name == service.HTTP.name]
    assert line.says == "not looked at: mend service first"
