"""The page of a running stand-in: its switches, a test, and what a phone got."""

import pytest
from playwright.sync_api import Browser, expect

from dialplan_sms.sandbox import Sandbox

pytestmark = pytest.mark.slow
NUMBER = "+390612345601"


def test_faults_gateways_and_a_test(chromium: Browser) -> None:
    with Sandbox(tls=False, spool=True, pace=0) as sandbox:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"{sandbox.url}/")
        page.get_by_role("switch", name="reject", exact=True).click()
        page.get_by_label("To").fill(NUMBER)
        page.get_by_label("Text").fill("Refused <b>")
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_text("not allowed").first).to_be_visible()
        page.get_by_role("switch", name="reject", exact=True).click()
        expect(page.get_by_role("switch", name="reject", exact=True)).to_have_attribute(
            "aria-checked", "false"
        )
        (gateway,) = sandbox.pbx.gateways
        page.get_by_role("switch", name=gateway).click()
        page.get_by_label("To").fill(NUMBER)
        page.get_by_label("Text").fill("Later <b>")
        page.get_by_role("button", name="Send").click()
        row = page.get_by_role("row").filter(has_text="Later <b>")
        expect(row).to_contain_text("pending")
        page.get_by_role("switch", name=gateway).click()
        expect(row).to_contain_text("sent", timeout=8000)
        page.goto(f"{sandbox.url}/phone/{NUMBER}")
        expect(page.get_by_role("listitem").filter(has_text="Later <b>")).to_be_visible()
        expect(page.get_by_text("Refused")).to_have_count(0)
        context.close()
