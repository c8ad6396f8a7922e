"""The core: check a Draft, send the Sms, say what became of it. It knows no protocol."""

import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.sms import log
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, Status, failed, misplaced, safe_line
from dialplan_sms.sms.sms import Draft, Handled, Sms, compose

_LONGEST_KEY = 200


class Route(Protocol):
    """What carries an Sms away; ``pbx.SmsApi`` is the one that exists."""

    def send(self, sms: Sms, going_out: Callable[[], None], until: float) -> Outcome:
        """Send now, once, and be back by *until* (seconds on the service's clock).

        *going_out* is called just before it can have an effect, and may raise Refused: then it has
        none, and that is raised.
        """


class Store(Protocol):
    """What keeps an Sms; ``outbox.Outbox`` is the one that exists. Nothing here raises."""

    def accept(self, sms: Sms, sender: Sender, left: float, reserved: str | None = None) -> Outcome:
        """Store it to be sent, within *left* seconds; QUEUED, or why not."""

    def reserve(self, sms: Sms, sender: Sender, left: float) -> str | Outcome:
        """A token under which it may be sent now, or the Outcome that it has instead."""

    def settle(self, reserved: str, sms: Sms, outcome: Outcome) -> None:
        """Note how a reserved one ended; does not wait."""

    def record(self, sms: Sms, sender: Sender, outcome: Outcome) -> None:
        """Note how one ended that was not reserved; does not wait."""


class Watch(Protocol):
    """What counts SMS; ``metrics.Metrics`` is the one that exists."""

    def called(self, handled: Handled) -> None:
        """Count a call."""

    def worked(self, state: str, count: int, handled: Handled | None) -> None:
        """Count stored SMS that a worker brought to *state*, with the request that did so."""


