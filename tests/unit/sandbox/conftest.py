"""Stand-ins for the tests of the stand-in."""

from collections.abc import Iterator

import pytest

from dialplan_sms.sandbox import Sandbox


@pytest.fixture(params=[False, True], ids=["http", "https"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(tls=request.param, slow=0.1, trickle=0.01) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(tls=False) as sandbox:
        yield sandbox
