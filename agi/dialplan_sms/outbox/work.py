"""What the writer does: pieces of work in one transaction, the like of them together."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

A = TypeVar("A")
T = TypeVar("T")
Work = Callable[[sa.Connection], T]
"""Statements of one transaction; may be run again if that failed, so it does nothing else, and
finds out by itself whether it was committed before (the connection may break in the commit)."""


@dataclass(frozen=True, slots=True)
class Together(Generic[A, T]):
    """Work on one *item* that takes no more statements with all others of its *function*."""

    function: Callable[[sa.Connection, Sequence[A]], Sequence[T]]
    item: A

    def __call__(self, connection: sa.Connection) -> T:
        return self.function(connection, [self.item])[0]


def do(connection: sa.Connection, works: Sequence[Work[Any]]) -> list[Any]:
    """What each of *works* gives; in their order, but for those that go with an earlier one."""
    steps: dict[Any, list[tuple[int, Any]]] = {}
    for place, work in enumerate(works):
        each = work if isinstance(work, Together) else Together(_alone(work), None)
        steps.setdefault(each.function, []).append((place, each.item))
    results: list[Any] = [None] * len(works)
    for function, those in steps.items():
        found = function(connection, [item for _, item in those])
        for (place, _), result in zip(those, found, strict=True):
            results[place] = result
    return results


def many(
    connection: sa.Connection, statement: sa.UpdateBase, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Run *statement*, a constant, for each of *rows*: its parameters, by their names.

    The driver binds them as they are: with SQLAlchemy that takes longer than SQLite needs to store
    them.
    """
    if rows:
        text, names, fixed = _compiled(statement, connection.dialect, tuple(rows[0]))
        full = [{**fixed, **row} for row in rows]
        by_place = [tuple(row[name] for name in names) for row in full] if names else full
        connection.exec_driver_sql(text, by_place)


@lru_cache
def _compiled(
    statement: sa.UpdateBase, dialect: sa.Dialect, given: tuple[str, ...]
) -> tuple[str, Sequence[str] | None, Mapping[str, Any]]:
    """Its SQL, the order of its parameters if they have no names there, and those that are set."""
    compiled = statement.compile(dialect=dialect, column_keys=given)
    return str(compiled), compiled.positiontup, compiled.params


def _alone(work: Work[Any]) -> Callable[[sa.Connection, Sequence[Any]], list[Any]]:
    return lambda connection, _: [work(connection)]


class Ended:
    """Tells an event loop of all that a commit has ended in one go: each by itself costs a call
    of the system, and a turn at Python's lock."""

    def __init__(self) -> None:
        self._events: deque[asyncio.Event] = deque()
        self._telling = False

    def tell(self, loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
        """Set *event* of *loop*, from another thread."""
        self._events.append(event)
        if not self._telling:
            self._telling = True
            loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        self._telling = False  # first: what comes from now on is told anew
        while self._events:
            self._events.popleft().set()
