"""One request of a worker: from its lease, by its way to the PBX, to its record."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import sqlalchemy as sa

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.shortage import shortage
from dialplan_sms.outbox import leases, statements
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.leases import Claimed
from dialplan_sms.outbox.retry import AT_LEAST_ONCE, Verdict, decide
from dialplan_sms.outbox.schema import State
from dialplan_sms.outbox.writer import NotKnown
from dialplan_sms.sms import api, log
from dialplan_sms.sms.log import Handled
from dialplan_sms.sms.outcome import Cause, Outcome, error
from dialplan_sms.sms.service import Route
from dialplan_sms.sms.sms import Draft, Sms


class Watch(Protocol):
    """Is told what became of stored SMS."""

    def __call__(self, state: str, count: int = 1, handled: Handled | None = None, /) -> None:
        """*count* of them are in *state* now, after the request that *handled* tells of."""


class Office(Protocol):
    """What a Carrier needs of its worker."""

    def do(self, work: Callable[[sa.Connection], Any]) -> Any:
        """Have *work* committed. Raises OutboxError or NotKnown."""

    def broke(self, failure: str) -> None:
        """The outbox cannot be used now by this thread."""

    def works(self) -> None:
        """This thread has used the outbox with success."""

    def rest(self, seconds: float) -> bool:
        """Wait; whether the worker has ended, and nothing may be waited for any more."""


class _Lost(Exception):
    """The lease is another's: the request must not go out."""


class Carrier:
    """Makes requests, one a call, in any number of threads.

    *load* gives the configuration or raises ConfigError, *route* the way to a sender's PBX, *note*
    and *log* write lines, *watch* is told of each request that has ended.
    """

    def __init__(
        self,
        office: Office,
        load: Callable[[], Config],
        route: Callable[[Sender], Route],
        note: Callable[[str], None],
        log: Callable[[Handled], None],
        watch: Watch,
    ) -> None:
        self._office = office
        self._load = load
        self._route = route
        self._note = note
        self._log = log
        self._watch = watch

    def __call__(self, claimed: Claimed, owner: str) -> None:
        """Make the request that *owner* has *claimed*, and record how it ended."""
        began = time.monotonic()
        sender, outcome = self._send(claimed, owner)
        if outcome is None:
            return
        at_least = sender.delivery if sender else AT_LEAST_ONCE
        over = sender is not None and claimed.age > sender.max_age
        verdict = decide(outcome, claimed.numbers, at_least, over)
        state = self._finish(claimed, owner, sender, outcome, verdict)
        if state is None:
            return
        draft = Draft(call=claimed.call, sender=claimed.sender)
        sms = _sms(claimed)
        told = Outcome(
            outcome.status, outcome.cause, outcome.reason, outcome.failed, f"{claimed.id}",
            f"{outcome.for_log or outcome.reason} - {state}", outcome.from_pbx,
        )  # fmt: skip
        handled = Handled(draft, sms, claimed.sender, told, time.monotonic() - began)
        self._log(handled)
        self._watch(state, 1, handled)
        if verdict.holds:
            self._note(
                f"sender {claimed.sender} is held, {verdict.holds}: all its SMS wait until that is"
                " mended, the next try is in 5 minutes"
            )

    def _send(self, claimed: Claimed, owner: str) -> tuple[Sender | None, Outcome | None]:
        sender = None
        try:
            sender = self._load().senders.get(claimed.sender)
            if sender is None:
                reason = f"sms.conf has no section {claimed.sender} any more"
                return None, error(Cause.UNKNOWN_SENDER, reason)
            until = time.monotonic() + sender.call_timeout
            begin = partial(self._begin, claimed, owner)
            return sender, self._route(sender).send(_sms(claimed), begin, until)
        except ConfigError as failure:
            return sender, error(Cause.CONFIG, str(failure))
        except _Lost:
            return None, None
        except (OutboxError, NotKnown) as failure:  # before it went out
            return sender, error(Cause.INTERNAL, str(failure) or "a commit does not end")
        except Exception as failure:  # noqa: BLE001 - a stored SMS must get its record
            broke = f"dialplan-sms broke, {type(failure).__name__}: please report this"
            return sender, error(Cause.INTERNAL, shortage(failure) or broke)

    def _begin(self, claimed: Claimed, owner: str) -> None:
        if not self._office.do(lambda c: leases.begin_sending(c, claimed, owner)):
            raise _Lost

    def _finish(
        self, claimed: Claimed, owner: str, sender: Sender | None, outcome: Outcome,
        verdict: Verdict,
    ) -> str | None:  # fmt: skip
        """Record the end, however long the database is away; the message's state."""
        spread = random.random()
        keep = bool(sender and sender.keep_text)
        told = replace(outcome, reason=log.harmless(outcome, _sms(claimed)))

        def work(connection: sa.Connection) -> tuple[str | None, int]:
            state = leases.finish(connection, claimed, owner, told, verdict, spread, keep)
            if sender is not None and (verdict.holds or verdict.pauses):
                return state, statements.expire(connection, claimed.sender, sender.max_age)
            return state, 0

        unsure = False
        while True:
            try:
                state, expired = self._office.do(work)
            except (OutboxError, NotKnown) as failure:
                unsure = unsure or isinstance(failure, NotKnown)
                self._office.broke(str(failure) or "a commit of the outbox does not end")
                # Until then it stays "sending", and what follows from that is decided later.
                if self._office.rest(1.0):
                    return None
            else:
                self._office.works()
                if expired:
                    self._watch(State.EXPIRED, expired)
                return state or ("recorded" if unsure else None)


def _sms(claimed: Claimed) -> Sms:
    when = None
    if claimed.postpone:
        with suppress(ValueError):
            when = datetime.strptime(claimed.postpone, api.POSTPONE_FORMAT)
    return Sms(claimed.numbers, claimed.text, claimed.gsm or None, when)
