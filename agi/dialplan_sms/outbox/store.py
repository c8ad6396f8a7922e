"""The outbox: SMS that are stored, and the history of all."""

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.outbox import gateways, idempotency, limits, transitions
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.history.recorder import Recorder
from dialplan_sms.outbox.retry import Verdict, ended
from dialplan_sms.outbox.schema import Row, State, message, now, number
from dialplan_sms.outbox.work import Together, Work, many
from dialplan_sms.outbox.writer import NotKnown, Writer
from dialplan_sms.sms import api, log
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error, safe_line
from dialplan_sms.sms.sms import Sms

PATIENCE = 4.0  # seconds after which a call withdraws what is not about to be committed
WAIT = 5.0  # seconds that a call waits for the database in all, whatever holds it
_BULK = 20  # numbers: a message with more lets others go first

# Built once: to build a statement costs as much as to run it.
_BEGUN = now() - sa.bindparam("ago", type_=sa.Double())
_NEW = message.insert().inline().values(
    created=_BEGUN, due=sa.func.coalesce(sa.bindparam("when", type_=sa.Double()), _BEGUN),
    attempts=0, cause="", reason="",
)  # fmt: skip
_NEW_NUMBER = number.insert().values(created=_BEGUN)
_TOKENS = sa.select(message.c.token, message.c.id)
# Those of a commit are neighbours, see row(); another host's that lie between do no harm.
_BETWEEN = _TOKENS.where(message.c.token.between(sa.bindparam("first"), sa.bindparam("last")))
# Of a commit that was cut off, the standby may have nothing: only one that writes waits for it.
_STORED = _TOKENS.where(
    message.c.token.in_(sa.bindparam("these", expanding=True))
).with_for_update()
_UNSURE = error(Cause.NO_ANSWER, "the outbox does not say whether it was stored: it may be sent")


@dataclass(slots=True, eq=False)
class New:
    """An SMS to store; *tried* is whether that was tried before: then it may be stored.

    *at* is when it came, on the monotonic clock, if that was before.
    """

    row: Row
    numbers: Sequence[str]
    state: State
    tried: bool = False
    at: float | None = None

    @property
    def ago(self) -> float:
        """Seconds since it came."""
        return 0.0 if self.at is None else time.monotonic() - self.at


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
        self._recorder = Recorder(self.writer)

    def accept(
        self, sms: Sms, sender: Sender, left: float = PATIENCE, reserved: str | None = None
    ) -> Outcome:
        """Store *sms* to be sent by a worker; QUEUED only once it is on the disk. Never raises.

        *reserved* is the token that reserve() gave; *left* is how many seconds the call has.
        """
        insert = self._inserting(New(row(sms, sender), sms.numbers, State.PENDING), sms, sender)

        def pending(connection: sa.Connection) -> int | Outcome:
            mine = reserved and transitions.make_pending(connection, reserved, sms.text)
            return mine or insert(connection)

        return self._queued(self._do(pending if reserved else insert, _UNSURE, left))

    async def accepted(self, sms: Sms, sender: Sender) -> Outcome:
        """As accept(), on an event loop."""
        work = self._inserting(New(row(sms, sender), sms.numbers, State.PENDING), sms, sender)
        try:
            return self._queued(await self.writer.done(work, PATIENCE, WAIT - PATIENCE))
        except (OutboxError, NotKnown) as failure:
            return _why(failure, _UNSURE)

    def _queued(self, found: int | Outcome) -> Outcome:
        if isinstance(found, Outcome):
            return found
        self._stored()
        return Outcome(Status.QUEUED, id=str(found))

    def reserve(self, sms: Sms, sender: Sender, left: float = PATIENCE) -> str | Outcome:
        """Note that *sms* is about to be sent, if the sender's limits allow; its token.

        Otherwise the Outcome of the call: refused, or that of an earlier call with the same key.
        """
        new = New(row(sms, sender) | {"text": None}, sms.numbers, State.SENDING)
        found = self._do(
            self._inserting(new, sms, sender),
            error(Cause.OUTBOX, "the outbox does not answer, nothing was sent"),
            left,
        )
        return found if isinstance(found, Outcome) else str(new.row["token"])

    def settle(self, reserved: str, sms: Sms, outcome: Outcome) -> None:
        """Note how a reserved SMS ended. Does not wait."""
        self._recorder.at_once(Together(transitions.settle, (reserved, *_ended(outcome, sms))))

    def record(self, sms: Sms, sender: Sender, outcome: Outcome) -> None:
        """Note an SMS that was sent without reserve(), for the history. Does not wait."""
        its = row(sms, sender) | {"text": None}
        new = New(its, sms.numbers, State.SENDING, at=time.monotonic())
        self._recorder.add(Together(record, (new, *_ended(outcome, sms))))

    def close(self) -> None:
        """Finish what is under way, in what is left of the time of a process's only call."""
        left = max(0.5, WAIT - self._waited)
        self._recorder.close(left)
        self.writer.close(left)

    def _inserting(self, new: New, sms: Sms, sender: Sender) -> Work[int | Outcome]:
        """The work that stores *new*; its id, or the Outcome that it has instead."""
        if not (new.row["key"] or sender.repeat_window or sender.counted):
            return Together(insert, new)

        def work(connection: sa.Connection) -> int | Outcome:
            if ids := stored(connection, [new]):
                return ids[new.row["token"]]
            if new.row["key"] or sender.repeat_window:
                # A hash of the text, which says nothing of it without the database.
                secret = self.writer.session.secret.encode()
                text = hashlib.blake2b(sms.text.encode(), key=secret, digest_size=16)
                new.row["fingerprint"] = text.hexdigest()
            if new.row["key"] and (known := idempotency.earlier(connection, new.row, new.numbers)):
                return known
            if sender.counted and (no := limits.refusal(connection, sender, new.row, new.numbers)):
                return no.outcome
            return add(connection, [new])[new.row["token"]]

        return work

    def _do(self, work: Work[int | Outcome], unsure: Outcome, left: float) -> int | Outcome:
        """What *work* gives, or why not; *unsure* if nobody can know within *left* seconds."""
        patience = max(0.1, min(PATIENCE, left))
        began = time.monotonic()
        try:
            return self.writer.do(work, patience, max(0.0, min(WAIT, left) - patience))
        except (OutboxError, NotKnown) as failure:
            return _why(failure, unsure)
        finally:
            self._waited = time.monotonic() - began


