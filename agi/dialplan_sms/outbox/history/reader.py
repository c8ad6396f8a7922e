"""A way to read the outbox that keeps nobody waiting who writes to it."""

import secrets
import sqlite3
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from dialplan_sms.outbox.database import OutboxError, explain, notice_another_file, open_engine

T = TypeVar("T")
PATIENCE = 2.0
"""Seconds that a reader waits for a database that is locked."""


class HistoryReader:
    """Reads the database at *url*, several threads at once; it is never made nor changed."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._engine = _engine(url)

    def do(self, work: Callable[[sa.Connection], T]) -> T:
        """What *work* finds, all as of one moment. Raises OutboxError with a line for people."""
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except (SQLAlchemyError, OSError) as error:
            raise explain(error, self._url) from None

    def changes(self) -> str | None:
        """Something that differs after each change; None if only a look can say.

        On PostgreSQL the position of its log, which moves with other databases as well.
        """
        if self._engine.dialect.name == "sqlite":
            return self.do(_data_version)
        return self.do(lambda c: str(c.scalar(sa.text("SELECT pg_current_wal_insert_lsn()"))))

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()


def _data_version(connection: sa.Connection) -> str:
    # Only to be compared on one connection, so that is named, too.
    name = connection.info.setdefault("name", secrets.token_hex(4))
    return f"{name}.{connection.exec_driver_sql('PRAGMA data_version').scalar_one()}"


def _engine(url: URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        engine = open_engine(url.render_as_string(hide_password=False))

        @sa.event.listens_for(engine, "begin")
        def hurry(connection: sa.Connection) -> None:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {PATIENCE * 2000:.0f}")

        return engine
    file = url.database or ""
    if not file:
        raise OutboxError("an outbox in memory has no page")

    def connect() -> sqlite3.Connection:
        # mode=rw: a reader may have to roll back what a crash left, and must not make the file.
        name = f"file:{_quote(file)}?mode=rw"
        connection = sqlite3.connect(
            name, timeout=PATIENCE, isolation_level=None, check_same_thread=False, uri=True
        )
        connection.execute("PRAGMA query_only = ON")
        return connection

    engine = sa.create_engine(
        "sqlite://", creator=connect, poolclass=sa.pool.QueuePool, pool_use_lifo=True
    )  # the same connection again and again, for _data_version()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")  # takes no lock but while something is read

    notice_another_file(engine, file)
    return engine


def _quote(file: str) -> str:
    return "".join(f"%{ord(char):02x}" if char in "%?#" else char for char in file)
