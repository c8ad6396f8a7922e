"""A PostgreSQL outbox with a standby outlives its host."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.store import PATIENCE, Outbox, insert
from dialplan_sms.outbox.work import Together
from dialplan_sms.sms.sms import Sms
from tests.postgres import Postgres, url_of, with_standby
from tests.unit.stored import NUMBERS, SENDER, new, opened
from tests.waiting import until

pytestmark = pytest.mark.slow
Servers = tuple[Postgres, Postgres]
WAITS = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture
def servers() -> Iterator[Servers]:
    with with_standby() as servers:
        yield servers


def count(server: Postgres) -> int:
    ((found,),) = server.execute("SELECT count(*) FROM sms_message")
    return int(found)


@pytest.mark.parametrize("order", [1, -1])
def test_goes_on_once_it_is_promoted(servers: Servers, order: int) -> None:
    primary, standby = servers
    ports = [primary.port, standby.port][::order]
    with opened(url_of(*ports)) as store:
        store.add()
        primary.crash()
        says = f"postgres on 127.0.0.1:{ports[0]} or 127.0.0.1:{ports[1]} cannot be used, "
        with pytest.raises(OutboxError, match=says):
            store.add()
        standby.promote()
        store.add()
    assert count(standby) == 2


def test_a_commit_that_is_cut_off_waits_for_the_standby(servers: Servers) -> None:
    """Or an SMS could be QUEUED that is lost with the primary."""
    primary, standby = servers
    with opened(url_of(primary.port, standby.port)) as store:
        store.add()
        standby.stop()
        future = store.writer.submit(Together(insert, new()))
        until(lambda: primary.execute(f"SELECT 1 {WAITS}"))
        ((cut_off, _),) = primary.execute(f"SELECT pid, pg_terminate_backend(pid) {WAITS}")
        until(lambda: primary.execute(f"SELECT 1 {WAITS} AND pid <> {cut_off}") or future.done())
        assert count(primary) == 2
        assert not future.done()
        standby.start()
        assert future.result(20)
        primary.crash()
    assert count(standby) == 2


def test_nor_does_its_key_make_it_queued_before(servers: Servers) -> None:
    primary, standby = servers
    sms = Sms(NUMBERS[:1], "hello", mode="queue", key="fire")
    call, again = (Outbox(url_of(primary.port, standby.port)) for _ in range(2))
    with closing(call), closing(again), ThreadPoolExecutor() as pool:
        assert again.accept(replace(sms, key=""), SENDER).status == "QUEUED"
        standby.stop()
        cut_off = pool.submit(call.accept, sms, SENDER)
        until(lambda: primary.execute(f"SELECT pg_terminate_backend(pid) {WAITS}"))
        until(lambda: count(primary) == 2)
        assert again.accept(sms, SENDER).status == "ERROR"
        standby.start()
        assert cut_off.result(20).status in ("QUEUED", "ERROR")
        until(lambda: again.accept(sms, SENDER).status == "QUEUED")
    assert count(standby) == 2


def test_a_primary_that_takes_no_more_writes_is_left(servers: Servers) -> None:
    primary, standby = servers
    with opened(url_of(primary.port, standby.port)) as store:
        store.add()
        primary.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        primary.execute("SELECT pg_reload_conf()")
        until(lambda: primary.execute("SHOW default_transaction_read_only") == [("on",)])
        standby.promote()
        store.add()
    assert count(standby) == 2


def test_a_host_that_says_nothing_is_passed_while_a_call_waits(postgres: Postgres) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        with opened(url_of(silent.getsockname()[1], postgres.port)) as store:
            seven = store.writer.do(lambda c: c.exec_driver_sql("SELECT 7").scalar(), PATIENCE)
            assert seven == 7
