"""One line of the check, and what all of them together mean."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class State(StrEnum):
    """What was found."""

    OK = "ok"
    WARNING = "warning"  # it works, and somebody should look
    WRONG = "wrong"
    SKIPPED = "not looked at"  # there is none here, or another thing comes first


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: *name*, and *of* whom where there are several; *do* is the cure.

    *needs* are labels of others: where one of those is wrong, this one follows from it.
    """

    name: str
    state: State
    says: str
    do: str = ""
    of: str = ""
    needs: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.name} {self.of}".strip()


def ok(name: str, says: str, of: str = "") -> Finding:
    return Finding(name, State.OK, says, of=of)


def wrong(name: str, says: str, do: str, of: str = "", needs: Iterable[str] = ()) -> Finding:
    return Finding(name, State.WRONG, says, do, of, tuple(needs))


def warning(name: str, says: str, do: str, of: str = "", needs: Iterable[str] = ()) -> Finding:
    return Finding(name, State.WARNING, says, do, of, tuple(needs))


def skipped(name: str, says: str, of: str = "", needs: Iterable[str] = ()) -> Finding:
    return Finding(name, State.SKIPPED, says, "", of, tuple(needs))


def settle(findings: Sequence[Finding]) -> list[Finding]:
    """Only causes stay wrong: what needs something that is wrong is not looked at."""
    cause: dict[str, str] = {}
    settled = []
    for each in findings:
        root = next((cause[need] for need in each.needs if need in cause), None)
        if root is not None and each.state is not State.OK:
            each = replace(
                each, state=State.SKIPPED, says=f"not looked at: mend {root} first", do=""
            )
            cause[each.label] = root
        elif each.state is State.WRONG:
            cause[each.label] = each.label
        settled.append(each)
    return settled


def exit_status(findings: Iterable[Finding]) -> int:
    """As a plugin of Nagios: 0 all is well, 1 a warning, 2 something is wrong."""
    states = {each.state for each in findings}
    if State.WRONG in states:
        return 2
    return 1 if State.WARNING in states else 0
