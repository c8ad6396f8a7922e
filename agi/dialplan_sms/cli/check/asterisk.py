"""Asterisk: is it up, has it the modules, is [sub-sms] loaded, are CURL() lines left."""

import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path

from dialplan_sms.cli.check.dialplan import CONTEXT, DIALPLAN, RELOAD, Files, is_ours
from dialplan_sms.cli.check.finding import Finding, first, listed
from dialplan_sms.cli.migrate.flow import API
from dialplan_sms.host.asterisk import Process, read_conf, running, settings, using
from dialplan_sms.host.identity import HostError, User, current
from dialplan_sms.host.installation import EXTENSIONS, put_in_place
from dialplan_sms.host.process import PATH, Run

ASTERISK = Finding("Asterisk")
MODULES = Finding("modules", (ASTERISK.name,))
CURL = Finding("old CURL()")
NEEDED = {
    "pbx_config.so": "extensions.conf",
    "res_agi.so": "AGI()",
    "app_stack.so": "Gosub(), Return(), LOCAL()",
    "app_verbose.so": "Log()",
    "func_strings.so": "LEN(), FILTER()",
}
"""The modules that [sub-sms] uses, and for what."""
_DIRECT = re.compile(r"(?<!Dead)AGI\((?:[^)]*/)?sms\.agi|AGI\(h?agi://[^)]*/sms\b")
_PATIENCE = 4.0
"""Seconds for one command of the console."""
_AGI_BINS = ("/var/lib/asterisk/agi-bin", "/usr/share/asterisk/agi-bin")
_SETTING = re.compile(r"AGI Scripts directory:\s*(\S.*)")


class Asterisk:
    """The Asterisk whose configuration is in *etc*; each answer is fetched once."""

    def __init__(
        self, etc: Path, run: Run, proc: Path = Path("/proc"), path: str = PATH,
        agi_bins: tuple[str, ...] = _AGI_BINS,
    ) -> None:  # fmt: skip
        self.etc = etc
        self.conf = etc / "asterisk.conf"
        self._run = run
        self._proc = proc
        self._path = path
        self._agi_bins = agi_bins
        try:  # now, before there are threads, since it is read in a child
            self._configured = settings(read_conf(self.conf))
        except HostError:
            self._configured = {}

    @cached_property
    def process(self) -> Process | None:
        """The running one that uses our asterisk.conf, of a user who may be believed."""
        runuser = self._configured.get("options", {}).get("runuser", "")
        processes = running(self._proc, guess=os.geteuid() != 0)
        try:
            return next(iter(using(processes, self.conf, runuser)), None)
        except HostError:
            return None

    @cached_property
    def command(self) -> tuple[str, ...] | None:
        """The program; None if this host has none."""
        if self.process is not None:
            return self.process.command
        found = shutil.which("asterisk", path=self._path)
        return (found,) if found else None

    @property
    def is_here(self) -> bool:
        """Whether this host has an Asterisk at all, running or not."""
        return self.command is not None or self.conf.exists()

    def ask(self, command: str) -> str:
        """What the console answers to *command*; empty if it does not."""
        if self.command is None:
            return ""
        options = ("-C", str(self.conf)) if self.conf.exists() else ()
        # With the rights of whose program it is: anybody can start one under this name.
        user = self.process.user if self.process else None
        ran = self._run([*self.command, *options, "-rx", command], _PATIENCE, user)
        return "" if ran.status else ran.output.strip()

    @cached_property
    def settings(self) -> str:
        """``core show settings``; empty if Asterisk does not answer."""
        return self.ask("core show settings")

    @cached_property
    def modules(self) -> frozenset[str]:
        """The modules that run; none if Asterisk does not answer."""
        shown = self.ask("module show") if self.settings else ""
        # One that Asterisk holds but could not start is "Not Running".
        rows = (row for row in shown.splitlines() if "Not Running" not in row)
        return frozenset(row.split()[0] for row in rows if ".so" in row[:60])

    @cached_property
    def agi_bin(self) -> Path | None:
        """Where AGI() looks for scripts; None if that cannot be known."""
        told = _SETTING.search(self.settings)
        configured = self._configured.get("directories", {}).get("astagidir")
        usual = next((each for each in self._agi_bins if Path(each).is_dir()), None)
        found = told[1].strip() if told else configured or usual
        return Path(found) if found else None