class Service:
    """Takes Drafts from the doors.

    *load* gives the configuration or raises ConfigError; *route* gives the way to a sender's PBX,
    *store* the outbox of a configuration that has one. *records* is whether what needs no outbox
    is noted in it, too. *clock* counts seconds.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        route: Callable[[Sender], Route],
        clock: Callable[[], float] = time.monotonic,
        watch: Watch | None = None,
        store: Callable[[Config], Store] | None = None,
        records: bool = False,
    ) -> None:
        self.load = load
        self.route = route
        self._clock = clock
        self._watch = watch
        self._store = store
        self._records = records
        self._log = "syslog"
        # For what is about no call, and may happen thousands of times.
        self.repeated = log.Repeated(self.note)

    def handle(
        self, draft: Draft, going_out: Callable[[], None] = lambda: None, began: float | None = None
    ) -> Handled:
        """Send what *draft* asks for. Never raises. What it returns is for log(), after the answer.

        *began* is when the call came in: its time runs from there.
        """
        ready = self.prepare(draft, began)
        outcome = ready.refused
        if outcome is None:
            try:
                outcome = self._carry(ready, going_out)
            except Exception as failure:  # noqa: BLE001 - a call must get its status
                outcome = failed(failure)
        return self.conclude(ready, outcome)

    def prepare(self, draft: Draft, began: float | None = None) -> "Ready":
        """What *draft* asks for, or why it is refused. Never raises."""
        ready = Ready(draft.call, self._clock() if began is None else began)
        try:
            ready.config = self.load()
            self._log = ready.config.log
            ready.sender = choose(ready.config, draft)
            ready.sms = check(draft, ready.sender, ready.config, datetime.now())
        except Exception as failure:  # noqa: BLE001 - a call must get its status
            ready.refused = failed(failure)
        return ready

    def conclude(self, ready: "Ready", outcome: Outcome) -> Handled:
        """What became of it."""
        sms = ready.sms
        if sms is not None and sms.objection is not None and outcome.status is not Status.ERROR:
            failed, why = (*sms.left_out, *outcome.failed), sms.objection.outcome
            outcome = replace(outcome, failed=failed, reason=why.reason, for_log=why.for_log)
        name = ready.sender.name if ready.sender else ""
        return Handled(ready.call, name, sms, outcome, self._clock() - ready.began)

    def _carry(self, ready: "Ready", going_out: Callable[[], None]) -> Outcome:
        """Send or store, as the mode says."""
        sms, sender, config = ready.whole
        until = ready.began + sender.call_timeout
        later = sms.postpone is not None and sender.postpone == "here" and bool(config.outbox)
        limited = bool(sender.counted or sms.key)
        needs_store = later or limited or sms.mode != "wait"
        store = self._store(config) if self._store and needs_store else None
        if store and (later or sms.mode == "queue"):
            going_out()
            return store.accept(sms, sender, until - self._clock())
        reserved: str | None = None
        left = 5.0  # seconds that one call waits for the outbox in all, however often it needs it
        if store and limited:
            going_out()
            began = self._clock()
            found = store.reserve(sms, sender, until - began)
            if isinstance(found, Outcome):
                return found
            reserved, left = found, left - (self._clock() - began)
        backup = config.senders.get(sender.backup) if sms.mode == "wait" else None
        if backup is None:
            outcome = self.route(sender).send(sms, going_out, until)
        else:
            outcome = self._by_either(sender, backup, sms, going_out, until)
        late = outcome.cause is Cause.UNREACHABLE or (  # or its backup may have it, by a worker
            sender.backup and outcome.status is Status.ERROR and outcome.unsent(sms.numbers)
        )
        if store and sms.mode == "fallback" and late:
            stored = store.accept(sms, sender, min(until - self._clock(), left), reserved)
            if stored.status is Status.QUEUED or stored.cause is Cause.NO_ANSWER:
                return stored
            outcome = Outcome(Status.ERROR, Cause.OUTBOX, f"{outcome.reason} - and {stored.reason}")
        if store and reserved is not None:
            store.settle(reserved, sms, outcome)
        elif self._records and config.outbox and self._store:
            self._store(config).record(sms, sender, outcome)
        return outcome

    def _by_either(
        self, sender: Sender, backup: Sender, sms: Sms, going_out: Callable[[], None], until: float
    ) -> Outcome:
        """Send by *sender*, and what certainly did not go by *backup*, within the same time."""
        from dialplan_sms.sms.backup import outcome_of, send_rest  # not for who has no backup

        first = outcome_of(
            lambda: self.route(sender).send(sms, going_out, (self._clock() + until) / 2)
        )
        return send_rest(
            first, sms, sender, backup, lambda its: self.route(backup).send(its, going_out, until)
        )

    def log(self, handled: Handled) -> None:
        """Count one call, and write its line. Never raises, whatever the log is."""
        if self._watch is not None:
            self._watch.called(handled)
        self._write(log.describe(handled), log.is_failure(handled.outcome), self._log)

    def worked(self, state: str, count: int = 1, handled: Handled | None = None) -> None:
        """Count stored SMS that a worker brought to *state*; write the line of its request."""
        if handled is not None:
            self._write(log.describe(handled), log.is_failure(handled.outcome))
        if self._watch is not None:
            self._watch.worked(state, count, handled)

    def note(self, line: str, failed: bool = True) -> None:
        """Write a line that is about no call. Never raises."""
        self._write(safe_line(line)[:500], failed)

    def _write(self, line: str, failed: bool, target: str = "") -> None:
        with contextlib.suppress(Exception):
            log.write(target or self.load().log, line, failed)

    @property
    def longest(self) -> float:
        """Seconds of the longest call_timeout: when every call is over."""
        return max(sender.call_timeout for sender in self.load().senders.values())


@dataclass(slots=True)
class Ready:
    """A Draft that was read: *sms* is to go out unless it is *refused*; *began* is when it came."""

    call: str
    began: float
    config: Config | None = None
    sender: Sender | None = None
    sms: Sms | None = None
    refused: Outcome | None = None

    @property
    def whole(self) -> tuple[Sms, Sender, Config]:
        """What one has that is not refused."""
        assert self.sms and self.sender and self.config  # noqa: S101, PT018 - for mypy
        return self.sms, self.sender, self.config


def choose(config: Config, draft: Draft) -> Sender:
    """The sender that *draft* names, or the default. Raises Refused, also what the door objects."""
    if draft.refused is not None:
        raise draft.refused
    if sender := config.sender(draft.sender):
        return sender
    known, cause = ", ".join(config.senders), Cause.UNKNOWN_SENDER
    if not draft.sender:
        none = f"{config.path} has no default_sender: set it to one of {known}"
        raise Refused(cause, none, advice=", or set SMS_SENDER")
    none = f"is no section of {config.path}, which has {known}"
    # One word is the admin's own; more may be a text in its place.
    is_word, length = re.fullmatch(r"[0-9A-Za-z_.-]{1,20}", draft.sender), len(draft.sender)
    shown = f"the sender {draft.sender}" if is_word else f"a sender of {length} characters"
    raise Refused(cause, f"the sender {draft.sender[:40]} {none}", f"{shown} {none}")


def check(draft: Draft, sender: Sender, config: Config, now: datetime) -> Sms:
    """The Sms that *draft* asks for, if it can be sent in its mode. Raises Refused."""
    sms = compose(draft, sender, now)
    if sms.mode not in ("wait", "queue", "fallback"):
        raise misplaced(Cause.CONFIG, "SMS_MODE", sms.mode, "is not wait, queue or fallback")
    if len(sms.key) > _LONGEST_KEY or not sms.key.isprintable():
        raise Refused(Cause.CONFIG, f"SMS_KEY is no line of at most {_LONGEST_KEY} characters")
    if not config.outbox and (sms.mode != "wait" or sms.key):
        what = f"mode {sms.mode}" if sms.mode != "wait" else "SMS_KEY"
        raise Refused(
            Cause.OUTBOX,
            f"{what} needs the outbox: set outbox in the general section of {config.path}",
        )
    return sms
