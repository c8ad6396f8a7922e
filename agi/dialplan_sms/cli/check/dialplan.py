"""Asterisk's side: is it up, has it the modules, is [sub-sms] loaded, are CURL() lines left."""

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from dialplan_sms.cli.check.asterisk import Asterisk
from dialplan_sms.cli.check.finding import Finding, ok, skipped, warning, wrong
from dialplan_sms.cli.migrate import dialplan
from dialplan_sms.cli.migrate.files import Place, Tree
from dialplan_sms.cli.migrate.flow import Flow
from dialplan_sms.cli.migrate.variables import API, Variables
from dialplan_sms.host.identity import READ, Blocked, User, blocked, current
from dialplan_sms.host.installation import put_in_place
from dialplan_sms.host.process import Ran

ASTERISK, MODULES, DIALPLAN, CURL = "Asterisk", "modules", "dialplan", "old CURL()"
CONTEXT = "sub-sms"
FILE = "extensions-sms.conf"
NEEDED = {
    "pbx_config.so": "extensions.conf",
    "res_agi.so": "AGI()",
    "app_stack.so": "Gosub(), Return(), LOCAL()",
    "app_verbose.so": "Log()",
    "func_strings.so": "LEN(), FILTER()",
}
"""The modules that [sub-sms] uses, and for what."""
_MOST = 3
_NEEDS = (ASTERISK, MODULES)
_RELOAD = "asterisk -rx 'dialplan reload'"
_DIRECT = re.compile(r"(?<!Dead)AGI\((?:[^)]*/)?sms\.agi|AGI\(h?agi://[^)]*/sms\b")


def check(asterisk: Asterisk, user: User, ports: Collection[int] = ()) -> Iterator[Finding]:
    """The lines of Asterisk; what is not here is no failure.

    *user* is who runs it, *ports* those of our own HTTP SMS server, through which an old dialplan
    may send.
    """
    if not asterisk.is_here:
        for name in (ASTERISK, MODULES, DIALPLAN, CURL):
            yield skipped(name, "no Asterisk on this host")
        return
    yield _up(asterisk)
    yield _modules(asterisk)
    files = Files(asterisk.etc)
    shown = asterisk.ask("dialplan show") if asterisk.settings is not None else Ran(None)
    yield _dialplan(asterisk, files, user, shown.out)
    yield _curl(files, shown.out, ports)


def _up(asterisk: Asterisk) -> Finding:
    if asterisk.settings is not None:
        told = re.search(r"Version:\s*(\S+)", asterisk.settings)
        user = f", as {asterisk.process.user.name}" if asterisk.process else ""
        return ok(ASTERISK, f"{told[1] if told else 'up'}{user}")
    process, me = asterisk.process, current()
    if process is not None and me.uid not in (0, process.user.uid):
        says = f"it runs; only root and {process.user.name} may ask it"
        return skipped(ASTERISK, says)
    if process is not None:
        return wrong(
            ASTERISK,
            "it runs, but its console does not answer",
            "see its log; systemctl restart asterisk",
        )
    if asterisk.command is None:
        says = f"there is {asterisk.conf}, but neither a running Asterisk nor the program"
        return skipped(ASTERISK, says)
    return wrong(
        ASTERISK, "it does not run", "systemctl start asterisk; see /var/log/asterisk/messages"
    )


def _modules(asterisk: Asterisk) -> Finding:
    loaded = asterisk.modules if asterisk.settings is not None else None
    if loaded is None:
        return skipped(MODULES, "only a running Asterisk tells", needs=[ASTERISK])
    missing = [name for name in NEEDED if name not in loaded]
    if not missing:
        return ok(MODULES, ", ".join(name.removesuffix(".so") for name in NEEDED))
    says = ", ".join(f"{name} is not loaded ({NEEDED[name]})" for name in missing)
    loads = "; ".join(f"asterisk -rx 'module load {name}'" for name in missing)
    return wrong(
        MODULES,
        says,
        f"{loads}; take its noload from {asterisk.etc}/modules.conf",
        needs=[ASTERISK],
    )


