"""The page of a running service, behind its login, while real calls send."""

import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from dialplan_sms.config.http import make_hash
from dialplan_sms.sandbox import Sandbox
from dialplan_sms.sandbox.certificate import self_signed
from dialplan_sms.sms import api
from dialplan_sms.web.page import COOKIE
from tests.asterisk.installation import Installation
from tests.asterisk.pbx import Pbx
from tests.asterisk.site import NUMBER, rows
from tests.asterisk.test_relay import ALONE, Relay, log_in
from tests.waiting import until


@pytest.fixture
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    with Sandbox() as sandbox:
        relay = Relay(tmp_path_factory.mktemp("page"), sandbox)
        relay.restart("page = yes")
        yield relay
        relay.service.__exit__(None, None, None)


def stored(relay: Relay) -> object:
    return rows(relay.service.folder / "outbox.sqlite", "SELECT count(*) FROM sms_message")[0][0]


def test_it_asks_for_a_login_of_its_own(relay: Relay) -> None:
    url = f"http://127.0.0.1:{relay.port}/"
    for path, auth in itertools.product(("", "message/1", "?state=sent"), (None, ALONE)):
        answer = requests.get(f"{url}{path}", auth=auth, timeout=10)
        assert answer.status_code == 401
        assert "WWW-Authenticate" not in answer.headers
        assert f'name="back" value="/{path}"' in answer.text
    assert not log_in(relay, ("101", "wrong")).cookies
    session = log_in(relay)
    page = session.get(url, timeout=10)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert session.post(f"{url}message/1/retry", timeout=10).status_code == 403
    assert requests.post(f"{url}message/1/retry", auth=ALONE, timeout=10).status_code == 401
    form = {"number": "+39333123456", "message": "x"}  # the API knows no session
    assert session.post(f"{url}{api.PATH[1:]}", form, timeout=10).status_code == 401
    relay.restart()
    assert requests.get(url, timeout=10).status_code == 404  # off by default


def test_another_password_ends_a_session(relay: Relay) -> None:
    url = f"http://127.0.0.1:{relay.port}/"
    session = log_in(relay)
    assert session.get(url, timeout=10).status_code == 200
    relay.configure("page = yes", users=f"user = 101:{make_hash(ALONE[1])}")
    relay.service.reload()
    until(lambda: session.get(url, timeout=10).status_code == 401)


def test_over_tls_the_cookie_stays_there(relay: Relay, tmp_path: Path) -> None:
    certificate = self_signed()
    (tmp_path / "c.pem").write_bytes(certificate.pem)
    (tmp_path / "k.pem").write_bytes(certificate.key)
    relay.restart(f"page = yes\ncertificate = {tmp_path}/c.pem\nkey = {tmp_path}/k.pem")
    session = log_in(relay, verify=f"{tmp_path}/c.pem")
    assert [each.secure for each in session.cookies] == [True]


def _ends(page: Page, name: str, goes: bool) -> set[int]:
    """What the API answered to a foreign page; 0 if Chromium kept that from it."""
    ended: set[int] = set()
    page.on("response", lambda got: ended.add(got.status) if api.PATH in got.url else None)
    page.on("requestfailed", lambda it: ended.add(0) if api.PATH in it.url else None)
    page.goto(f"http://evil.lan/{name}")
    if goes:
        page.click("#go", no_wait_after=True)
    deadline = time.monotonic() + 20
    while not ended - {0} if goes else not ended:
        assert time.monotonic() < deadline, name
        page.wait_for_timeout(50)
    page.close()
    return ended


@pytest.mark.slow
def test_no_page_can_have_a_browser_send(relay: Relay, chromium: Browser, axe: str) -> None:
    program = shutil.which("chromium")
    assert program, "there is no Chromium: apt-get install chromium"
    origin = f"http://sms.lan:{relay.port}"
    send = f"{origin}{api.PATH}"
    form = "<input name=number value=+39333123456><input name=message value=x>"
    query = "number=%2B39333123456&message=x"
    with_login = send.replace("//", f"//{':'.join(ALONE)}@")
    foreign = {
        "link": f'<a id=go href="{send}?{query}">go</a>',
        "quiet": f'<a id=go rel=noreferrer href="{send}?{query}">go</a>',
        "login": f'<a id=go href="{with_login}?{query}">go</a>',
        "get": f'<form action="{send}">{form}<button id=go>go</button></form>',
        "post": f'<form method=post action="{send}">{form}<button id=go>go</button></form>',
        "script": f'<script src="{send}?{query}" referrerpolicy=no-referrer></script>',
        "image": f'<img src="{send}?{query}" referrerpolicy=no-referrer>',
        "frame": f'<iframe src="{send}?{query}"></iframe>',
        "fetch": f"""<script>fetch("{send}?{query}", {{mode: "no-cors", credentials: "include",
            referrerPolicy: "no-referrer", headers: {{"Accept-Language": ""}}}})</script>""",
    }
    # Chromium's own guard of local addresses is off: not every browser has it.
    arguments = [
        "--no-sandbox", "--disable-dev-shm-usage", "--disable-features=LocalNetworkAccessChecks",
        "--host-resolver-rules=MAP sms.lan 127.0.0.1",
    ]  # fmt: skip
    browser = chromium.browser_type.launch(executable_path=program, args=arguments)
    # One that HTTP's own login was given to, as it was asked for once.
    page = browser.new_context(
        http_credentials={"username": ALONE[0], "password": ALONE[1]}
    ).new_page()
    page.goto(f"http://{':'.join(ALONE)}@sms.lan:{relay.port}/")
    expect(page.get_by_role("heading")).to_have_text("Log in")
    page.evaluate(axe)
    assert page.evaluate("axe.run()")["violations"] == []
    page.get_by_label("Name").fill(ALONE[0])
    page.get_by_label("Password").fill(ALONE[1])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("signed in as 101")).to_be_visible()
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.evaluate("document.cookie") == ""
    page.context.route("http://evil.lan/**", lambda route: route.fulfill(
        body=foreign[route.request.url.rpartition("/")[2]], content_type="text/html",
    ))  # fmt: skip
    for name, content in foreign.items():
        assert _ends(page.context.new_page(), name, "id=go" in content) <= {0, 403}, name
    page.goto(f"{send}?{query}")  # typed by the user
    expect(page.get_by_text("A browser cannot send")).to_be_visible()
    page.goto(origin)
    expect(page.get_by_text("No SMS yet.")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading")).to_have_text("Log in")
    browser.close()
    assert stored(relay) == 0


@pytest.mark.slow
def test_a_call_appears_without_a_reload(
    relay: Relay, installation: Installation, chromium: Browser
) -> None:
    dialplan = f"[test]\nexten => agi,1,AGI({relay.service.url})\n"
    context = chromium.new_context()
    session = log_in(relay).cookies[COOKIE]
    context.add_cookies([{"name": COOKIE, "value": session, "domain": "127.0.0.1", "path": "/"}])
    with Pbx(installation, dialplan) as asterisk:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{relay.port}/")
        expect(page.get_by_text("No SMS yet.")).to_be_visible()
        for number, mode in ((NUMBER, "wait"), ("+39333123457", "queue")):
            sms = {"SMS_NUMBER": number, "SMS_MESSAGE": "<b>x", "SMS_MODE": mode}
            left = asterisk.call("agi", variables=sms).variables
            assert left["SMS_STATUS"] in ("SUCCESS", "QUEUED")
            row = page.get_by_role("row").filter(has_text=number)
            expect(row).to_be_visible(timeout=2000)
            expect(row).to_contain_text("sent", timeout=5000)
    context.close()
    assert stored(relay) == 2
