from collections.abc import Iterator
from pathlib import Path

import pytest

from dialplan_sms.sandbox import Sandbox
from tests.unit.pbxhost import PbxHost


@pytest.fixture
def pbx(tmp_path: Path) -> PbxHost:
    """A host on which setup can do all that it does to a real one."""
    return PbxHost(tmp_path / "host")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running
