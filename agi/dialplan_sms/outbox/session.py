"""The one connection of a writer: made when it is needed, and anew after each failure."""

import contextlib
import time

import sqlalchemy as sa

from dialplan_sms.outbox import database
from dialplan_sms.outbox.schema import prepare

LOOK = 0.5  # seconds to wait for a locked SQLite file until it is seen who still waits


class Session:
    """A connection to the database of *engine*, and the *secret* that this has."""

    def __init__(self, engine: sa.Engine) -> None:
        self.secret = ""
        self._engine = engine
        self._connection: sa.Connection | None = None

    def is_closed(self) -> bool:
        """Whether there is none, or its file is another by now."""
        if self._connection is not None and database.is_another_file(self._connection):
            self.close()
        return self._connection is None

    def open(self, deadline: float = 0.0) -> sa.Connection:
        """The connection, made if there is none; tried until *deadline* (monotonic seconds)."""
        while self._connection is None:
            try:
                if file := database.sqlite_file(self._engine.url):
                    with contextlib.suppress(OSError):  # SQLite says better what is wrong
                        database.make_private(file)
                self._connection = self._engine.connect()
                database.wait_at_most(self._connection, LOOK)
                with self._connection.begin():
                    self.secret = prepare(self._connection)
            except Exception:
                self.close()
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.2)
        return self._connection

    def close(self) -> None:
        """Drop it, whatever state it is in."""
        connection, self._connection = self._connection, None
        if connection is not None:
            for end in (connection.invalidate, connection.close):
                with contextlib.suppress(Exception):
                    end()
