"""The outbox: SMS that are stored, and the history of all."""

import hashlib
import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox import idempotency, statements
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.limits import Rules, judge
from dialplan_sms.outbox.recorder import Record, Recorder
from dialplan_sms.outbox.retry import ended
from dialplan_sms.outbox.schema import State
from dialplan_sms.outbox.statements import Entry
from dialplan_sms.outbox.writer import NotKnown, Writer
from dialplan_sms.sms import api, log
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error, safe_line
from dialplan_sms.sms.sms import Draft, Sms

PATIENCE = 4.0
"""Seconds after which a call withdraws what is not about to be committed."""
WAIT = 5.0
"""Seconds that a call waits for the database in all, whatever holds it."""
_BULK = 20
"""A message with more numbers lets others go first."""


class Outbox:
    """The outbox at *url*. *stored* is called when something was committed that can be sent.

    Raises OutboxError for a URL that is none; what else is wrong shows when it is used.
    """

    def __init__(self, url: str, stored: Callable[[], None] = lambda: None) -> None:
        self.writer = Writer(url)
        self.failure = ""
        self._waited = 0.0  # by the last call
        self._stored = stored
        self._recorder = Recorder(self.writer, self._fail)

    @property
    def file(self) -> str | None:
        """The path of the SQLite file; None where the database is a server's."""
        url = self.writer.engine.url
        return url.database if url.get_backend_name() == "sqlite" else None

    def accept(
        self,
        draft: Draft,
        sms: Sms,
        sender: Sender,
        mode: str,
        left: float = PATIENCE,
        reserved: str | None = None,
    ) -> Outcome:
        """Store *sms* to be sent by a worker; QUEUED only once it is on the disk.

        *reserved* is the token that reserve() gave; *left* is how many seconds the call has. Never
        raises for what the database does.
        """
        entry = _entry(draft, sms, sender, mode)
        insert = self._inserting(entry, sms, sender, State.PENDING)

        def work(connection: sa.Connection) -> int | Outcome:
            mine = reserved and statements.make_pending(connection, reserved, sms.text)
            return mine or insert(connection)

        unsure = error(
            Cause.NO_ANSWER, "the outbox does not say whether it was stored: it may be sent"
        )
        outcome = self._do(work, unsure, left)
        if isinstance(outcome, Outcome):
            return outcome
        self._stored()
        return Outcome(Status.QUEUED, id=str(outcome))

    def reserve(
        self, draft: Draft, sms: Sms, sender: Sender, mode: str, left: float = PATIENCE
    ) -> str | Outcome:
        """Note that *sms* is about to be sent, if the sender's limits allow; its token.

        Otherwise the Outcome of the call: refused, or that of an earlier call with the same key.
        """
        entry = replace(_entry(draft, sms, sender, mode), text=None)
        unsure = error(Cause.OUTBOX, "the outbox does not answer, nothing was sent")
        found = self._do(self._inserting(entry, sms, sender, State.SENDING), unsure, left)
        return found if isinstance(found, Outcome) else entry.token

    def settle(self, reserved: str, sms: Sms, outcome: Outcome) -> None:
        """Note how a reserved SMS ended. Does not wait."""
        verdict = ended(outcome, sms.numbers)
        told = replace(outcome, reason=log.harmless(outcome, sms))
        self._recorder.at_once(lambda c: statements.settle(c, reserved, told, verdict))

    def record(self, draft: Draft, sms: Sms, sender: Sender, mode: str, outcome: Outcome) -> None:
        """Note an SMS that was sent without reserve(), for the history. Does not wait."""
        entry = replace(_entry(draft, sms, sender, mode), text=None)
        verdict = ended(outcome, sms.numbers)
        told = replace(outcome, reason=log.harmless(outcome, sms))
        self._recorder.add(Record(entry, told, verdict, time.monotonic()))

    def close(self) -> None:
        """Finish what is under way, in what is left of the time of a process's only call."""
        left = max(0.5, WAIT - self._waited)
        self._recorder.close(left)
        self.writer.close(left)

    def _inserting(
        self, entry: Entry, sms: Sms, sender: Sender, state: State
    ) -> Callable[[sa.Connection], int | Outcome]:
        """The work that stores *entry*; its id, or the Outcome that it has instead."""
        rules, tries = Rules.of(sender), itertools.count()

        def work(connection: sa.Connection) -> int | Outcome:
            again = next(tries) > 0
            if again and (stored := statements.find(connection, entry.token)) is not None:
                return stored
            mine = entry
            if entry.key or rules.repeat_window:
                mine = replace(entry, fingerprint=self._fingerprint(sms.text))
            if mine.key and (earlier := idempotency.earlier(connection, mine)) is not None:
                return earlier
            if rules.counted and (refused := judge(connection, rules, mine)) is not None:
                return refused.outcome
            return statements.insert(connection, mine, state)

        return work

    def _fingerprint(self, text: str) -> str:
        """What tells a text from others and does not give it away without the database."""
        key = self.writer.secret.encode()
        return hashlib.blake2b(text.encode(), key=key, digest_size=16).hexdigest()

    def _do(
        self, work: Callable[[sa.Connection], int | Outcome], unsure: Outcome, left: float
    ) -> int | Outcome:
        """What *work* gives, or why not; *unsure* where nobody can know within *left* seconds."""
        patience = max(0.1, min(PATIENCE, left))
        began = time.monotonic()
        try:
            result = self.writer.do(work, patience, max(0.0, min(WAIT, left) - patience))
        except OutboxError as failure:
            self.failure = str(failure)
            return error(Cause.OUTBOX, str(failure))
        except NotKnown:
            self.failure = "a commit does not end"
            return unsure
        finally:
            self._waited = time.monotonic() - began
        self.failure = ""
        return result

    def _fail(self, failure: str) -> None:
        self.failure = failure


def _entry(draft: Draft, sms: Sms, sender: Sender, mode: str) -> Entry:
    here = sms.postpone is not None and sender.postpone == "here"
    return Entry(
        token=secrets.token_hex(16),
        sender=sender.name,
        numbers=sms.numbers,
        text=sms.text,
        chars=len(sms.text),
        mode=mode,
        gsm=sms.gsm or "",
        postpone=f"{sms.postpone:{api.POSTPONE_FORMAT}}" if sms.postpone and not here else None,
        planned=sms.postpone.timestamp() if sms.postpone and here else None,
        priority=int(draft.bulk or len(sms.numbers) > _BULK),
        call=safe_line(draft.call)[:200],
        caller=safe_line(draft.caller)[:80],
        key=draft.key or None,
    )