def _why(failure: Exception, unsure: Outcome) -> Outcome:
    return unsure if isinstance(failure, NotKnown) else error(Cause.OUTBOX, str(failure))


def row(sms: Sms, sender: Sender) -> Row:
    """The row of *sms*, under a token of its own."""
    here = sms.postpone if sender.postpone == "here" else None
    # The time first: those of a commit are neighbours in the index, in one page of it.
    token = f"{time.time_ns():016x}{secrets.token_hex(8)}"
    return {
        "token": token, "sender": sender.name, "mode": sms.mode,
        "priority": int(sms.bulk or len(sms.numbers) > _BULK), "gsm": sms.gsm or "",
        "text": sms.text, "chars": len(sms.text),
        "parts": sms.parts, "parts_from": sms.parts_from,
        "planned": here.timestamp() if here else None,
        "postpone": f"{sms.postpone:{api.POSTPONE_FORMAT}}" if sms.postpone and not here else None,
        "call": safe_line(sms.call)[:200], "caller": safe_line(sms.caller)[:80],
        "key": sms.key or None, "fingerprint": "",
    }  # fmt: skip


def _ended(outcome: Outcome, sms: Sms) -> tuple[Outcome, Verdict]:
    """What the history says of a call in mode wait: without the text, and nothing follows."""
    return replace(outcome, reason=log.harmless(outcome, sms)), ended(outcome, sms.numbers)


def stored(connection: sa.Connection, those: Sequence[New]) -> dict[str, int]:
    """The ids of those that are stored already, by their tokens."""
    tried = [each for each in those if each.tried]
    for each in those:
        each.tried = True
    tokens = [each.row["token"] for each in tried]
    return dict(connection.execute(_STORED, {"these": tokens}).all()) if tokens else {}


def insert(connection: sa.Connection, those: Sequence[New]) -> list[int]:
    """Store SMS, if they are not stored yet; their ids."""
    ids = stored(connection, those)
    if fresh := [each for each in those if each.row["token"] not in ids]:
        ids |= add(connection, fresh)
    return [ids[each.row["token"]] for each in those]


def add(connection: sa.Connection, those: Sequence[New]) -> dict[str, int]:
    """Store SMS that are not stored yet; their ids, by their tokens."""
    rows = [
        each.row | {"state": each.state, "when": each.row["planned"], "ago": each.ago}
        for each in those
    ]
    many(connection, _NEW, rows)
    tokens = [each.row["token"] for each in those]
    ids = dict(connection.execute(_BETWEEN, {"first": min(tokens), "last": max(tokens)}).all())
    numbers = [
        {"message_id": ids[each.row["token"]], "number": to, "state": each.state, "ago": each.ago}
        for each in those for to in each.numbers
    ]  # fmt: skip
    many(connection, _NEW_NUMBER, numbers)
    waiting = [each.row for each in those if each.state is State.PENDING]
    for sender, gsm in {(row["sender"], row["gsm"]) for row in waiting}:
        gateways.ensure(connection, sender, gsm)
    return ids


def record(connection: sa.Connection, those: Sequence[tuple[New, Outcome, Verdict]]) -> list[None]:
    """Store SMS that calls have sent, if they are not stored yet, and how they ended."""
    known = stored(connection, [new for new, _, _ in those])
    if fresh := [each for each in those if each[0].row["token"] not in known]:
        ids = add(connection, [new for new, _, _ in fresh])
        ends = [
            transitions.Try(ids[new.row["token"]], outcome, verdict, ago=new.ago)
            for new, outcome, verdict in fresh
        ]
        transitions.end_tries(connection, ends)
    return [None] * len(those)
