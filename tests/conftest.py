"""Databases for tests of every kind. One that cannot be had fails its tests."""

import itertools
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.postgres import Postgres, temporary

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Four processes share the machine: how long an example takes says nothing.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")

# A shell starts what it runs in the background without it, and so would be what the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests of the run."""
    with temporary() as server:
        yield server


_NAMES = (f"outbox{number}" for number in itertools.count(1))


@pytest.fixture
def postgresql(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database on PostgreSQL."""
    name = next(_NAMES)
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    """The URL of an SQLite database that is not there yet."""
    return f"sqlite:///{tmp_path}/outbox.sqlite"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database; the test runs on each kind."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """Debian's Chromium for all tests of the run; each opens windows of its own."""
    from playwright.sync_api import sync_playwright

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
