"""Databases for tests of every kind. One that cannot be had fails its tests."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.postgres import Postgres, temporary

# Four processes share the machine: how long an example takes says nothing.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


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
