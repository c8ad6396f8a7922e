"""The outbox: SMS that are stored, and the history of all."""

import contextlib
import hashlib
import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

import sqlalchemy as sa

from dialplan_sms import api, keys, statements
from dialplan_sms.config import Sender
from dialplan_sms.database import OutboxError
from dialplan_sms.delivery import decide
from dialplan_sms.limits import Rules, judge
from dialplan_sms.outcome import Cause, Outcome, Status, error, safe_line
from dialplan_sms.recorder import Record, Recorder
from dialplan_sms.schema import State
from dialplan_sms.sms import Draft, Sms
from dialplan_sms.statements import Entry
from dialplan_sms.writer import NotKnown, Writer

PATIENCE = 4.0
"""Seconds that a call waits for the database: it has its answer within 5 s."""
_BULK = 20
"""A message with more numbers lets others go first."""
_MOST_KNOWN = 10_000
"""Gateways that need not be looked up."""


class Outbox:
    """The outbox at *url*. *stored* is called when something was committed that can be sent.

    Raises OutboxError for a URL that is none; what else is wrong shows when it is used.
    """

    def __init__(self, url: str, stored: Callable[[], None] = lambda: None) -> None:
        self.writer = Writer(url)
        self.failure = ""
        self._stored = stored
        self._known: set[tuple[str, str, int]] = set()
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
        reserved: int | None = None,
    ) -> Outcome:
        """Store *sms* to be sent by a worker; QUEUED only once it is on the disk.

        *reserved* is the id that reserve() gave; *left* is how many seconds the call has. Never
        raises for what the database does.
        """
        entry = _entry(draft, sms, sender, mode)
        place = (entry.sender, entry.gsm, self.writer.opened)
        insert = self._inserting(entry, sms, sender, State.PENDING, place in self._known)

        def work(connection: sa.Connection) -> int | Outcome:
            if reserved is None:
                return insert(connection)
            statements.make_pending(connection, reserved, sms.text)
            return reserved

        unsure = error(
            Cause.NO_ANSWER, "the outbox does not say whether it was stored: it may be sent"
        )
        outcome = self._do(work, unsure, left)
        if isinstance(outcome, Outcome):
            return outcome
        if reserved is None and len(self._known) < _MOST_KNOWN:
            self._known.add(place)
        self._stored()
        return Outcome(Status.QUEUED, id=str(outcome))

    def reserve(
        self, draft: Draft, sms: Sms, sender: Sender, mode: str, left: float = PATIENCE
    ) -> int | Outcome:
        """Note that *sms* is about to be sent, if the sender's limits allow; its id.

        Otherwise the Outcome of the call: refused, or that of an earlier call with the same key.
        """
        entry = replace(_entry(draft, sms, sender, mode), text=None)
        unsure = error(Cause.OUTBOX, "the outbox does not answer, nothing was sent")
        return self._do(self._inserting(entry, sms, sender, State.SENDING), unsure, left)

    def settle(self, id_: int, sms: Sms, outcome: Outcome) -> None:
        """Note how a reserved SMS ended. Does not wait."""
        verdict = decide(outcome, sms.numbers, "", over=True)
        self._later(lambda c: statements.settle(c, id_, outcome, verdict))

    def record(self, draft: Draft, sms: Sms, sender: Sender, mode: str, outcome: Outcome) -> None:
        """Note an SMS that was sent without reserve(), for the history. Does not wait."""
        entry = replace(_entry(draft, sms, sender, mode), text=None)
        verdict = decide(outcome, sms.numbers, "", over=True)
        self._recorder.add(Record(entry, outcome, verdict, time.monotonic()))

    def close(self) -> None:
        """Finish what is under way."""
        self._recorder.close()
        self.writer.close()

    def _inserting(
        self, entry: Entry, sms: Sms, sender: Sender, state: State, known: bool = False
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
            if mine.key and (earlier := keys.earlier(connection, mine)) is not None:
                return earlier
            if rules.counted and (refused := judge(connection, rules, mine)) is not None:
                return refused.outcome
            return statements.insert(connection, mine, state, known and not again)

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
        try:
            result = self.writer.do(work, patience, max(0.0, left - patience))
        except OutboxError as failure:
            self.failure = str(failure)
            return error(Cause.OUTBOX, str(failure))
        except NotKnown:
            self.failure = "a commit does not end"
            return unsure
        self.failure = ""
        return result

    def _fail(self, failure: str) -> None:
        self.failure = failure

    def _later(self, work: Callable[[sa.Connection], None]) -> None:
        with contextlib.suppress(RuntimeError):  # no thread left: the call goes on
            future = self.writer.submit(work)
            future.add_done_callback(
                lambda done: setattr(self, "failure", str(done.exception() or ""))
            )


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
        priority=int(len(sms.numbers) > _BULK),
        call=safe_line(draft.call)[:200],
        caller=safe_line(draft.caller)[:80],
        key=draft.key or None,
    )
