"""Which lines change, and into what; and what is to be done by hand."""

import re
from collections.abc import Iterable
from pathlib import Path

from dialplan_sms.cli.migrate.dialplan import Dialplan, Priority
from dialplan_sms.cli.migrate.encoding import as_it_stands, may_lack_code
from dialplan_sms.cli.migrate.expression import NAME, split
from dialplan_sms.cli.migrate.files import FileLine, Place, Problem
from dialplan_sms.cli.migrate.find import Finder
from dialplan_sms.cli.migrate.flow import SENDS
from dialplan_sms.cli.migrate.replies import UNREACHABLE, Recipe, converted
from dialplan_sms.cli.migrate.request import REPLY, ApiRequest
from dialplan_sms.cli.migrate.variables import API
from dialplan_sms.cli.migrate.write import Edits

_GOSUB = "Gosub(sub-sms,s,1)"
_AGI = "AGI(sms.agi)"
_IDLE = "a login of CURLOPT that no CURL() of the SMS API uses: it is left, with its password"
_KEPT = "left with its password, since another CURL() may need it"
_CONDITION = (
    "converted, and now sends only if the condition is true: Asterisk ran CURL() before ExecIf"
    " looked at it, so the old line sent every time"
)
_EMPTY = (
    "converted: an empty answer is now SMS_STATUS empty or UNREACHABLE, and nothing was sent then;"
    " for NO_ANSWER, which may have been sent, and other failures test SMS_STATUS and SMS_CAUSE"
)
_ANYWHERE = ("Set(SMS_NUMBER=<number>)", "Set(SMS_MESSAGE=<text>)", _AGI)
_UNKNOWN = {"number": "<number>", "message": "<text>"}

_ORDER = {
    "number": "SMS_NUMBER",
    "message": "SMS_MESSAGE",
    "gsm": "SMS_GSM",
    "postpone": "SMS_POSTPONE",
}


