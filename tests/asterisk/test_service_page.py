"""The page of a running service, behind its login, while real calls send."""

import sqlite3
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Browser, expect

from dialplan_sms.sandbox import Sandbox
from tests.asterisk.installation import Installation
from tests.asterisk.pbx import Pbx
from tests.asterisk.site import agi_bin
from tests.asterisk.test_relay import ALONE, Relay

SOON = 2000  # ms


@pytest.fixture
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    with Sandbox() as sandbox:
        relay = Relay(tmp_path_factory.mktemp("page"), sandbox)
        relay.restart("page = yes")
        yield relay
        relay.service.__exit__(None, None, None)


def test_it_asks_for_a_login_of_http(relay: Relay) -> None:
    url = f"http://127.0.0.1:{relay.port}/"
    for auth in (None, ("101", "wrong")):
        answer = requests.get(url, auth=auth, timeout=10)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    page = requests.get(url, auth=ALONE, timeout=10)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert requests.post(f"{url}message/1/retry", auth=ALONE, timeout=10).status_code == 403
    relay.restart()
    assert requests.get(url, auth=ALONE, timeout=10).status_code == 404  # off by default


@pytest.mark.slow
def test_a_call_appears_without_a_reload(
    relay: Relay,
    installation: Installation,
    chromium: Browser,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    dialplan = f"[test]\nexten => agi,1,AGI({relay.service.url})\n"
    context = chromium.new_context(http_credentials={"username": ALONE[0], "password": ALONE[1]})
    bin_ = agi_bin(tmp_path_factory.mktemp("agi-bin"))
    with Pbx(installation, dialplan, agi_bin=bin_) as asterisk:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{relay.port}/")
        expect(page.get_by_text("No SMS yet.")).to_be_visible()
        for number, mode in (("+39333123456", "wait"), ("+39333123457", "queue")):
            call = asterisk.call(
                "agi",
                variables={"SMS_NUMBER": number, "SMS_MESSAGE": "<b>x", "SMS_MODE": mode},
            )
            assert call.variables["SMS_STATUS"] in ("SUCCESS", "QUEUED")
            row = page.get_by_role("row").filter(has_text=number)
            expect(row).to_be_visible(timeout=SOON)
            expect(row).to_contain_text("sent", timeout=5000)
    context.close()
    database = relay.service.folder / "outbox.sqlite"
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM sms_message").fetchone() == (2,)
