from collections.abc import Iterator
from pathlib import Path

import pytest

from dialplan_sms.sandbox import Sandbox
from tests.unit import checked
from tests.unit.pbxhost import PbxHost


@pytest.fixture
def pbx(tmp_path: Path) -> PbxHost:
    """A host on which setup can do all that it does to a real one."""
    return PbxHost(tmp_path / "asterisk")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that other users can enter, as they cannot enter pytest's."""
    with checked.folder() as found:
        yield found
