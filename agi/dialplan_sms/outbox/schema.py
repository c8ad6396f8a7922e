"""The outbox's tables, their migrations and its clock, the same on SQLite and PostgreSQL.

Times are seconds since 1970 by the database's clock: the hosts that share one may disagree.
"""

import re
import secrets
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Double, ForeignKey, Index, Integer, String, Table, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.sms import api

VERSION = 2
_LOCK = 4573  # PostgreSQL's advisory lock while the tables are made


class State(StrEnum):
    """What becomes of a stored SMS, and of each of its numbers."""

    PENDING = "pending"  # due now or later
    LEASED = "leased"  # a worker has it; nothing has gone out
    SENDING = "sending"  # a request is going out: from here on it may have been sent
    SENT = "sent"  # the PBX took it
    FAILED = "failed"  # not sent, or not to all of its numbers
    EXPIRED = "expired"  # max_age was over
    CANCELLED = "cancelled"  # by an admin
    UNKNOWN = "unknown"  # nobody can know whether it was sent; it is not tried again


ENDED = (State.SENT, State.FAILED, State.EXPIRED, State.CANCELLED, State.UNKNOWN)  # they last
PRIORITIES = (0, 1)  # of messages; the lower goes first


def api_time(postpone: Any) -> datetime | None:
    """The time in column ``postpone``, local and without a zone: the PBX's, not this host's."""
    try:
        return datetime.strptime(postpone, api.POSTPONE_FORMAT) if postpone else None
    except (TypeError, ValueError):  # SQLite keeps whatever it is given
        return None


metadata = sa.MetaData()
_TEXT = sa.text("text IS NOT NULL AND ended IS NOT NULL")
_PENDING = sa.text("state = 'pending'")
_KEY = BigInteger().with_variant(Integer, "sqlite")

meta = Table(
    "sms_meta", metadata,
    Column("name", String(40), primary_key=True), Column("value", Text, nullable=False),
)  # fmt: skip

message = Table(
    "sms_message",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("created", Double, nullable=False),
    Column("due", Double, nullable=False),
    Column("planned", Double),  # when the sender wants it sent, if not at once
    Column("ended", Double),
    Column("state", String(10), nullable=False),
    Column("mode", String(10), nullable=False),
    Column("priority", Integer, nullable=False, default=0),
    Column("sender", String(200), nullable=False),
    Column("gsm", String(12), nullable=False, default=""),  # empty: the PBX chooses
    Column("text", Text),  # gone when it is not needed any more
    Column("chars", Integer, nullable=False),
    Column("parts", Integer),  # on the air, if that differs from parts_from, as it was given
    Column("parts_from", Integer),
    Column("postpone", String(16)),  # as the PBX is told it
    Column("call", String(200), nullable=False, default=""),
    Column("caller", String(80), nullable=False, default=""),
    Column("key", String(200)),
    Column("token", String(32), nullable=False, unique=True),  # shows a second try to store it
    Column("fingerprint", String(32), nullable=False, default=""),
    Column("attempts", Integer, nullable=False, default=0),
    Column("cause", String(20), nullable=False, default=""),
    Column("reason", Text, nullable=False, default=""),
    Column("lease_by", String(60)),
    Column("lease_until", Double),
    Index("sms_message_claim", "sender", "gsm", "state", "priority", "due"),
    Index("sms_message_state", "state", "due"),
    Index("sms_message_age", "sender", "created", sqlite_where=_PENDING, postgresql_where=_PENDING),
    Index("sms_message_key", "sender", "key", unique=True),
    Index("sms_message_sender", "sender", "created"),
    Index("sms_message_caller", "caller", "created"),
    Index("sms_message_text", "sender", "ended", sqlite_where=_TEXT, postgresql_where=_TEXT),
    sqlite_autoincrement=True,  # an id is never given twice
)

number = Table(
    "sms_number",
    metadata,
    Column("message_id", _KEY, ForeignKey("sms_message.id"), primary_key=True),
    Column("number", String(40), primary_key=True),
    Column("state", String(10), nullable=False),
    Column("created", Double, nullable=False),
    Index("sms_number_number", "number", "created"),
)

attempt = Table(
    "sms_attempt",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("message_id", _KEY, ForeignKey("sms_message.id"), nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column("numbers", Integer, nullable=False),
    Column("status", String(10), nullable=False),
    Column("cause", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("via", String(200), nullable=False, server_default=""),  # the backup that carried it
)

gateway = Table(
    "sms_gateway",
    metadata,
    Column("sender", String(200), primary_key=True),
    Column("gsm", String(12), primary_key=True),
    Column("free_at", Double, nullable=False, default=0),
    Column("failures", Integer, nullable=False, default=0),
    Column("held", String(20), nullable=False, default=""),  # the cause, if it is held
)


Row = dict[str, Any]
"""The columns of an SMS that are known before it is stored, by name."""


class now(FunctionElement[float]):
    """Seconds since 1970 by the database's clock."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgresql_now(*_: Any, **__: Any) -> str:
    # Not clock_timestamp(): it differs from row to row, so no index can be searched by it.
    return "extract(epoch from statement_timestamp())::double precision"


def _add_to_1(connection: sa.Connection) -> None:
    """What 0.1.0 lacks; a process of it that is still running goes on without."""
    for statement in (
        "ALTER TABLE sms_message ADD COLUMN parts INTEGER",
        "ALTER TABLE sms_message ADD COLUMN parts_from INTEGER",
        "ALTER TABLE sms_attempt ADD COLUMN via VARCHAR(200) NOT NULL DEFAULT ''",
    ):
        connection.exec_driver_sql(statement)


MIGRATIONS: dict[int, Callable[[sa.Connection], None]] = {1: _add_to_1}
"""By version: what turns its tables into those of the next version."""


def prepare(connection: sa.Connection) -> str:
    """Make or migrate the tables, in the transaction of *connection*; the database's secret.

    Raises OutboxError if a newer program has been here.
    """
    if connection.dialect.name == "postgresql":  # several hosts may start at once
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    found = _meta(connection)
    if not found:
        found = {"version": str(VERSION), "secret": secrets.token_hex(16)}
        metadata.create_all(connection)
        connection.execute(meta.insert(), [{"name": k, "value": v} for k, v in found.items()])
    for step in range(int(found["version"]), VERSION):
        MIGRATIONS[step](connection)
        update = meta.update().where(meta.c.name == "version")
        connection.execute(update.values(value=str(step + 1)))
    return found["secret"]


def is_prepared(connection: sa.Connection) -> bool:
    """Whether the tables are there, as this program makes them.

    Raises OutboxError if a newer program has been here.
    """
    return _meta(connection).get("version") == str(VERSION)


def _meta(connection: sa.Connection) -> dict[str, str]:
    """What the database says of its tables; nothing if it has none."""
    if not sa.inspect(connection).has_table(meta.name):
        return {}
    found = {name: str(value) for name, value in connection.execute(sa.select(meta))}
    version = found.get("version", "")
    if found and not (re.fullmatch(r"[1-9][0-9]{0,5}", version) and "secret" in found):
        raise OutboxError(
            "the outbox is damaged, its table sms_meta does not hold what it should: move the file"
            " away, or restore it"
        )
    if found and int(version) > VERSION:
        raise OutboxError(
            f"the outbox was made by a newer dialplan-sms, version {version} of its tables, this"
            f" one knows {VERSION}: update this host"
        )
    return found
