"""What another process keeps locked: how long to wait for it, and who that is."""

import sqlite3

import sqlalchemy as sa

from dialplan_sms.outbox.schema import message
from dialplan_sms.sms.outcome import safe_line

_LOCKED = "55P03"
"""PostgreSQL: lock_not_available."""
_SILENT = 3.0
"""Seconds for which a host that is well never leaves a transaction alone."""
_SILENT_HOSTS = sa.text(
    "SELECT application_name FROM pg_stat_activity AS host"
    " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
    " AND extract(epoch FROM clock_timestamp() - state_change) > :seconds"
    " AND EXISTS (SELECT FROM pg_locks AS held WHERE held.pid = host.pid AND held.granted"
    " AND held.relation = to_regclass(:table) AND held.mode = :mode)"
)


def lock(connection: sa.Connection) -> None:
    """Wait for the right to write, at the beginning of a transaction."""
    if connection.dialect.name == "postgresql":  # SQLite's BEGIN IMMEDIATE has it already
        connection.exec_driver_sql(f"LOCK TABLE {message.name} IN ROW EXCLUSIVE MODE")


def wait_at_most(connection: sa.Connection, seconds: float) -> None:
    """Have the statements to come wait for SQLite's locks no longer than that."""
    raw = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):
        raw.execute(f"PRAGMA busy_timeout = {max(1.0, seconds * 1000):.0f}")


def silent_hosts(connection: sa.Connection) -> set[str]:
    """Who holds a PostgreSQL outbox in a transaction that it does not go on with."""
    if connection.dialect.name != "postgresql":
        return set()
    found = connection.execute(
        _SILENT_HOSTS, {"seconds": _SILENT, "table": message.name, "mode": "RowExclusiveLock"}
    )
    return {safe_line(name) or "another program" for name in found.scalars()}


def is_locked(error: Exception) -> bool:
    """Whether *error* is that another process has kept the database locked for too long."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, sqlite3.Error):
        return (getattr(cause, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_BUSY
    return getattr(cause, "sqlstate", None) == _LOCKED
