"""One request of a worker: from its lease, by its way to the PBX, to its record."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Protocol, TypeVar

import sqlalchemy as sa

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host import shortage
from dialplan_sms.outbox import leases
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.leases import Ended, Lease
from dialplan_sms.outbox.retry import AT_LEAST_ONCE, decide
from dialplan_sms.outbox.schema import State
from dialplan_sms.outbox.work import Together
from dialplan_sms.outbox.writer import NotKnown, Writer
from dialplan_sms.sms import log
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, error
from dialplan_sms.sms.service import Route
from dialplan_sms.sms.sms import Handled

T = TypeVar("T")
_PATIENCE = 40.0  # seconds that a worker waits for the database, which no channel does


class WorkerService(Protocol):
    """What a worker needs of the service that it works for; ``service.Service`` is one."""

    def load(self) -> Config:
        """The configuration. Raises ConfigError."""

    def route(self, sender: Sender, /) -> Route:
        """The way to a sender's PBX. Raises ConfigError."""

    def note(self, line: str, /) -> None:
        """Write a line to the log."""

    def worked(self, state: str, count: int = 1, handled: Handled | None = None, /) -> None:
        """*count* stored SMS are in *state* now, after the request that *handled* describes."""


class WorkerOutbox:
    """A worker's use of the outbox: with patience, and noted once if it does not work."""

    def __init__(self, writer: Writer, note: Callable[[str], None]) -> None:
        self._writer = writer
        self._note = note
        self._lock = threading.Lock()
        self._failing: set[int] = set()  # threads whose last use of the outbox failed
        self._noted: set[str] = set()
        self.ended = threading.Event()  # set once nothing may be waited for any more

    def do(self, work: Callable[[sa.Connection], T]) -> T:
        """Have *work* committed. Raises OutboxError or NotKnown."""
        return self._writer.do(work, _PATIENCE, _PATIENCE)

    def failed(self, failure: str) -> None:
        """Note that this thread cannot use the outbox, once for each reason."""
        with self._lock:
            self._failing.add(threading.get_ident())
            if failure not in self._noted:
                self._noted.add(failure)
                self._note(f"stored SMS wait: {failure}")

    def worked(self) -> None:
        """Note that the outbox works again, once all threads have used it that could not."""
        with self._lock:
            self._failing.discard(threading.get_ident())
            if self._noted and not self._failing:
                self._noted.clear()
                self._note("the outbox works again")

    @property
    def fails(self) -> bool:
        """Whether a thread could not use the outbox the last time."""
        return bool(self._failing)


def carry(lease: Lease, service: WorkerService, access: WorkerOutbox) -> None:
    """Make the request that was leased, and record how it ended."""
    began = time.monotonic()
    sender = None
    try:
        sender = service.load().senders.get(lease.sender)
        outcome = _send(lease, sender, service, access)
    except ConfigError as failure:
        outcome = error(Cause.CONFIG, str(failure))
    except Refused as refused:  # before it went out
        outcome = refused.outcome
    except Exception as failure:  # noqa: BLE001 - a stored SMS must get its record
        broke = f"dialplan-sms broke, {type(failure).__name__}: please report this"
        outcome = error(Cause.INTERNAL, shortage(failure) or broke)
    delivery = sender.delivery if sender else AT_LEAST_ONCE
    over = sender is not None and lease.age > sender.max_age
    verdict = decide(outcome, lease.sms.numbers, delivery, over)
    noted = replace(outcome, reason=log.harmless(outcome, lease.sms))
    ended = Ended(
        lease, noted, verdict, random.random(), bool(sender and sender.keep_text),
        sender.max_age if sender else inf,
    )  # fmt: skip
    state, expired = _record(ended, access)
    if expired:
        service.worked(State.EXPIRED, expired)
    if state is None:
        return
    for_log = f"{outcome.for_log or outcome.reason} - {state}"
    outcome = replace(outcome, id=str(lease.id), for_log=for_log)
    took = time.monotonic() - began
    handled = Handled(lease.sms.call, lease.sender, lease.sms, outcome, took)
    service.worked(state, 1, handled)
    if verdict.stops not in ("", Cause.UNREACHABLE):
        service.note(
            f"sender {lease.sender} is held, {verdict.stops}: all its SMS wait until that is"
            " mended, the next try is in 5 minutes"
        )


def _send(
    lease: Lease, sender: Sender | None, service: WorkerService, access: WorkerOutbox
) -> Outcome:
    def going_out() -> None:
        """Note that the request goes out now. Raises Refused if that is not noted."""
        try:
            mine = access.do(Together(leases.begin_sending, lease))
        except (OutboxError, NotKnown) as failure:
            raise Refused(Cause.INTERNAL, str(failure)) from None
        if not mine:
            raise Refused(Cause.INTERNAL, "the lease is another's")

    if sender is None:
        reason = f"sms.conf has no section {lease.sender} any more"
        return error(Cause.UNKNOWN_SENDER, reason)
    until = time.monotonic() + sender.call_timeout
    return service.route(sender).send(lease.sms, going_out, until)


def _record(ended: Ended, access: WorkerOutbox) -> tuple[str | None, int]:
    """Note it, however long the database is away: the message's state, how many others expired.

    The state is None if somebody else has decided, or the worker ends before.
    """
    unsure = False
    while True:
        try:
            state, expired = access.do(Together(leases.finish, ended))
            break
        except (OutboxError, NotKnown) as failure:
            unsure = unsure or isinstance(failure, NotKnown)
            access.failed(str(failure))
        # Until then it stays "sending", and what follows from that is decided later.
        if access.ended.wait(1.0):
            return None, 0
    access.worked()
    return state or ("recorded" if unsure else None), expired
