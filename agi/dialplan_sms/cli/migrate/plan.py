"""Which lines change, and into what."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from dialplan_sms.cli.migrate import earlier, recipe, reply
from dialplan_sms.cli.migrate.dialplan import Dialplan, Step
from dialplan_sms.cli.migrate.files import Line, Place, Problem, content_of, lines
from dialplan_sms.cli.migrate.find import Finder
from dialplan_sms.cli.migrate.found import Recipe
from dialplan_sms.cli.migrate.recipe import REPLY, Request

GOSUB = "Gosub(sub-sms,s,1)"
AGI = "AGI(sms.agi)"
_NEXT = "n"
_IDLE = "a login of CURLOPT that no CURL() of the SMS API uses: it is left, with its password"
_CONDITION = (
    "converted, and now sends only where the condition is true: Asterisk ran CURL() before ExecIf"
    " looked at it, so the old line sent every time"
)
_EMPTY = (
    "converted: an empty answer is now SMS_STATUS empty or UNREACHABLE, where nothing was sent; for"
    " NO_ANSWER, which may have been sent, and other failures test SMS_STATUS and SMS_CAUSE, too"
)

_ORDER = {
    "number": "SMS_NUMBER",
    "message": "SMS_MESSAGE",
    "gsm": "SMS_GSM",
    "postpone": "SMS_POSTPONE",
}


@dataclass(slots=True)
class Plan:
    """The new lines in place of a line and after it, by path and number; without endings."""

    replaced: dict[Path, dict[int, list[str]]] = field(default_factory=lambda: defaultdict(dict))
    after: dict[Path, dict[int, list[str]]] = field(default_factory=lambda: defaultdict(dict))
    problems: list[Problem] = field(default_factory=list)
    converted: int = 0

    def edits(self, path: Path, old: list[str]) -> dict[int, list[str]]:
        """The lines, without endings, that stand in place of each line that changes."""
        numbers = self.replaced[path].keys() | self.after[path].keys()
        return {
            number: self.replaced[path].get(number, [old[number - 1]])
            + self.after[path].get(number, [])
            for number in numbers
        }

    def number(self, path: Path, number: int) -> int:
        """The number that the line of *path* has once the plan is carried out."""
        replaced = (len(new) - 1 for at, new in self.replaced[path].items() if at < number)
        added = (len(new) for at, new in self.after[path].items() if at < number)
        return number + sum(replaced) + sum(added)

    def content(self, path: Path, content: bytes) -> bytes:
        """*content* of the file *path* as the plan has it; new lines end as their neighbours."""
        old = list(lines(path, content))
        edits = self.edits(path, [line.raw for line in old])
        out: list[str] = []
        for line in old:
            ending = old[0].ending if line is old[-1] else line.ending
            new = edits.get(line.number)
            out += [line.raw + line.ending] if new is None else [each + ending for each in new]
        if old[-1].number in edits:
            out[-1] = out[-1].rstrip("\r\n") + "\n"  # as the file's last line has no ending
        return content_of(out)


class Planner:
    """Makes the Plan of what a Finder found; only *files* may change."""

    def __init__(self, dialplan: Dialplan, finder: Finder, files: set[Path]) -> None:
        self.plan = Plan()
        self._done: set[Place] = set()
        self._varying: set[tuple[Path, str]] = set()  # who was told of country
        self._dialplan, self._finder, self._files = dialplan, finder, files
        self._room = finder.room
        self._next_detour = finder.room.free
        good = [found for found in finder.recipes if not found.reason]
        set_somewhere = " ".join(step.app for step in dialplan.steps)
        self._also = {
            name
            for name, variable in _ORDER.items()
            if variable in set_somewhere
            or any(found.request and name in found.request.values for found in good)
        }
        self.call = GOSUB if "sub-sms" in dialplan.contexts else AGI

    def make(self) -> Plan:
        """The plan."""
        for found in self._finder.recipes:
            if found.step.line.path not in self._files:
                continue
            if found.reason or found.request is None:
                self._name(found.step.line, found.reason, other=found.reader)
            else:
                self._convert(found, found.request)
        for use in self._finder.uses:
            if use.app is not None and not any(found.reason for found in use.sources):
                self._replace(use.step, use.app)
                self._see_to_empty(use.step, use.app)
        kept = {option.step.line.place for option in self._finder.options if option.kept}
        for option in self._finder.options:
            if option.idle:
                self._name(option.step.line, _IDLE)
            elif option.step.line.place in kept:
                sent = [f for f in self._finder.recipes if f.option is option and not f.reason]
                if sent:
                    reason = "left with its password, since another CURL() may need it"
                    self._name(option.step.line, reason, note=True)
            elif (
                self._room.is_simple(option.step)
                and option.step.token.lower() == _NEXT
                and not option.step.label
            ):
                self._set(option.step.line, [])
            else:
                self._replace(option.step, "NoOp()")
        self.plan.converted = len(self._done)
        if self._done:
            senders = self._finder.senders
            elsewhere = {"SMS_SENDER": senders.default or next(iter(senders.new), "")}
            elsewhere = elsewhere if senders.several else {}
            elsewhere |= {_ORDER[name]: "" for name in ("gsm", "postpone") if name in self._also}
            self.plan.problems += earlier.misled(self._dialplan, self._done, elsewhere)
        self._look_for_passwords()
        return self.plan

    def apps(self, found: Recipe, request: Request) -> list[str]:
        """The applications that take a recipe's place."""
        sets = [
            f"Set({variable}={request.values.get(name, '')})"
            for name, variable in _ORDER.items()
            if name in self._also or name in request.values
        ]
        if self._finder.senders.several:
            sets.append(f"Set(SMS_SENDER={found.user})")
        call = [self.call]
        if request.condition and self.call == GOSUB:
            # Where it is false, an earlier SMS's status is not this one's.
            call = ["Set(SMS_STATUS=)", f"GosubIf({request.condition}?sub-sms,s,1)"]
        elif request.condition:
            call = ["Set(SMS_STATUS=)", f"ExecIf({request.condition}?{AGI})"]
        elif self.call == AGI:
            call = ["Set(SMS_STATUS=)", AGI]
        tail = reply.converted(request.tail, REPLY) if request.tail else None
        return [*sets, *call, *([tail] if tail else [])]

    def _convert(self, found: Recipe, request: Request) -> None:
        step, apps = found.step, self.apps(found, request)
        if self._room.is_simple(step):
            first, *rest = apps
            new = [step.as_line(first, first=True)]
            self._set(step.line, new + [step.as_line(app, first=False) for app in rest])
        else:
            self._detour(step, apps)
        self._done.add(step.line.place)
        if request.condition:
            self._name(step.line, _CONDITION, note=True)
        if request.tail:
            self._see_to_empty(step, apps[-1])
        self._see_to_country(found, request)

    def _see_to_empty(self, step: Step, app: str) -> None:
        if reply.UNREACHABLE in app and reply.UNREACHABLE not in step.app:
            self._name(step.line, _EMPTY, note=True)

    def _see_to_country(self, found: Recipe, request: Request) -> None:
        senders = self._finder.senders
        user = found.user or senders.default or ""
        there = senders.there.get(user)
        if there and there.country:
            return
        place = f"set country in {f'[{user}] of ' if user else ''}{senders.path.name}"
        line = found.step.line
        if request.national:
            reason = f"converted, but {request.national} has no country code: {place}"
            self._name(line, reason, note=True)
        elif request.varying and (line.path, user) not in self._varying:
            self._varying.add((line.path, user))
            reason = f"converted, but {request.varying[:60]} may come without + and country code"
            self._name(line, f"{reason}: {place}, as country = IT", note=True)

    def _look_for_passwords(self) -> None:
        """Variables that held a password for CURLOPT(userpwd)."""
        for option in self._finder.options:
            for name in re.findall(r"\$\{(\w+)\}", option.value) if not option.kept else ():
                line = self._dialplan.global_lines.get(name)
                if line is not None:
                    self._name(line, f"{name} may still hold a password: see to it", note=True)

    def _detour(self, step: Step, apps: list[str]) -> None:
        """Further priorities far behind, so that no priority's number changes."""
        end = self._dialplan.section_ends[step.section]
        first = self._next_detour
        self._next_detour += 100
        self._set(step.line, [step.as_line(f"Goto({first})", first=True)])
        back = f"Goto({(step.priority or 0) + 1})"
        new = [step.at(first + number, app) for number, app in enumerate([*apps, back])]
        self.plan.after[end.path].setdefault(end.number, []).extend(new)

    def _replace(self, step: Step, app: str) -> None:
        raw = step.line.raw
        self._set(step.line, [raw[: step.start] + app + raw[step.start + len(step.app) :]])

    def _set(self, line: Line, new: list[str]) -> None:
        if line.path in self._files:
            self.plan.replaced[line.path][line.number] = new

    def _name(
        self, line: Line, reason: str, note: bool = False, other: Place | None = None
    ) -> None:
        if line.path not in self._files:
            return
        problem = Problem(line.path, line.number, reason, note, other)
        if problem not in self.plan.problems:
            self.plan.problems.append(problem)


def mentions(dialplan: Dialplan, files: set[Path]) -> list[Problem]:
    """Lines that are no steps and name the SMS API, and comments that hold a password."""
    found = []
    for line, content in dialplan.others:
        if line.path in files and recipe.API.search(content) and not line_is_variable(content):
            found.append(
                Problem(line.path, line.number, "not a line that can be read: convert by hand")
            )
    found += [
        Problem(line.path, line.number, "a comment still has a password: delete it", note=True)
        for line in dialplan.comments
        if line.path in files and re.search(r"(?i)CURLOPT\(userpwd\)", line.raw)
    ]
    return found


def line_is_variable(content: str) -> bool:
    """Whether it is a variable of [globals], which is resolved where it is used."""
    return re.match(r"[ \t]*\w+[ \t]*=>?[ \t]*\S+[ \t]*$", content) is not None
