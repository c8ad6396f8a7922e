"""Sends what is stored: claims requests that are due, and has a carrier make them."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from dialplan_sms import forgetting, gateways, leases, statements
from dialplan_sms.carrier import Carrier, Watch
from dialplan_sms.conffile import ConfigError
from dialplan_sms.config import Config, Sender
from dialplan_sms.database import OutboxError, explain
from dialplan_sms.delivery import AT_LEAST_ONCE
from dialplan_sms.log import Handled
from dialplan_sms.outbox import Outbox
from dialplan_sms.outcome import Cause, error
from dialplan_sms.owner import Owner
from dialplan_sms.service import Route
from dialplan_sms.writer import NotKnown

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
        self._busy = 0
        self._broken = ""
        self._config: Config | None = None
        self._doubt = False
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
        try:
            return self._outbox.writer.do(work, _PATIENCE, _PATIENCE)
        except NotKnown:
            self._doubt = True
            raise

    def broke(self, failure: str) -> None:
        """Say that the outbox cannot be used, once for each reason."""
        if failure != self._broken:
            self._broken = failure
            self._note(f"stored SMS wait: {failure}")

    def rest(self, seconds: float) -> bool:
        """Wait; whether the worker has ended, and nothing may be waited for any more."""
        return self._ended.wait(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._news.clear()
            try:
                more = self._turn()
                self._mended()
            except (OutboxError, ConfigError, OSError) as failure:
                self.broke(str(failure))
                more = False
            except NotKnown:
                self.broke("a commit of the outbox does not end")
                more = False
            except Exception as failure:  # noqa: BLE001 - what is stored needs this thread
                self.broke(f"the worker broke, {type(failure).__name__}: please report this line")
                more = False
            if not more:
                self._news.wait(_POLL if not self._broken else 2.0)

    def _turn(self) -> bool:
        """Take what is due and can be carried; whether there may be more."""
        if self._doubt and not self._let_go():
            return False
        owner = self._own()
        now = time.monotonic()
        if now - self._recovered >= _RECOVER:
            self._recovered = now
            self._recover(owner)
        if now - self._tidied >= _TIDY:
            self._tidied = now
            self._tidy()
        room = self._threads - self._busy
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
        for each in claimed:
            with self._lock:
                self._busy += 1
            self._pool.submit(self._carrier, each, owner.name).add_done_callback(self._free)
        if not claimed:
            self._stopping.wait(_REST)
        return len(claimed) == room

    def _let_go(self) -> bool:
        """After a commit that nobody knows of: give up all leases once nothing is under way.

        One might be ours without our knowing, and would wait for as long as we live.
        """
        if self._busy:
            return False
        if self._owner is not None:
            self._owner.close()
            self._owner = None
        self._doubt = False
        self._recovered = float("-inf")
        return True

    def _own(self) -> Owner:
        if self._owner is None:
            try:
                self._owner = Owner(self._outbox.file)
            except OSError as error:
                raise explain(error, self._outbox.writer.engine.url) from None
        return self._owner

    def _free(self, _: "Future[None]") -> None:
        with self._lock:
            self._busy -= 1
        self.wake()

    def _recover(self, owner: Owner) -> None:
        """Decide on what workers had under way that are gone."""

        def work(connection: sa.Connection) -> list[tuple[int, str, str]]:
            held = leases.owners(connection)
            dead = owner.dead(held)
            decided = []
            for row in leases.lost(connection, dead) if dead != [] else []:
                found = senders.get(row.sender)
                again = found is None or found.delivery == AT_LEAST_ONCE
                state = leases.take_back(connection, row.id, _GONE, again)
                decided.append((row.id, row.state, state))
            return decided

        senders = self._load().senders
        for id_, before, after in self.do(work):
            self._note(f"SMS {id_} was {before} by a worker that is gone, and is {after} now")
            self._watch(after)

    def _tidy(self) -> None:
        """What is done once a minute."""
        config = self._load()
        self.do(statements.mend_clock)
        self.do(lambda c: statements.forget_wait(c, 600.0))
        for sender in config.senders.values():
            self.do(partial(_forget, sender=sender))
        while (
            self.do(lambda c: forgetting.purge(c, config.retention)) and not self._stopping.is_set()
        ):
            pass

    def _mended(self) -> None:
        if self._broken:
            self._broken = ""
            self._note("the outbox works again")


def _forget(connection: sa.Connection, sender: Sender) -> None:
    forgetting.forget_texts(connection, sender.name, sender.keep_text)
