"""One line of the check, and what all of them together mean."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class CheckState(StrEnum):
    """What was found."""

    OK = "ok"
    WARNING = "warning"  # it works, and somebody should look
    WRONG = "wrong"
    SKIPPED = "not looked at"  # there is none here, or another thing comes first


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: *name*, and *of* whom if there are several; *do* is the cure.

    *needs* are labels of other lines: if one of those is wrong, this one follows from it. Each
    part of the check has its lines as constants, which say nothing yet.
    """

    name: str
    needs: tuple[str, ...] = ()
    of: str = ""
    state: CheckState = CheckState.SKIPPED
    says: str = ""
    do: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} {self.of}".strip()

    def ok(self, says: str) -> "Finding":
        return replace(self, state=CheckState.OK, says=says)

    def wrong(self, says: str, do: str) -> "Finding":
        return replace(self, state=CheckState.WRONG, says=says, do=do)

    def warning(self, says: str, do: str) -> "Finding":
        return replace(self, state=CheckState.WARNING, says=says, do=do)

    def skipped(self, says: str) -> "Finding":
        return replace(self, says=says)


def causes_only(findings: Sequence[Finding]) -> list[Finding]:
    """The *findings* in which what needs something that is wrong is not looked at."""
    cause: dict[str, str] = {}
    found = []
    for each in findings:
        root = next((cause[need] for need in each.needs if need in cause), None)
        if root is not None and each.state is not CheckState.OK:
            says = f"not looked at: mend {root} first"
            each = replace(each, state=CheckState.SKIPPED, says=says, do="")
            cause[each.label] = root
        elif each.state is CheckState.WRONG:
            cause[each.label] = each.label
        found.append(each)
    return found


def listed(items: Sequence[str], most: int = 3) -> str:
    """The first of *items*, and how many more there are."""
    if len(items) <= most + 1:
        return ", ".join(items)
    return f"{', '.join(items[:most])} and {len(items) - most} more"


def exit_status(findings: Iterable[Finding]) -> int:
    """As a plugin of Nagios: 0 all is well, 1 a warning, 2 something is wrong."""
    states = {each.state for each in findings}
    return 2 if CheckState.WRONG in states else 1 if CheckState.WARNING in states else 0
