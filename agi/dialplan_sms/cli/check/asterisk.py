"""Asterisk: is it up, has it the modules; sms.agi in its agi-bin, and the Python that runs that."""

import json
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from dialplan_sms import __version__
from dialplan_sms.cli.check import CheckState, Finding, dialplan, listed
from dialplan_sms.config.config import Config
from dialplan_sms.host.asterisk import Process, read_conf, running, settings, using
from dialplan_sms.host.identity import READ, RUN, HostError, User, blocked, changer, current
from dialplan_sms.host.installation import another_python, cure, put_in_place
from dialplan_sms.host.process import PATH, Run

ASTERISK = Finding("Asterisk")
MODULES = Finding("modules", (ASTERISK.name,))
SCRIPT = Finding("sms.agi")
PYTHON = Finding("Python", (SCRIPT.name,))
PACKAGES = Finding("packages", (PYTHON.name,))
_MODULES = {
    "pbx_config.so": "extensions.conf",
    "res_agi.so": "AGI()",
    "app_stack.so": "Gosub(), Return(), LOCAL()",
    "app_verbose.so": "Log()",
    "func_strings.so": "LEN(), FILTER()",
}
"""The modules that [sub-sms] uses, and for what."""
_AGI_BINS = ("/var/lib/asterisk/agi-bin", "/usr/share/asterisk/agi-bin")
_PACKAGES = (
    "asterisk.agi requests urllib3 phonenumbers regex click rich prometheus_client sqlalchemy"
    " dialplan_sms.agi.script dialplan_sms.agi.call dialplan_sms.routes.pbx"
).split()
_OF_EXTRAS = {"postgresql": ("psycopg",), "http": ("starlette", "h11", "jinja2")}
_ASK = """
import importlib, json, sys
missing = {}
for name in sys.argv[1:] if sys.version_info >= (3, 11) else ():
    try:
        importlib.import_module(name)
    except Exception as error:
        missing[getattr(error, "name", None) or name] = type(error).__name__
version = getattr(sys.modules.get("dialplan_sms"), "__version__", "")
print(json.dumps([list(sys.version_info[:3]), missing, version]))
"""


class Asterisk:
    """The Asterisk whose configuration is in *etc*; *path* is where its program is looked for.

    ``process`` is the running one that uses our asterisk.conf, of a user who may be believed,
    ``command`` the program, if there is one. Made before there are threads: it forks to read files.
    """

    def __init__(self, etc: Path, run: Run, proc: Path = Path("/proc"), path: str = PATH) -> None:
        self.etc, self.conf, self.run = etc, etc / "asterisk.conf", run
        self._configured: dict[str, dict[str, str]] = {}
        self.process: Process | None = None
        with suppress(HostError):
            self._configured = settings(read_conf(self.conf))
        with suppress(HostError):
            runuser = self._configured.get("options", {}).get("runuser", "")
            found = using(running(proc, guess=os.geteuid() != 0), self.conf, runuser)
            self.process = found[0] if found else None
        program = filter(None, [shutil.which("asterisk", path=path)])
        self.command = self.process.command if self.process else tuple(program)
        self.is_here = bool(self.command) or self.conf.exists()

    def ask(self, command: str) -> str:
        """What the console answers to *command*; empty if it does not."""
        if not self.command:
            return ""
        options = ("-C", str(self.conf)) if self.conf.exists() else ()
        # With the rights of whose program it is: anybody can start one under this name.
        user = self.process.user if self.process else None
        ran = self.run([*self.command, *options, "-rx", command], 4.0, user)
        return "" if ran.status else ran.output.strip()

    @cached_property
    def settings(self) -> str:
        """``core show settings``; empty if Asterisk does not answer."""
        return self.ask("core show settings")

    def agi_bin(self) -> Path | None:
        """Where AGI() looks for scripts; None if that cannot be known."""
        told = re.search(r"AGI Scripts directory:\s*(\S.*)", self.settings)
        configured = self._configured.get("directories", {}).get("astagidir", "")
        found = told[1].strip() if told else configured
        found = found or next(filter(os.path.isdir, _AGI_BINS), "")
        return Path(found) if found else None


def check(asterisk: Asterisk, user: User, ports: Collection[int] = ()) -> Iterator[Finding]:
    """The lines of Asterisk, which *user* runs; *ports* are those of our own HTTP SMS server."""
    if not asterisk.is_here:
        none = (ASTERISK, MODULES, dialplan.DIALPLAN, dialplan.CURL)
        yield from (line.skipped("no Asterisk on this host") for line in none)
        return
    yield _up(asterisk)
    shown = asterisk.ask("module show") if asterisk.settings else ""
    # One that Asterisk holds but could not start is "Not Running".
    rows = (row for row in shown.splitlines() if "Not Running" not in row)
    modules = {row.split()[0] for row in rows if ".so" in row[:60]}
    missing = [name for name in _MODULES if name not in modules]
    loads = "; ".join(f"asterisk -rx 'module load {name}'" for name in missing)
    yield (
        (not modules and MODULES.skipped("only a running Asterisk tells"))
        or (missing and MODULES.wrong(
            ", ".join(f"{name} is not loaded ({_MODULES[name]})" for name in missing),
            f"{loads}; take its noload from {asterisk.etc}/modules.conf"))
        or MODULES.ok(", ".join(name.removesuffix(".so") for name in _MODULES))
    )  # fmt: skip
    shown = asterisk.ask("dialplan show") if asterisk.settings else ""
    yield from dialplan.check(asterisk.etc, shown, user, ports)


