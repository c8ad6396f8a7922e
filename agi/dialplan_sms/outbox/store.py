"""The outbox: SMS that are stored, and the history of all."""

import hashlib
import itertools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import sqlalchemy as sa

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.outbox import idempotency, limits, transitions
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.retry import Verdict, ended
from dialplan_sms.outbox.schema import State, attempt, message, now, number
from dialplan_sms.outbox.transitions import Row, of_all, states, why
from dialplan_sms.outbox.writer import NotKnown, Work, Writer
from dialplan_sms.sms import log
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error, safe_line
from dialplan_sms.sms.sms import Sms

PATIENCE = 4.0  # seconds after which a call withdraws what is not about to be committed
WAIT = 5.0  # seconds that a call waits for the database in all, whatever holds it
_BULK = 20  # numbers: a message with more lets others go first
_EVERY = 0.5  # seconds for which records gather: alone, each costs a third of what a call does
_AT_ONCE = 50  # records in a commit: a call that stores an SMS meanwhile waits for no more
_MOST = 10_000  # records that wait for a database which is away; later ones are not kept


def open_outbox(config: Config) -> "Outbox":
    """The outbox of *config*, for a process of one call. Raises ConfigError if its URL is none."""
    config.drop_privileges()
    try:
        return Outbox(config.outbox)
    except OutboxError as error:
        raise ConfigError(f"{config.path}: {error}") from None


class Outbox:
    """The outbox at *url*; *stored* is called when something was committed that can be sent.

    Raises OutboxError for a URL that is none; what else is wrong shows when it is used.
    """

    def __init__(self, url: str, stored: Callable[[], None] = lambda: None) -> None:
        self.writer = Writer(url)
        self._waited = 0.0  # by the last call
        self._stored = stored
        self._recorder = _Recorder(self.writer)

    def accept(
        self, sms: Sms, sender: Sender, left: float = PATIENCE, reserved: str | None = None
    ) -> Outcome:
        """Store *sms* to be sent by a worker; QUEUED only once it is on the disk. Never raises.

        *reserved* is the token that reserve() gave; *left* is how many seconds the call has.
        """
        insert = self._inserting(row(sms, sender), sms, sender, State.PENDING)

        def work(connection: sa.Connection) -> int | Outcome:
            mine = reserved and transitions.make_pending(connection, reserved, sms.text)
            return mine or insert(connection)

        unsure = "the outbox does not say whether it was stored: it may be sent"
        outcome = self._do(work, error(Cause.NO_ANSWER, unsure), left)
        if isinstance(outcome, Outcome):
            return outcome
        self._stored()
        return Outcome(Status.QUEUED, id=str(outcome))

    def reserve(self, sms: Sms, sender: Sender, left: float = PATIENCE) -> str | Outcome:
        """Note that *sms* is about to be sent, if the sender's limits allow; its token.

        Otherwise the Outcome of the call: refused, or that of an earlier call with the same key.
        """
        new = row(sms, sender) | {"text": None}
        unsure = error(Cause.OUTBOX, "the outbox does not answer, nothing was sent")
        found = self._do(self._inserting(new, sms, sender, State.SENDING), unsure, left)
        return found if isinstance(found, Outcome) else str(new["token"])

    def settle(self, reserved: str, sms: Sms, outcome: Outcome) -> None:
        """Note how a reserved SMS ended. Does not wait."""
        noted, verdict = _ended(outcome, sms)
        self._recorder.at_once(lambda c: transitions.settle(c, reserved, noted, verdict))

    def record(self, sms: Sms, sender: Sender, outcome: Outcome) -> None:
        """Note an SMS that was sent without reserve(), for the history. Does not wait."""
        new = row(sms, sender) | {"text": None}
        self._recorder.add(_Record(new, *_ended(outcome, sms), time.monotonic()))

    def close(self) -> None:
        """Finish what is under way, in what is left of the time of a process's only call."""
        left = max(0.5, WAIT - self._waited)
        self._recorder.close(left)
        self.writer.close(left)

    def _inserting(
        self, new: Row, sms: Sms, sender: Sender, state: State
    ) -> Callable[[sa.Connection], int | Outcome]:
        """The work that stores *new*; its id, or the Outcome that it has instead."""
        tries = itertools.count()

        def work(connection: sa.Connection) -> int | Outcome:
            if next(tries) and (stored := transitions.find(connection, new["token"])) is not None:
                return stored
            if new["key"] or sender.repeat_window:
                # A hash of the text, which says nothing of it without the database.
                secret = self.writer.secret.encode()
                text = hashlib.blake2b(sms.text.encode(), key=secret, digest_size=16)
                new["fingerprint"] = text.hexdigest()
            if new["key"] and (known := idempotency.earlier(connection, new, sms.numbers)):
                return known
            if sender.counted and (no := limits.refusal(connection, sender, new, sms.numbers)):
                return no.outcome
            return transitions.insert(connection, new, sms.numbers, state)

        return work

    def _do(
        self, work: Callable[[sa.Connection], int | Outcome], unsure: Outcome, left: float
    ) -> int | Outcome:
        """What *work* gives, or why not; *unsure* if nobody can know within *left* seconds."""
        patience = max(0.1, min(PATIENCE, left))
        began = time.monotonic()
        try:
            return self.writer.do(work, patience, max(0.0, min(WAIT, left) - patience))
        except OutboxError as failure:
            return error(Cause.OUTBOX, str(failure))
        except NotKnown:
            return unsure
        finally:
            self._waited = time.monotonic() - began


