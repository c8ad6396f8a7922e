import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from dialplan_sms.outbox import store as outbox
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.work import Together, Work, do
from dialplan_sms.outbox.writer import NotKnown, Writer
from tests.postgres import Postgres
from tests.unit.stored import Store, insert, locked, new, opened, rows


@pytest.fixture
def commits(store: Store) -> list[Any]:
    """Those that come; one was stored before."""
    store.add()
    commits: list[Any] = []
    sa.event.listen(store.writer.engine, "commit", commits.append)
    return commits


def bad(connection: sa.Connection) -> int:
    connection.exec_driver_sql("INSERT INTO sms_nowhere VALUES (1)")
    raise AssertionError("there is such a table")


def test_the_like_goes_with_the_first_of_its_kind_and_the_rest_in_order() -> None:
    said: list[object] = []

    def alone(what: str) -> Work[str]:
        return lambda _: said.append(what) or what  # type: ignore[func-returns-value]

    def many(_: sa.Connection, items: Sequence[int]) -> list[int]:
        said.append(items)
        return [-each for each in items]

    together: list[Work[object]] = [Together(many, 1), Together(many, 2)]
    works = [alone("a"), together[0], alone("b"), together[1], alone("c")]
    with sa.create_engine("sqlite://").connect() as connection:
        assert do(connection, works) == ["a", -1, "b", -2, "c"]
    assert said == ["a", [1, 2], "b", "c"]


def test_those_who_wait_share_a_transaction(
    store: Store, database: str, commits: list[Any]
) -> None:
    with ThreadPoolExecutor(64) as threads:
        ids = list(threads.map(lambda _: store.add(), range(640)))

    assert len(set(ids)) == 640
    assert len(rows(database)) == 641
    assert len(commits) < 320


@pytest.fixture
def gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there once the first piece is done goes along, however long that took."""
    monkeypatch.setattr("dialplan_sms.outbox.writer._GATHER", 60.0)


def with_another(writer: Writer, other: Work[int]) -> tuple[Work[int], list["Future[int]"]]:
    """Work that stores one, while which comes the *other*; and what becomes of that."""
    late: list[Future[int]] = []
    one = new()

    def work(connection: sa.Connection) -> int:
        if not late:
            late.append(writer.submit(other))
        return outbox.insert(connection, [one])[0]

    return work, late


@pytest.mark.usefixtures("gathers")
def test_what_comes_while_others_are_stored_goes_along(
    store: Store, database: str, commits: list[Any]
) -> None:
    work, late = with_another(store.writer, insert)
    ids = {store.do(work), late[0].result(20.0)}
    assert (len(ids), len(commits), len(rows(database))) == (2, 1, 3)


@pytest.mark.usefixtures("gathers")
def test_what_goes_along_and_is_bad_fails_alone(store: Store, database: str) -> None:
    work, late = with_another(store.writer, bad)
    assert store.do(work) > 0
    with pytest.raises(OutboxError):
        late[0].result(20.0)
    assert len(rows(database)) == 1


def test_but_who_was_first_does_not_wait_for_all_who_come(store: Store) -> None:
    """Where each takes long and the next is always there, as with limits on a long history."""
    store.add()
    done: list[int] = []
    at_commit: list[int] = []
    sa.event.listen(store.writer.engine, "commit", lambda _: at_commit.append(len(done)))

    def work(_: sa.Connection) -> None:
        time.sleep(0.01)
        done.append(1)
        if len(done) < 100:
            store.writer.submit(work)

    store.do(work)
    assert at_commit[0] < 20


def test_what_is_bad_takes_neither_its_kind_nor_others_along(store: Store, database: str) -> None:
    store.add()
    submit = store.writer.submit
    with locked(database):  # all get into one transaction
        good = [submit(Together(outbox.insert, new())) for _ in range(3)]
        null = submit(Together(outbox.insert, new(call=None)))
        wrong = submit(bad)
        good.append(submit(insert))
    assert len({each.result(20) for each in good}) == 4
    with pytest.raises(OutboxError, match=r"sms_message\.call|null value"):
        null.result(20)
    with pytest.raises(OutboxError, match="sms_nowhere"):
        wrong.result(20)
    assert len(rows(database)) == 5


def test_closing_finishes_what_waits(database: str) -> None:
    writer = Writer(database)
    futures = [writer.submit(insert) for _ in range(9)]
    writer.close()
    assert len({each.result(0) for each in futures}) == 9


@pytest.mark.slow
class TestAServer:
    """One that goes, and comes again at the latest with the end of the test."""

    @pytest.fixture
    def stored(self, postgresql: str, postgres: Postgres) -> Iterator[Store]:
        """Has stored one already."""
        with opened(postgresql) as store:
            store.add()
            yield store
            postgres.start()

    def test_a_connection_that_has_gone_stale_is_made_anew(
        self, stored: Store, postgres: Postgres, postgresql: str
    ) -> None:
        postgres.restart_immediately()
        assert stored.add()
        assert len(rows(postgresql)) == 2

    @pytest.mark.parametrize("before", [True, False])
    def test_a_commit_that_is_cut_off_is_done_once(
        self, stored: Store, postgres: Postgres, postgresql: str, before: bool
    ) -> None:
        cut = cut_next_commit(stored.writer, postgres, before)
        assert stored.add()
        assert cut.is_set()
        assert len(rows(postgresql)) == 2

    def test_a_commit_that_is_cut_off_waits_for_the_server(
        self, stored: Store, postgres: Postgres, postgresql: str
    ) -> None:
        cut = cut_next_commit(stored.writer, postgres, before=False, stop=True)
        future = stored.writer.submit(Together(outbox.insert, new()))
        assert cut.wait(10)
        time.sleep(1.5)
        assert not future.done()
        postgres.start()
        assert future.result(20)
        assert len(rows(postgresql)) == 2

    def test_a_commit_that_is_cut_off_for_good_is_not_known(
        self, stored: Store, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dialplan_sms.outbox.writer._RECONNECT", 1.0)
        cut_next_commit(stored.writer, postgres, before=False, stop=True)
        with pytest.raises(NotKnown, match="refused"):
            stored.add()
        with pytest.raises(OutboxError, match="refused"):  # this one has not even begun
            stored.add()
        postgres.start()
        assert stored.add()

    def test_that_dies_before_the_commit_has_stored_nothing(
        self, stored: Store, postgres: Postgres, postgresql: str
    ) -> None:
        def work(connection: sa.Connection) -> int:
            insert(connection)
            postgres.stop()
            return insert(connection)

        with pytest.raises(OutboxError):
            stored.do(work)
        postgres.start()
        assert len(rows(postgresql)) == 1

    @pytest.mark.usefixtures("gathers")
    def test_nor_one_that_dies_while_others_come(
        self, stored: Store, postgres: Postgres, postgresql: str
    ) -> None:
        """Not even doubtful: what went along was not done, so nothing was committed."""

        def dies(connection: sa.Connection) -> int:
            postgres.stop()
            return insert(connection)

        work, late = with_another(stored.writer, dies)
        with pytest.raises(OutboxError):
            stored.do(work)
        with pytest.raises(OutboxError):
            late[0].result(20.0)
        postgres.start()
        assert len(rows(postgresql)) == 1


def cut_next_commit(
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
