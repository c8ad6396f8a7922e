"""Asterisk's side: is it up, has it the modules, is [sub-sms] loaded, are CURL() lines left."""

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from dialplan_sms.cli.check.asterisk import Asterisk
from dialplan_sms.cli.check.finding import Finding, listed
from dialplan_sms.cli.migrate.dialplan import Dialplan
from dialplan_sms.cli.migrate.files import Place, Tree
from dialplan_sms.cli.migrate.flow import API, Flow
from dialplan_sms.host.identity import READ, Blocked, User, blocked, current
from dialplan_sms.host.installation import put_in_place

ASTERISK = Finding("Asterisk")
MODULES = Finding("modules", (ASTERISK.name,))
DIALPLAN = Finding("dialplan", (ASTERISK.name, MODULES.name))
CURL = Finding("old CURL()")
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
_RELOAD = "asterisk -rx 'dialplan reload'"
_DIRECT = re.compile(r"(?<!Dead)AGI\((?:[^)]*/)?sms\.agi|AGI\(h?agi://[^)]*/sms\b")


def check(asterisk: Asterisk, user: User, ports: Collection[int] = ()) -> Iterator[Finding]:
    """The lines of Asterisk; what is not here is no failure.

    *user* is who runs it, *ports* those of our own HTTP SMS server, through which an old dialplan
    may send.
    """
    if not asterisk.is_here:
        for line in (ASTERISK, MODULES, DIALPLAN, CURL):
            yield line.skipped("no Asterisk on this host")
        return
    yield _up(asterisk)
    yield _modules(asterisk)
    files = Files(asterisk.etc)
    shown = asterisk.ask("dialplan show") if asterisk.settings else ""
    yield _dialplan(asterisk, files, user, shown)
    yield _curl(files, shown, ports)


def _up(asterisk: Asterisk) -> Finding:
    process = asterisk.process
    if asterisk.settings:
        told = re.search(r"Version:\s*(\S+)", asterisk.settings)
        user = f", as {process.user.name}" if process else ""
        return ASTERISK.ok(f"{told[1] if told else 'up'}{user}")
    if process is not None and current().uid not in (0, process.user.uid):
        return ASTERISK.skipped(f"it runs; only root and {process.user.name} may ask it")
    if process is not None:
        do = "see its log; systemctl restart asterisk"
        return ASTERISK.wrong("it runs, but its console does not answer", do)
    if asterisk.command is None:
        says = f"there is {asterisk.conf}, but neither a running Asterisk nor the program"
        return ASTERISK.skipped(says)
    do = "systemctl start asterisk; see /var/log/asterisk/messages"
    return ASTERISK.wrong("it does not run", do)


def _modules(asterisk: Asterisk) -> Finding:
    if not asterisk.settings or not asterisk.modules:
        return MODULES.skipped("only a running Asterisk tells")
    missing = [name for name in NEEDED if name not in asterisk.modules]
    if not missing:
        return MODULES.ok(", ".join(name.removesuffix(".so") for name in NEEDED))
    says = ", ".join(f"{name} is not loaded ({NEEDED[name]})" for name in missing)
    loads = "; ".join(f"asterisk -rx 'module load {name}'" for name in missing)
    return MODULES.wrong(says, f"{loads}; take its noload from {asterisk.etc}/modules.conf")


