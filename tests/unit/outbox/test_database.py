"""What can be wrong with the database, and that it is said in one line and gets over."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from dialplan_sms.outbox import database as database_module
from dialplan_sms.outbox import schema
from dialplan_sms.outbox.database import OutboxError, open_engine
from dialplan_sms.outbox.schema import VERSION, message, meta, now
from tests.unit.stored import Store, another, opened, row, rows


def _fails(store: Store, saying: str) -> None:
    began = time.monotonic()
    with pytest.raises(OutboxError, match=saying) as failure:
        store.add()
    assert time.monotonic() - began < 4
    assert "\n" not in str(failure.value)


ADDED = (("sms_attempt", "via"), ("sms_message", "parts"), ("sms_message", "parts_from"))
"""What the tables of version 1 lack."""


def _version(url: str, value: int) -> None:
    with another(url) as connection, connection.begin():
        update = meta.update().where(meta.c.name == "version")
        connection.execute(update.values(value=str(value)))


def test_tables_of_a_newer_program_are_left_alone(store: Store, database: str) -> None:
    store.add()
    _version(database, 99)
    with opened(database) as old:
        _fails(old, "made by a newer dialplan-sms, version 99 .* update this host")
        _version(database, VERSION)
        assert old.add() == 2


def test_tables_of_an_older_program_are_migrated(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add()
    steps = {
        VERSION: lambda c: c.exec_driver_sql("ALTER TABLE sms_message ADD COLUMN colour TEXT"),
        VERSION + 1: lambda c: c.exec_driver_sql("UPDATE sms_message SET colour = 'red'"),
    }
    monkeypatch.setattr(schema, "VERSION", VERSION + 2)
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    for _ in range(2):
        with opened(database) as new:
            new.add()
            assert new.writer.session.secret == store.writer.session.secret
    with another(database) as connection, connection.begin():
        found = connection.exec_driver_sql("SELECT colour FROM sms_message ORDER BY id").all()
        version = connection.scalar(sa.select(meta.c.value).where(meta.c.name == "version"))
    assert [row[0] for row in found] == ["red", None, None]
    assert version == str(VERSION + 2)


def test_tables_of_0_1_0_are_migrated_under_a_process_of_it(store: Store, database: str) -> None:
    """What it goes on writing has what was added as it is by default."""
    store.add()
    with another(database) as connection, connection.begin():
        for table, column in ADDED:
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
    _version(database, 1)
    with another(database) as old:
        with opened(database) as new:
            assert new.add(parts=1, parts_from=3) == 2
        with old.begin():
            columns = {k: v for k, v in row().items() if k not in ("parts", "parts_from")}
            old.execute(message.insert().values(created=now(), due=now(), state="pending"), columns)
            found = sa.select(message.c.parts, message.c.parts_from).order_by(message.c.id)
            assert old.execute(found).all() == [(None, None), (1, 3), (None, None)]
            old.exec_driver_sql(
                "INSERT INTO sms_attempt (message_id, at, numbers, status, cause, reason)"
                " VALUES (1, 0, 1, 'SUCCESS', '', '')"
            )
            assert old.scalar(sa.select(schema.attempt.c.via)) == ""
            assert old.scalar(sa.select(meta.c.value).where(meta.c.name == "version")) == "2"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of the URL *sqlite*."""
    return tmp_path / "outbox.sqlite"


def test_a_commit_on_sqlite_waits_for_the_disk(sqlite: str) -> None:
    with another(sqlite) as connection:
        mode, waits, most = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "journal_size_limit")
        )
    # FULL is 2; the journal's file does not keep the size of the largest transaction.
    assert (mode, waits, most) == ("persist", 2, 4_000_000)