class Files:
    """extensions.conf and what it includes, read once."""

    def __init__(self, etc: Path) -> None:
        self.etc = etc
        self.path = etc / "extensions.conf"
        self.tree = Tree(etc)
        if os.path.exists(self.path):
            self.tree.read(self.path)
        self.plan = dialplan.read(self.tree)

    @property
    def unread(self) -> str:
        """What of it cannot be read: ``path: why``; empty where all can."""
        return next((str(problem) for problem in self.tree.problems if not problem.note), "")

    def unreadable(self, user: User) -> Blocked | None:
        """What keeps *user* from one of the files."""
        bars = (blocked(path, READ, user) for path in self.tree.contents)
        return next(filter(None, bars), None)

    def merged(self, coming: bool = False) -> Finding | None:
        """What is wrong where Asterisk makes one [sub-sms] of the lines of several places.

        *coming*: our file may still be put in its place.
        """
        places = [line.place for line in self.plan.contexts.get(CONTEXT, ())]
        for step in self.plan.steps:
            # Lines below an #include are of the context that the included file has ended with.
            if step.context == CONTEXT and step.line.path not in dict(places):
                places.append(step.line.place)
        if coming and all(path.name != FILE for path, _ in places):
            places.append((self.etc / FILE, 0))
        if len(places) < 2:
            return None
        ours = next((place for place in places if place[0].name == FILE), places[0])
        others = _shown(place for place in places if place != ours)
        if others:
            says = f"[{CONTEXT}] is also in {others}: Asterisk merges that with {ours[0]}"
            do = f"give those lines a [context] with another name, then {_RELOAD}"
            return wrong(DIALPLAN, f"{says}, and SMS are lost", do, needs=_NEEDS)
        by = self.tree.named[ours[0]]
        says = f"{ours[0]} is included {len(by)} times: {_shown(by)}"
        return warning(DIALPLAN, says, f"keep one #include, then {_RELOAD}", needs=_NEEDS)

    def old_lines(self, ports: Collection[int]) -> list[str]:
        """``file:line`` of the steps that use the PBX's SMS API by CURL() or curl."""
        variables = Variables(self.plan, Flow(self.plan))
        found = [
            f"{step.line.path}:{step.line.number}"
            for step in self.plan.steps
            if variables.uses_api(step) and not _is_ours(step.plain, ports)
        ]
        return list(dict.fromkeys(found))


def _dialplan(asterisk: Asterisk, files: Files, user: User, shown: str) -> Finding:
    needs, reload = _NEEDS, _RELOAD
    merged = files.merged()
    if not shown.strip():
        return merged or skipped(DIALPLAN, "only a running Asterisk tells", needs=needs)
    bar = files.unreadable(user)
    cause, cure = (bar.says, bar.do) if bar else (files.unread, "mend that #include")
    if f"Context '{CONTEXT}'" in shown:
        if merged:
            return merged
        if cause:
            says = f"[{CONTEXT}] is loaded, but Asterisk cannot load all files again: {cause}"
            return warning(DIALPLAN, says, f"{cure}, then {reload}", needs=needs)
        return ok(DIALPLAN, f"[{CONTEXT}] is loaded")
    if cause:
        says = f"[{CONTEXT}] is not loaded, and Asterisk keeps the old dialplan: {cause}"
        return wrong(DIALPLAN, says, f"{cure}, then {reload}", needs=needs)
    if CONTEXT in files.plan.contexts:
        says = f"[{CONTEXT}] is in the files, but not loaded"
        return wrong(DIALPLAN, says, f"{reload}; see its log if that is not enough", needs=needs)
    included = any(
        FILE in line.raw and line.raw.lstrip().startswith("#") for line in files.tree.stream
    )
    if included:
        says = f"[{CONTEXT}] is not loaded: {FILE} is included, and not in {asterisk.etc}"
        install = put_in_place(Path(sys.prefix), f"ASTERISK_ETC={asterisk.etc}")
        return wrong(DIALPLAN, says, f"{install}, then {reload}", needs=needs)
    freepbx = " (on FreePBX in extensions_custom.conf)" if "_custom.conf" in _text(files) else ""
    include = f"#tryinclude {FILE} in {files.path}{freepbx}, above a [context], then {reload}"
    if _DIRECT.search(shown) and f"{CONTEXT}," not in shown:
        says = f"[{CONTEXT}] is not loaded: AGI(sms.agi) does without, and a hang-up may stop it"
        return warning(DIALPLAN, says, include, needs=needs)
    return wrong(DIALPLAN, f"[{CONTEXT}] is not loaded", include, needs=needs)


def _shown(places: Iterable[Place]) -> str:
    return " and ".join(dict.fromkeys(f"{path}:{line}" for path, line in places))


def _text(files: Files) -> str:
    return "\n".join(line.raw for line in files.tree.stream if line.raw.lstrip().startswith("#"))


def _is_ours(text: str, ports: Collection[int]) -> bool:
    return any(f":{port}/" in text for port in ports)


def _curl(files: Files, shown: str, ports: Collection[int]) -> Finding:
    lines = files.old_lines(ports)
    do = "dialplan-sms migrate"
    if lines:
        more = f" and {len(lines) - _MOST} more" if len(lines) > _MOST else ""
        says = f"the SMS API is still used past sms.agi in {', '.join(lines[:_MOST])}{more}"
        return warning(CURL, says, do)
    loaded = sum(1 for line in shown.splitlines() if API.search(line) and not _is_ours(line, ports))
    if loaded:
        says = f"{loaded} of the loaded dialplan, none in {files.path}: AEL, Lua, a database?"
        return warning(CURL, says, f"asterisk -rx 'dialplan reload' if {do} was here, else {do}")
    if not files.tree.stream and not shown.strip():
        return skipped(CURL, f"there is no {files.path}, and Asterisk does not answer")
    return ok(CURL, "none")
