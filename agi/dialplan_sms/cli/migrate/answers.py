"""Who reads the API's replies, and whether that can be converted."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dialplan_sms.cli.migrate import reply
from dialplan_sms.cli.migrate.dialplan import Dialplan, Step
from dialplan_sms.cli.migrate.found import Recipe, Use
from dialplan_sms.cli.migrate.recipe import REPLY

_LATE = (
    "reads the answer in ${{{0}}}, after another SMS may have been sent: SMS_STATUS is the latest"
    " one's. Put that test right below this line, before the other SMS, and convert again"
)
_CONDITION = (
    "its condition reads SMS_STATUS, which the new lines clear first: step over it with a GotoIf()"
)
_CALLS = re.compile(r"\b(?:Gosub(?:If)?|Macro)\(", re.IGNORECASE)
_SENDS = re.compile(r"\bsub-sms\b|\bsms\.agi\b|agi://", re.IGNORECASE)
_SYSTEM = re.compile(r"(?:Try)?System\(", re.IGNORECASE)


class Answers:
    """The uses of what *recipes* left in variables. *before* has the steps above one."""

    def __init__(
        self,
        dialplan: Dialplan,
        recipes: list[Recipe],
        before: Callable[[Step], Iterable[Step]],
        files: set[Path],
    ) -> None:
        self._dialplan, self._recipes, self._before, self._files = dialplan, recipes, before, files
        self._are_followed: dict[str, bool] = {}
        self._replies: dict[str, set[str]] = defaultdict(set)
        for found in recipes:
            if found.request and not found.reason:
                context = found.step.context
                for called in (context, context.removeprefix("macro-")):
                    self._replies[called].add(found.request.reply)
        self.uses = list(self._find_uses())

    def _find_uses(self) -> Iterator[Use]:
        named: dict[str, list[Recipe]] = defaultdict(list)
        for found in self._recipes:
            if found.request and found.request.reply:
                named[found.request.reply].append(found)
        pattern = re.compile(rf"\b({'|'.join(map(re.escape, named))})\b") if named else None
        self._by_line = {id(found.step.line): found for found in self._recipes}
        self._set_elsewhere = {
            name: any(
                not by or id(by.line) not in self._by_line
                for by, _ in self._dialplan.assigned.get(name, ())
            )
            for name in named
        }
        for step in self._dialplan.steps:
            recipe = self._by_line.get(id(step.line))
            if pattern is None or (recipe and not (recipe.request and recipe.request.condition)):
                continue
            if recipe and recipe.request:
                yield from self._in_condition(step, recipe.request.condition, named)
                continue
            app: str | None = step.app
            used, sources, late = "", list[Recipe](), False
            for name in dict.fromkeys(pattern.findall(step.app)):
                found_sources, is_late = self._sources(step, name, named[name])
                if found_sources and reply.uses(step.app, name):
                    late = late or is_late
                    new = reply.converted(app, name) if app is not None else None
                    app, used, sources = new, name, sources + found_sources
            if used:
                app = app if step.line.path in self._files else None
                yield Use(step, used, sources, app, late)

    def _in_condition(
        self, step: Step, condition: str, named: dict[str, list[Recipe]]
    ) -> Iterator[Use]:
        """A recipe's condition is not converted: SMS_STATUS is cleared before it is looked at.

        Where nothing above has set the variable, it may hold the text that is to be sent.
        """
        for name in named:
            sources, _ = self._sources(step, name, named[name])
            if sources and sources is not named[name] and reply.uses(condition, name):
                yield Use(step, name, sources, None)

    def _sources(self, step: Step, name: str, named: list[Recipe]) -> tuple[list[Recipe], bool]:
        """Whose reply *name* holds at *step*, and whether another SMS may have been sent since."""
        late = False
        sources: list[Recipe] = []
        for above in self._before(step):
            found = self._by_line.get(id(above.line))
            if found and found.request and found.request.reply == name:
                # A condition that was false has left the reply of the one above.
                late = late or bool(sources)
                sources.append(found)
                if not found.request.condition:
                    return sources, late
            elif name in above.assigned or (name == "SYSTEMSTATUS" and _SYSTEM.match(above.app)):
                return sources, late
            elif not sources:
                late = late or self._sends(above, name)
        if sources:
            return sources, late
        if self._set_elsewhere[name] or name == "SYSTEMSTATUS":
            return [], False
        return named, late or self._followed(name, named)

    def _sends(self, step: Step, name: str) -> bool:
        """Whether *step* sends an SMS whose reply does not go into *name*."""
        found = self._by_line.get(id(step.line))
        if found and found.request:
            return not found.reason and found.request.reply != name
        if _SENDS.search(step.app):
            return True
        called = re.findall(r"[\w-]+", step.app) if _CALLS.search(step.app) else []
        return any(self._replies.get(context, {name}) - {name} for context in called)

    def _followed(self, name: str, named: list[Recipe]) -> bool:
        """Whether an SMS with another reply is sent in the same extension after one of *named*."""
        if name not in self._are_followed:
            self._are_followed[name] = any(self._is_followed(found, name) for found in named)
        return self._are_followed[name]

    def _is_followed(self, source: Recipe, name: str) -> bool:
        steps = iter(self._dialplan.extensions[source.step.key])
        any(step.line is source.step.line for step in steps)  # leaves those after it
        return any(self._sends(step, name) for step in steps)

    def block(self) -> None:
        """A recipe whose reply somebody reads in an unknown way stays, and so do its other uses."""
        for found in self._recipes:
            request = found.request
            if request and "SMS_STATUS" in request.condition:
                found.refuse(_CONDITION)
            if request and request.tail and reply.converted(request.tail, REPLY) is None:
                found.refuse(
                    "the answer of the API is used in a way that has no certain replacement:"
                    " write Set(name=${CURL(…)}) on a line of its own, and test ${name} below it"
                )
        changed = True
        while changed:
            self._see_to_twins()
            changed = False
            for use in self.uses:
                refused = next((found for found in use.sources if found.reason), None)
                reason, reader = (refused.reason, refused.reader) if refused else ("", None)
                if use.app is None:
                    reader = use.step.line.place
                    reason = (
                        f"reads the answer in ${{{use.name}}}: change it to ${{SMS_STATUS}}, which"
                        " is SUCCESS, WARNING, QUEUED or ERROR, and convert again"
                    )
                    if id(use.step.line) in self._by_line:
                        reason = (
                            f"reads the answer in ${{{use.name}}} in its condition: step over it"
                            " with a GotoIf() on a line of its own, and convert again"
                        )
                elif use.late:
                    reason, reader = _LATE.format(use.name), use.step.line.place
                for found in use.sources if reason else ():
                    changed = changed or not found.reason
                    found.refuse(reason, reader)

    def _see_to_twins(self) -> None:
        """A line that stands in two contexts is converted for both or for none."""
        refused = {found.step.line.place: found for found in self._recipes if found.reason}
        for found in self._recipes:
            twin = refused.get(found.step.line.place)
            if twin:
                found.refuse(twin.reason, twin.reader)
