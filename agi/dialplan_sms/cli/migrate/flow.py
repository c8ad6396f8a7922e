"""How a call comes to a step: from the steps above it, by jumps; and if lines may be added there.

It errs to the side of too many ways: a jump that cannot be read leads everywhere.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from dialplan_sms.cli.migrate.dialplan import Dialplan, Priority
from dialplan_sms.cli.migrate.expression import parts
from dialplan_sms.cli.migrate.files import Tree

SENDS = re.compile(r"\bsub-sms\b|\bsms\.agi\b|agi://", re.IGNORECASE)
"""What sends an SMS as a converted line does."""

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
_OPEN = re.compile(r"[^A-Za-z]*\$")
_TEMPLATE = (
    "its context is a template or made from one, and numbers of priorities matter in it:"
    " write n for them, or convert by hand"
)
_LEAVES = re.compile(r"(?:Goto|Hangup|Return)\(", re.IGNORECASE)
_LOOPS = re.compile(r"While\(", re.IGNORECASE)
_CALLS = re.compile(r"\b(?:Gosub(?:If)?|Macro\w*|\w*AGI|Exec|TryExec)\(", re.IGNORECASE)


class Flow:
    """The ways of a call through one dialplan."""

    def __init__(self, dialplan: Dialplan) -> None:
        self._dialplan = dialplan
        self._before: dict[int, tuple[list[Priority], bool]] = {}
        self._within: dict[tuple[str, str], list[tuple[Priority, str]]] = defaultdict(list)
        self._from_afar: dict[str, set[str]] = defaultdict(set)
        """Where jumps to other extensions lead: the label or number, and the extensions."""
        for step in dialplan.steps:
            for *place, to in targets(step.plain):
                own = place in ([step.context, step.name], [step.name], [])
                if own:
                    self._within[step.key].append((step, to))
                if not own or (not place and "$" in to):
                    self._from_afar[to].add((place[-1] if place else "$") or step.name)
        self._open = list(filter(_OPEN.search, self._from_afar))

    def jumps_to_numbers(self, step: Priority) -> bool:
        """Whether somebody jumps to a number in the extension of *step*, but to its first line."""
        numbers = filter(_may_be_number, self._from_afar)
        return any(_may_be_number(to) for _, to in self._within[step.key]) or any(
            self._is_reached(step, number) for number in numbers
        )

    def reaching(
        self, step: Priority, wanted: Callable[[Priority], bool]
    ) -> tuple[list[Priority], bool]:
        """The nearest *wanted* step on each way to *step*, and whether there is a way without one.

        A way from another extension has none, nor has one through a subroutine.
        """
        found: list[Priority] = []
        elsewhere = False
        seen, todo = set[int](), [step]
        while todo:
            above, comes_from_afar = self._steps_before(todo.pop())
            elsewhere = elsewhere or comes_from_afar
            for each in above:
                if id(each) in seen:
                    continue
                seen.add(id(each))
                if wanted(each):
                    found.append(each)
                else:
                    elsewhere = elsewhere or calls_others(each)
                    todo.append(each)
        return found, elsewhere

    def _steps_before(self, step: Priority) -> tuple[list[Priority], bool]:
        if id(step) not in self._before:
            self._look_at(step.key)
        return self._before[id(step)]

    def _look_at(self, key: tuple[str, str]) -> None:
        steps = self._dialplan.extensions[key]
        numbered: dict[int | None, Priority] = {}
        for step in steps:
            numbered.setdefault(step.priority, step)
        loops = any(_LOOPS.match(step.app) for step in steps)
        for step in steps:
            above = numbered.get(step.priority - 1) if step.priority else None
            into = [above] if above and not _LEAVES.match(above.app) else []
            into += [source for source, to in self._within[key] if _leads(source, to, step)]
            labels = [step.label, str(step.priority), *self._open]
            afar = loops or above is None or any(self._is_reached(step, to) for to in labels)
            self._before[id(step)] = into, afar

    def _is_reached(self, step: Priority, to: str | None) -> bool:
        """Whether a jump from afar to this label or number may lead to the extension of *step*."""
        extens = self._from_afar.get(to or "", ())
        return any(step.exten[:1] == "_" or "$" in exten or exten == step.name for exten in extens)


class Room:
    """Where one line may become several, or none, with no other priority changed."""

    def __init__(self, tree: Tree, dialplan: Dialplan, flow: Flow, files: set[Path]) -> None:
        self._tree, self._dialplan, self._flow, self._files = tree, dialplan, flow, files
        self._position = {id(step): number for number, step in enumerate(dialplan.steps)}
        highest = max((step.priority or 0 for step in dialplan.steps), default=0)
        self.free = max(1000, (highest // 100 + 1) * 100) + 1
        """A number from which on nobody has priorities."""

    def refusal(self, step: Priority) -> str:
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

    def is_simple(self, step: Priority) -> bool:
        """Whether lines may come and go here: only ``n`` follows, and nobody jumps to a number."""
        if step.priority is None or not step.token[:1].isalnum():
            return False
        for other in self._dialplan.extensions[step.key]:
            follows = self._position[id(other)] > self._position[id(step)]
            if other.section != step.section and (other.priority or 0) > step.priority:
                return False
            if other.section == step.section and follows and not _counts_on(other):
                return False
        return not self._is_counted_from(step) and not self._flow.jumps_to_numbers(step)

    def _is_counted_from(self, step: Priority) -> bool:
        """Whether a line of another extension counts on from the last one of this."""
        for other in islice(self._dialplan.steps, self._position[id(step)] + 1, None):
            if other.section != step.section or other.exten != step.exten:
                return other.section == step.section and _counts_on(other)
        return False


def _counts_on(step: Priority) -> bool:
    return step.token.lower() in ("n", "next", "hint")


def _may_be_number(to: str) -> bool:
    """Whether *to* is a priority's number but 1, or may turn out one: no label has a $ first."""
    return (_OPEN.match(to) or re.fullmatch(r"[+-]?\d+", to)) is not None and to != "1"


def calls_others(step: Priority) -> bool:
    """Whether *step* runs other lines or a program, which may set variables and send SMS."""
    return _CALLS.search(step.plain) is not None and not SENDS.search(step.plain)


def _leads(source: Priority, to: str, step: Priority) -> bool:
    if to[:1] in "+-" and to[1:].isdecimal():
        return source.priority is None or source.priority + int(to) == step.priority
    return "$" in to or to in (step.label, str(step.priority))


def targets(app: str) -> Iterator[list[str]]:
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
        # What stands before the question mark is no target; if there is none, all may be.
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
