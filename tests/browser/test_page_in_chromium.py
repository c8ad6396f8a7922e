"""The page in a real browser: live, by keyboard, on a phone, without JavaScript."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from dialplan_sms.config.http import make_hash
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.web.login import Login
from tests.unit import paged
from tests.unit.paged import GATEWAY, MILAN, REJECTED, ROME, Playground, end, served, store, variety

pytestmark = pytest.mark.slow
SENT = Outcome(Status.SUCCESS)
HOSTILE = "<script>document.title='owned'</script> \u202egnp.exe\u202c \u200fשלום"


@dataclass
class Window:
    """A window of the browser on the page; ``errors`` are what its console complains about."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.errors.append(said.text)

    def go(self, path: str = "/") -> Page:
        self.page.goto(self.url + path)
        return self.page


Open = Callable[..., Window]


@pytest.fixture
def playground() -> Playground:
    return Playground()


@pytest.fixture
def outbox(sqlite: str) -> Iterator[Outbox]:
    it = Outbox(sqlite)
    yield it
    it.close()


@pytest.fixture
def site(outbox: Outbox, playground: Playground) -> Iterator[str]:
    with served(outbox, playground.routes) as url:
        yield url


@pytest.fixture
def open_(chromium: Browser, site: str) -> Iterator[Open]:
    contexts: list[BrowserContext] = []

    def window(width: int = 1280, height: int = 900, url: str = site, **options: Any) -> Window:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(5000)
        contexts.append(context)
        return Window(context.new_page(), url)

    yield window
    for each in contexts:
        each.close()


def test_an_sms_appears_and_moves_on_without_reload(outbox: Outbox, open_: Open) -> None:
    store(outbox, "The first")
    window = open_()
    page = window.go()
    expect(page.locator("#live")).to_have_text("live")
    page.evaluate("window.same = true")
    began = time.monotonic()
    id_ = store(outbox, "The second")
    expect(page.locator(f"#m{id_} .words")).to_have_text("The second", timeout=2000)
    assert time.monotonic() - began < 2
    expect(page.locator("#news")).to_have_text(f"New message, SMS {id_}.")
    end(outbox, id_, SENT, keep_text=True)
    expect(page.locator(f"#m{id_} .state")).to_have_text("sent", timeout=2000)
    assert page.evaluate("window.same")
    assert window.errors == []


def test_what_is_typed_focused_and_scrolled_stays(outbox: Outbox, open_: Open) -> None:
    ids = [store(outbox, f"SMS {each}") for each in range(40)]
    page = open_(height=500).go()
    page.fill("#main [name=number]", "+3906")
    link = page.locator(f"#a{ids[10]}")
    link.focus()
    link.scroll_into_view_if_needed()
    before = link.bounding_box()
    id_ = store(outbox, "A new one")
    end(outbox, ids[0], SENT)
    expect(page.locator(f"#m{id_}")).to_be_attached(timeout=2000)
    assert before
    after = link.bounding_box()
    assert after
    assert abs(before["y"] - after["y"]) < 3
    assert page.evaluate("document.activeElement.id") == f"a{ids[10]}"
    expect(page.locator("#main [name=number]")).to_have_value("+3906")


def test_a_page_at_rest_is_answered_with_304(outbox: Outbox, open_: Open) -> None:
    store(outbox)
    window = open_()
    codes: list[int] = []
    window.page.on("response", lambda got: codes.append(got.status))
    window.go()
    for _ in range(40):
        if codes.count(304) >= 2:
            break
        window.page.wait_for_timeout(500)
    assert codes.count(304) >= 2
    assert 304 in codes[-2:]  # each minute it looks anew


def test_a_server_that_is_away_is_told_and_found_again(outbox: Outbox, open_: Open) -> None:
    store(outbox)
    window = open_()
    page = window.go()
    expect(page.locator("#live")).to_have_text("live")
    page.context.set_offline(True)
    expect(page.locator("#away")).to_contain_text("The server is out of reach.")
    expect(page.locator("#live")).to_have_text("not live")
    page.context.set_offline(False)
    expect(page.locator("#away")).to_be_hidden(timeout=8000)
    expect(page.locator("#live")).to_have_text("live")


def test_it_is_live_with_user_and_password_in_its_address(outbox: Outbox, open_: Open) -> None:
    store(outbox, "The first")
    users = {"anna": (make_hash("s3cret"),)}
    login = Login(lambda: users, print)
    with served(outbox, lambda board: paged.routes(board, login)) as url:
        page = open_(url=url.replace("http://", "http://anna:s3cret@")).go("/?state=pending")
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill("s3cret")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("#live")).to_have_text("live")
        id_ = store(outbox, "The second")
        expect(page.locator(f"#m{id_} .words")).to_have_text("The second", timeout=2000)
        page.click(f"#b{id_}")
        expect(page.locator("#said")).to_have_text(f"SMS {id_} is cancelled.")
        expect(page.locator("#live")).to_have_text("live")


