"""What the writer does: pieces of work in one transaction, the like of them together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


def _alone(work: Work[Any]) -> Callable[[sa.Connection, Sequence[Any]], list[Any]]:
    return lambda connection, _: [work(connection)]
