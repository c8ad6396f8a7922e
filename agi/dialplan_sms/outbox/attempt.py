"""One request of a worker: from its lease, by its way to the PBX, to what is to be recorded."""

import random
import time
from dataclasses import replace
from math import inf
from typing import Protocol

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.outbox import leases
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.leases import Ended, Lease
from dialplan_sms.outbox.retry import AT_LEAST_ONCE, decide
from dialplan_sms.outbox.work import Together
from dialplan_sms.outbox.writer import NotKnown, Writer
from dialplan_sms.sms import log
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, error, failed
from dialplan_sms.sms.service import Route
from dialplan_sms.sms.sms import Handled

PATIENCE = 40.0  # seconds that a worker waits for the database, which no channel does


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


def carry(lease: Lease, service: WorkerService, writer: Writer) -> tuple[Ended, Handled]:
    """Make the request that was leased: what to record of it, and what to log then."""
    began = time.monotonic()
    sender = None
    try:
        sender = service.load().senders.get(lease.sender)
        outcome = _send(lease, sender, service, writer)
    except Exception as failure:  # noqa: BLE001 - a stored SMS must get its record
        outcome = failed(failure)
    delivery = sender.delivery if sender else AT_LEAST_ONCE
    over = sender is not None and lease.age > sender.max_age
    verdict = decide(outcome, lease.sms.numbers, delivery, over)
    noted = replace(outcome, reason=log.harmless(outcome, lease.sms))
    ended = Ended(
        lease, noted, verdict, random.random(), bool(sender and sender.keep_text),
        sender.max_age if sender else inf,
    )  # fmt: skip
    outcome = replace(outcome, id=str(lease.id))
    took = time.monotonic() - began
    return ended, Handled(lease.sms.call, lease.sender, lease.sms, outcome, took)


def _send(lease: Lease, sender: Sender | None, service: WorkerService, writer: Writer) -> Outcome:
    def going_out() -> None:
        """Note that the request goes out now. Raises Refused if that is not noted."""
        if lease.begun:
            return
        try:
            mine = writer.do(Together(leases.begin_sending, lease), PATIENCE, PATIENCE)
        except (OutboxError, NotKnown) as failure:
            raise Refused(Cause.INTERNAL, str(failure)) from None
        if not mine:
            raise Refused(Cause.INTERNAL, "the lease is another's")

    if sender is None:
        reason = f"sms.conf has no section {lease.sender} any more"
        return error(Cause.UNKNOWN_SENDER, reason)
    until = time.monotonic() + sender.call_timeout
    return service.route(sender).send(lease.sms, going_out, until)
