"""Who reads the API's replies, and what reads SMS_STATUS in their place.

A reply is converted if each step that reads its variable does so in a known way, in the request's
own extension, and every way to it comes from that request with no other SMS between.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms.cli.migrate.dialplan import Dialplan, Priority
from dialplan_sms.cli.migrate.files import Place
from dialplan_sms.cli.migrate.flow import SENDS, Flow, calls_others
from dialplan_sms.cli.migrate.request import REPLY, ApiRequest
from dialplan_sms.cli.migrate.shell import REPLY as SYSTEMSTATUS
from dialplan_sms.cli.migrate.variables import Variables

UNREACHABLE = '"UNREACHABLE"'
"""What is in each test that was one for an empty answer."""

_SYSTEM = re.compile(r"(?:Try)?System\(", re.IGNORECASE)
_LEFT = ("GOSUB_RETVAL", "AGISTATUS")
"""What Gosub() and AGI() leave set, so the new lines do."""
_SHOWING = re.compile(r"(?:NoOp|Verbose|Log|System|TrySystem)\(", re.IGNORECASE)
_SHOWN = "${SMS_STATUS} ${SMS_CAUSE} ${SMS_REASON}"
_WORDS = {"success": "SUCCESS", "warning": "WARNING", "error": "ERROR"}
_BY_NAME = "CUT|FIELDQTY|FIELDNUM|REPLACE|STRREPLACE|PASSTHRU|JSON_DECODE|SHIFT|POP|LISTFILTER"
"""Functions that take the name of a variable."""
_NO_WORD = r"[^\"\]$&|a-z]"
_WORD = rf"(?:{_NO_WORD}|\btype\b)*(?P<word>success|warning|error){_NO_WORD}*"
"""The word with nothing around it that gives it another meaning, as in unsuccessful."""


@dataclass(slots=True)
class Recipe:
    """A step that sends an SMS the old way; *reason* is why it is not converted.

    *reader* is the line that the reason is about, if it is not the step's own. *login* is what the
    CURLOPT(userpwd) says by which it sends.
    """

    step: Priority
    request: ApiRequest | None
    values: dict[str, str]
    user: str = ""
    login: str | None = None
    reason: str = ""
    reader: Place | None = None

    def refuse(self, reason: str, reader: Place | None = None) -> None:
        """It is not converted; the first reason stays."""
        if reason and not self.reason:
            self.reason, self.reader = reason, reader


@dataclass(frozen=True, slots=True)
class Use:
    """A step that reads the reply of *sources*; *app* is what it becomes, None if nobody knows."""

    step: Priority
    name: str
    sources: list[Recipe]
    app: str | None
    reason: str


class Replies:
    """The uses of what *recipes* left in variables; only *files* may change."""

    def __init__(
        self,
        dialplan: Dialplan,
        flow: Flow,
        variables: Variables,
        recipes: list[Recipe],
        files: set[Path],
    ) -> None:
        self._dialplan, self._flow, self._files = dialplan, flow, files
        self._by_step = {id(found.step): found for found in recipes}
        self._named: dict[str, list[Recipe]] = defaultdict(list)
        for found in recipes:
            if found.request and found.request.reply:
                self._named[found.request.reply].append(found)
        self.uses = [
            use
            for step in dialplan.steps
            for name in self._named
            if (reads(step.app, name) or variables.unread.get(name) is step)
            and (use := self._use(step, name))
        ]
        for step in dialplan.steps:
            self._see_to_others(step, recipes)
        self._refuse(recipes)

    def _see_to_others(self, step: Priority, recipes: list[Recipe]) -> None:
        """Refuse what would change a variable that *step* reads and a Gosub() or AGI() has set."""
        name = next((name for name in _LEFT if reads(step.app, name)), "")
        if name and step.context != "sub-sms":
            stops, elsewhere = self._flow.reaching(step, lambda above: self._stops(above, name))
            for found in recipes if elsewhere else filter(None, map(self._source, stops)):
                reason = f"reads {name}, which the new lines set: let it do so above this line"
                found.refuse(reason, step.line.place)

    def _use(self, step: Priority, name: str) -> Use | None:
        stops, elsewhere = self._flow.reaching(step, lambda above: self._stops(above, name))
        sources = [found for found in map(self._source, stops) if found and found.request]
        sources = [found for found in sources if found.request and found.request.reply == name]
        others = [stop for stop in stops if self._source(stop) not in sources]
        if not sources and not elsewhere and all(_sets(stop, name) for stop in others):
            return None  # a value of its own
        own = self._by_step.get(id(step))
        app = converted(step.app, name) if reads(step.app, name) else None
        reason = ""
        conditional = all(f.request and f.request.condition for f in sources)
        if not sources or (elsewhere and not conditional):
            reason = (
                f"reads the answer in ${{{name}}}, and a call may come there from elsewhere: put"
                " that test right below this line, and convert again"
            )
        if others or (sources and conditional and len(self._dialplan.variables[name]) > 1):
            # A condition that is false leaves what another line has set.
            sources = self._named[name]
            reason = (
                f"reads the answer in ${{{name}}}, after another SMS may have been sent: SMS_STATUS"
                " is the latest one's. Put that test right below this line, before the other SMS,"
                " and convert again"
            )
        if own and own.request and reads(own.request.condition, name):
            reason = (
                f"reads the answer in ${{{name}}} in its condition: step over it with a GotoIf()"
                " on a line of its own, and convert again"
            )
        elif own or app is None or step.line.path not in self._files:
            reason = (
                f"reads the answer in ${{{name}}}: change it to ${{SMS_STATUS}}, which is SUCCESS,"
                " WARNING, QUEUED or ERROR, and convert again"
            )
        return Use(step, name, sources or self._named[name], None if reason else app, reason)

    def _source(self, step: Priority) -> Recipe | None:
        return self._by_step.get(id(step))

    def _stops(self, step: Priority, name: str) -> bool:
        """Whether *step* sets *name*, or may send an SMS."""
        return (
            id(step) in self._by_step
            or _sets(step, name)
            or SENDS.search(step.app) is not None
            or calls_others(step)
        )

    def _refuse(self, recipes: list[Recipe]) -> None:
        """A request whose reply is read in an unknown way stays, and so do its other uses."""
        for found in recipes:
            if found.request and "SMS_STATUS" in found.request.condition:
                found.refuse(
                    "its condition reads SMS_STATUS, which the new lines clear first: step over it"
                    " with a GotoIf()"
                )
            if found.request and found.request.tail and not converted(found.request.tail, REPLY):
                found.refuse(
                    "the answer of the API is used in a way that has no certain replacement:"
                    " write Set(name=${CURL(…)}) on a line of its own, and test ${name} below it"
                )
        changed = True
        while changed:
            changed = False
            for use in self.uses:
                refused = next((found for found in use.sources if found.reason), None)
                reason, reader = (refused.reason, refused.reader) if refused else ("", None)
                if use.reason:
                    reason, reader = use.reason, use.step.line.place
                for found in use.sources if reason else ():
                    changed = changed or not found.reason
                    found.refuse(reason, reader)


def _sets(step: Priority, name: str) -> bool:
    return name in step.writes or (name == SYSTEMSTATUS and _SYSTEM.match(step.app) is not None)


def reads(app: str, name: str) -> bool:
    """Whether *app* reads the variable *name*."""
    return re.search(rf"\{{{name}[}}:]|\b(?:{_BY_NAME})\(\s*{name}\b", app) is not None


def converted(app: str, name: str) -> str | None:
    """*app* with each test of ``${name}`` for success as one of SMS_STATUS; None if one stays.

    An application that only shows the reply shows status, cause and reason.
    """
    variable = rf"\$\{{{name}\}}"
    operator = r"\s*(?P<operator>=~|==|!=|=|:)\s*"
    test = re.compile(
        rf'(?P<quote>"?){variable}(?P=quote){operator}(?P<other>"?){_WORD}(?P=other)(?=\s*[\]&|)])',
        re.IGNORECASE,
    )
    regex = re.compile(rf'\$\{{REGEX\("{_WORD}"\s+{variable}\)\}}', re.IGNORECASE)

    def compared(found: re.Match[str]) -> str:
        sign = "!=" if found["operator"] == "!=" else "="
        return f'"${{SMS_STATUS}}" {sign} "{_WORDS[found["word"].lower()]}"'

    def empty(found: re.Match[str]) -> str:
        # Empty meant no answer at all. After NO_ANSWER a loop would send twice, so it is not one.
        if found["operator"] == "!=":
            return f'("${{SMS_STATUS}}" != "" & "${{SMS_CAUSE}}" != {UNREACHABLE})'
        return f'("${{SMS_STATUS}}" = "" | "${{SMS_CAUSE}}" = {UNREACHABLE})'

    new = test.sub(compared, app)
    equals = r"\s*(?P<operator>==|!=|=)\s*"
    new = re.sub(rf'"{variable}"{equals}""', empty, new)
    new = re.sub(rf'"?\$\{{LEN\({variable}\)\}}"?{equals}"?0"?(?=\s*[\]&|)])', empty, new)
    new = regex.sub(lambda m: f'$["${{SMS_STATUS}}" = "{_WORDS[m["word"].lower()]}"]', new)
    # A command that searches the reply for a word would not find it.
    searched = _SYSTEM.match(new) and re.search("success|warning|error", new, re.IGNORECASE)
    if reads(new, name) and _SHOWING.match(new) and not searched:
        new = re.sub(variable, lambda _: _SHOWN, new)
    return None if reads(new, name) else new