def _up(asterisk: Asterisk) -> Finding:
    told, process = re.search(r"Version:\s*(\S+)", asterisk.settings), asterisk.process
    version, user = told[1] if told else "up", process.user if process else current()
    return (
        (asterisk.settings and ASTERISK.ok(f"{version}, as {user.name}" if process else version))
        or (current().uid not in (0, user.uid) and ASTERISK.skipped(
            f"it runs; only root and {user.name} may ask it"))
        or (process and ASTERISK.wrong(
            "it runs, but its console does not answer", "see its log; systemctl restart asterisk"))
        or (not asterisk.command and ASTERISK.skipped(
            f"there is {asterisk.conf}, but neither a running Asterisk nor the program"))
        or ASTERISK.wrong(
            "it does not run", "systemctl start asterisk; see /var/log/asterisk/messages")
    )  # fmt: skip


def check_script(asterisk: Asterisk, user: User, config: Config | None) -> Iterator[Finding]:
    """The script, if an Asterisk is here, and the Python that sends."""
    none = SCRIPT.skipped("no Asterisk on this host: FastAGI only"), Path(sys.executable)
    script, python = _script(asterisk, user) if asterisk.is_here else none
    yield script
    wrong = script.state is CheckState.WRONG
    yield from (PYTHON, PACKAGES) if wrong else _python(python, user, asterisk.run, config)


def _script(asterisk: Asterisk, user: User) -> tuple[Finding, Path]:
    """Its line, and the interpreter that its first line names, else ours."""
    folder = asterisk.agi_bin()
    if folder is None:
        none = "Asterisk's agi-bin is not known: asterisk.conf names none, and Asterisk is down"
        return SCRIPT.warning(none, "start Asterisk and check again"), Path(sys.executable)
    path, real = folder / "sms.agi", os.path.realpath(folder / "sms.agi")
    install = put_in_place(Path(sys.prefix), f"AGI_BIN={folder}")
    link = f"{path} is a link to {path.readlink()}" if os.path.islink(path) else ""
    wrong = (
        (not os.path.isdir(folder) and SCRIPT.wrong(
            f"there is no folder {folder}", f"correct astagidir in {asterisk.conf}"))
        or (not os.path.exists(path) and SCRIPT.wrong(
            f"{link}, which is not there" if link else f"there is no sms.agi in {folder}", install))
        or SCRIPT.if_blocked(path, READ | RUN, user, f"chmod 0755 {real}")
    )  # fmt: skip
    if wrong:
        return wrong, path
    try:
        with path.open("rb") as file:
            head = file.read(8192)
    except OSError as error:
        return SCRIPT.wrong(f"{path} cannot be read, {error.strerror}", "run check as root"), path
    line = head.partition(b"\n")[0].decode("utf-8", "replace")
    why = ", it ends in a carriage return" if line.endswith("\r") else ""
    words = line[2:].split() if line.startswith("#!") and not why else []
    python = Path(words[0] if words else "")
    if python.name == "env" and len(words) > 1:
        python = Path(shutil.which(words[-1], path=PATH) or words[-1])
    return (
        (b"dialplan" not in head and SCRIPT.wrong(
            f"{path} is another program of that name", f"move it away, then {install}"))
        or (not words and SCRIPT.wrong(
            f"the first line of {path} names no interpreter{why}", install))
        or (user.uid == os.geteuid() == 0 and (_if_of_another(path) or _if_of_another(python)))
        or SCRIPT.ok(f"{path} -> {real}" if link else str(path))
    ), python  # fmt: skip


def _if_of_another(path: Path) -> Finding | None:
    """What is wrong if another user can change a program that root would run here."""
    try:
        other = changer(path)
    except HostError as error:
        return SCRIPT.refused(error)
    return None if other is None else SCRIPT.wrong(
        f"{other} can change {path}, and root is to run it",
        f"make it root's, or run check --user {other.owner}",
    )  # fmt: skip


def _python(python: Path, user: User, run: Run, config: Config | None) -> Iterator[Finding]:
    prefix = Path(os.path.abspath(python)).parent.parent
    host = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "<one for everybody>"
    another, bar = another_python(prefix, host), blocked(python, RUN, user)
    link = f" (a link to {python.readlink()})" if os.path.islink(python) else ""
    extras = ["postgresql"] if config and config.outbox.startswith("postgresql") else []
    extras += ["http"] if config and config.http else []
    names = [*_PACKAGES, *(name for extra in extras for name in _OF_EXTRAS[extra])]
    said = "" if bar else run([str(python), "-I", "-c", _ASK, *names], 10.0, user).last_line
    version, missing, ours = [], {}, ""
    with suppress(ValueError):
        version, missing, ours = json.loads(said)
    number = ".".join(map(str, version))
    wrong = (
        (not os.path.exists(python) and PYTHON.wrong(
            f"{python}, which runs sms.agi, is not there{link}", another))
        or (bar and PYTHON.wrong(f"{python}: {bar.says}", another))
        or (not version and PYTHON.wrong(
            f"{python} does not run as {user.name}: {said[:200]}", another))
        or (tuple(version) < (3, 11) and PYTHON.wrong(
            f"{python} is {number}, older than 3.11", another_python(prefix, "<a newer one>")))
    )  # fmt: skip
    yield wrong or PYTHON.ok(f"{number}, {python}")
    lacks = [
        f"{name} is missing" if kind == "ModuleNotFoundError" else f"{name} fails ({kind})"
        for name, kind in missing.items()
    ]
    yield (
        (wrong and PACKAGES)
        or (lacks and PACKAGES.wrong(listed(lacks, 2), cure(prefix, extras)))
        or (ours not in ("", __version__) and PACKAGES.warning(
            f"sms.agi is of dialplan-sms {ours}, this command of {__version__}", cure(prefix)))
        or PACKAGES.ok(f"all there, dialplan-sms {ours or __version__}")
    )  # fmt: skip