def check(asterisk: Asterisk, user: User, ports: Collection[int] = ()) -> Iterator[Finding]:
    """The lines of Asterisk, which *user* runs; *ports* are those of our own HTTP SMS server."""
    if not asterisk.is_here:
        lines = (ASTERISK, MODULES, DIALPLAN, CURL)
        yield from (line.skipped("no Asterisk on this host") for line in lines)
        return
    yield _up(asterisk)
    yield _modules(asterisk)
    files = Files(asterisk.etc)
    shown = asterisk.ask("dialplan show") if asterisk.settings else ""
    yield _dialplan(asterisk, files, user, shown)
    yield _curl(files, shown, ports)


def _up(asterisk: Asterisk) -> Finding:
    told = re.search(r"Version:\s*(\S+)", asterisk.settings)
    version, user = told[1] if told else "up", asterisk.process and asterisk.process.user
    if asterisk.settings:
        return ASTERISK.ok(f"{version}, as {user.name}" if user else version)
    if user and current().uid not in (0, user.uid):
        return ASTERISK.skipped(f"it runs; only root and {user.name} may ask it")
    return first(
        (user, ASTERISK.wrong(
            "it runs, but its console does not answer",
            "see its log; systemctl restart asterisk")),
        (asterisk.command is None, ASTERISK.skipped(
            f"there is {asterisk.conf}, but neither a running Asterisk nor the program")),
    ) or ASTERISK.wrong(
        "it does not run", "systemctl start asterisk; see /var/log/asterisk/messages"
    )  # fmt: skip


def _modules(asterisk: Asterisk) -> Finding:
    missing = [name for name in NEEDED if name not in asterisk.modules]
    says = ", ".join(f"{name} is not loaded ({NEEDED[name]})" for name in missing)
    loads = "; ".join(f"asterisk -rx 'module load {name}'" for name in missing)
    noload = f"take its noload from {asterisk.etc}/modules.conf"
    return first(
        (not asterisk.modules, MODULES.skipped("only a running Asterisk tells")),
        (missing, MODULES.wrong(says, f"{loads}; {noload}")),
    ) or MODULES.ok(", ".join(name.removesuffix(".so") for name in NEEDED))


def _dialplan(asterisk: Asterisk, files: Files, user: User, shown: str) -> Finding:
    merged = files.merged()
    if not shown:
        return merged or DIALPLAN.skipped("only a running Asterisk tells")
    cause, cure = files.problem(user)
    mend = f"{cure}, then {RELOAD}"
    missing = f"[{CONTEXT}] is not loaded"
    if f"Context '{CONTEXT}'" in shown:
        stale = f"[{CONTEXT}] is loaded, but Asterisk cannot load all files again: {cause}"
        found = merged or first((cause, DIALPLAN.warning(stale, mend))) or files.lost(shown)
        return found or DIALPLAN.ok(f"[{CONTEXT}] is loaded")
    includes = [line.raw for line in files.tree.stream if line.raw.lstrip().startswith("#")]
    install = put_in_place(Path(sys.prefix), f"ASTERISK_ETC={asterisk.etc}")
    of_freepbx = any("_custom.conf" in line for line in includes)
    freepbx = " (on FreePBX in extensions_custom.conf)" if of_freepbx else ""
    place = f"{files.path}{freepbx}, above a [context]"
    include = f"#tryinclude {EXTENSIONS} in {place}, then {RELOAD}"
    return first(
        (cause, DIALPLAN.wrong(f"{missing}, and Asterisk keeps the old dialplan: {cause}", mend)),
        (CONTEXT in files.plan.contexts, DIALPLAN.wrong(
            f"[{CONTEXT}] is in the files, but not loaded",
            f"{RELOAD}; see its log if that is not enough")),
        (any(EXTENSIONS in line for line in includes), DIALPLAN.wrong(
            f"{missing}: {EXTENSIONS} is included, and not in {asterisk.etc}",
            f"{install}, then {RELOAD}")),
        (_DIRECT.search(shown) and f"{CONTEXT}," not in shown, DIALPLAN.warning(
            f"{missing}: AGI(sms.agi) does without, and a hang-up may stop it", include)),
    ) or DIALPLAN.wrong(missing, include)  # fmt: skip


def _curl(files: Files, shown: str, ports: Collection[int]) -> Finding:
    do, lines = "dialplan-sms migrate", files.old_lines(ports)
    old = [line for line in shown.splitlines() if API.search(line) and not is_ours(line, ports)]
    return first(
        (lines, CURL.warning(f"the SMS API is still used past sms.agi in {listed(lines)}", do)),
        (old, CURL.warning(
            f"{len(old)} of the loaded dialplan, none in {files.path}: AEL, Lua, a database?",
            f"{RELOAD} if {do} was here, else {do}")),
        (not files.tree.stream and not shown, CURL.skipped(
            f"there is no {files.path}, and Asterisk does not answer")),
    ) or CURL.ok("none")  # fmt: skip
