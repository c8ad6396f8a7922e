"""A database that can be trusted with SMS: how it is opened, and what can be wrong with it."""

import os
import re
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from dialplan_sms.host.installation import cure
from dialplan_sms.sms.outcome import safe_line

LOCK_TIME = 30.0  # seconds for which a command waits for an SQLite file that another has locked
_CONFLICTS = ("40001", "40P01")  # PostgreSQL: serialization_failure, deadlock_detected
_STANDBY = "session is read-only"
_CHECKS = (
    (_STANDBY, "only a standby is in reach, promote it or start the primary"),
    ("onnection refused", "is the server running, and does it listen there?"),
    ("password authentication failed", "check user and password in outbox"),
    ("no password supplied", "outbox needs user and password"),
    ("no pg_hba.conf entry", "allow this host, user and database in pg_hba.conf of the server"),
    ("authentication failed", "check the user in outbox, and pg_hba.conf of the server"),
    ("FATAL:  database", "make it on the server, or check the name in outbox"),
    ("FATAL:  role", "make the user on the server, or check the name in outbox"),
    ("failed to resolve host", "check the address in outbox"),
    ("could not translate host name", "check the address in outbox"),
    ("timeout expired", "check address, network and firewall"),
    ("No route to host", "check address, network and firewall"),
    ("No such file or directory", "is the server running here, or is its address missing?"),
    ("permission denied", "grant the user the right to make and change tables"),
    ("lock timeout", "another host or program has it locked"),
)
"""What to look at, by what PostgreSQL or psycopg says."""
_SQLITE_CHECKS: tuple[tuple[str, str], ...] = (
    ("readonly", "file and folder must be writable for the user of the service"),
    ("full", "free some space"),
    ("locked", "another program holds it, try again once that has ended"),
    ("malformed", "move the file away, the service makes a new one"),
    ("not a database", "move the file away, the service makes a new one"),
)
_OPTIONS = {
    "lock_timeout": "1s",  # another host holds one for milliseconds, unless it hangs
    "synchronous_commit": "on",
    # A host that hangs, or has lost power or network, must not keep its locks: others need them.
    "idle_in_transaction_session_timeout": "25s",
    "tcp_user_timeout": "15s",
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
    # A plan that is kept, see below, must be by an index also if the tables were small then.
    "enable_seqscan": "off",
    "jit": "off",  # else whatever cannot do without such a scan is compiled first
}


class OutboxError(Exception):
    """The outbox cannot be used; its text is one line for people, without the URL's password."""


def open_engine(url: str) -> sa.Engine:
    """An engine for *url*, whose transactions begin by taking the lock to write.

    Connects to nothing yet. Raises OutboxError if *url* is none, or its driver is missing.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed)
        return sa.create_engine(
            parsed,
            pool_pre_ping=False,
            pool_size=2,
            isolation_level="READ COMMITTED",
            connect_args={
                # For each host: a call that waits must come to the one after a dead one.
                "connect_timeout": 2 if "host" in parsed.query else 5,
                "target_session_attrs": "read-write",
                # Plans are kept for what executemany() runs, always, and for nothing else: which
                # index suits a search depends on what is searched, and on what is stored by then.
                "prepare_threshold": sys.maxsize,
                "options": " ".join(f"-c {key}={value}" for key, value in _OPTIONS.items()),
                "fallback_application_name": f"dialplan-sms on {socket.gethostname()[:40]}",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 15_000,
            },
        )
    except ModuleNotFoundError as error:
        raise OutboxError(
            f"outbox needs the Python package {error.name}:"
            f" {cure(Path(sys.prefix), ['postgresql'])}"
        ) from None
    except (SQLAlchemyError, ValueError):
        raise OutboxError(
            "outbox is no URL of a database, as sqlite:////var/spool/asterisk/sms/outbox.sqlite"
        ) from None


def _sqlite(url: URL) -> sa.Engine:
    engine = sa.create_engine(
        url.set(query={}),
        connect_args={"timeout": LOCK_TIME, "check_same_thread": False},
        poolclass=sa.pool.NullPool if not url.database else None,
    )

    @sa.event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        # As safe as DELETE in half of its time: no file is made and removed. WAL would be quicker,
        # but what it left beside a file is mixed into another that is put in its place.
        connection.execute("PRAGMA journal_mode = PERSIST")
        connection.execute("PRAGMA journal_size_limit = 4000000")  # bytes, after a commit
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # Else a long transaction waits for readers whenever its cache is full.
        connection.execute("PRAGMA cache_spill = OFF")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    if url.database:
        notice_another_file(engine, url.database)
    return engine


def notice_another_file(engine: sa.Engine, path: str) -> None:
    """Have *engine* connect anew if *path* is another file by now than the one that is open."""

    @sa.event.listens_for(engine, "connect")
    def remember(_: Any, record: Any) -> None:
        record.info["file"] = (path, _identity(path))

    @sa.event.listens_for(engine, "checkout")
    def compare(_: Any, record: Any, __: Any) -> None:
        if is_another_file(record):
            raise sa.exc.DisconnectionError


def is_another_file(connection: Any) -> bool:
    """Whether an SQLite file was moved away since, or a copy of it restored."""
    path, identity = connection.info.get("file", ("", None))
    return bool(path) and _identity(path) != identity


def _identity(path: str) -> tuple[int, int] | None:
    """What no other file has; None if there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def sqlite_file(url: URL) -> str | None:
    """The path of the SQLite file; None if the database is a server's, or in memory."""
    return url.database if url.get_backend_name() == "sqlite" else None


