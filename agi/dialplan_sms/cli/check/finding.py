"""What check finds: its lines, what they mean together, and how they show."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from rich.text import Text

from dialplan_sms.config.config import Config
from dialplan_sms.host.console import Console
from dialplan_sms.host.identity import User, blocked
from dialplan_sms.routes.pbx import secrets_of


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
        return replace(self, state=CheckState.SKIPPED, says=says, do="")

    def if_blocked(self, path: Path, want: int, user: User, do: str = "", key: str = "") -> "Case":
        """The case that *user* may not *want* of what is at *path*; *do* if for its own mode."""
        bar = blocked(path, want, user)
        if bar is None or bar.missing:
            return False, self
        return True, self.wrong(key + bar.says, do if do and bar.path == path else bar.do)


Case = tuple[object, Finding]
"""Whether it is so, and what is found then."""


def first(*cases: Case) -> Finding | None:
    """What is found in the first of *cases* that is so."""
    return next((found for is_so, found in cases if is_so), None)


def causes_only(findings: Sequence[Finding]) -> list[Finding]:
    """The *findings* in which what needs something that is wrong is not looked at."""
    cause: dict[str, str] = {}
    found = []
    for each in findings:
        root = next((cause[need] for need in each.needs if need in cause), None)
        if root is not None and each.state is not CheckState.OK:
            each = each.skipped(f"not looked at: mend {root} first")
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


def without_secrets(findings: Iterable[Finding], config: Config | None) -> list[Finding]:
    """The *findings* as they can be shown, whoever has said what is in them."""
    secrets: list[str] = []
    if config is not None:
        secrets += (secret for sender in config.senders.values() for secret in secrets_of(sender))
        password = config.outbox.partition("://")[2].rpartition("@")[0].partition(":")[2]
        secrets += [password] if len(password) > 2 else []

    def clean(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "xxx")
        return "".join(char if char.isprintable() else " " for char in text)

    return [replace(each, says=clean(each.says), do=clean(each.do)) for each in findings]


def as_json(findings: Sequence[Finding]) -> str:
    """An object with the exit status and every line."""
    lines = [
        {"name": each.name, "state": each.state.value}
        | ({"sender": each.of} if each.of else {})
        | {"says": each.says, "do": each.do}
        for each in findings
    ]
    return json.dumps({"status": exit_status(findings), "findings": lines}, indent=2)


_SIGNS = {
    CheckState.OK: ("✓", "ok", "green"),
    CheckState.WARNING: ("!", "! ", "yellow"),
    CheckState.WRONG: ("✗", "X ", "bold red"),
    CheckState.SKIPPED: ("–", "- ", "dim"),
}


def show(findings: Sequence[Finding], out: TextIO) -> None:
    """A line each, and below a bad one what to do.

    What all of it means comes last on a terminal, and first if a program reads it.
    """
    console = Console(file=out, soft_wrap=True)
    letters = console.options.ascii_only  # the encoding has no signs
    several = len({each.of for each in findings if each.of}) > 1
    labels = [each.label if several else each.name for each in findings]
    if not out.isatty():
        console.print(Text(_summary(findings, whole=True)))
    width = max(map(len, labels), default=0)
    for each, label in zip(findings, labels, strict=True):
        sign, letter, style = _SIGNS[each.state]
        mark, arrow = (letter, "->") if letters else (sign, "→")
        says = (each.says or "not looked at", "dim" if each.state is CheckState.SKIPPED else "")
        cure = f"\n{' ' * (len(mark) + width + 3)}{arrow} {each.do}" if each.do else ""
        console.print(Text.assemble((mark, style), f" {label:{width}}  ", says, (cure, "bold")))
    if out.isatty():
        console.print(Text(f"\n{_summary(findings, whole=False)}"))


def _summary(findings: Sequence[Finding], whole: bool) -> str:
    """In one line; *whole* with what is wrong, as monitoring shows the first line only."""
    bad = [
        f"{each.label} ({each.says})" if whole else each.label
        for each in findings
        if each.state is CheckState.WRONG
    ]
    warned = sum(each.state is CheckState.WARNING for each in findings)
    also = f", {warned} to look at" if warned else ""
    if bad:
        return f"Wrong: {', '.join(bad)}{also}"
    return f"Nothing is wrong{also}. No SMS was sent: dialplan-sms send does that"