class Conversion:
    """What is made of what a Finder found; only its files change."""

    def __init__(self, finder: Finder) -> None:
        self.edits = Edits()
        self.problems: list[Problem] = []
        self._done: set[Place] = set()
        self._varying: set[tuple[Path, str]] = set()  # who was told of country
        self._finder, self._dialplan, self._room = finder, finder.dialplan, finder.room
        self._next_detour = finder.room.free
        set_somewhere = " ".join(step.app for step in self._dialplan.steps)
        self._also = {
            name
            for name, variable in _ORDER.items()
            if variable in set_somewhere
            or any(name in found.values for found in finder.recipes if not found.reason)
        }
        self.by_gosub = "sub-sms" in self._dialplan.contexts
        self._make()

    @property
    def converted(self) -> int:
        return len(self._done)

    def _make(self) -> None:
        for found in self._finder.recipes:
            if found.reason or found.request is None:
                by_hand = tuple(self._by_hand(found))
                self._name(found.step.line, found.reason, other=found.reader, by_hand=by_hand)
            elif found.step.line.path in self._finder.files:
                self._convert(found, found.request)
        for use in self._finder.uses:
            if use.app is not None and not any(found.reason for found in use.sources):
                self._replace(use.step, use.app)
                self._see_to_empty(use.step, use.app)
        self._see_to_options()
        if self._done:
            self._name_misled()

    def _see_to_options(self) -> None:
        """The options of CURL() go with the last CURL(), if their logins are in sms.conf then."""
        moved = {found.login for found in self._finder.recipes if not found.reason}
        for option in self._finder.options.values():
            step = option.step
            is_login = option.name == "userpwd"
            if self._finder.curl_stays:
                if is_login and option.value in moved:
                    self._name(step.line, _KEPT, note=True)
            elif is_login and option.value not in moved:
                self._name(step.line, _IDLE)
            elif self._done:
                self._remove(step)
                for name in NAME.findall(option.value):
                    if line := self._dialplan.global_lines.get(name):
                        reason = f"{name} may still hold a password: see to it"
                        self._name(line, reason, note=True)

    def _remove(self, step: Priority) -> None:
        is_next = step.token.lower() == "n" and not step.label
        if is_next and not self._room.refusal(step) and self._room.is_simple(step):
            self._set(step.line, [])
        else:
            self._replace(step, "NoOp()")

    def _apps(self, found: Recipe, request: ApiRequest) -> list[str]:
        """The applications that take a recipe's place."""
        sets = [
            f"Set({variable}={found.values.get(name, '')})"
            for name, variable in _ORDER.items()
            if name in self._also or name in found.values
        ]
        if self._finder.senders.several:
            sets.append(f"Set(SMS_SENDER={found.user})")
        tail = converted(request.tail, REPLY) if request.tail else None
        return [*sets, *self._call(request.condition), *([tail] if tail else [])]

    def _call(self, condition: str) -> list[str]:
        if not condition and self.by_gosub:
            return [_GOSUB]
        call = _AGI
        if condition:
            call = f"ExecIf({condition}?{_AGI})"
            call = f"GosubIf({condition}?sub-sms,s,1)" if self.by_gosub else call
        return ["Set(SMS_STATUS=)", call]  # an earlier SMS's status is not this one's

    def _by_hand(self, found: Recipe) -> Iterable[str]:
        """The applications for a person to put in a recipe's place, as far as can be told."""
        asked, known = found.request, dict(_UNKNOWN)
        if asked:
            known |= {n: as_it_stands(v, asked.encoded) for n, v in asked.fields.items() if v}
        for name, variable in _ORDER.items():
            if value := found.values.get(name) or known.get(name):
                yield f"Set({variable}={value})"
        if found.user and self._finder.senders.several:
            yield f"Set(SMS_SENDER={found.user})"
        if asked and asked.unwaited:
            yield "Set(SMS_MODE=queue)"
        yield from self._call(asked.condition if asked else "")

    def _convert(self, found: Recipe, request: ApiRequest) -> None:
        step, apps = found.step, self._apps(found, request)
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
        self._see_to_country(found)

    def _see_to_empty(self, step: Priority, app: str) -> None:
        if UNREACHABLE in app and UNREACHABLE not in step.app:
            self._name(step.line, _EMPTY, note=True)

    def _see_to_country(self, found: Recipe) -> None:
        senders, line = self._finder.senders, found.step.line
        user = found.user or senders.default or ""
        if user in senders.there and senders.there[user].country:
            return
        given = self._finder.variables.at(found.step)
        items = split(found.values["number"], ",")
        lacking = [item for item in items if may_lack_code(item, given)]
        place = f"set country in {f'[{user}] of ' if user else ''}{senders.path.name}"
        if any("$" not in item for item in lacking):
            number = found.values["number"]
            self._name(line, f"converted, but {number} has no country code: {place}", note=True)
        elif lacking and (line.path, user) not in self._varying:
            self._varying.add((line.path, user))
            reason = f"converted, but {lacking[0][:60]} may come without + and country code"
            self._name(line, f"{reason}: {place}, as country = IT", note=True)

    def _detour(self, step: Priority, apps: list[str]) -> None:
        """Further priorities far behind, so that no priority's number changes."""
        end = self._dialplan.section_ends[step.section]
        first = self._next_detour
        self._next_detour += 100
        self._set(step.line, [step.as_line(f"Goto({first})", first=True)])
        back = f"Goto({(step.priority or 0) + 1})"
        new = [step.at(first + number, app) for number, app in enumerate([*apps, back])]
        self.edits.after[end.path].setdefault(end.number, []).extend(new)

    def _name_misled(self) -> None:
        """A note on each step that sends already, and would go by what converted lines leave set.

        A variable stays for the rest of a call: one that goes through both would send as the
        other line's sender.
        """
        senders = self._finder.senders
        leave = {"SMS_SENDER": senders.default or next(iter(senders.new), "")}
        leave = leave if senders.several else {}
        leave |= {_ORDER[name]: "" for name in ("gsm", "postpone") if name in self._also}
        for step in self._dialplan.steps:
            if step.context == "sub-sms" or not SENDS.search(step.app):
                continue
            own = "\n".join(other.app for other in self._dialplan.extensions[step.key])
            missing = [name for name in leave if name not in own]
            if missing:
                sets = " and ".join(f"Set({name}={leave[name]})" for name in missing)
                reason = (
                    f"sends, too, and would keep the {' and '.join(missing)} of a converted line"
                    f" that the same call came through: put {sets} before it"
                )
                self._name(step.line, reason, note=True)

    def _replace(self, step: Priority, app: str) -> None:
        raw = step.line.raw
        self._set(step.line, [raw[: step.start] + app + raw[step.start + len(step.app) :]])

    def _set(self, line: FileLine, new: list[str]) -> None:
        if line.path in self._finder.files:
            self.edits.replaced[line.path][line.number] = new

    def _name(
        self,
        line: FileLine,
        reason: str,
        note: bool = False,
        other: Place | None = None,
        by_hand: tuple[str, ...] = (),
    ) -> None:
        problem = Problem(line.path, line.number, reason, note, other, by_hand)
        if line.path in self._finder.files and problem not in self.problems:
            self.problems.append(problem)


def mentions(dialplan: Dialplan, files: set[Path]) -> list[Problem]:
    """Lines that are no steps and name the SMS API, and comments that hold a password."""
    found = [
        Problem(line.path, line.number, "not a line that can be read", by_hand=_ANYWHERE)
        for line in dialplan.others
        if line.path in files and API.search(line.said.text)
    ]
    found += [
        Problem(line.path, line.number, "a comment still has a password: delete it", note=True)
        for line in dialplan.comments
        if line.path in files and re.search(r"(?i)CURLOPT\(userpwd\)", line.raw)
    ]
    return found
