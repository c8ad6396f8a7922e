"""Whether one line may become several, or none, without changing other priorities."""

import re
from pathlib import Path

from dialplan_sms.cli.migrate.dialplan import Dialplan, Step
from dialplan_sms.cli.migrate.files import Tree
from dialplan_sms.cli.migrate.flow import Flow

_TEMPLATE = (
    "its context is a template or made from one, and numbers of priorities matter in it:"
    " write n for them, or convert by hand"
)


class Room:
    """Where there is room in one dialplan, of which only *files* may change."""

    def __init__(self, tree: Tree, dialplan: Dialplan, flow: Flow, files: set[Path]) -> None:
        self._tree, self._dialplan, self._files = tree, dialplan, files
        self._counted = _count(dialplan)
        self._jumped: set[tuple[str, str]] = set()
        self._jumped_from_afar: set[str] = set()
        for step, target in flow.jumps:
            self._see(step, target)
        self._jumped_anywhere = any("$" in exten for exten in self._jumped_from_afar)
        self._position = {id(step): number for number, step in enumerate(dialplan.steps)}
        highest = max((step.priority or 0 for step in dialplan.steps), default=0)
        self.free = max(1000, (highest // 100 + 1) * 100) + 1
        """A number from which on nobody has priorities."""

    def _see(self, step: Step, target: list[str]) -> None:
        """A jump to a priority's number but 1: within the extension alone, or to another's name."""
        last, exten = target[-1], "" if len(target) == 1 else target[-2]
        if len(target) == 1 and _is_open(last):
            exten = last  # which may hold all three
        elif last == "1" or not (_is_open(last) or re.fullmatch(r"[+-]?\d+", last)):
            return
        if not exten:
            self._jumped.add((step.context, step.name))
        if exten or len(target) > 2:
            self._jumped_from_afar.add(exten or step.name)

    def refusal(self, step: Step) -> str:
        """Why the step cannot become several; empty if it can."""
        end = self._dialplan.section_ends[step.section]
        if any(len(self._tree.named[path]) > 1 for path in (step.line.path, end.path)):
            return "the file is included more than once: convert by hand"
        if self.is_simple(step):
            return ""
        if step.priority is None or step.token.lower() == "hint":
            return "its priority cannot be known: give it a number or n"
        if end.path not in self._files:
            return f"its context ends in {end.path}: convert that file, too"
        # New priorities far behind would move the next "n" of whoever has these lines, too.
        return _TEMPLATE if step.context in self._dialplan.templates else ""

    def is_simple(self, step: Step) -> bool:
        """Whether lines may come and go here: only ``n`` follows, and nobody jumps to a number."""
        if step.priority is None or not step.token[:1].isalnum():
            return False
        ends, elsewhere = self._counted[step.key]
        if step.section in ends and self._position[id(step)] < ends[step.section]:
            return False
        if any(
            section != step.section and most > step.priority for section, most in elsewhere.items()
        ):
            return False
        if not self._followed_by_own(step):
            return False
        return not (
            (step.context, step.name) in self._jumped
            or step.name in self._jumped_from_afar
            or (self._jumped_from_afar and step.exten.startswith("_"))
            or self._jumped_anywhere
        )

    def _followed_by_own(self, step: Step) -> bool:
        """Whether no line of another extension counts on from this one."""
        steps = self._dialplan.steps
        for number in range(self._position[id(step)] + 1, len(steps)):
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


def _is_open(part: str) -> bool:
    """Whether *part* may turn out a number: one that begins with a letter is a label."""
    return "$" in part and not part[0].isalpha()
