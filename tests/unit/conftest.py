import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.writer import Writer
from tests.unit.stored import Store


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
    writer = Writer(database)
    yield Store(writer)
    writer.close()


@pytest.fixture
def outbox(database: str) -> Iterator[Outbox]:
    """An empty outbox, as a door uses it."""
    outbox = Outbox(database)
    yield outbox
    outbox.close()


@pytest.fixture
def as_root() -> None:
    """For tests that are slow, since only make test-all may need root."""
    if os.geteuid() != 0:
        pytest.fail("this test needs root", pytrace=False)
