import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.schema import Row, State, message
from dialplan_sms.outbox.store import New, insert
from dialplan_sms.outbox.writer import NotKnown, Writer
from tests.postgres import Postgres
from tests.unit.stored import NUMBERS, another, locked, row


def put(connection: sa.Connection, what: Row) -> int:
    """Store it, as the outbox does: once, however often it is run."""
    return insert(connection, [New(what, NUMBERS[:1], State.PENDING, True)])[0]


@pytest.fixture
def writer(database: str) -> Iterator[Writer]:
    writer = Writer(database)
    yield writer
    writer.close()


@pytest.fixture
def on_server(postgresql: str) -> Iterator[Writer]:
    """A writer that has stored one already."""
    writer = Writer(postgresql)
    _store(writer, row())
    yield writer
    writer.close()


def _store(writer: Writer, what: Row, patience: float = 20.0, grace: float = 0.0) -> int:
    return writer.do(lambda c: put(c, what), patience, grace)


def _count(url: str) -> int:
    with another(url) as connection, connection.begin():
        return int(connection.scalar(sa.select(sa.func.count()).select_from(message)) or 0)


def test_what_is_done_is_committed(writer: Writer, database: str) -> None:
    id_ = _store(writer, row())
    with another(database) as connection, connection.begin():
        assert connection.scalars(sa.select(message.c.id)).all() == [id_]


def test_those_who_wait_share_a_transaction(writer: Writer, database: str) -> None:
    _store(writer, row())
    commits: list[Any] = []
    sa.event.listen(writer.engine, "commit", commits.append)

    with ThreadPoolExecutor(64) as threads:
        ids = list(threads.map(lambda _: _store(writer, row()), range(640)))

    assert len(set(ids)) == 640
    assert _count(database) == 641
    assert len(commits) < 320


