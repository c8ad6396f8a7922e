"""Gateways by a curl line: from the dialplan of both real Asterisks, and through a real Kannel."""

import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dialplan_sms.config.http import make_hash
from dialplan_sms.sandbox import Sandbox
from dialplan_sms.sms import api
from tests import gateways, kannel
from tests.asterisk.installation import AsteriskUnavailable
from tests.asterisk.serving import Service, free_port
from tests.asterisk.site import NUMBER, SMS, Site, rows
from tests.asterisk.test_texts import TEXTS, expected
from tests.gateways import Gateway, Request, Shape
from tests.tools import Tools, obtain
from tests.waiting import until

TEXT = TEXTS["quotes"] + TEXTS["form"] + TEXTS["emoji"]


def by_gateway(site: Site, keys: str) -> None:
    """The call sends by a gateway with these keys."""
    site.configure(f"[general]\nlog = sms.log\n[gateway]\ncountry = IT\n{keys}")
    site.dialplan("AGI(sms.agi)")


@pytest.fixture(
    params=[gateways.SMSEAGLE, gateways.ANDROID, gateways.TWILIO], ids=lambda it: it.name
)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateways.running(request.param) as running:
        yield running


def test_an_sms_goes_out_by_a_gateway(site: Site, gateway: Gateway) -> None:
    by_gateway(site, gateway.sms_conf)
    two = {"SMS_NUMBER": f"{NUMBER},3331234567", "SMS_MESSAGE": TEXT}
    call = site.call(two)
    assert call.variables["SMS_STATUS"] == "SUCCESS", call.variables
    assert gateway.taken == [(NUMBER, TEXT), ("+393331234567", TEXT)]
    assert re.fullmatch("(id [0-9A-Za-z]+ at the gateway(, )?){2}", call.variables["SMS_REASON"])
    gateway.answer = lambda request: (0, "") if len(gateway.requests) == 4 else gateway.shape.says
    left = site.call(two).variables
    found = [left[name] for name in ("SMS_STATUS", "SMS_CAUSE", "SMS_FAILED")]
    assert found == ["WARNING", "NO_ANSWER", ""]
    assert "+393331234567: the gateway did not answer" in left["SMS_REASON"]
    gateway.answer = 403, f"no: {gateways.PASSWORD}"
    left = site.call(SMS).variables
    assert left["SMS_CAUSE"] == "UNAUTHORIZED"
    assert "check user, password and keys in curl of gateway" in left["SMS_REASON"]
    assert "s3cr" not in left["SMS_REASON"] + site.log
    assert "quote" not in site.log


def test_the_service_sends_what_is_stored_number_by_number(tmp_path: Path) -> None:
    numbers = [NUMBER, "+393331234567", "+393331234568"]
    outbox = tmp_path / "outbox.sqlite"
    states: list[list[object]] = []

    def one_refuses(request: Request) -> gateways.Answer:
        found = rows(outbox, "SELECT state FROM sms_number ORDER BY number")
        states.append([state for (state,) in found])
        refused = len(states) == 2
        return (200, "Wrong parameters") if refused else gateways.SMSEAGLE.says

    with gateways.running(gateways.SMSEAGLE) as gateway, Sandbox(tls=False) as pbx:
        gateway.answer = one_refuses
        service = Service(tmp_path, pbx)
        service.configure(
            f"outbox = sqlite:///{outbox}\npace = 0", f"[gateway]\ncountry = IT\n{gateway.sms_conf}"
        )
        with service:
            send = [*service.program, "send", ",".join(numbers), "--config", str(service.conf)]
            options = ["--sender", "gateway", "--mode", "queue"]
            subprocess.run([*send, *options], input="Hi", text=True, check=True, timeout=30)
            until(lambda: service.log.count("sender=gateway") == 4, lambda: service.log)
    # Each request found what had become of the numbers before on the disk.
    assert states == [
        ["sending", "pending", "pending"], ["sent", "sending", "pending"],
        ["sent", "failed", "sending"],
    ]  # fmt: skip
    assert [dict(request.query)["to"] for request in gateway.requests] == numbers