def test_a_migration_that_fails_changes_nothing(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add()

    def half(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE sms_message ADD COLUMN colour TEXT")
        connection.exec_driver_sql("UPDATE sms_nowhere SET colour = 'red'")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "VERSION", VERSION + 1)
        patch.setattr(schema, "MIGRATIONS", {VERSION: half})
        with opened(database) as new:
            _fails(new, "sms_nowhere")
    assert store.add() == 2
    with another(database) as connection, connection.begin():
        columns = sa.inspect(connection).get_columns("sms_message")
    assert "colour" not in [each["name"] for each in columns]


@pytest.mark.parametrize(
    ("spoil", "mend", "saying"),
    [
        (lambda file: file.parent.rmdir(), lambda file: file.parent.mkdir(), "folder is missing"),
        (Path.mkdir, Path.rmdir, "unable to open database file"),
        (
            lambda file: file.write_bytes(b"none" * 2500),
            Path.unlink,
            "not a database: move the file away",
        ),
    ],
    ids=["a missing folder", "a folder in its place", "no database"],
)
def test_what_is_no_outbox(
    file: Path,
    sqlite: str,
    spoil: Callable[[Path], None],
    mend: Callable[[Path], None],
    saying: str,
) -> None:
    spoil(file)
    with opened(sqlite) as store:
        _fails(store, saying)
        mend(file)
        assert store.add() == 1


def test_a_file_that_is_damaged_while_it_is_open(file: Path, sqlite: str) -> None:
    with opened(sqlite) as store:
        store.add()
        good = file.read_bytes()
        file.write_bytes(b"\xff" * len(good))
        _fails(store, "move the file away")
        file.write_bytes(good)
        assert store.add() == 2


def test_a_file_that_is_taken_away_is_made_anew(file: Path, sqlite: str) -> None:
    with opened(sqlite) as store:
        store.add()
        file.rename(file.with_name("away"))
        store.add()
    assert len(rows(sqlite)) == 1


def test_a_full_disk(sqlite: str) -> None:
    with opened(sqlite) as store:
        store.add()

        def full(connection: sa.Connection) -> None:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            connection.exec_driver_sql("CREATE TABLE big AS SELECT zeroblob(1000000)")

        with pytest.raises(OutboxError, match="disk is full: free some space"):
            store.do(full)
        assert store.add() == 2


@pytest.mark.parametrize(
    ("url", "saying"),
    [
        ("nonsense", "outbox is no URL of a database"),
        ("mysql+nodriver://127.0.0.1/x", "outbox is no URL of a database"),
        ("postgresql+psycopg2://sms:secret@127.0.0.1/x", "Python package psycopg2"),
    ],
)
def test_a_url_that_is_none(url: str, saying: str) -> None:
    with pytest.raises(OutboxError, match=saying) as failure:
        open_engine(url)
    assert "secret" not in str(failure.value)


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with opened("postgresql+psycopg://sms:hush@127.0.0.1:1/x") as store:
        says = "the outbox x on 127.0.0.1 cannot be used, Connection refused: is the server running"
        _fails(store, f"^{says}, and does it listen there.$")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('FATAL:  password authentication failed for user "sms"',
         "password authentication failed for user sms: check user and password in outbox"),
        ("fe_sendauth: no password supplied",
         "fe_sendauth: no password supplied: outbox needs user and password"),
        ('FATAL:  no pg_hba.conf entry for host "192.0.2.7", user "sms", database "x"',
         "no pg_hba.conf entry for host 192.0.2.7 , user sms , database x: allow this host, user"
         " and database in pg_hba.conf of the server"),
        ('FATAL:  database "x" does not exist',
         "database x does not exist: make it on the server, or check the name in outbox"),
    ],
)  # fmt: skip
def test_what_a_server_refuses_says_what_to_check(said: str, told: str) -> None:
    at = 'connection failed: connection to server at "192.0.2.3", port 5432 failed: '
    url = sa.make_url("postgresql+psycopg://sms:hush@192.0.2.3/x")
    explained = str(database_module.explain(OSError(at + said), url))
    assert explained == f"the outbox x on 192.0.2.3 cannot be used, {told}"


@pytest.mark.parametrize("hosts", ["host=db1:5433&host=db2", "host=db2&host=db1:5433"])
def test_of_several_hosts_a_standby_says_most(hosts: str) -> None:
    url = sa.make_url(f"postgresql+psycopg://sms:hush@/x?{hosts}")
    failed = 'connection failed: connection to server at "192.0.2.3", port 5432 failed: '
    errors = [f"{failed}Connection refused\n\tIs it running?", f"{failed}session is read-only"]
    both = "\n".join([errors[0], "Multiple connection attempts failed.", *errors])
    explained = str(database_module.explain(OSError(both), url))
    assert explained == (
        f"the outbox x on {' or '.join(url.query['host'])} cannot be used, session is read-only:"
        " only a standby is in reach, promote it or start the primary"
    )


def test_others_on_the_host_cannot_read_the_file(file: Path, sqlite: str) -> None:
    before = os.umask(0)
    try:
        with opened(sqlite) as store:
            store.add()
        assert file.stat().st_mode & 0o777 == 0o640
        file.chmod(0o664)
        with opened(sqlite) as store:
            store.add()
        assert file.stat().st_mode & 0o777 == 0o660
    finally:
        os.umask(before)
