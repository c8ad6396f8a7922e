"""Debian's own Chromium, driven by Playwright, which downloads no browser then."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests; each opens windows of its own."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core, as the package axe-playwright-python brings it."""
    import axe_playwright_python  # type: ignore[import-untyped]

    return Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text()
