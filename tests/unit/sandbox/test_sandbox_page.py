"""The page of the stand-in: its switches, who may call it, and the command that shows it."""

import re
from datetime import datetime, timedelta

import pytest
import requests

from dialplan_sms.sandbox import Fault, Sandbox, Trouble
from dialplan_sms.sandbox.faults import TROUBLES
from dialplan_sms.sandbox.page import SandboxPage, is_ours
from dialplan_sms.sms import api
from dialplan_sms.web.server import Address
from tests.unit.spooling import AUTH, NUMBER, ONE, OTHER, TWO, post, running, spooled


def switches(sandbox: Sandbox) -> SandboxPage:
    assert sandbox.page is not None
    return sandbox.page


def test_the_faults_as_switches() -> None:
    with running() as sandbox:
        faults, _ = switches(sandbox).switches()
        names = [name for name, _, _ in faults]
        sandbox.fault = Trouble(Fault.HANG, taken=True)
        on = [each for each in switches(sandbox).switches()[0] if each[2]]

        assert names[: len(Fault)] == list(Fault)
        assert "taken-500" in names
        assert "taken-slow" not in names
        assert on == [("taken-hang", "as hang, but the message is taken", True)]
        assert not any(on for _, _, on in faults)


def test_the_gateways_as_switches() -> None:
    with running() as sandbox:
        sandbox.spool.set_online(TWO, False)
        tomorrow = datetime.now() + timedelta(days=1)
        post(sandbox, "later", TWO, postpone=f"{tomorrow:%d/%m/%Y %H:%M}")
        post(sandbox, "now", TWO, f"{NUMBER},{OTHER}")

        _, gateways = switches(sandbox).switches()

        assert gateways == [(ONE, True, 0), (TWO, False, 2)]


@pytest.mark.parametrize(
    ("to", "text", "fault", "told", "taken"),
    [
        (NUMBER, "hi", None, f"Success: in the spool of {ONE}", 1),
        (f"{NUMBER},1x", "hi", None, "Warning: Unable to add a SMS to the queue: 1x", 1),
        ("", "hi", None, "Error: Number should not be empty", 0),
        (NUMBER, "hi", "reject", "Error: SMS sending is not allowed", 0),
        (NUMBER, "hi", "hang", "Fault hang: never answers - nothing was taken", 0),
        ("+99900000105", "hi", None, "Fault taken-html: status 200 with a web page - the message was taken", 1),
        (NUMBER, "hi", "slow", f"Fault slow: the proper answer, 1.5 s late - the message was taken. Success: in the spool of {ONE}", 1),
    ],
)  # fmt: skip
def test_a_test_is_answered_as_any_request(
    to: str, text: str, fault: str | None, told: str, taken: int
) -> None:
    with running() as sandbox:
        sandbox.pbx.faults.set(TROUBLES[fault] if fault else None)

        assert switches(sandbox).send_test(to, text, ONE) == told

        assert len(sandbox.requests) == 1
        assert len(sandbox.messages) == len(spooled(sandbox)) == taken


def test_the_page_sends_a_test_and_unplugs_a_gateway() -> None:
    with running() as sandbox, requests.Session() as browser:
        shown = browser.get(sandbox.url, timeout=5)
        token = re.search('name="token" value="([^"]+)"', shown.text)
        assert token is not None
        form = {"token": token[1], "mac": ONE, "online": "no"}
        unplugged = browser.post(f"{sandbox.url}/gateways", form, timeout=5)
        form = {"token": token[1], "number": NUMBER, "text": "from the page", "gsm": ONE}
        told = browser.post(f"{sandbox.url}/test", form, timeout=5)
        phone = browser.get(f"{sandbox.url}/phone/{NUMBER}", timeout=5)
        form = {"token": "guessed", "mac": ONE, "online": "yes"}
        forged = requests.post(f"{sandbox.url}/gateways", form, timeout=5)

        assert unplugged.status_code == told.status_code == phone.status_code == 200
        assert f"Success: in the spool of {ONE}" in told.text
        assert "from the page" in told.text
        assert forged.status_code == 403
        assert not sandbox.spool.gateways[ONE].online


@pytest.mark.parametrize("path", ["/", "/phone", "/static/page.css", "/message/1"])
def test_the_page_answers_to_no_foreign_name(path: str) -> None:
    with running() as sandbox:
        refused = requests.get(sandbox.url + path, headers={"Host": "evil.example"}, timeout=5)
        ours = requests.get(sandbox.url + path, headers={"Host": "localhost:8443"}, timeout=5)

        assert (refused.status_code, refused.text.count("\n")) == (421, 1)
        assert ours.status_code != 421


def test_the_api_and_what_is_not_there_answer_to_any_name() -> None:
    foreign = {"Host": "evil.example"}
    form = {"number": NUMBER, "message": "hello"}
    with running() as sandbox:
        for path in (api.PATH, api.OLD_PATH):
            taken = requests.post(sandbox.url + path, form, auth=AUTH, headers=foreign, timeout=5)
            assert taken.json() == api.result()
        assert requests.get(f"{sandbox.url}/nothing", headers=foreign, timeout=5).status_code == 404
        assert len(sandbox.requests) == 3


@pytest.mark.parametrize(
    ("host", "listen", "ours"),
    [
        ("localhost", "127.0.0.1", True),
        ("LOCALHOST:8443", "127.0.0.1", True),
        ("127.0.0.1:8443", "127.0.0.1", True),
        ("[::1]:8443", "127.0.0.1", True),
        ("", "127.0.0.1", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example:8443", "127.0.0.1", False),
        ("192.0.2.1", "127.0.0.1", False),
        ("pbx.example.com:8443", "pbx.example.com", True),
        ("evil.example", "pbx.example.com", False),
        ("[2001:db8::1]:8443", "2001:db8::1", True),
        ("192.0.2.1:8443", "0.0.0.0", True),
        ("[2001:db8::1]", "::", True),
        ("evil.example:8443", "0.0.0.0", False),
    ],
)
def test_which_names_are_ours(host: str, listen: str, ours: bool) -> None:
    assert is_ours(host, Address(listen, 8443)) is ours


def test_it_describes_its_api() -> None:
    with running() as sandbox:
        described = requests.get(f"{sandbox.url}/openapi.json", verify=False, timeout=5).json()
        assert api.PATH in described["paths"]
        assert "/" not in described["paths"]