class Kannel:
    """A real Kannel; what it is given comes to *smsc*, in its parts."""

    def __init__(self, port: int, smsc: Gateway) -> None:
        self.smsc = smsc
        line = gateways.KANNEL.sms_conf.format(host=f"127.0.0.1:{port}")
        line = line.replace("=sms", f"={kannel.USER}")
        self.sms_conf = line.replace("=secret", f"={kannel.PASSWORD}")

    def text(self) -> str:
        """What has come, of all parts."""
        return "".join(part for _, part in self.smsc.taken).encode("latin-1").decode("utf-16-be")


def _part(request: Request) -> tuple[str, str]:
    found = dict(urllib.parse.parse_qsl(request.target.partition("?")[2], encoding="latin-1"))
    return found["to"], found["text"]


SMSC = Shape("the SMSC of Kannel", "", _part, (200, "Success"))


@pytest.fixture(scope="module")
def tools() -> Tools:
    try:
        return obtain()
    except AsteriskUnavailable as error:
        pytest.fail(f"no Kannel: {error}", pytrace=False)


@pytest.fixture(scope="module")
def real(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kannel]:
    with ExitStack() as stack:
        smsc = stack.enter_context(gateways.running(SMSC))
        url = f"http://127.0.0.1:{smsc.port}/?to=%p&text=%b"
        port, _ = kannel.start(stack, tmp_path_factory.mktemp("kannel"), tools, url)
        yield Kannel(port, smsc)


@pytest.mark.slow  # the next sends one
def test_every_text_arrives_by_a_real_kannel(site: Site, real: Kannel) -> None:
    by_gateway(site, real.sms_conf)
    for text in TEXTS.values():
        _arrives(site, real, text)


def _arrives(site: Site, real: Kannel, text: str) -> None:
    real.smsc.taken.clear()
    call = site.call({"SMS_NUMBER": NUMBER, "SMS_MESSAGE": text})
    assert call.variables["SMS_STATUS"] == "SUCCESS", (text, call.variables)
    until(lambda: real.text() == expected(text), lambda: (text, real.smsc.taken))
    assert {number for number, _ in real.smsc.taken} == {NUMBER}


def test_a_real_kannel_sends_or_says_why_not(site: Site, real: Kannel) -> None:
    by_gateway(site, real.sms_conf)
    _arrives(site, real, TEXT)
    by_gateway(site, real.sms_conf.replace(f"={kannel.PASSWORD}", "=wrong"))
    assert site.call(SMS).variables["SMS_CAUSE"] == "UNAUTHORIZED"


def test_kannel_sends_through_our_server(tools: Tools, tmp_path: Path) -> None:
    port = free_port()
    with ExitStack() as stack:
        pbx = stack.enter_context(Sandbox(tls=False))
        service = Service(tmp_path, pbx)
        user = f"user = {kannel.USER}:{make_hash(kannel.PASSWORD)}"
        service.configure(
            f"outbox = sqlite:///{tmp_path}/outbox.sqlite",
            f"pace = 0\ngsm = 9c7514330001\n[http]\nlisten = 127.0.0.1:{port}\n{user}\n",
        )
        stack.enter_context(service)
        url = f"http://{kannel.USER}:{kannel.PASSWORD}@127.0.0.1:{port}{api.PATH}"
        url += "?number=%p&message=%b"
        folder = tmp_path / "kannel"
        folder.mkdir()
        sendsms, _ = kannel.start(stack, folder, tools, url)
        asked = {"username": kannel.USER, "password": kannel.PASSWORD, "to": NUMBER}
        query = urllib.parse.urlencode(asked | {"text": "a&b=c d"})
        url = f"http://127.0.0.1:{sendsms}/cgi-bin/sendsms?{query}"
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"0: Accepted for delivery"
        pbx.wait(messages=1, timeout=15)
        assert [(each.numbers, each.original) for each in pbx.messages] == [((NUMBER,), "a&b=c d")]
