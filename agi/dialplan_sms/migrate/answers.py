"""Who reads the API's replies, and whether that can be converted."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dialplan_sms.migrate import reply
from dialplan_sms.migrate.dialplan import Dialplan, Step
from dialplan_sms.migrate.found import Recipe, Use
from dialplan_sms.migrate.recipe import REPLY

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
            if pattern is None or id(step.line) in self._by_line:
                continue
            app: str | None = step.app
            used, sources = "", list[Recipe]()
            for name in dict.fromkeys(pattern.findall(step.app)):
                found_sources = self._sources(step, name, named[name])
                if found_sources and reply.uses(step.app, name):
                    new = reply.converted(app, name) if app is not None else None
                    app, used, sources = new, name, sources + found_sources
            if used:
                app = app if step.line.path in self._files else None
                yield Use(step, used, sources, app)

    def _sources(self, step: Step, name: str, named: list[Recipe]) -> list[Recipe]:
        for above in self._before(step):
            found = self._by_line.get(id(above.line))
            if found and found.request and found.request.reply == name:
                return [found]
            if above.assigned and above.assigned[0] == name:
                return []
            if name == "SYSTEMSTATUS" and _SYSTEM.match(above.app):
                return []
        elsewhere = self._set_elsewhere[name]
        return [] if elsewhere or name == "SYSTEMSTATUS" else named

    def block(self) -> None:
        """A recipe whose reply somebody reads in an unknown way stays, and so do its other uses."""
        for found in self._recipes:
            request = found.request
            if request and request.tail and reply.converted(request.tail, REPLY) is None:
                found.refuse(
                    "the answer of the API is used in a way that has no certain replacement:"
                    " put it into a variable first"
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
