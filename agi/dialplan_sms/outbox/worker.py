"""Sends what is stored: leases requests that are due, and has them made in threads."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

import sqlalchemy as sa

from dialplan_sms.config.config import Config
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.outbox import gateways, leases, transitions
from dialplan_sms.outbox.attempt import WorkerOutbox, WorkerService, carry
from dialplan_sms.outbox.database import OutboxError, explain, sqlite_file
from dialplan_sms.outbox.history import retention
from dialplan_sms.outbox.lease_owner import LeaseOwner
from dialplan_sms.outbox.leases import Lease
from dialplan_sms.outbox.retry import AT_LEAST_ONCE
from dialplan_sms.outbox.schema import State, message
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.writer import NotKnown
from dialplan_sms.sms.outcome import Cause, error, safe_line

_POLL = 0.5
_REST = 0.02
"""Seconds between two looks at an outbox of which nothing can go: calls that store are heard of
with every commit, and each look costs the writer a turn."""
_RECOVER, _TIDY = 5.0, 60.0  # seconds between two times
_GIVEN_UP = 600.0  # seconds after which a call that has not said how it ended never will
_MARGIN = 15.0  # seconds that a lease lasts beyond the longest request
_SILENT = 3.0  # seconds for which a host that is well never leaves a transaction alone
_SILENT_HOSTS = sa.text(
    "SELECT application_name FROM pg_stat_activity AS host"
    " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
    " AND extract(epoch FROM clock_timestamp() - state_change) > :seconds"
    " AND EXISTS (SELECT FROM pg_locks AS held WHERE held.pid = host.pid AND held.granted"
    " AND held.relation = to_regclass(:table) AND held.mode = :mode)"
)
_GONE = error(Cause.NO_ANSWER, "the worker ended while the request was out: it may have been sent")


class Worker:
    """Sends what *outbox* holds for *service*, with so many *threads*."""

    def __init__(self, outbox: Outbox, service: WorkerService, threads: int) -> None:
        self._url = outbox.writer.engine.url
        self._service = service
        self._access = WorkerOutbox(outbox.writer, service.note)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self._owner: LeaseOwner | None = None
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._busy: dict[tuple[int, float], Future[None]] = {}  # by id, and until when it is leased
        self._silent: set[str] = set()
        self._config: Config | None = None
        self._recovered = self._tidied = float("-inf")
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once: something was stored."""
        self._news.set()

    def halt(self) -> None:
        """Take nothing more."""
        self._stopping.set()
        self._news.set()

    def stop(self, timeout: float) -> None:
        """Take nothing more; requests under way may end within *timeout* seconds."""
        self.halt()
        end = time.monotonic() + timeout
        self._thread.join(timeout)
        wait(list(self._busy.values()), max(0.0, end - time.monotonic()))
        self._access.ended.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._owner is not None:
            self._owner.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._news.clear()
            try:
                more = self._turn()
            except Exception as failure:  # noqa: BLE001 - what is stored needs this thread
                if self._owner is not None:
                    self._owner.failed()
                self._access.failed(self._explain(failure))
                more = False
            if not more:
                self._news.wait(2.0 if self._access.fails else _POLL)

    def _explain(self, failure: Exception) -> str:
        if isinstance(failure, OSError):  # the owner's file lies beside the database
            failure = explain(failure, self._url)
        if isinstance(failure, OutboxError | NotKnown | ConfigError):
            return str(failure)
        return f"the worker broke, {type(failure).__name__}: please report this line"

    def _turn(self) -> bool:
        """Take what is due and can be carried; whether there may be more."""
        owner = self._owner = self._owner or LeaseOwner(sqlite_file(self._url))
        now = time.monotonic()
        if now - self._recovered >= _RECOVER:
            self._recovered = now
            self._recover(owner)
        if now - self._tidied >= _TIDY:
            self._tidied = now
            self._tidy()
        room = self._threads - len(self._busy)
        if room <= 0:
            return False
        config = self._service.load()
        if config is not self._config:  # new, or read again: what was held may be mended
            self._access.do(gateways.resume)
            self._config = config
        seconds = max(each.call_timeout for each in config.senders.values()) + _MARGIN
        leased = self._access.do(
            lambda c: leases.claim(c, owner.name, seconds, room, config.senders)
        )
        owner.reached()
        self._access.worked()
        for each in leased:
            self._carry(each)
        if not leased:
            self._stopping.wait(_REST)
        return len(leased) == room

    def _carry(self, lease: Lease) -> None:
        def free(_: "Future[None]") -> None:
            del self._busy[lease.id, lease.until]
            self.wake()

        future = self._pool.submit(carry, lease, self._service, self._access)
        self._busy[lease.id, lease.until] = future
        future.add_done_callback(free)

    def _recover(self, owner: LeaseOwner) -> None:
        """Decide on what workers had under way that are gone."""

        def work(connection: sa.Connection) -> tuple[list[tuple[int, str, State]], set[str]]:
            busy = set(self._busy)
            dead = owner.dead(leases.owners(connection))
            decided: list[tuple[int, str, State]] = []
            for row in leases.lost(connection, owner.name, busy, dead):
                sender = senders.get(row.sender)
                again = sender is None or sender.delivery == AT_LEAST_ONCE
                if state := leases.take_back(connection, row.id, _GONE, again):
                    decided.append((row.id, row.state, state))
            return decided, _silent_hosts(connection)

        senders = self._service.load().senders
        decided, silent = self._access.do(work)
        owner.reached()
        for id_, before, after in decided:
            self._service.note(
                f"SMS {id_} was {before} by a worker that is gone, and is {after} now"
            )
            self._service.worked(after)
        for name in silent - self._silent:
            self._service.note(
                f"{name} keeps the outbox locked and does nothing: SMS may wait until the database"
                " ends its connection, or somebody ends it"
            )
        for name in self._silent - silent:
            self._service.note(
                f"{name} does not keep the outbox locked any more, this host goes on"
            )
        self._silent = silent

    def _tidy(self) -> None:
        """What is done once a minute."""
        config = self._service.load()
        senders = config.senders.values()
        self._access.do(lambda c: gateways.mend_clock(c, senders))
        self._access.do(lambda c: transitions.give_up_calls(c, _GIVEN_UP))
        for each in senders:
            self._access.do(partial(retention.forget_texts, sender=each.name, keep=each.keep_text))
        while self._access.do(lambda c: retention.purge(c, config.retention)):
            if self._stopping.is_set():
                return


def _silent_hosts(connection: sa.Connection) -> set[str]:
    """Who holds a PostgreSQL outbox in a transaction that it does not go on with."""
    if connection.dialect.name != "postgresql":
        return set()
    found = connection.execute(
        _SILENT_HOSTS, {"seconds": _SILENT, "table": message.name, "mode": "RowExclusiveLock"}
    )
    return {safe_line(name) or "another program" for name in found.scalars()}
