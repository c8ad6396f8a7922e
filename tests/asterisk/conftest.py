"""Asterisk 22 and 16 for the tests: every test that takes `asterisk` runs on both.

Where an Asterisk cannot be had, its tests fail: nothing here is skipped.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from dialplan_sms.sandbox import Sandbox
from tests.asterisk.fetch import INSTALLED_VARIABLE, VERSIONS, fetch
from tests.asterisk.installation import AsteriskUnavailable, Installation
from tests.asterisk.pbx import Pbx
from tests.asterisk.site import PASSWORD, SUB_SMS, Site, agi_bin

_CHOSEN = ("installed",) if os.environ.get(INSTALLED_VARIABLE) else VERSIONS


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch what the tests need before the first of them, so that no test's timeout pays for it."""
    needed = any("installation" in getattr(item, "fixturenames", ()) for item in session.items)
    if not needed or session.config.option.collectonly or _CHOSEN != VERSIONS:
        return
    terminal = session.config.get_terminal_writer()

    def one(version: int) -> None:
        with suppress(AsteriskUnavailable):  # the fixture below tells
            fetch(version, lambda line: terminal.line(f"Asterisk {version}: {line}", flush=True))

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, VERSIONS))


@pytest.fixture(scope="session", params=_CHOSEN, ids=lambda version: f"asterisk{version}")
def installation(request: pytest.FixtureRequest) -> Installation:
    """Each Asterisk in turn, for a test that starts a Pbx of its own."""
    try:
        return fetch(0 if request.param == "installed" else request.param)
    except AsteriskUnavailable as error:
        pytest.fail(f"no Asterisk {request.param}: {error}", pytrace=False)


@pytest.fixture(scope="session")
def stand_in() -> Iterator[Sandbox]:
    """One stand-in PBX for the session."""
    with Sandbox(users={"101": PASSWORD}, gateways=("9c7514330001", "9c7514330002")) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def _site(
    installation: Installation, stand_in: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    scripts = agi_bin(tmp_path_factory.mktemp("agi-bin"))
    with Pbx(installation, includes=[SUB_SMS], agi_bin=scripts) as pbx:
        site = Site(pbx, stand_in)
        yield site
        site.service.end()


@pytest.fixture
def asterisk(_site: Site) -> Pbx:
    """A running Asterisk, one a version for the whole session; `set_dialplan` first."""
    return _site.asterisk


@pytest.fixture
def site(_site: Site) -> Site:
    """An Asterisk with sms.agi and [sub-sms], and a stand-in that took nothing yet."""
    _site.reset()
    return _site
