"""How a call comes to a step, and what its variables hold there: rather too many ways than few."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import dropwhile

from dialplan_sms.cli.migrate.dialplan import (
    HARMLESS,
    IF_PLAIN,
    NAME,
    READ,
    WITHIN,
    Dialplan,
    Priority,
    literal,
    refuse_if,
)
from dialplan_sms.config.curl import API as API

# What sends an SMS as a converted line does.
SENDS = re.compile(r"\bsub-sms\b|\bsms\.agi\b|agi://", re.IGNORECASE)

_JUMP = re.compile(r".*(?:goto|gosub)(if\w*)?\(", re.IGNORECASE | re.DOTALL)
_VALUE = re.compile(
    r"(?:hangup_handler_\w+[ \t]*\)|GOTO_ON_BLINDXFR)[ \t]*=[ \t]*(.*)", re.IGNORECASE
)
# Targets in options, as G(context^exten^priority); those of U() and M() are arguments.
_CARETS = re.compile(
    r"(?:^|(?<=[\s,?:&|=])|(?<=\()(?<![UM]\())[^\s,()?:&|=^]*(?:\^[^\s,()?:&|=^]*)+"
)
_OPTION = re.compile(r"[GF]\(([\d$]+)\)")
_WITH_OPTIONS = {"bridge", "dial", "followme", "page", "queue", "retrydial"}
# Whose arguments are no targets, but for options.
_NO_JUMPS = {
    *_WITH_OPTIONS, "agi", "answer", "background", "confbridge", "controlplayback", "log",
    "meetme", "mixmonitor", "noop", "playback", "playtones", "read", "readexten", "record",
    "saydigits", "saynumber", "senddtmf", "system", "trysystem", "verbose", "voicemail", "wait",
    "waitexten",
}  # fmt: skip
_OPEN = re.compile(r"[^A-Za-z]*\$")
_NUMBER = re.compile(rf"{_OPEN.pattern}|[+-]?\d+\Z")
_LEAVES = re.compile(r"(?:Goto|Hangup|Return)\(", re.IGNORECASE)
_CALLS = re.compile(r"\b(?:Gosub(?:If)?|Macro\w*|\w*AGI|Exec|TryExec)\(", re.IGNORECASE)
_PART = re.compile(r"ori?ginate/sms", re.IGNORECASE)
_RUNS = re.compile(r"\b(?:CURL|SHELL)\(|\b(?:curl|wget)\s", re.IGNORECASE)
SHOWS = re.compile(r"(?:NoOp|Verbose|Log)\(", re.IGNORECASE)
_ADDRESS = re.compile(r"""CURL\(([^,?]*)|https?://[^\s"'?]*""", re.IGNORECASE)


class Flow:
    """The ways of a call through one dialplan, and what its variables hold there."""

    def __init__(self, dialplan: Dialplan) -> None:
        self._dialplan = dialplan
        self._before: dict[Priority, tuple[list[Priority], bool]] = {}
        # Jumps within an extension; and the extensions to which others lead, by label or number.
        self._within: dict[tuple[str, str], list[tuple[Priority, str]]] = defaultdict(list)
        self._from_afar: dict[str, set[str]] = defaultdict(set)
        self.unread: dict[str, Priority] = {}  # words of steps that may set such a variable, unread
        for step in dialplan.steps:
            for *place, to in targets(step.plain):
                own = place in ([step.context, step.name], [step.name], [])
                if own:
                    self._within[step.key].append((step, to))
                if not own or (not place and "$" in to):
                    self._from_afar[to].add((place[-1] if place else "$") or step.name)
            if not (step.writes or HARMLESS.match(step.plain) or SENDS.search(step.plain)):
                text = re.sub(r"(?is)^(set\([^=]*)=.*", r"\1", step.plain)
                for word in re.findall(r"\w+", READ.sub("", text)):
                    self.unread.setdefault(word, step)
        self._open = list(filter(_OPEN.search, self._from_afar))
        self._addresses: set[str] = set()  # variables that hold the address of the API
        while more := {
            name
            for name, values in dialplan.variables.items()
            if name not in self._addresses
            and any(self._has_address(value) and not _RUNS.search(value) for value in values)
        }:
            self._addresses |= more

    def jumps_to_numbers(self, step: Priority) -> bool:
        """Whether somebody jumps to a number in the extension of *step*, but to its first line."""
        jumps = [to for to in self._from_afar if self._is_reached(step, to)]
        jumps += [to for _, to in self._within[step.key]]
        # What may turn out one counts: no label has a $ first.
        return any(to != "1" and _NUMBER.match(to) for to in jumps)

    def reaching(
        self, step: Priority, wanted: Callable[[Priority], bool]
    ) -> tuple[list[Priority], bool]:
        """The nearest *wanted* step on each way to *step*, and whether a way has none."""
        found: list[Priority] = []
        passed, seen = [step], set[Priority]()
        for below in passed:
            for above in self._steps_before(below)[0]:
                if above not in seen:
                    seen.add(above)
                    (found if wanted(above) else passed).append(above)
        # A way from another extension has none, nor has one through a subroutine.
        from_afar = any(self._steps_before(each)[1] for each in passed)
        return found, from_afar or any(map(calls_others, passed[1:]))

    def _steps_before(self, step: Priority) -> tuple[list[Priority], bool]:
        """The steps of its extension that lead to *step*, and whether others may."""
        if step not in self._before:
            steps = self._dialplan.extensions[step.key]
            numbered = {each.priority: each for each in reversed(steps) if each.priority}
            loops = any(re.match(r"(?i)While\(", each.app) for each in steps)
            for each in steps:
                above = numbered.get((each.priority or 0) - 1)
                into = [above] if above and not _LEAVES.match(above.app) else []
                into += [by for by, to in self._within[step.key] if _leads(by, to, each)]
                labels = [each.label or "", str(each.priority), *self._open]
                afar = loops or above is None or any(self._is_reached(each, to) for to in labels)
                self._before[each] = into, afar
        return self._before[step]

    def _is_reached(self, step: Priority, to: str) -> bool:
        """Whether a jump from afar to this label or number may lead to the extension of *step*."""
        return any(
            step.exten[:1] == "_" or "$" in exten or exten == step.name
            for exten in self._from_afar.get(to, ())
        )

    def values(self, step: Priority, name: str, anywhere: bool) -> list[str]:
        """All values that a variable may have at *step*; raises Unclear if there may be others.

        One that another was made of may have any that it has *anywhere*: it has changed perhaps.
        """
        unread = self.unread.get(name)
        line = f"line {unread.line.number} of {unread.line.path.name}" if unread else ""
        found = self._held(step, name, anywhere)
        known = [value for value in found if not (_RUNS.search(value) and self._has_address(value))]
        refuse_if(
            (line, f"what ${{{name}}} holds cannot be seen: {line} may set it, too{IF_PLAIN}"),
            (not known and re.fullmatch(r"(?:MACRO_)?ARG\d+", name),
             f"${{{name}}} comes with a Gosub() or Macro(), perhaps encoded{IF_PLAIN}"),
            (not known,
             f"nothing in these files sets ${{{name}}}, and it may come encoded{IF_PLAIN}"),
        )  # fmt: skip
        return known

    def exact(self, step: Priority, name: str) -> str | None:
        """The one value that *name* has on every way to *step*; None if there are several."""
        values = self._held(step, name)
        return values[0] if len(values) == 1 and name not in self.unread else None

    def _held(self, step: Priority, name: str, anywhere: bool = False) -> list[str]:
        """What *name* is set to on the ways to *step*; anywhere, if a way has no such line."""
        found, elsewhere = list[Priority](), anywhere
        if not anywhere:
            found, elsewhere = self.reaching(step, lambda above: name in above.writes)
        values = [each.writes[name] for each in found]
        if elsewhere or any(WITHIN.match(each.app) for each in found):
            values = self._dialplan.variables.get(name, [])
        return list(dict.fromkeys(values))

    def resolve(self, step: Priority, text: str) -> str | None:
        """*text* with its variables as a call has them at *step*; None if one is not known."""

        def known(found: re.Match[str]) -> str:
            value = self.exact(step, found[1])
            return found[0] if value is None else value

        for _ in range(5):
            text = NAME.sub(known, text)
        return None if "${" in text or "$[" in text else text

    def uses_api(self, step: Priority) -> bool:
        """Whether *step* calls the SMS API, or may: nothing that does stays unnamed."""
        app = step.plain
        if not _RUNS.search(app):
            return not (step.writes or SHOWS.match(app)) and self._has_address(app)
        words, address = self._with_values(app), _ADDRESS.search(app)
        named = self.resolve(step, address[0].partition(")}")[0]) if address else None
        return self._has_address(app) or (
            named is None and "message=" in words and "number=" in words
        )

    def _has_address(self, text: str) -> bool:
        return _PART.search(text) is not None or not self._addresses.isdisjoint(READ.findall(text))

    def _with_values(self, text: str) -> str:
        seen: set[str] = set()
        while names := set(READ.findall(text)) - seen:
            seen |= names
            values = (value for name in names for value in self._dialplan.variables.get(name, ()))
            text = " ".join([text, *values])[:100_000]
        return text


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
    flat = literal(app, "$")
    found = [*_CARETS.findall(flat), *(run for run in _CARETS.findall(app) if run[-1].isdigit())]
    found += _VALUE.findall(flat)
    for piece in dropwhile(lambda piece: not _JUMP.match(piece), re.split(r"[?:]", flat)):
        jump = _JUMP.match(piece)
        # What stands before the question mark is no target; if there is none, all may be.
        if not (jump and jump[1] and "?" in flat):
            found.append(piece[jump.end() if jump else 0 :])
    before, _, given = flat.partition("(")
    name, words = before.strip().lower(), re.split("[,=]", given)
    if name in _WITH_OPTIONS:
        found += _OPTION.findall(given)
    if name == "channelredirect" or (name == "originate" and len(words) > 4):
        found.append(",".join(words[1:4] if name[0] == "c" else words[2:5]))
    yield from map(_parted, found)
    for number in range(2, len(words) if name not in _NO_JUMPS else 0):
        target = _parted(",".join(words[number - 2 : number + 1]))
        if len(target) == 3 and target[2].isdecimal() and target[1] and "$" not in target[1]:
            yield target


def _parted(target: str) -> list[str]:
    """*target* at its commas or carets, without the arguments of a Gosub."""
    return [part.strip(" \t)\"'\\") for part in re.split("[,^]", target.partition("(")[0])]
