"""One SMS of the history, as people read it; search.py finds many.

Functions on the connection of a transaction, the same on SQLite and PostgreSQL.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.schema import State, attempt, gateway, message, now, number


@dataclass(frozen=True, slots=True)
class Filters:
    """Which SMS: all that are set must hold. ``number`` is digits anywhere in one of its numbers,
    ``since`` the seconds in which it was stored."""

    states: tuple[str, ...] = ()
    number: str = ""
    sender: str = ""
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """One SMS of the history; the times are seconds since 1970.

    ``numbers`` is number and state of each. ``text``, ``tries`` (rows: at, numbers, status, cause,
    reason, via), whether on_failure was ``told``, and for one that is pending ``held`` and
    ``free_at``, its sender's, are only filled by show().
    """

    id: int
    created: float
    due: float
    planned: float | None
    ended: float | None
    state: str
    mode: str
    sender: str
    gsm: str
    postpone: str | None
    chars: int
    parts: int | None
    parts_from: int | None
    call: str
    caller: str
    attempts: int
    cause: str
    reason: str
    later: bool  # pending, and not due yet
    numbers: tuple[tuple[str, str], ...] = ()
    text: str | None = field(default=None, repr=False)
    tries: Sequence[Any] = ()
    held: str = ""
    free_at: float | None = None
    told: str = ""


TOLD = "told"
"""In the column lease_by of what has ended: on_failure was told of it."""
_TOLD = sa.case(
    (message.c.lease_by == TOLD, "was told"),
    (message.c.ended.is_not(None) & message.c.lease_until.is_not(None), "was not told yet"),
    else_="",
).label("told")
TIMES = ("created", "due", "planned", "ended", "at")
COLUMNS = (
    message.c.id, message.c.created, message.c.due, message.c.planned, message.c.ended,
    message.c.state, message.c.mode, message.c.sender, message.c.gsm,
    message.c.postpone, message.c.chars, message.c.parts, message.c.parts_from, message.c.call,
    message.c.caller, message.c.attempts, message.c.cause, message.c.reason,
    ((message.c.state == State.PENDING) & (message.c.due > now())).label("later"),
)  # fmt: skip
_NUMBERS = (
    sa.select(number.c.message_id, number.c.number, number.c.state)
    .where(number.c.message_id.in_(sa.bindparam("these", expanding=True)))
    .order_by(number.c.message_id, number.c.number)
)


def iso(at: Any) -> str | None:
    """A time as ISO 8601 has it, local, with its offset; None for none, and for a damaged one."""
    try:
        return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError, TypeError):
        return None


def all_numbers(connection: sa.Connection, ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """Number and state of each number of SMS, by their *ids*, of which there are some hundred."""
    found: dict[int, list[Any]] = {}
    for id_, to, state in connection.execute(_NUMBERS, {"these": ids}):
        found.setdefault(id_, []).append((str(to), str(state)))
    return {id_: tuple(those) for id_, those in found.items()}


def show(connection: sa.Connection, id_: int) -> Stored | None:
    """One SMS with its text, if that is kept, and its tries.

    Raises OutboxError if the database holds what nobody has written there.
    """
    row = connection.execute(
        sa.select(*COLUMNS, message.c.text, _TOLD).where(message.c.id == id_)
    ).one_or_none()
    if row is None:
        return None
    tries = connection.execute(
        sa.select(
            attempt.c.at, attempt.c.numbers, attempt.c.status, attempt.c.cause, attempt.c.reason,
            attempt.c.via,
        )
        .where(attempt.c.message_id == id_)
        .order_by(attempt.c.id)
    ).all()  # fmt: skip
    for each in (row, *tries):
        if names := damaged(each):
            raise OutboxError(
                f"SMS {id_} is damaged in the database, {', '.join(names)}: restore a backup, or"
                " delete its row"
            )
    held: Any = None
    if row.state == State.PENDING:
        mine = (gateway.c.sender == row.sender, gateway.c.gsm == row.gsm, gateway.c.held != "")
        held = connection.execute(sa.select(gateway.c.held, gateway.c.free_at).where(*mine)).first()
    by, until = held or ("", None)
    return Stored(
        **row._mapping, numbers=all_numbers(connection, [id_]).get(id_, ()), tries=tries, held=by,
        free_at=until,
    )  # fmt: skip


def damaged(row: Any) -> list[str]:
    """Which of its values nobody has written there: SQLite keeps whatever it is given."""
    return [
        name
        for name, value in row._mapping.items()
        if isinstance(value, bytes) or (name in TIMES and isinstance(value, str))
    ]
