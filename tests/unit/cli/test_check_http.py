"""``dialplan-sms check``: the HTTP SMS server, and a gateway of ``curl``, asked for nothing."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dialplan_sms.cli.check import CheckState, Finding, pbx, service
from dialplan_sms.cli.check.command import without_secrets
from dialplan_sms.cli.setup import pbx as setup
from dialplan_sms.config.config import Config, Sender, load
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


LINE = 'curl -u "bob:hunter2" {url}/sms/v3rysecret --data-urlencode "to={{TO_NUMBER}}" -d "text={{MESSAGE}}"'


def look(conf: Path, url: str, keys: str = "") -> dict[str, Finding]:
    """What is found of a gateway, by name."""
    conf.touch(0o600)
    conf.write_text(f"[gateway]\ncurl = {LINE.format(url=url)}\nsuccess = OK\n{keys}\n")
    loaded = load(conf)
    (group,) = pbx.each(loaded, 3.0)
    shown = without_secrets(group.check(), loaded)
    assert "hunter2" not in str(shown)
    assert "v3rysecret" not in str(shown)
    return {line.name: line for line in shown}


def test_a_gateway_is_not_asked(tmp_path: Path) -> None:
    conf = tmp_path / "sms.conf"
    with Sandbox() as gateway:
        found = look(conf, gateway.url, f"verify = {gateway.fingerprint}")
        assert found["certificate"].state is CheckState.OK
        assert found["connection"].state is CheckState.OK
        assert "would be an SMS" in found["credentials"].says
        assert "max_length" not in found
        said, good = setup.ask(conf, "gateway")
        assert (good, said) == (True, f"warning: {found['credentials'].says}")
        untrusted = look(conf, gateway.url)["certificate"]
        assert untrusted.state is CheckState.WRONG
        assert f"verify = {gateway.fingerprint} in [gateway]" in untrusted.do
        assert look(conf, gateway.url, f"verify = {conf}")["certificate"].state is CheckState.WRONG
        assert gateway.requests == []


def test_one_that_does_not_listen_is_named(tmp_path: Path) -> None:
    found = look(tmp_path / "sms.conf", f"http://127.0.0.1:{free_port()}")
    assert found["connection"].state is CheckState.WRONG
