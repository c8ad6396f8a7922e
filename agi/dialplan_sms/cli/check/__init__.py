"""``dialplan-sms check``: what is wrong with an installation, the one cause of it, and its cure.

``command`` runs the parts, a module each, which give Findings: of each line the first case that
holds. Nothing here sends an SMS.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import final

from dialplan_sms.host.identity import User, blocked


class CheckState(StrEnum):
    """What was found."""

    OK = "ok"
    WARNING = "warning"  # it works, and somebody should look
    WRONG = "wrong"
    SKIPPED = "not looked at"  # there is none here, or another thing comes first


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One line: *name*, and *of* whom if there are several; *do* is the cure.

    *needs* are labels of other lines: if one of those is wrong, this one follows from it.
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
        return replace(self, state=CheckState.SKIPPED, says=says, do="")

    def refused(self, error: object, do: str = "") -> "Finding":
        """Wrong, as *error* says; the cure is what stands after its last colon, else *do*."""
        says, colon, cure = str(error).rpartition(": ")
        return self.wrong(says, cure) if colon else self.wrong(cure, do or cure)

    def if_blocked(
        self, path: Path, want: int, user: User, do: str = "", key: str = "", missing: bool = False
    ) -> "Finding | None":
        """What is wrong if *user* may not *want* of *path*; *do* is the cure of its own mode.

        With *missing*, also if it is not there.
        """
        bar = blocked(path, want, user)
        if bar is None or (bar.missing and not missing):
            return None
        own = do if bar.path == path and not bar.missing else ""
        return self.wrong(key + bar.says, own or bar.do)


def listed(items: Sequence[str], most: int = 3) -> str:
    """The first of *items*, and how many more there are."""
    more = len(items) - most
    return ", ".join(items) if more <= 1 else f"{', '.join(items[:most])} and {more} more"
