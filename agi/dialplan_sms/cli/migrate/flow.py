"""How a call comes to a step: the steps above it, and jumps from wherever.

It errs to the side of too many ways: a jump that cannot be read leads everywhere.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator

from dialplan_sms.cli.migrate.dialplan import Dialplan, Step
from dialplan_sms.cli.migrate.expression import parts

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
_LEAVES = re.compile(r"(?:Goto|Hangup|Return)\(", re.IGNORECASE)
_LOOPS = re.compile(r"While\(", re.IGNORECASE)
_CALLS = re.compile(r"\b(?:Gosub(?:If)?|Macro\w*|\w*AGI|Exec|TryExec)\(", re.IGNORECASE)


class Flow:
    """The ways of a call through one dialplan."""

    def __init__(self, dialplan: Dialplan) -> None:
        self._dialplan = dialplan
        self.jumps = [(step, target) for step in dialplan.steps for target in targets(step.plain)]
        self._before: dict[int, tuple[list[Step], bool]] = {}
        self._within: dict[tuple[str, str], list[tuple[Step, str]]] = defaultdict(list)
        self._from_afar: dict[str, set[str]] = defaultdict(set)
        for step, target in self.jumps:
            own: tuple[list[str], ...] = ([step.context, step.name], [step.name], [])
            if target[:-1] in own:
                self._within[step.key].append((step, target[-1]))
            if target[:-1] not in own or "$" in target[0]:
                exten = target[-2] if len(target) > 1 else "$"
                self._from_afar["$" if "$" in target[-1] else target[-1]].add(exten or step.name)

    def reaching(self, step: Step, wanted: Callable[[Step], bool]) -> tuple[list[Step], bool]:
        """The nearest *wanted* step on each way to *step*, and whether there is a way without one.

        A way from another extension has none, nor has one through a subroutine.
        """
        found: list[Step] = []
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

    def _steps_before(self, step: Step) -> tuple[list[Step], bool]:
        if id(step) not in self._before:
            self._look_at(step.key)
        return self._before[id(step)]

    def _look_at(self, key: tuple[str, str]) -> None:
        steps = self._dialplan.extensions[key]
        numbered: dict[int | None, Step] = {}
        for step in steps:
            numbered.setdefault(step.priority, step)
        loops = any(_LOOPS.match(step.app) for step in steps)
        for step in steps:
            above = numbered.get(step.priority - 1) if step.priority else None
            into = [above] if above and not _LEAVES.match(above.app) else []
            into += [source for source, to in self._within[key] if _leads(source, to, step)]
            self._before[id(step)] = into, loops or above is None or self._is_reached(step)

    def _is_reached(self, step: Step) -> bool:
        """Whether a jump from another extension may lead here."""
        extens = self._from_afar["$"].union(
            self._from_afar[step.label or ""], self._from_afar[str(step.priority)]
        )
        return any(step.exten[:1] == "_" or "$" in exten or exten == step.name for exten in extens)


def calls_others(step: Step) -> bool:
    """Whether *step* runs other lines or a program, which may set variables and send SMS."""
    return _CALLS.search(step.plain) is not None and not SENDS.search(step.plain)


def _leads(source: Step, to: str, step: Step) -> bool:
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
