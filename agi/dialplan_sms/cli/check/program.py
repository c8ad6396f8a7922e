"""sms.agi in Asterisk's agi-bin, the Python that runs it, and that Python's packages."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dialplan_sms import __version__
from dialplan_sms.cli.check.asterisk import Asterisk
from dialplan_sms.cli.check.finding import Finding, ok, skipped, warning, wrong
from dialplan_sms.config.config import Config
from dialplan_sms.host.identity import READ, RUN, User, blocked
from dialplan_sms.host.installation import another_python, cure, put_in_place
from dialplan_sms.host.process import PATH, Run

SCRIPT, PYTHON, PACKAGES = "sms.agi", "Python", "packages"
OLDEST = (3, 11)
_PATIENCE = 10.0
_NEEDED = (
    "asterisk.agi", "requests", "urllib3", "phonenumbers", "regex", "click", "rich",
    "prometheus_client", "sqlalchemy", "dialplan_sms.agi.script", "dialplan_sms.agi.call",
    "dialplan_sms.routes.pbx",
)  # fmt: skip
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


def check(asterisk: Asterisk, user: User, run: Run, config: Config | None) -> Iterator[Finding]:
    """The script, where an Asterisk is here, and the Python that sends."""
    python: Path | None = Path(sys.executable)
    if asterisk.is_here:
        found, python = _script(asterisk, user)
        yield found
    else:
        yield skipped(SCRIPT, "no Asterisk on this host: FastAGI only")
    if python is None:
        yield skipped(PYTHON, "which one, sms.agi says", needs=[SCRIPT])
        yield skipped(PACKAGES, "those of sms.agi's Python", needs=[SCRIPT])
        return
    yield from _python(python, user, run, config)


def _script(asterisk: Asterisk, user: User) -> tuple[Finding, Path | None]:
    """What is to be said of it, and the interpreter of its first line."""
    folder = asterisk.agi_bin
    if folder is None:
        says = "Asterisk's agi-bin is not known: asterisk.conf names none, and Asterisk is down"
        return warning(SCRIPT, says, "start Asterisk and check again"), Path(sys.executable)
    path = folder / "sms.agi"
    install = put_in_place(Path(sys.prefix), f"AGI_BIN={folder}")
    if not os.path.isdir(folder):
        return wrong(
            SCRIPT, f"there is no folder {folder}", f"correct astagidir in {asterisk.conf}"
        ), None
    if os.path.islink(path) and not os.path.exists(path):
        says = f"{path} is a link to {path.readlink()}, which is not there"
        return wrong(SCRIPT, says, install), None
    if not os.path.exists(path):
        says = f"there is no sms.agi in {folder}"
        return wrong(SCRIPT, says, install), None
    bar = blocked(path, READ | RUN, user)
    if bar:
        do = f"chmod 0755 {path.resolve()}" if bar.path == path else bar.do
        return wrong(SCRIPT, bar.says, do), None
    try:
        with path.open("rb") as file:
            head = file.read(8192)
    except OSError as error:
        return wrong(SCRIPT, f"{path} cannot be read, {error.strerror}", "run check as root"), None
    first = head.partition(b"\n")[0]
    if b"dialplan" not in head:
        says = f"{path} is another program of that name"
        return wrong(SCRIPT, says, f"move it away, then {install}"), None
    words = first.removeprefix(b"#!").decode("utf-8", "replace").split()
    if not first.startswith(b"#!") or not words or first.endswith(b"\r"):
        says = f"the first line of {path} names no interpreter" + (
            ", it ends in a carriage return" if first.endswith(b"\r") else ""
        )
        return wrong(SCRIPT, says, install), None
    target = f" -> {path.resolve()}" if os.path.islink(path) else ""
    return ok(SCRIPT, f"{path}{target}"), _interpreter(words)


def _interpreter(words: Sequence[str]) -> Path:
    if words[0].endswith("/env") and len(words) > 1:
        return Path(shutil.which(words[-1], path=PATH) or words[-1])
    return Path(words[0])


def _python(python: Path, user: User, run: Run, config: Config | None) -> Iterator[Finding]:
    bar = blocked(python, RUN, user)
    if bar:
        do = another_python(_prefix(python), _host_python())
        if not os.path.exists(python):
            says = f"{python}, which runs sms.agi, is not there"
            says += f" (a link to {python.readlink()})" if os.path.islink(python) else ""
        else:
            says = f"{python}: {bar.says}"
        yield wrong(PYTHON, says, do, needs=[SCRIPT])
        yield skipped(PACKAGES, "those of sms.agi's Python", needs=[PYTHON])
        return
    wanted = [*_NEEDED, *_extras(config)]
    ran = run([str(python), "-I", "-c", _ASK, *wanted], _PATIENCE, user)
    try:
        version, missing, ours = json.loads(ran.out.strip().rpartition("\n")[2])
    except ValueError:
        why = (ran.error.strip().splitlines() or [f"exit status {ran.status}"])[-1][:200]
        says = f"{python} does not run as {user.name}: {why}"
        yield wrong(PYTHON, says, another_python(_prefix(python), _host_python()), needs=[SCRIPT])
        yield skipped(PACKAGES, "those of sms.agi's Python", needs=[PYTHON])
        return
    number = ".".join(map(str, version))
    if tuple(version) < OLDEST:
        says = f"{python} is {number}, older than 3.11"
        do = another_python(_prefix(python), "<a newer one>")
        yield wrong(PYTHON, says, do, needs=[SCRIPT])
        yield skipped(PACKAGES, "those of sms.agi's Python", needs=[PYTHON])
        return
    yield ok(PYTHON, f"{number}, {python}")
    yield _packages(missing, ours, _prefix(python), config)


def _prefix(python: Path) -> Path:
    return Path(os.path.abspath(python)).parent.parent


def _packages(missing: dict[str, str], ours: str, prefix: Path, config: Config | None) -> Finding:
    if missing:
        parts = [
            f"{name} is missing" if kind == "ModuleNotFoundError" else f"{name} fails ({kind})"
            for name, kind in missing.items()
        ]
        more = f" and {len(parts) - 2} more" if len(parts) > 3 else ""
        says = ", ".join(parts[:2] if more else parts) + more
        return wrong(PACKAGES, says, cure(prefix, _wanted_extras(config)), needs=[PYTHON])
    if ours and ours != __version__:
        says = f"sms.agi is of dialplan-sms {ours}, this command of {__version__}"
        return warning(PACKAGES, says, cure(prefix), needs=[PYTHON])
    return ok(PACKAGES, f"all there, dialplan-sms {ours or __version__}")


def _wanted_extras(config: Config | None) -> list[str]:
    extras = ["postgresql"] if config and config.outbox.startswith("postgresql") else []
    return [*extras, "http"] if config and config.http else extras


def _extras(config: Config | None) -> Iterator[str]:
    names = {"postgresql": ("psycopg",), "http": ("starlette", "h11", "jinja2")}
    for extra in _wanted_extras(config):
        yield from names[extra]


def _host_python() -> str:
    return "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "<one for everybody>"
