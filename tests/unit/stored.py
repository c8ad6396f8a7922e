"""Stored SMS for tests, and a look at them from outside."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox import leases, store
from dialplan_sms.outbox.database import open_engine
from dialplan_sms.outbox.leases import Lease
from dialplan_sms.outbox.retry import AT_MOST_ONCE
from dialplan_sms.outbox.schema import Row, State, message, number
from dialplan_sms.outbox.store import New
from dialplan_sms.outbox.writer import Writer
from dialplan_sms.sms.sms import Sms

T = TypeVar("T")
SENDER = Sender(name="101", url="https://192.0.2.1", password="secret", country="IT")
NUMBERS = ("+390612345601", "+390612345602", "+390612345603")


def row(**columns: Any) -> Row:
    """The row of an SMS of sender 101."""
    return store.row(Sms(NUMBERS[:1], "hello", mode="queue"), SENDER) | columns


def new(*numbers: str, state: State = State.PENDING, **columns: Any) -> New:
    """An SMS of sender 101 to the first of NUMBERS, if none are given."""
    return New(row(**columns), numbers or NUMBERS[:1], state)


def insert(connection: sa.Connection, *numbers: str, **columns: Any) -> int:
    """Store a new one; its id."""
    return store.insert(connection, [new(*numbers, **columns)])[0]


class Store:
    """A Writer, whose statements are run and committed one by one."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def do(self, work: Callable[[sa.Connection], T]) -> T:
        return self.writer.do(work, patience=20.0)

    def add(self, *numbers: str, age: float = 0.0, **fields: Any) -> int:
        """Store one, as of *age* seconds ago; its id."""
        one = new(*numbers, **fields)
        id_ = self.do(lambda c: store.insert(c, [one])[0])
        if age:
            then = time.time() - age
            ended = None if one.state is State.PENDING else then
            self.change(message, message.c.id == id_, created=then, due=then, ended=ended)
        return id_

    def claim(
        self, owner: str = "a", most: int = 10, pace: float = 0.0, batch: int = 20,
        lease: float = 60.0, delivery: str = AT_MOST_ONCE,
    ) -> list[Lease]:  # fmt: skip
        sender = replace(SENDER, pace=pace, batch=batch, delivery=delivery)
        senders = {"101": sender, "102": sender}
        return self.do(lambda c: leases.claim(c, owner, lease, most, senders))

    def begin(self, lease: Lease) -> bool:
        return self.do(lambda c: leases.begin_sending(c, [lease])[0])

    def row(self, id_: int) -> Any:
        return self.do(lambda c: c.execute(message.select().where(message.c.id == id_)).one())

    def state(self, id_: int) -> str:
        return str(self.row(id_).state)

    def states(self, id_: int) -> dict[str, str]:
        """The state of each number."""
        query = sa.select(number.c.number, number.c.state).where(number.c.message_id == id_)
        return self.do(lambda c: {row.number: row.state for row in c.execute(query)})

    def change(self, table: sa.Table, *where: Any, **values: Any) -> None:
        self.do(lambda c: c.execute(table.update().where(*where).values(**values)) and None)


@contextmanager
def opened(url: str) -> Iterator[Store]:
    """What a process of its own does on the outbox at *url*."""
    with closing(Writer(url)) as writer:
        yield Store(writer)


@contextmanager
def another(url: str) -> Iterator[sa.Connection]:
    """A connection of another process's kind."""
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def rows(url: str) -> list[Any]:
    """All SMS in their order, as another process sees them."""
    with another(url) as connection, connection.begin():
        return list(connection.execute(message.select().order_by(message.c.id)))


@contextmanager
def locked(url: str) -> Iterator[sa.Connection]:
    """Somebody else has the database locked meanwhile."""
    with another(url) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("LOCK TABLE sms_message IN ACCESS EXCLUSIVE MODE")
        yield connection
