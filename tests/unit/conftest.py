import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dialplan_sms.writer import Writer
from tests.postgres import Postgres
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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests of the run."""
    with (
        tempfile.TemporaryDirectory(prefix="dialplan-sms-postgres-") as folder,
        Postgres(Path(folder)) as server,
    ):
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


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    """The statements on an empty outbox."""
    writer = Writer(database)
    yield Store(writer)
    writer.close()
