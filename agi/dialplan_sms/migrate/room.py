"""Whether one line may become several, or none, without changing other priorities."""

import re
from collections import defaultdict
from pathlib import Path

from dialplan_sms.migrate.dialplan import Dialplan, Step
from dialplan_sms.migrate.files import Tree

_JUMP = re.compile(r"goto|gosub", re.IGNORECASE)


class Room:
    """Where there is room in one dialplan, of which only *files* may change."""

    def __init__(self, tree: Tree, dialplan: Dialplan, files: set[Path]) -> None:
        self._tree, self._dialplan, self._files = tree, dialplan, files
        self._counted = _count(dialplan)
        jumps = _jumps(dialplan)
        self._jumped = {(context, exten) for alone, context, exten in jumps if alone}
        self._jumped_from_afar = {exten for alone, _, exten in jumps if not alone}
        self._jumped_anywhere = any("$" in exten for exten in self._jumped_from_afar)
        self._twins: dict[tuple[Path, int], list[Step]] = defaultdict(list)
        for step in dialplan.steps:
            self._twins[step.line.path, step.line.number].append(step)
        self._position = {id(step.line): number for number, step in enumerate(dialplan.steps)}
        highest = max((step.priority or 0 for step in dialplan.steps), default=0)
        self.free = max(1000, (highest // 100 + 1) * 100) + 1
        """A number from which on nobody has priorities."""

    def refusal(self, step: Step) -> str:
        """Why the step cannot become several; empty where it can."""
        if self.is_simple(step):
            return ""
        end = self._dialplan.section_ends[step.section]
        if step.priority is None or step.token.lower() == "hint":
            return "its priority cannot be known: give it a number or n"
        if self._tree.times[step.line.path] > 1 or self._tree.times[end.path] > 1:
            return "the file is included more than once: convert by hand"
        if end.path not in self._files:
            return f"its context ends in {end.path}: convert that file, too"
        return ""

    def is_simple(self, step: Step) -> bool:
        """Whether lines may come and go here, wherever the line is included."""
        twins = self._twins[step.line.path, step.line.number]
        return all(self._is_simple_here(twin) for twin in twins)

    def _is_simple_here(self, step: Step) -> bool:
        """Whether lines may come and go here: only ``n`` follows, and nobody jumps to a number."""
        if step.priority is None or not step.token[:1].isalnum():
            return False
        ends, elsewhere = self._counted[step.key]
        if step.section in ends and self._position[id(step.line)] < ends[step.section]:
            return False
        if any(
            section != step.section and most > step.priority for section, most in elsewhere.items()
        ):
            return False
        if not self._followed_by_own(step):
            return False
        return not (
            step.key in self._jumped
            or step.exten in self._jumped_from_afar
            or (self._jumped_from_afar and step.exten.startswith("_"))
            or self._jumped_anywhere
        )

    def _followed_by_own(self, step: Step) -> bool:
        """Whether no line of another extension counts on from this one."""
        steps = self._dialplan.steps
        for number in range(self._position[id(step.line)] + 1, len(steps)):
            other = steps[number]
            if other.section != step.section:
                return True
            if other.exten != step.exten:
                return other.token[:1].isdigit() or other.token.lower() == "hint"
        return True


def _count(dialplan: Dialplan) -> dict[tuple[str, str], tuple[dict[int, int], dict[int, int]]]:
    """For each extension, by section: its last step that is no plain ``n``; its highest number."""
    found: dict[tuple[str, str], tuple[dict[int, int], dict[int, int]]] = {}
    for position, step in enumerate(dialplan.steps):
        ends, highest = found.setdefault(step.key, ({}, {}))
        if step.token.lower() not in ("n", "next", "hint"):
            ends[step.section] = position
        highest[step.section] = max(highest.get(step.section, 0), step.priority or 0)
    return found


def _jumps(dialplan: Dialplan) -> list[tuple[bool, str, str]]:
    """Jumps to a priority's number but 1: within the extension alone, or to another's name."""
    found = []
    for step in dialplan.steps:
        if not _JUMP.search(step.app):
            continue
        data = step.app.partition("(")[2].rpartition(")")[0].rpartition("?")[2]
        for target in data.split(":"):
            named = re.sub(r"^\s*go(?:to|sub)\w*\(", "", target, flags=re.IGNORECASE)
            parts = [part.strip(" \t)") for part in named.partition("(")[0].split(",")]
            last = parts[-1]
            if last == "1" or not (re.fullmatch(r"[+-]?\d+", last) or "$" in last):
                continue
            found.append(
                (len(parts) == 1, step.context, parts[-2] if len(parts) > 1 else step.exten)
            )
    return found
