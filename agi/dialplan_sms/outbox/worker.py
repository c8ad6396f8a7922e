"""Sends what is stored: claims requests that are due, and has a carrier make them."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.outbox import gateways, leases, retention, statements
from dialplan_sms.outbox.attempt import Carrier, Watch
from dialplan_sms.outbox.database import OutboxError, explain
from dialplan_sms.outbox.leases import Claimed
from dialplan_sms.outbox.locks import silent_hosts
from dialplan_sms.outbox.owner import Owner
from dialplan_sms.outbox.retry import AT_LEAST_ONCE
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.writer import NotKnown
from dialplan_sms.sms.log import Handled
from dialplan_sms.sms.outcome import Cause, error
from dialplan_sms.sms.service import Route

T = TypeVar("T")

_POLL = 0.5
_REST = 0.02
"""Seconds between two looks at an outbox of which nothing can go: calls that store are heard of
with every commit, and each look costs the writer a turn."""
_RECOVER = 5.0
_TIDY = 60.0
_PATIENCE = 40.0
"""Seconds that the worker waits for the database, which nobody on a channel does."""
_MARGIN = 15.0
"""Seconds that a lease lasts beyond the longest request."""
_GONE = error(Cause.NO_ANSWER, "the worker ended while the request was out: it may have been sent")


class Worker:
    """Sends what *outbox* holds, with so many *threads*.

    *load* gives the configuration or raises ConfigError, *route* the way to a sender's PBX, *note*
    and *log* write lines, *watch* is told of what becomes of stored SMS.
    """

    def __init__(
        self,
        outbox: Outbox,
        load: Callable[[], Config],
        route: Callable[[Sender], Route],
        note: Callable[[str], None],
        log: Callable[[Handled], None],
        threads: int,
        watch: Watch = lambda *_: None,
    ) -> None:
        self._outbox = outbox
        self._load = load
        self._note = note
        self._watch = watch
        self._carrier = Carrier(self, load, route, note, log, watch)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self._owner: Owner | None = None
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._ended = threading.Event()  # nothing may be waited for any more
        self._lock = threading.Lock()
        self._busy: set[tuple[int, float]] = set()  # ids, and until when they are leased
        self._failing: set[int] = set()  # threads whose last use of the outbox failed
        self._told: set[str] = set()
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
        while self._busy and time.monotonic() < end:
            time.sleep(0.05)
        self._ended.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._owner is not None:
            self._owner.close()

    def do(self, work: Callable[[sa.Connection], T]) -> T:
        """Have *work* committed, with patience. Raises OutboxError or NotKnown."""
        return self._outbox.writer.do(work, _PATIENCE, _PATIENCE)

    def broke(self, failure: str) -> None:
        """Say that this thread cannot use the outbox, once for each reason."""
        with self._lock:
            self._failing.add(threading.get_ident())
            new = failure not in self._told
            self._told.add(failure)
        if new:
            self._note(f"stored SMS wait: {failure}")

    def works(self) -> None:
        """Say that the outbox works again, once all have used it with success who could not."""
        with self._lock:
            self._failing.discard(threading.get_ident())
            over = self._told and not self._failing
            if over:
                self._told = set()
        if over:
            self._note("the outbox works again")

    def rest(self, seconds: float) -> bool:
        """Wait; whether the worker has ended, and nothing may be waited for any more."""
        return self._ended.wait(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._news.clear()
            try:
                more = self._turn()
            except (OutboxError, ConfigError, OSError) as failure:
                self._failed(str(failure))
                more = False
            except NotKnown:
                self._failed("a commit of the outbox does not end")
                more = False
            except Exception as failure:  # noqa: BLE001 - what is stored needs this thread
                line = f"the worker broke, {type(failure).__name__}: please report this line"
                self._failed(line)
                more = False
            if not more:
                self._news.wait(_POLL if not self._failing else 2.0)

    def _failed(self, failure: str) -> None:
        if self._owner is not None:
            self._owner.failed()
        self.broke(failure)

    def _turn(self) -> bool:
        """Take what is due and can be carried; whether there may be more."""
        owner = self._own()
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
        config = self._load()
        if config is not self._config:  # new, or read again: what was held may be mended
            self.do(gateways.resume)
            self._config = config
        senders = config.senders.values()
        lease = max(sender.call_timeout for sender in senders) + _MARGIN
        paces = {sender.name: sender.pace for sender in senders}
        batches = {sender.name: sender.batch for sender in senders}
        claimed = self.do(lambda c: leases.claim(c, owner.name, lease, room, paces, batches))
        owner.reached()
        self.works()
        for each in claimed:
            self._carry(each, owner)
        if not claimed:
            self._stopping.wait(_REST)
        return len(claimed) == room

    def _carry(self, claimed: Claimed, owner: Owner) -> None:
        lease = (claimed.id, claimed.lease_until)

        def free(_: "Future[None]") -> None:
            with self._lock:
                self._busy.discard(lease)
            self.wake()

        with self._lock:
            self._busy.add(lease)
        try:
            self._pool.submit(self._carrier, claimed, owner.name).add_done_callback(free)
        except RuntimeError:  # no thread left
            self._busy.discard(lease)
            raise

    def _own(self) -> Owner:
        if self._owner is None:
            try:
                self._owner = Owner(self._outbox.file)
            except OSError as error:
                raise explain(error, self._outbox.writer.engine.url) from None
        return self._owner

    def _recover(self, owner: Owner) -> None:
        """Decide on what workers had under way that are gone."""

        def work(connection: sa.Connection) -> tuple[list[tuple[int, str, str]], set[str]]:
            with self._lock:
                busy = set(self._busy)
            dead = owner.dead(leases.owners(connection))
            decided = []
            for row in leases.lost(connection, owner.name, busy, dead):
                found = senders.get(row.sender)
                again = found is None or found.delivery == AT_LEAST_ONCE
                state = leases.take_back(connection, row.id, _GONE, again)
                decided.append((row.id, row.state, state))
            return decided, silent_hosts(connection)

        senders = self._load().senders
        decided, silent = self.do(work)
        owner.reached()
        for id_, before, after in decided:
            self._note(f"SMS {id_} was {before} by a worker that is gone, and is {after} now")
            self._watch(after)
        for name in silent - self._silent:
            self._note(
                f"{name} keeps the outbox locked and does nothing: SMS may wait until the database"
                " ends its connection, or somebody ends it"
            )
        for name in self._silent - silent:
            self._note(f"{name} does not keep the outbox locked any more, this host goes on")
        self._silent = silent

    def _tidy(self) -> None:
        """What is done once a minute."""
        config = self._load()
        longest = {each.name: each.pace * each.batch for each in config.senders.values()}
        self.do(lambda c: statements.mend_clock(c, longest))
        self.do(lambda c: statements.forget_wait(c, 600.0))
        for sender in config.senders.values():
            self.do(partial(_forget, sender=sender))
        while (
            self.do(lambda c: retention.purge(c, config.retention)) and not self._stopping.is_set()
        ):
            pass


def _forget(connection: sa.Connection, sender: Sender) -> None:
    retention.forget_texts(connection, sender.name, sender.keep_text)