def row(sms: Sms, sender: Sender) -> Row:
    """The row of *sms*, under a token of its own."""
    here = sms.postpone if sender.postpone == "here" else None
    return {
        "token": secrets.token_hex(16), "sender": sender.name, "mode": sms.mode,
        "priority": int(sms.bulk or len(sms.numbers) > _BULK), "gsm": sms.gsm or "",
        "text": sms.text, "chars": len(sms.text),
        "planned": here.timestamp() if here else None,
        "postpone": None if here else sms.postpone,
        "call": safe_line(sms.call)[:200], "caller": safe_line(sms.caller)[:80],
        "key": sms.key or None, "fingerprint": "",
    }  # fmt: skip


def _ended(outcome: Outcome, sms: Sms) -> tuple[Outcome, Verdict]:
    """What the history says of a call in mode wait: without the text, and nothing follows."""
    return replace(outcome, reason=log.harmless(outcome, sms)), ended(outcome, sms.numbers)


@dataclass(frozen=True, slots=True)
class _Record:
    """An SMS that a call has sent, or not, at *at* on the monotonic clock."""

    row: Row
    outcome: Outcome
    verdict: Verdict
    at: float


class _Recorder:
    """Writes records through *writer*, in batches: no call waits for its history."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._records: deque[_Record] = deque()
        self._again: deque[Work[None]] = deque(maxlen=_MOST)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def add(self, record: _Record) -> None:
        """Have it written soon. Never raises."""
        if len(self._records) < _MOST:
            self._records.append(record)
        self._begin()

    def at_once(self, work: Work[None]) -> None:
        """Have *work* done with the next commit, or with a later one if that fails."""

        def ended(done: "Future[None]") -> None:
            if done.exception() is not None:
                self._again.append(work)
                self._begin()

        with suppress(RuntimeError):  # no thread left: the call goes on
            self._writer.submit(work).add_done_callback(ended)

    def close(self, timeout: float = 5.0) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _begin(self) -> None:
        with self._lock, suppress(RuntimeError):  # no thread left: the next one tries again
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="recorder", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        while self._again or self._records:
            if self._again:
                work = self._again.popleft()
            else:
                count = min(len(self._records), _AT_ONCE)
                work = partial(_write, batch=[self._records.popleft() for _ in range(count)])
            try:
                self._writer.submit(work).result(60.0)
            except Exception:  # noqa: BLE001 - a history that breaks stops no SMS
                self._again.appendleft(work)
                return


def _write(connection: sa.Connection, batch: Sequence[_Record]) -> None:
    """Store those of *batch* that are not yet, with as few statements as there are tables."""
    at = float(connection.scalar(sa.select(now())) or 0.0)
    since = at - time.monotonic()
    these = message.c.token.in_([each.row["token"] for each in batch])
    by_token = sa.select(message.c.token, message.c.id).where(these)
    stored = {found.token for found in connection.execute(by_token)}
    new = [each for each in batch if each.row["token"] not in stored]
    if not new:
        return
    rows = [
        {**each.row, "created": since + each.at, "due": since + each.at, "ended": at,
         "state": of_all(states(each.verdict)), "attempts": 1, **why(each.outcome)}
        for each in new
    ]  # fmt: skip
    connection.execute(message.insert(), rows)
    ids = {found.token: found.id for found in connection.execute(by_token)}
    numbers, attempts = [], []
    for each in new:
        id_, when = ids[each.row["token"]], since + each.at
        mine = [
            {"message_id": id_, "number": to, "state": state, "created": when}
            for state, those in states(each.verdict).items() for to in those
        ]  # fmt: skip
        numbers += mine
        attempts.append(
            {"message_id": id_, "at": when, "numbers": len(mine), "status": each.outcome.status,
             **why(each.outcome)}
        )  # fmt: skip
    connection.execute(number.insert(), numbers)
    connection.execute(attempt.insert(), attempts)