@pytest.mark.parametrize("javascript", [True, False])
def test_filter_retry_and_cancel_with_javascript_and_without(
    outbox: Outbox, open_: Open, playground: Playground, javascript: bool
) -> None:
    failed = store(outbox, "Failed", MILAN)
    end(outbox, failed, REJECTED)
    waiting = store(outbox, "Waiting", ROME, sender="alarms")
    window = open_(java_script_enabled=javascript)
    page = window.go()
    page.select_option("[name=state]", "failed")
    page.click("text=Filter")
    expect(page.locator("#l-rows tr")).to_have_count(1)
    page.click(f"#b{failed}")
    expect(page.locator("#said")).to_have_text(f"SMS {failed} will be tried again.")
    expect(page.locator("#l-none")).to_have_text("No SMS matches.")
    page.click("text=Show all")
    page.fill("#main [name=number]", ROME[-6:])
    page.fill("[name=sender]", "alarms")
    page.press("[name=sender]", "Enter")
    page.click(f"#a{waiting}")
    expect(page).to_have_title(f"SMS {waiting}, pending")
    page.click("text=Cancel")
    expect(page.locator("#story .head .state")).to_have_text("cancelled")
    expect(page.locator("#said")).to_have_text(f"SMS {waiting} is cancelled.")
    window.go().click("#fb-reject")
    expect(page.locator("#fb-reject")).to_have_attribute("aria-checked", "true")
    assert playground.fault == "reject"
    assert window.errors == []


def test_the_sandbox_is_switched_and_tested(
    outbox: Outbox, open_: Open, playground: Playground
) -> None:
    window = open_()
    page = window.go()
    fault = page.get_by_role("switch", name="hang")
    expect(fault).to_have_attribute("aria-checked", "false")
    fault.click()
    expect(fault).to_have_attribute("aria-checked", "true")
    assert playground.fault == "hang"
    playground.set_fault(None)
    expect(fault).to_have_attribute("aria-checked", "false", timeout=2000)  # live, too
    page.get_by_role("switch", name=GATEWAY).click()
    expect(page.locator(f"#g-{GATEWAY}")).to_contain_text("offline, 2 waiting")
    page.get_by_label("To", exact=True).fill(ROME)
    page.get_by_label("Text").fill("A test")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#said")).to_contain_text("Success: in the spool of ")
    (taken,) = playground.pbx.inbox.messages
    assert (taken.numbers, taken.original) == ((ROME,), "A test")
    end(outbox, store(outbox, "For the phone", ROME), SENT, keep_text=True)
    window.go(f"/phone/{quote(ROME)}")
    expect(page.locator(".bubble")).to_have_text("For the phone")
    id_ = store(outbox, "And another", ROME)
    end(outbox, id_, SENT, keep_text=True)
    expect(page.locator(".bubble").first).to_have_text("And another", timeout=2000)
    assert window.errors == []


def test_a_hostile_text_is_text(outbox: Outbox, open_: Open) -> None:
    id_ = store(outbox, HOSTILE)
    window = open_()
    for path, where in (("/", f"#m{id_} .words"), (f"/message/{id_}", "#s-text .text")):
        page = window.go(path)
        expect(page.locator(where)).to_contain_text("<script>document.title='owned'</script>")
        expect(page.locator(f"{where} .mark").first).to_have_text("RLO")
        page.wait_for_timeout(1200)
        assert "owned" not in page.title()
    row = window.go().locator(f"#m{id_}")
    time_, words, sender = (
        row.locator(each).bounding_box() for each in (".time", ".words", "[data-label=Sender]")
    )
    assert time_
    assert words
    assert sender
    assert time_["x"] < words["x"] < sender["x"]
    assert window.errors == []


def test_an_inline_script_would_not_run(open_: Open) -> None:
    window = open_()
    page = window.go()
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'window.owned = true'}))"
    )
    assert page.evaluate("window.owned") is None
    assert any("Content Security Policy" in each for each in window.errors)


def test_all_is_done_by_keyboard(outbox: Outbox, open_: Open) -> None:
    id_ = store(outbox)
    page = open_().go()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    for _ in range(20):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.id")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", focused
        if focused == f"b{id_}":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_have_text(f"SMS {id_} is cancelled.")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(
    outbox: Outbox, open_: Open, axe: str, playground: Playground, theme: str, width: int
) -> None:
    id_ = variety(outbox)
    playground.set_fault("slow")
    window = open_(width, color_scheme=theme)
    for path in (
        "/", "/?state=failed", "/?state=foo", "/?sender=nobody", f"/message/{id_}", "/message/1",
        "/phone", f"/phone/{quote(ROME)}", "/message/0",
    ):  # fmt: skip
        page = window.go(path)
        for details in page.locator("details").all():
            details.evaluate("each => each.open = true")
        page.evaluate(axe)
        found = page.evaluate("axe.run()")
        bad = [
            (each["id"], each["impact"], [node["html"][:120] for node in each["nodes"]][:3])
            for each in found["violations"]
        ]
        assert bad == [], path


@pytest.mark.parametrize("width", [320, 360, 768, 940, 1100, 1280])
def test_nothing_is_wider_than_the_window_and_no_word_of_a_table_head_breaks(
    outbox: Outbox, open_: Open, width: int
) -> None:
    hostile = variety(outbox)
    id_ = store(outbox, "W" * 400, sender="a-sender-with-a-long-name-" * 4)
    end(outbox, id_, error(Cause.REJECTED, "No credit on the SIM of the gateway. " * 5))
    window = open_(width, 780)
    paths = ("/", f"/message/{hostile}", "/phone", f"/phone/{quote(ROME)}", "/?state=foo")
    for path in (*paths, f"/message/{id_}"):
        page = window.go(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    heads = page.locator(".tries th").all()
    assert len(heads) == 3
    for head in heads:
        lines = head.evaluate(
            "each => { const text = document.createRange(); text.selectNodeContents(each);"
            " return new Set([...text.getClientRects()].map((it) => Math.round(it.bottom))).size }"
        )
        assert lines == 1, head.text_content()