@pytest.fixture
def gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there once the first piece is done goes along, however long that took."""
    monkeypatch.setattr("dialplan_sms.outbox.writer._GATHER", 60.0)


@pytest.mark.usefixtures("gathers")
def test_what_comes_while_others_are_stored_goes_along(writer: Writer, database: str) -> None:
    _store(writer, row())
    commits: list[Any] = []
    sa.event.listen(writer.engine, "commit", commits.append)
    late: list[Any] = []

    def work(connection: sa.Connection) -> int:
        late.append(writer.submit(lambda c: put(c, second)))
        return put(connection, first)

    first, second = row(), row()
    ids = {writer.do(work, 20.0), late[0].result(20.0)}
    assert (len(ids), len(commits), _count(database)) == (2, 1, 3)


def test_but_who_was_first_does_not_wait_for_all_who_come(writer: Writer) -> None:
    """Where each takes long and the next is always there, as with limits on a long history."""
    _store(writer, row())
    done: list[int] = []
    at_commit: list[int] = []
    sa.event.listen(writer.engine, "commit", lambda _: at_commit.append(len(done)))

    def work(_: sa.Connection) -> None:
        time.sleep(0.01)
        done.append(1)
        if len(done) < 100:
            writer.submit(work)

    writer.do(work, 20.0)
    assert at_commit[0] < 20


@pytest.mark.usefixtures("gathers")
def test_what_goes_along_and_is_bad_fails_alone(writer: Writer, database: str) -> None:
    _store(writer, row())
    late: list[Any] = []

    def bad(_: sa.Connection) -> int:
        raise OutboxError("bad")

    def work(connection: sa.Connection) -> int:
        if not late:
            late.append(writer.submit(bad))
        return put(connection, first)

    first = row()
    assert writer.do(work, 20.0) > 0
    with pytest.raises(OutboxError):
        late[0].result(20.0)
    assert _count(database) == 2


def test_bad_work_fails_alone(writer: Writer, database: str) -> None:
    _store(writer, row())

    def bad(connection: sa.Connection) -> None:
        connection.exec_driver_sql("INSERT INTO sms_nowhere VALUES (1)")

    with locked(database):  # all get into one transaction
        good = [
            writer.submit(lambda c, e=each: put(c, e))  # type: ignore[misc]
            for each in (row(), row())
        ]
        wrong = writer.submit(bad)
        good.append(writer.submit(lambda c: put(c, row())))

    assert len({each.result(20) for each in good}) == 3
    with pytest.raises(OutboxError, match="sms_nowhere"):
        wrong.result(20)
    assert _count(database) == 4


def test_who_waits_in_vain_withdraws(writer: Writer, database: str) -> None:
    _store(writer, row())
    with locked(database):
        began = time.monotonic()
        with pytest.raises(OutboxError, match="locked"):
            _store(writer, row(), patience=0.3)
        assert time.monotonic() - began < 2

    assert _store(writer, row()) == 2
    assert _count(database) == 2


def test_a_commit_that_does_not_end_is_not_known(writer: Writer, database: str) -> None:
    _store(writer, row())
    go_on = threading.Event()
    sa.event.listen(writer.engine, "commit", lambda _: go_on.wait(20) and None)

    with pytest.raises(NotKnown):
        _store(writer, row(), patience=2.0, grace=0.2)  # by then its commit has begun

    go_on.set()
    _store(writer, row())
    assert _count(database) == 3


def test_the_same_is_never_stored_twice(writer: Writer, database: str) -> None:
    once = row()
    assert _store(writer, once) == _store(writer, once)
    assert _count(database) == 1


def test_closing_finishes_what_waits(database: str) -> None:
    writer = Writer(database)
    futures = [writer.submit(lambda c: put(c, row())) for _ in range(9)]
    writer.close()
    assert len({each.result(0) for each in futures}) == 9


@pytest.mark.slow
def test_a_connection_that_has_gone_stale_is_made_anew(
    on_server: Writer, postgres: Postgres, postgresql: str
) -> None:
    postgres.restart_immediately()
    assert _store(on_server, row(), patience=5.0)
    assert _count(postgresql) == 2


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False])
def test_a_commit_that_is_cut_off_is_done_once(
    on_server: Writer, postgres: Postgres, postgresql: str, before: bool
) -> None:
    cut = _cut_next_commit(on_server, postgres, before)

    assert _store(on_server, row(), patience=20.0)

    assert cut.is_set()
    assert _count(postgresql) == 2


@pytest.mark.slow
def test_a_commit_that_is_cut_off_waits_for_the_server(
    on_server: Writer, postgres: Postgres, postgresql: str
) -> None:
    cut = _cut_next_commit(on_server, postgres, before=False, stop=True)

    once = row()
    future = on_server.submit(lambda c: put(c, once))
    try:
        assert cut.wait(10)
        time.sleep(1.5)
        assert not future.done()
    finally:
        postgres.start()

    assert future.result(20)
    assert _count(postgresql) == 2


@pytest.mark.slow
def test_a_commit_that_is_cut_off_for_good_is_not_known(
    on_server: Writer, postgres: Postgres, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dialplan_sms.outbox.writer._RECONNECT", 1.0)
    _cut_next_commit(on_server, postgres, before=False, stop=True)
    try:
        with pytest.raises(NotKnown, match="refused"):
            _store(on_server, row())
        with pytest.raises(OutboxError, match="refused"):  # this one has not even begun
            _store(on_server, row())
    finally:
        postgres.start()
    assert _store(on_server, row())


@pytest.mark.slow
def test_a_server_that_dies_before_the_commit_has_stored_nothing(
    on_server: Writer, postgres: Postgres, postgresql: str
) -> None:

    def work(connection: sa.Connection) -> int:
        put(connection, row())
        postgres.stop()
        return put(connection, row())

    try:
        with pytest.raises(OutboxError):
            on_server.do(work, 20.0)
    finally:
        postgres.start()
    assert _count(postgresql) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("gathers")
def test_nor_one_that_dies_while_others_come(
    on_server: Writer, postgres: Postgres, postgresql: str
) -> None:
    """Not even doubtful: what went along was not done, so nothing was committed."""
    late: list[Any] = []

    def dies(connection: sa.Connection) -> int:
        postgres.stop()
        return put(connection, row())

    def work(connection: sa.Connection) -> int:
        if not late:
            late.append(on_server.submit(dies))
        return put(connection, row())

    try:
        with pytest.raises(OutboxError):
            on_server.do(work, 20.0)
        with pytest.raises(OutboxError):
            late[0].result(20.0)
    finally:
        postgres.start()
    assert _count(postgresql) == 1


def _cut_next_commit(
    writer: Writer, postgres: Postgres, before: bool, stop: bool = False
) -> threading.Event:
    """Have the server's answer to the next COMMIT lost, *before* or after it was done."""
    cut = threading.Event()

    @sa.event.listens_for(writer.engine, "commit")
    def commit(connection: sa.Connection) -> None:
        if cut.is_set():
            return
        cut.set()
        raw = connection.connection.driver_connection
        assert raw is not None
        backend = raw.info.backend_pid
        if not before:
            raw.commit()
            raw.execute("SELECT 1")  # so that the driver has something to commit again
        if stop:
            postgres.stop()
        else:
            postgres.execute(f"SELECT pg_terminate_backend({backend}, 5000)")

    return cut
