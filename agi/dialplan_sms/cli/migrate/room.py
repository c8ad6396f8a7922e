"""Whether one line may become several, or none, without changing other priorities."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from dialplan_sms.cli.migrate.dialplan import Dialplan, Step
from dialplan_sms.cli.migrate.expression import parts
from dialplan_sms.cli.migrate.files import Tree

_JUMP = re.compile(r".*(?:goto|gosub)(if\w*)?\(", re.IGNORECASE | re.DOTALL)
_VALUE = re.compile(
    r"(?:hangup_handler_\w+[ \t]*\)|GOTO_ON_BLINDXFR)[ \t]*=[ \t]*(.*)", re.IGNORECASE
)
_CARETS = re.compile(
    r"(?:^|(?<=[\s,?:&|=])|(?<=\()(?<![UM]\())[^\s,()?:&|=^]*(?:\^[^\s,()?:&|=^]*)+"
)
"""Targets in options, as G(context^exten^priority); those of U() and M() are arguments."""
_CALL = re.compile(r"\s*(\w+)\((.*)", re.DOTALL)
_OPTION = re.compile(r"[GF]\(([\d$]+)\)")
_WITH_OPTIONS = {"bridge", "dial", "followme", "page", "queue", "retrydial"}
_NO_JUMPS = {
    *_WITH_OPTIONS, "agi", "answer", "background", "confbridge", "controlplayback", "log",
    "meetme", "mixmonitor", "noop", "playback", "playtones", "read", "readexten", "record",
    "saydigits", "saynumber", "senddtmf", "system", "trysystem", "verbose", "voicemail", "wait",
    "waitexten",
}  # fmt: skip
"""Whose arguments are no targets, but for options."""


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
        if any(len(self._tree.named[path]) > 1 for path in (step.line.path, end.path)):
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
            (step.context, _name(step.exten)) in self._jumped
            or _name(step.exten) in self._jumped_from_afar
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
        for target in _targets(step.plain):
            last, exten = target[-1], "" if len(target) == 1 else target[-2]
            if len(target) == 1 and _is_open(last):
                exten = last  # which may hold all three
            elif last == "1" or not (_is_open(last) or re.fullmatch(r"[+-]?\d+", last)):
                continue
            if not exten:
                found.append((True, step.context, _name(step.exten)))
            if exten or len(target) > 2:
                found.append((False, step.context, exten or _name(step.exten)))
    return found


def _name(exten: str) -> str:
    """An extension without the caller it is for."""
    return exten.partition("/")[0]


def _is_open(part: str) -> bool:
    """Whether *part* may turn out a number: one that begins with a letter is a label."""
    return "$" in part and not part[0].isalpha()


def _targets(app: str) -> Iterator[list[str]]:
    """All of *app* that may be [[context,]extension,]priority: rather too many than too few."""
    # An expression as one character, so that no comma, bracket or question mark in it counts.
    flat = "".join("$" if is_expression else piece for is_expression, piece in parts(app))
    yield from (_parted(run, r"\^") for run in _CARETS.findall(flat))
    yield from (_parted(run, r"\^") for run in _CARETS.findall(app) if run[-1].isdigit())
    yield from (_parted(value, "[,^]") for value in _VALUE.findall(flat))
    within = False
    for piece in re.split(r"[?:]", flat):
        jump = _JUMP.match(piece)
        within = within or jump is not None
        # What stands before the question mark is no target; where there is none, all may be.
        if within and not (jump and jump[1] and "?" in flat):
            yield _parted(piece[jump.end() if jump else 0 :], ",")
    call = _CALL.match(flat)
    if call is None:
        return
    name, words = call[1].lower(), re.split("[,=]", call[2])
    if name in _WITH_OPTIONS:
        yield from ([option] for option in _OPTION.findall(call[2]))
    if name == "channelredirect" or (name == "originate" and len(words) > 4):
        yield _parted(",".join(words[1:4] if name[0] == "c" else words[2:5]), ",")
    for number in range(2, len(words) if name not in _NO_JUMPS else 0):
        target = _parted(",".join(words[number - 2 : number + 1]), ",")
        if len(target) == 3 and target[2].isdecimal() and target[1] and "$" not in target[1]:
            yield target


def _parted(target: str, separator: str) -> list[str]:
    """*target* at its separators, without the arguments of a Gosub."""
    return [part.strip(" \t)\"'\\") for part in re.split(separator, target.partition("(")[0])]
