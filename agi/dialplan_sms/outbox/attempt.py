"""One request of a worker: from its lease, by its way to the PBX, to what is to be recorded."""

import random
import time
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.outbox import gateways, leases
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.leases import NOBODY, Asked, Ended, Lease
from dialplan_sms.outbox.retry import decide, stops
from dialplan_sms.outbox.work import Together
from dialplan_sms.outbox.writer import NotKnown, Writer
from dialplan_sms.sms import log
from dialplan_sms.sms.backup import outcome_of, send_fitted, send_rest
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, error, failed
from dialplan_sms.sms.service import Route
from dialplan_sms.sms.sms import Handled, Sms

PATIENCE = 40.0  # seconds that a worker waits for the database, which no channel does
_SOON = 5.0  # seconds that it waits amid a request, whose lease goes on


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
    sender, asked, other = NOBODY, list[Asked](), False
    try:
        senders = service.load().senders
        sender, backup = senders.get(lease.sender, NOBODY), None
        if sender is not NOBODY and lease.may_change:
            backup = senders.get(lease.via or sender.backup)
        if backup:
            outcome, asked, other = _send_by_either(lease, sender, backup, service, writer)
        else:
            outcome = _send(lease, lease.sms, NOBODY if lease.via else sender, service, writer)
    except Exception as failure:  # noqa: BLE001 - a stored SMS must get its record
        outcome = failed(failure)
    verdict = decide(outcome, lease.sms.numbers, sender.delivery, lease.age > sender.max_age, other)
    noted = replace(outcome, reason=log.harmless(outcome, lease.sms))
    ended = Ended(
        lease, noted, verdict, random.random(), bool(sender.keep_text), sender.max_age, asked
    )
    return ended, Handled(
        lease.sms.call, lease.sender, lease.sms, replace(outcome, id=str(lease.id)),
        time.monotonic() - began,
    )  # fmt: skip


def _send_by_either(
    lease: Lease, sender: Sender, backup: Sender, service: WorkerService, writer: Writer
) -> tuple[Outcome, list[Asked], bool]:
    """Send by *sender*, and by *backup* what certainly did not go, once it is time; or by that.

    How it ended, who was asked, and whether another may still take what was rejected.
    """
    asked: list[Asked] = []

    def send(by: Sender, sms: Sms, failures: int) -> Outcome:
        outcome = outcome_of(lambda: _send(lease, sms, by, service, writer), sms.numbers)
        asked.append((by.name, stops(outcome), failures))
        return outcome

    if lease.via:
        outcome = send_fitted(lease.sms, backup, lambda its: send(backup, its, lease.failures))
        return replace(outcome, via=lease.via), asked, True
    outcome = send(sender, lease.sms, lease.failures)
    rest, turn = outcome.unsent(lease.sms.numbers), None
    if rest and lease.age >= sender.backup_after:
        pause = backup.pace * len(rest)
        with suppress(OutboxError, NotKnown):  # then it is left for later
            turn = writer.do(
                lambda c: gateways.take(c, backup.name, backup.gsm or "", pause), _SOON, _SOON
            )
    if turn is None:
        return outcome, asked, True
    before, left = turn
    time.sleep(left)
    outcome = send_rest(outcome, lease.sms, sender, backup, lambda its: send(backup, its, before))
    return outcome, asked, any(stop for _, stop, _ in asked[1:])


def _send(
    lease: Lease, sms: Sms, sender: Sender, service: WorkerService, writer: Writer
) -> Outcome:
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

    if sender is NOBODY:
        # A backup is not to be held for that.
        return error(
            Cause.INTERNAL if lease.via else Cause.UNKNOWN_SENDER,
            f"sms.conf has no section {lease.via or lease.sender} any more",
        )
    until = time.monotonic() + sender.call_timeout
    return service.route(sender).send(sms, going_out, until)