class Files:
    """extensions.conf and what it includes, read once."""

    def __init__(self, etc: Path) -> None:
        self.etc = etc
        self.path = etc / "extensions.conf"
        self.tree = Tree(etc)
        if os.path.exists(self.path):
            self.tree.read(self.path)
        self.plan = Dialplan(self.tree)

    @property
    def unread(self) -> str:
        """What of it cannot be read: ``path: why``; empty if all can."""
        return next((str(problem) for problem in self.tree.problems if not problem.note), "")

    def unreadable(self, user: User) -> Blocked | None:
        """What keeps *user* from one of the files."""
        bars = (blocked(path, READ, user) for path in self.tree.contents)
        return next(filter(None, bars), None)

    def merged(self, coming: bool = False) -> Finding | None:
        """What is wrong if Asterisk makes one [sub-sms] of the lines of several places.

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
            return DIALPLAN.wrong(f"{says}, and SMS are lost", do)
        by = self.tree.named[ours[0]]
        says = f"{ours[0]} is included {len(by)} times: {_shown(by)}"
        return DIALPLAN.warning(says, f"keep one #include, then {_RELOAD}")

    def old_lines(self, ports: Collection[int]) -> list[str]:
        """``file:line`` of the steps that use the PBX's SMS API by CURL() or curl."""
        flow = Flow(self.plan)
        found = [
            f"{step.line.path}:{step.line.number}"
            for step in self.plan.steps
            if flow.uses_api(step) and not _is_ours(step.plain, ports)
        ]
        return list(dict.fromkeys(found))


def _dialplan(asterisk: Asterisk, files: Files, user: User, shown: str) -> Finding:
    merged = files.merged()
    if not shown:
        return merged or DIALPLAN.skipped("only a running Asterisk tells")
    bar = files.unreadable(user)
    cause, cure = (bar.says, bar.do) if bar else (files.unread, "mend that #include")
    if f"Context '{CONTEXT}'" in shown:
        if merged:
            return merged
        if cause:
            says = f"[{CONTEXT}] is loaded, but Asterisk cannot load all files again: {cause}"
            return DIALPLAN.warning(says, f"{cure}, then {_RELOAD}")
        return DIALPLAN.ok(f"[{CONTEXT}] is loaded")
    missing = f"[{CONTEXT}] is not loaded"
    if cause:
        says = f"{missing}, and Asterisk keeps the old dialplan: {cause}"
        return DIALPLAN.wrong(says, f"{cure}, then {_RELOAD}")
    if CONTEXT in files.plan.contexts:
        says = f"[{CONTEXT}] is in the files, but not loaded"
        return DIALPLAN.wrong(says, f"{_RELOAD}; see its log if that is not enough")
    includes = [line.raw for line in files.tree.stream if line.raw.lstrip().startswith("#")]
    if any(FILE in line for line in includes):
        says = f"{missing}: {FILE} is included, and not in {asterisk.etc}"
        install = put_in_place(Path(sys.prefix), f"ASTERISK_ETC={asterisk.etc}")
        return DIALPLAN.wrong(says, f"{install}, then {_RELOAD}")
    of_freepbx = any("_custom.conf" in line for line in includes)
    freepbx = " (on FreePBX in extensions_custom.conf)" if of_freepbx else ""
    include = f"#tryinclude {FILE} in {files.path}{freepbx}, above a [context], then {_RELOAD}"
    if _DIRECT.search(shown) and f"{CONTEXT}," not in shown:
        says = f"{missing}: AGI(sms.agi) does without, and a hang-up may stop it"
        return DIALPLAN.warning(says, include)
    return DIALPLAN.wrong(missing, include)


def _shown(places: Iterable[Place]) -> str:
    return " and ".join(dict.fromkeys(f"{path}:{line}" for path, line in places))


def _is_ours(text: str, ports: Collection[int]) -> bool:
    return any(f":{port}/" in text for port in ports)


def _curl(files: Files, shown: str, ports: Collection[int]) -> Finding:
    do = "dialplan-sms migrate"
    if lines := files.old_lines(ports):
        says = f"the SMS API is still used past sms.agi in {listed(lines)}"
        return CURL.warning(says, do)
    old = [line for line in shown.splitlines() if API.search(line) and not _is_ours(line, ports)]
    if old:
        says = f"{len(old)} of the loaded dialplan, none in {files.path}: AEL, Lua, a database?"
        return CURL.warning(says, f"asterisk -rx 'dialplan reload' if {do} was here, else {do}")
    if not files.tree.stream and not shown:
        return CURL.skipped(f"there is no {files.path}, and Asterisk does not answer")
    return CURL.ok("none")
