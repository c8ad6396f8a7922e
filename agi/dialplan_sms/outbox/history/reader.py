"""A way to read the outbox that keeps nobody waiting who writes to it."""

import os
import secrets
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from dialplan_sms.outbox.database import OutboxError, explain, notice_another_file, open_engine

T = TypeVar("T")
PATIENCE = 2.0  # seconds that a reader waits for a database that is locked


class HistoryReader:
    """Reads the database at *url*, several threads at once; it is never made nor changed."""

    def __init__(self, url: URL) -> None:
        self._url = url
        if url.get_backend_name() != "sqlite":
            self._engine = open_engine(url.render_as_string(hide_password=False))
            first = f"SET LOCAL statement_timeout = {PATIENCE * 2000:.0f}"
        elif url.database:
            self._engine = _sqlite(url.database)
            first = "BEGIN"  # takes no lock but while something is read
        else:
            raise OutboxError("an outbox in memory has no page")
        sa.event.listen(self._engine, "begin", lambda c: c.exec_driver_sql(first) and None)

    def do(self, work: Callable[[sa.Connection], T]) -> T:
        """What *work* finds, all as of one moment. Raises OutboxError with a line for people."""
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except (SQLAlchemyError, OSError) as error:
            raise explain(error, self._url) from None

    def changes(self) -> str:
        """Something that differs after each change.

        On PostgreSQL the position of its log, which moves with other databases as well.
        """
        if self._engine.dialect.name == "postgresql":
            return self.do(lambda c: str(c.scalar(sa.text("SELECT pg_current_wal_insert_lsn()"))))
        return self.do(_data_version)

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()


def _data_version(connection: sa.Connection) -> str:
    # Only to be compared on one connection, so that is named, too.
    name = connection.info.setdefault("name", secrets.token_hex(4))
    return f"{name}.{connection.exec_driver_sql('PRAGMA data_version').scalar_one()}"


def _sqlite(file: str) -> sa.Engine:
    # mode=rw: a reader may have to roll back what a crash left, and must not make the file.
    name, query = f"file:{quote(os.fsencode(file))}", {"mode": "rw", "uri": "true"}
    engine = sa.create_engine(
        URL.create("sqlite", database=name, query=query),
        connect_args={"timeout": PATIENCE, "isolation_level": None, "check_same_thread": False},
        pool_use_lifo=True,  # the same connection again and again, for _data_version()
    )
    sa.event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA query_only = ON") and None)
    notice_another_file(engine, file)
    return engine
