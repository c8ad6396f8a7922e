"""Sends what is stored: leases requests that are due, and has them made in threads."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import sqlalchemy as sa

from dialplan_sms.config.config import Config
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.outbox import gateways, lease_owner, leases, transitions
from dialplan_sms.outbox.attempt import PATIENCE, WorkerService, carry
from dialplan_sms.outbox.database import OutboxError, explain, sqlite_file
from dialplan_sms.outbox.history import retention
from dialplan_sms.outbox.lease_owner import LeaseOwner
from dialplan_sms.outbox.leases import Ended
from dialplan_sms.outbox.retry import AT_LEAST_ONCE
from dialplan_sms.outbox.schema import State, message
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.work import T, Together, Work
from dialplan_sms.outbox.writer import NotKnown
from dialplan_sms.sms.outcome import Cause, error, safe_line
from dialplan_sms.sms.sms import Handled

_POLL, _LATER = 0.5, 2.0  # seconds between two looks; if the outbox does not work
_GATHER = 0.004  # seconds for which outcomes gather while every thread has a request
_REST = 0.02
"""Seconds between two looks if nothing can go: each costs the writer a turn."""
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
    """Sends what *outbox* holds for *service*, with so many *threads*.

    One more thread leases what is due, and notes how requests have ended: many with one commit.
    """

    def __init__(self, outbox: Outbox, service: WorkerService, threads: int) -> None:
        self._writer = outbox.writer
        self._service = service
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self._owner: LeaseOwner | None = None
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._end = inf  # of requests under way, on the monotonic clock
        # By id, and until when it is leased; it stays until its end is on the disk.
        self._busy: dict[tuple[int, float], Future[tuple[Ended, Handled]]] = {}
        self._silent: set[str] = set()
        self._config: Config | None = None
        self._recovered = self._tidied = float("-inf")
        self._noted: set[str] = set()  # why the outbox does not work
        self._unsure = False  # whether a commit that failed may have been done
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
        self._end = time.monotonic() + timeout
        self.halt()
        self._thread.join(timeout)
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._owner is not None:
            self._owner.close()

    def _run(self) -> None:
        while not self._stopping.is_set() or (self._busy and time.monotonic() < self._end):
            self._news.clear()
            try:
                more = self._turn()
                self._worked()
            except Exception as failure:  # noqa: BLE001 - what is stored needs this thread
                self._failed(failure)
                more = False
            if not more:
                self._news.wait(_LATER if self._noted else _POLL)

    def _worked(self) -> None:
        if self._owner is not None:
            self._owner.reached()
        self._unsure = False
        if self._noted:
            self._noted.clear()
            self._service.note("the outbox works again")

    def _failed(self, failure: Exception) -> None:
        """Note that the outbox does not work, once for each reason."""
        if self._owner is not None:
            self._owner.failed()
        if isinstance(failure, OSError):  # the owner's file lies beside the database
            failure = explain(failure, self._writer.engine.url)
        self._unsure |= isinstance(failure, NotKnown)
        why = f"the worker broke, {type(failure).__name__}: please report this line"
        if isinstance(failure, OutboxError | NotKnown | ConfigError):
            why = str(failure)
        if why not in self._noted:
            self._noted.add(why)
            self._service.note(f"stored SMS wait: {why}")

    def _do(self, work: Work[T]) -> T:
        """Have *work* committed. Raises OutboxError or NotKnown."""
        return self._writer.do(work, PATIENCE, PATIENCE)

    def _turn(self) -> bool:
        """Note what has ended, and take what is due and can be carried; whether to look again."""
        owner = self._owner = self._owner or LeaseOwner(sqlite_file(self._writer.engine.url))
        now = time.monotonic()
        if now - self._recovered >= _RECOVER:
            self._recovered = now
            self._recover(owner)
        if now - self._tidied >= _TIDY:
            self._tidied = now
            self._tidy()
        config = self._service.load()
        if config is not self._config:  # new, or read again: what was held may be mended
            self._do(gateways.resume)
            self._config = config
        if self._going() >= self._threads:
            self._stopping.wait(_GATHER)
        ends: list[tuple[Ended, Handled]] = []
        for key in [key for key, future in self._busy.items() if future.done()]:
            if broken := self._busy[key].exception():  # _recover() decides on that SMS
                del self._busy[key]
                raise broken
            ends.append(self._busy[key].result())
        # As many may wait for a thread as have ended since: none if the PBX answers no more.
        room = self._threads + min(len(ends), self._threads) - self._going()
        takes = room > 0 and not self._stopping.is_set()
        # It may wait for another before; and each may ask a sender, and then the backup of that.
        asked = 4 if any(each.backup for each in config.senders.values()) else 2
        seconds = asked * max(each.call_timeout for each in config.senders.values()) + _MARGIN
        works: list[Work[Any]] = [Together(leases.finish, ended) for ended, _ in ends]
        if takes:
            works.append(lambda c: leases.claim(c, owner.name, seconds, room, config.senders))
        found = self._writer.submit_all(works, PATIENCE)
        until = time.monotonic() + PATIENCE
        failures: list[Exception] = []
        for (ended, handled), future in zip(ends, found, strict=False):
            try:
                state, expired = self._writer.result(future, until - time.monotonic(), PATIENCE)
            except (OutboxError, NotKnown) as failure:  # it stays "sending" until it is noted
                failures.append(failure)
                continue
            del self._busy[ended.lease.id, ended.lease.until]
            self._report(ended, handled, state, expired)
        leased = self._writer.result(found[-1], until - time.monotonic(), PATIENCE) if takes else []
        for each in leased:
            carried = self._pool.submit(carry, each, self._service, self._writer)
            self._busy[each.id, each.until] = carried
            carried.add_done_callback(lambda _: self._news.set())
        if failures:
            raise failures[0]
        if takes and not leased:
            self._stopping.wait(_REST)
        return bool(leased) and len(leased) == room

    def _going(self) -> int:
        """How many requests have not ended."""
        return sum(not future.done() for future in self._busy.values())

    def _report(self, ended: Ended, handled: Handled, state: str | None, expired: int) -> None:
        """Log and count what was noted."""
        if expired:
            self._service.worked(State.EXPIRED, expired)
        if state is None and not self._unsure:
            return  # the lease was another's by then, who has decided
        outcome = handled.outcome
        for_log = f"{outcome.for_log or outcome.reason} - {state or 'recorded'}"
        handled = replace(handled, outcome=replace(outcome, for_log=for_log))
        self._service.worked(state or "recorded", 1, handled)
        for of, stops, _ in ended.stops:
            if stops not in ("", Cause.UNREACHABLE):
                backup = ", or go by its backup," * (ended.lease.may_change and not ended.lease.via)
                self._service.note(
                    f"sender {of} is held, {stops}: all its SMS wait{backup} until that is mended,"
                    " the next try is in 5 minutes"
                )

    def _recover(self, owner: LeaseOwner) -> None:
        """Decide on what workers had under way that are gone."""

        def work(connection: sa.Connection) -> tuple[list[tuple[int, str, State]], set[str]]:
            dead = owner.dead(lease_owner.owners(connection))
            decided: list[tuple[int, str, State]] = []
            for row in lease_owner.lost(connection, owner.name, self._busy, dead):
                sender = senders.get(row.sender)
                again = sender is None or sender.delivery == AT_LEAST_ONCE
                state = lease_owner.take_back(connection, row.id, _GONE, again)
                decided.append((row.id, row.state, state))
            return decided, _silent_hosts(connection)

        senders = self._service.load().senders
        decided, silent = self._do(work)
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
        self._do(lambda c: gateways.mend_clock(c, senders))
        self._do(lambda c: transitions.give_up_calls(c, _GIVEN_UP))
        for each in senders:
            self._do(partial(retention.forget_texts, sender=each.name, keep=each.keep_text))
        while self._do(lambda c: retention.purge(c, config.retention)):
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
