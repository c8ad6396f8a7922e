"""The dialplan as its files have it: what Asterisk makes of [sub-sms] and of lines for SMS."""

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from dialplan_sms.cli.check.finding import Finding
from dialplan_sms.cli.migrate.dialplan import Dialplan
from dialplan_sms.cli.migrate.files import Place, Tree
from dialplan_sms.cli.migrate.flow import Flow
from dialplan_sms.host.identity import READ, User, blocked
from dialplan_sms.host.installation import EXTENSIONS

DIALPLAN = Finding("dialplan", ("Asterisk", "modules"))
CONTEXT = "sub-sms"
RELOAD = "asterisk -rx 'dialplan reload'"
_GOSUB = re.compile(
    r"(?:ExecIf\([^?]*+\?[ \t]*)?Gosub(?:\(|If\([^?]*+\?)[ \t]*([\w.-]++)[ \t]*,[^,()]*,",
    re.IGNORECASE,
)
"""A Gosub that names its context: with an extension alone, it is one of its own."""
_TRIED = re.compile(r"(?:DIALPLAN_EXISTS|VALID_EXTEN)\([ \t]*([\w.-]+)")
_WHOLE = "=-"
"""How the answer to ``dialplan show`` ends."""


class Files:
    """extensions.conf and what it includes, read once."""

    def __init__(self, etc: Path) -> None:
        self.etc = etc
        self.path = etc / "extensions.conf"
        self.tree = Tree(etc)
        if os.path.exists(self.path):
            self.tree.read(self.path)
        self.plan = Dialplan(self.tree)

    def problem(self, user: User) -> tuple[str, str]:
        """What keeps *user* from loading all of it again, and the cure; empty for nothing."""
        bars = (blocked(path, READ, user) for path in self.tree.contents)
        if bar := next(filter(None, bars), None):
            return bar.says, bar.do
        unread = (str(problem) for problem in self.tree.problems if not problem.note)
        return next(unread, ""), "mend that #include"

    def merged(self, coming: bool = False) -> Finding | None:
        """What is wrong if Asterisk makes one [sub-sms] of the lines of several places.

        *coming*: our file may still be put in its place.
        """
        places = [line.place for line in self.plan.contexts.get(CONTEXT, ())]
        for step in self.plan.steps:
            # Lines below an #include are of the context that the included file has ended with.
            if step.context == CONTEXT and step.line.path not in dict(places):
                places.append(step.line.place)
        if coming and all(path.name != EXTENSIONS for path, _ in places):
            places.append((self.etc / EXTENSIONS, 0))
        if len(places) < 2:
            return None
        ours = next((place for place in places if place[0].name == EXTENSIONS), places[0])
        others = _shown(place for place in places if place != ours)
        if others:
            also = f"[{CONTEXT}] is also in {others}: Asterisk merges that with {_shown([ours])}"
            do = f"delete those lines, or give them a [context] with another name, then {RELOAD}"
            return DIALPLAN.wrong(f"{also}, and SMS are lost", do)
        by = self.tree.named[ours[0]]
        says = f"{ours[0]} is included {len(by)} times: {_shown(by)}"
        return DIALPLAN.warning(says, f"keep one #include, then {RELOAD}")

    def lost(self, shown: str) -> Finding | None:
        """What is wrong if a loaded line for SMS goes to a context that is nowhere.

        *shown* is the loaded dialplan. Others than those for SMS are not looked at: what comes with
        a PBX tries contexts that need not exist.
        """
        tried = {name for step in self.plan.steps for name in _TRIED.findall(step.plain)}
        for step in self.plan.steps if shown.endswith(_WHOLE) else ():
            found = _GOSUB.match(step.plain)
            name = found[1] if found and "sms" in found[1].lower() else None
            if name is None or name in tried or name in self.plan.contexts:
                continue
            if f"{name}," in shown and f"Context '{name}'" not in shown:
                return DIALPLAN.wrong(
                    f"there is no [{name}]: the call ends at {_shown([step.line.place])}",
                    f"correct the name, or #include the file with [{name}], then {RELOAD}",
                )
        return None

    def old_lines(self, ports: Collection[int]) -> list[str]:
        """``file:line`` of the steps that use the PBX's SMS API by CURL() or curl."""
        flow = Flow(self.plan)
        found = [
            f"{step.line.path}:{step.line.number}"
            for step in self.plan.steps
            if flow.uses_api(step) and not is_ours(step.plain, ports)
        ]
        return list(dict.fromkeys(found))


def _shown(places: Iterable[Place]) -> str:
    named = (f"{path}:{line}" if line else str(path) for path, line in places)
    return " and ".join(dict.fromkeys(named))


def is_ours(text: str, ports: Collection[int]) -> bool:
    """Whether a line asks our own HTTP SMS server, which has one of *ports*."""
    return any(f":{port}/" in text for port in ports)
