from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit import checked


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that other users can enter, as they cannot enter pytest's."""
    with checked.folder() as found:
        yield found
