import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dialplan_sms.outbox.store import Outbox
from tests.unit.stored import Store, opened


@pytest.fixture
def sms_conf(tmp_path: Path) -> Callable[[str], Path]:
    """Writes an sms.conf that only its owner reads."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "sms.conf"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o640)
        return path

    return write


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    """The statements on an empty outbox."""
    with opened(database) as store:
        yield store


@pytest.fixture
def outbox(database: str) -> Iterator[Outbox]:
    """An empty outbox, as a door uses it."""
    with closing(Outbox(database)) as outbox:
        yield outbox


@pytest.fixture
def as_root() -> None:
    """For tests that are slow, since only make test-all may need root."""
    if os.geteuid() != 0:
        pytest.fail("this test needs root", pytrace=False)
