"""``dialplan-sms check``: the line of the HTTP SMS server."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dialplan_sms.cli.check import CheckState, Finding, service
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.http import DECOY, Http
from dialplan_sms.host.identity import current
from dialplan_sms.sandbox import Sandbox
from tests.asterisk.serving import Service, free_port
from tests.unit import checked
from tests.unit.checked import Bed

USERS = {"wms": (DECOY,)}


def config(http: Http, **fields: Any) -> Config:
    sender = Sender("101", "https://192.0.2.1")
    return Config(Path("x"), {"101": sender}, "101", http=http, **fields)


def check(port: int, certificate: str = "", host: str = "127.0.0.1") -> Finding:
    (found,) = service.check_http(config(Http(USERS, ((host, port),), certificate)))
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
    assert found.do == ("the service runs with an older sms.conf? systemctl restart dialplan-sms")


@pytest.mark.parametrize(
    "other", [b"220 mail.example.com\r\n", answer(b"[]"), answer(b"{}"), answer(b"\xff"), b""]
)
def test_another_program_is_told_from_ours(other: bytes) -> None:
    with checked.stranger(other) as port:
        found = check(port)
    assert found.state is CheckState.WRONG
    assert "another listen in [http]" in found.do


def test_plain_http_where_a_certificate_is_set_is_wrong() -> None:
    with checked.stranger(OURS) as port:
        found = check(port, "c.pem")
    assert found.state is CheckState.WRONG
    assert "restart" in found.do


def test_a_server_that_hangs_is_given_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_PATIENCE", 0.2)
    with checked.firewalled() as port:
        found = check(port)
    assert found.state is CheckState.WRONG
    assert found.says.startswith("no answer")


def test_no_service_is_wrong_where_http_needs_one() -> None:
    nowhere = (("127.0.0.1", free_port()),)
    site = config(Http(USERS), outbox="sqlite:////x", monitor=nowhere)
    first = next(service.check(site, {}, Path("/x"), current()))
    assert first.state is CheckState.WRONG
    assert "[http]" in first.says


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
        made = Bed(stack.enter_context(checked.folder()), sandbox, running)
        made.sender += http
        yield made


def test_the_line_is_there_with_the_service(bed: Bed) -> None:
    # given a service with [http]
    bed.write()
    # when it is checked
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