def make_private(file: str) -> None:
    """Keep others on this host from reading an SQLite file: it holds texts and numbers.

    Raises OSError if the file cannot be made.
    """
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)) as opened:
        found = os.fstat(opened.fileno())
        if found.st_mode & 0o007 and found.st_uid == os.geteuid():
            os.fchmod(opened.fileno(), found.st_mode & 0o770)


def wait_at_most(connection: sa.Connection, seconds: float) -> None:
    """Have the statements to come wait for SQLite's locks no longer than that."""
    raw = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):
        raw.execute(f"PRAGMA busy_timeout = {max(1.0, seconds * 1000):.0f}")


def is_doubtful(error: Exception) -> bool:
    """Whether a COMMIT that fails with *error* may have been done all the same."""
    # A server may have; SQLite rolls back what it cannot write.
    return not isinstance(error, DBAPIError) or error.connection_invalidated


def is_conflict(error: Exception) -> bool:
    """Whether *error* comes from what another host does at the same time, and a new try may not."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return isinstance(error, IntegrityError) or state in _CONFLICTS


def is_locked(error: Exception) -> bool:
    """Whether *error* is that another process has kept the database locked for too long."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, sqlite3.Error):
        return (getattr(cause, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_BUSY
    return getattr(cause, "sqlstate", None) == "55P03"  # PostgreSQL: lock_not_available


def place(url: URL) -> str:
    """The name of a server's database, and the host that has it, or each that may."""
    hosts = url.query.get("host") or url.host or "this host"
    return f"{url.database} on {hosts if isinstance(hosts, str) else ' or '.join(hosts)}"


def explain(error: Exception, url: URL) -> OutboxError:
    """What is wrong with the database, in one line for people."""
    if isinstance(error, OutboxError):
        return error
    cause: BaseException = getattr(error, "orig", None) or error
    lines = str(cause).splitlines() or [type(cause).__name__]
    if _STANDBY in str(cause):  # whatever the others say: the primary is not among them
        lines = [_STANDBY]
    # If there are several addresses, psycopg begins with how many failed.
    said = next((each for each in lines if "Multiple connection attempts" not in each), lines[0])
    # The text of an OSError has a file name, which differs from try to try.
    what = safe_line((isinstance(cause, OSError) and cause.strerror) or said)[:200]
    if file := sqlite_file(url):
        where, checks, said = file, _SQLITE_CHECKS, what
        folder = os.path.dirname(file) or "."
        if not os.path.isdir(folder):
            what, said = "its folder is missing: create it for the user of the service", ""
        elif not os.access(folder, os.W_OK):
            said = "readonly"
    else:
        where, checks = place(url), _CHECKS
        # "connection failed: connection to server at ..., port ... failed: FATAL: ...": its end.
        what = re.sub(r"^connection .*? failed: (FATAL: )?", "", what)
    what = next((f"{what}: {check}" for words, check in checks if words in said), what)
    return OutboxError(f"the outbox {where} cannot be used, {what}")
