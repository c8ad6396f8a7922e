"""sms.agi in Asterisk's agi-bin, the Python that runs it, and that Python's packages."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from dialplan_sms import __version__
from dialplan_sms.cli.check.asterisk import Asterisk
from dialplan_sms.cli.check.finding import Finding, listed
from dialplan_sms.config.config import Config
from dialplan_sms.host.identity import READ, RUN, HostError, User, blocked, changer
from dialplan_sms.host.installation import another_python, cure, put_in_place
from dialplan_sms.host.process import PATH, Run

SCRIPT = Finding("sms.agi")
PYTHON = Finding("Python", (SCRIPT.name,))
PACKAGES = Finding("packages", (PYTHON.name,))
_OLDEST = (3, 11)
_PATIENCE = 10.0
_NEEDED = (
    "asterisk.agi", "requests", "urllib3", "phonenumbers", "regex", "click", "rich",
    "prometheus_client", "sqlalchemy", "dialplan_sms.agi.script", "dialplan_sms.agi.call",
    "dialplan_sms.routes.pbx",
)  # fmt: skip
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


def check(asterisk: Asterisk, user: User, run: Run, config: Config | None) -> Iterator[Finding]:
    """The script, if an Asterisk is here, and the Python that sends."""
    python: Path | None = Path(sys.executable)
    if asterisk.is_here:
        found, python = _script(asterisk, user)
        yield found
    else:
        yield SCRIPT.skipped("no Asterisk on this host: FastAGI only")
    if python is None:
        yield from (PYTHON, PACKAGES)
    else:
        yield from _python(python, user, run, config)


def _script(asterisk: Asterisk, user: User) -> tuple[Finding, Path | None]:
    """Its line, and the interpreter that its first line names."""
    folder = asterisk.agi_bin
    if folder is None:
        says = "Asterisk's agi-bin is not known: asterisk.conf names none, and Asterisk is down"
        return SCRIPT.warning(says, "start Asterisk and check again"), Path(sys.executable)
    path = folder / "sms.agi"
    install = put_in_place(Path(sys.prefix), f"AGI_BIN={folder}")
    if not os.path.isdir(folder):
        do = f"correct astagidir in {asterisk.conf}"
        return SCRIPT.wrong(f"there is no folder {folder}", do), None
    if not os.path.exists(path):
        says = f"there is no sms.agi in {folder}"
        if os.path.islink(path):
            says = f"{path} is a link to {path.readlink()}, which is not there"
        return SCRIPT.wrong(says, install), None
    if bar := blocked(path, READ | RUN, user):
        do = f"chmod 0755 {path.resolve()}" if bar.path == path else bar.do
        return SCRIPT.wrong(bar.says, do), None
    try:
        with path.open("rb") as file:
            head = file.read(8192)
    except OSError as error:
        says = f"{path} cannot be read, {error.strerror}"
        return SCRIPT.wrong(says, "run check as root"), None
    if b"dialplan" not in head:
        do = f"move it away, then {install}"
        return SCRIPT.wrong(f"{path} is another program of that name", do), None
    first = head.partition(b"\n")[0]
    words = first.removeprefix(b"#!").decode("utf-8", "replace").split()
    if not first.startswith(b"#!") or not words or first.endswith(b"\r"):
        why = ", it ends in a carriage return" if first.endswith(b"\r") else ""
        says = f"the first line of {path} names no interpreter{why}"
        return SCRIPT.wrong(says, install), None
    python = words[0]
    if python.endswith("/env") and len(words) > 1:
        python = shutil.which(words[-1], path=PATH) or words[-1]
    if user.uid == 0 and (found := _not_for_root(path, Path(python))):
        return found, None
    target = f" -> {path.resolve()}" if os.path.islink(path) else ""
    return SCRIPT.ok(f"{path}{target}"), Path(python)


def _not_for_root(script: Path, python: Path) -> Finding | None:
    """What there is to say of a program that root would run here, and another user can change."""
    for path in (script, python):
        try:
            other = changer(path) if os.geteuid() == 0 else None
        except HostError as error:
            says, _, do = str(error).rpartition(": ")
            return SCRIPT.wrong(says or do, do)
        if other:
            says = f"{other} can change {path}, and root is to run it"
            return SCRIPT.wrong(says, f"make it root's, or run check --user {other.owner}")
    return None


def _python(python: Path, user: User, run: Run, config: Config | None) -> Iterator[Finding]:
    prefix = Path(os.path.abspath(python)).parent.parent
    host = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "<one for everybody>"
    if not os.path.exists(python):
        link = f" (a link to {python.readlink()})" if os.path.islink(python) else ""
        says = f"{python}, which runs sms.agi, is not there{link}"
    elif bar := blocked(python, RUN, user):
        says = f"{python}: {bar.says}"
    else:
        extras = _extras(config)
        names = [*_NEEDED, *(name for extra in extras for name in _OF_EXTRAS[extra])]
        ran = run([str(python), "-I", "-c", _ASK, *names], _PATIENCE, user)
        try:
            version, missing, ours = json.loads(ran.last_line)
        except ValueError:
            says = f"{python} does not run as {user.name}: {ran.last_line[:200]}"
        else:
            number = ".".join(map(str, version))
            if tuple(version) >= _OLDEST:
                yield PYTHON.ok(f"{number}, {python}")
                yield _packages(missing, ours, prefix, extras)
                return
            says, host = f"{python} is {number}, older than 3.11", "<a newer one>"
    yield PYTHON.wrong(says, another_python(prefix, host))
    yield PACKAGES


def _packages(missing: dict[str, str], ours: str, prefix: Path, extras: list[str]) -> Finding:
    if missing:
        parts = [
            f"{name} is missing" if kind == "ModuleNotFoundError" else f"{name} fails ({kind})"
            for name, kind in missing.items()
        ]
        return PACKAGES.wrong(listed(parts, 2), cure(prefix, extras))
    if ours and ours != __version__:
        says = f"sms.agi is of dialplan-sms {ours}, this command of {__version__}"
        return PACKAGES.warning(says, cure(prefix))
    return PACKAGES.ok(f"all there, dialplan-sms {ours or __version__}")


def _extras(config: Config | None) -> list[str]:
    wanted = {
        "postgresql": config is not None and config.outbox.startswith("postgresql"),
        "http": config is not None and config.http is not None,
    }
    return [extra for extra, needed in wanted.items() if needed]
