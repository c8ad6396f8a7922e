"""The dialplan, in its files and as Asterisk has loaded it: [sub-sms], and lines for SMS."""

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from dialplan_sms.cli.check import Finding, listed
from dialplan_sms.cli.migrate.dialplan import Dialplan
from dialplan_sms.cli.migrate.files import Place, Tree
from dialplan_sms.cli.migrate.flow import API, Flow
from dialplan_sms.host.identity import READ, User, blocked
from dialplan_sms.host.installation import EXTENSIONS, put_in_place

DIALPLAN = Finding("dialplan", ("Asterisk", "modules"))
CURL = Finding("old CURL()")
CONTEXT = "sub-sms"
RELOAD = "asterisk -rx 'dialplan reload'"
_GOSUB = re.compile(
    r"(?:ExecIf\([^?]*+\?[ \t]*)?Gosub(?:\(|If\([^?]*+\?)[ \t]*([\w.-]++)[ \t]*,[^,()]*,",
    re.IGNORECASE,
)
"""A Gosub that names its context: with an extension alone, it is one of its own."""
_TRIED = re.compile(r"(?:DIALPLAN_EXISTS|VALID_EXTEN)\([ \t]*([\w.-]+)")
_DIRECT = re.compile(r"(?<!Dead)AGI\((?:[^)]*/)?sms\.agi|AGI\(h?agi://[^)]*/sms\b")


class Files:
    """extensions.conf and what it includes, read once."""

    def __init__(self, etc: Path) -> None:
        self.path = etc / "extensions.conf"
        self.tree = Tree(etc)
        if os.path.exists(self.path):
            self.tree.read(self.path)
        self.plan = Dialplan(self.tree)

    def problem(self, user: User) -> tuple[str, str]:
        """What keeps *user* from loading all of it again, and the cure; empty for nothing."""
        for bar in filter(None, (blocked(path, READ, user) for path in self.tree.contents)):
            return bar.says, bar.do
        unread = (each.told() for each in self.tree.problems if not each.note)
        return next(((told, "mend that #include") for told in unread), ("", ""))

    def merged(self, coming: bool = False) -> Finding | None:
        """What is wrong if Asterisk merges [sub-sms] of several places, ours too if *coming*."""
        places = [line.place for line in self.plan.contexts.get(CONTEXT, ())]
        for step in self.plan.steps:
            # Lines below an #include are of the context that the included file has ended with.
            if step.context == CONTEXT and step.line.path not in dict(places):
                places.append(step.line.place)
        if coming and all(path.name != EXTENSIONS for path, _ in places):
            places.append((self.tree.etc / EXTENSIONS, 0))
        if len(places) < 2:
            return None
        ours = next((place for place in places if place[0].name == EXTENSIONS), places[0])
        others = _shown(place for place in places if place != ours)
        by = self.tree.named[ours[0]]
        return (
            (others and DIALPLAN.wrong(
                f"[{CONTEXT}] is also in {others}: Asterisk merges that with {_shown([ours])}, and"
                " SMS are lost",
                f"delete those lines, or give them a [context] with another name, then {RELOAD}"))
            or DIALPLAN.warning(
                f"{ours[0]} is included {len(by)} times: {_shown(by)}",
                f"keep one #include, then {RELOAD}")
        )  # fmt: skip

    def lost(self, shown: str) -> Finding | None:
        """What is wrong if a line for SMS, loaded as *shown*, goes to a context that is nowhere.

        Others are not looked at: what comes with a PBX tries contexts that need not exist.
        """
        known = {name for step in self.plan.steps for name in _TRIED.findall(step.plain)}
        known |= self.plan.contexts.keys()
        lost = (
            DIALPLAN.wrong(
                f"there is no [{found[1]}]: the call ends at {_shown([step.line.place])}",
                f"correct the name, or #include the file with [{found[1]}], then {RELOAD}",
            )
            for step, found in ((step, _GOSUB.match(step.plain)) for step in self.plan.steps)
            if found and "sms" in found[1].lower() and found[1] not in known
            if f"{found[1]}," in shown and f"Context '{found[1]}'" not in shown
        )
        return next(lost, None) if shown.endswith("=-") else None  # else it is cut


def _shown(places: Iterable[Place]) -> str:
    named = (f"{path}:{line}" if line else str(path) for path, line in places)
    return " and ".join(dict.fromkeys(named))


def _is_ours(text: str, ports: Collection[int]) -> bool:
    return any(f":{port}/" in text for port in ports)


def check(etc: Path, shown: str, user: User, ports: Collection[int]) -> Iterator[Finding]:
    """The lines of the dialplan in *etc*; *shown* is what Asterisk has loaded, if it tells."""
    files = Files(etc)
    yield _loaded(files, user, shown)
    flow, do = Flow(files.plan), "dialplan-sms migrate"
    steps = (step for step in files.plan.steps if not _is_ours(step.plain, ports))
    lines = {f"{step.line.path}:{step.line.number}": 0 for step in steps if flow.uses_api(step)}
    old = [line for line in shown.splitlines() if API.search(line) and not _is_ours(line, ports)]
    yield (
        (lines and CURL.warning(
            f"the SMS API is still used past sms.agi in {listed([*lines])}", do))
        or (old and CURL.warning(
            f"{len(old)} of the loaded dialplan, none in {files.path}: AEL, Lua, a database?",
            f"{RELOAD} if {do} was here, else {do}"))
        or (not files.tree.stream and not shown and CURL.skipped(
            f"there is no {files.path}, and Asterisk does not answer"))
        or CURL.ok("none")
    )  # fmt: skip


def _loaded(files: Files, user: User, shown: str) -> Finding:
    merged, (cause, cure) = files.merged(), files.problem(user)
    if not shown:
        return merged or DIALPLAN.skipped("only a running Asterisk tells")
    mend, missing = f"{cure}, then {RELOAD}", f"[{CONTEXT}] is not loaded"
    if f"Context '{CONTEXT}'" in shown:
        return merged or (cause and DIALPLAN.warning(
            f"[{CONTEXT}] is loaded, but Asterisk cannot load all files again: {cause}", mend
        )) or files.lost(shown) or DIALPLAN.ok(f"[{CONTEXT}] is loaded")  # fmt: skip
    includes = "\n".join(each.raw for each in files.tree.stream if each.raw.lstrip()[:1] == "#")
    freepbx = " (on FreePBX in extensions_custom.conf)" if "_custom.conf" in includes else ""
    include = f"#tryinclude {EXTENSIONS} in {files.path}{freepbx}, above a [context], then {RELOAD}"
    return (
        (cause and DIALPLAN.wrong(f"{missing}, and Asterisk keeps the old dialplan: {cause}", mend))
        or (CONTEXT in files.plan.contexts and DIALPLAN.wrong(
            f"[{CONTEXT}] is in the files, but not loaded",
            f"{RELOAD}; see its log if that is not enough"))
        or (EXTENSIONS in includes and DIALPLAN.wrong(
            f"{missing}: {EXTENSIONS} is included, and not in {files.tree.etc}",
            f"{put_in_place(Path(sys.prefix), f'ASTERISK_ETC={files.tree.etc}')}, then {RELOAD}"))
        or (_DIRECT.search(shown) and f"{CONTEXT}," not in shown and DIALPLAN.warning(
            f"{missing}: AGI(sms.agi) does without, and a hang-up may stop it", include))
        or DIALPLAN.wrong(missing, include)
    )  # fmt: skip
