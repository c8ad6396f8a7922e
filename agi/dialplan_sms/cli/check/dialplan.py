"""Asterisk's side: is it up, has it the modules, is [sub-sms] loaded, are CURL() lines left."""

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from dialplan_sms.cli.check.asterisk import Asterisk
from dialplan_sms.cli.check.finding import Finding, first, listed
from dialplan_sms.cli.migrate import dialplan
from dialplan_sms.cli.migrate.files import Place, Tree
from dialplan_sms.cli.migrate.flow import Flow
from dialplan_sms.cli.migrate.variables import API, Variables
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
    return first(
        (process, ASTERISK.wrong(
            "it runs, but its console does not answer",
            "see its log; systemctl restart asterisk")),
        (asterisk.command is None, ASTERISK.skipped(
            f"there is {asterisk.conf}, but neither a running Asterisk nor the program")),
    ) or ASTERISK.wrong(
        "it does not run", "systemctl start asterisk; see /var/log/asterisk/messages"
    )  # fmt: skip


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
        self.plan = dialplan.read(self.tree)

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
        variables = Variables(self.plan, Flow(self.plan))
        found = [
            f"{step.line.path}:{step.line.number}"
            for step in self.plan.steps
            if variables.uses_api(step) and not _is_ours(step.plain, ports)
        ]
        return list(dict.fromkeys(found))


def _dialplan(asterisk: Asterisk, files: Files, user: User, shown: str) -> Finding:
    merged = files.merged()
    if not shown:
        return merged or DIALPLAN.skipped("only a running Asterisk tells")
    bar = files.unreadable(user)
    cause, cure = (bar.says, bar.do) if bar else (files.unread, "mend that #include")
    mend = f"{cure}, then {_RELOAD}"
    missing = f"[{CONTEXT}] is not loaded"
    if f"Context '{CONTEXT}'" in shown:
        stale = f"[{CONTEXT}] is loaded, but Asterisk cannot load all files again: {cause}"
        loaded = DIALPLAN.ok(f"[{CONTEXT}] is loaded")
        return merged or first((cause, DIALPLAN.warning(stale, mend))) or loaded
    includes = [line.raw for line in files.tree.stream if line.raw.lstrip().startswith("#")]
    install = put_in_place(Path(sys.prefix), f"ASTERISK_ETC={asterisk.etc}")
    of_freepbx = any("_custom.conf" in line for line in includes)
    freepbx = " (on FreePBX in extensions_custom.conf)" if of_freepbx else ""
    include = f"#tryinclude {FILE} in {files.path}{freepbx}, above a [context], then {_RELOAD}"
    return first(
        (cause, DIALPLAN.wrong(f"{missing}, and Asterisk keeps the old dialplan: {cause}", mend)),
        (CONTEXT in files.plan.contexts, DIALPLAN.wrong(
            f"[{CONTEXT}] is in the files, but not loaded",
            f"{_RELOAD}; see its log if that is not enough")),
        (any(FILE in line for line in includes), DIALPLAN.wrong(
            f"{missing}: {FILE} is included, and not in {asterisk.etc}",
            f"{install}, then {_RELOAD}")),
        (_DIRECT.search(shown) and f"{CONTEXT}," not in shown, DIALPLAN.warning(
            f"{missing}: AGI(sms.agi) does without, and a hang-up may stop it", include)),
    ) or DIALPLAN.wrong(missing, include)  # fmt: skip


def _curl(files: Files, shown: str, ports: Collection[int]) -> Finding:
    do, lines = "dialplan-sms migrate", files.old_lines(ports)
    old = [line for line in shown.splitlines() if API.search(line) and not _is_ours(line, ports)]
    return first(
        (lines, CURL.warning(f"the SMS API is still used past sms.agi in {listed(lines)}", do)),
        (old, CURL.warning(
            f"{len(old)} of the loaded dialplan, none in {files.path}: AEL, Lua, a database?",
            f"{_RELOAD} if {do} was here, else {do}")),
        (not files.tree.stream and not shown, CURL.skipped(
            f"there is no {files.path}, and Asterisk does not answer")),
    ) or CURL.ok("none")  # fmt: skip


def _shown(places: Iterable[Place]) -> str:
    return " and ".join(dict.fromkeys(f"{path}:{line}" for path, line in places))


def _is_ours(text: str, ports: Collection[int]) -> bool:
    return any(f":{port}/" in text for port in ports)
