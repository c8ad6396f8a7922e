"""sms.agi in Asterisk's agi-bin, the Python that runs it, and that Python's packages."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dialplan_sms import __version__
from dialplan_sms.cli.check.asterisk import Asterisk
from dialplan_sms.cli.check.finding import CheckState, Finding, first, listed
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
    script, python = SCRIPT.skipped("no Asterisk on this host: FastAGI only"), Path(sys.executable)
    if asterisk.is_here:
        script, python = _script(asterisk, user)
    yield script
    if script.state is CheckState.WRONG:
        yield from (PYTHON, PACKAGES)
    else:
        yield from _python(python, user, run, config)


def _script(asterisk: Asterisk, user: User) -> tuple[Finding, Path]:
    """Its line, and the interpreter that its first line names, else ours."""
    folder = asterisk.agi_bin
    if folder is None:
        return SCRIPT.warning(
            "Asterisk's agi-bin is not known: asterisk.conf names none, and Asterisk is down",
            "start Asterisk and check again",
        ), Path(sys.executable)
    path, real = folder / "sms.agi", os.path.realpath(folder / "sms.agi")
    install = put_in_place(Path(sys.prefix), f"AGI_BIN={folder}")
    link = f"{path} is a link to {path.readlink()}" if os.path.islink(path) else ""
    wrong = first(
        (not os.path.isdir(folder),
         SCRIPT.wrong(f"there is no folder {folder}", f"correct astagidir in {asterisk.conf}")),
        (link and not os.path.exists(path), SCRIPT.wrong(f"{link}, which is not there", install)),
        (not os.path.exists(path), SCRIPT.wrong(f"there is no sms.agi in {folder}", install)),
        SCRIPT.if_blocked(path, READ | RUN, user, f"chmod 0755 {real}"),
    )  # fmt: skip
    if wrong:
        return wrong, path
    try:
        with path.open("rb") as file:
            head = file.read(8192)
    except OSError as error:
        return SCRIPT.wrong(f"{path} cannot be read, {error.strerror}", "run check as root"), path
    line = head.partition(b"\n")[0]
    named = re.fullmatch(rb"#!(.*[^\r])", line)
    words = named[1].decode("utf-8", "replace").split() if named else []
    why = ", it ends in a carriage return" if line.endswith(b"\r") else ""
    python = words[0] if words else ""
    if python.endswith("/env") and len(words) > 1:
        python = shutil.which(words[-1], path=PATH) or words[-1]
    wrong = first(
        (b"dialplan" not in head, SCRIPT.wrong(
            f"{path} is another program of that name", f"move it away, then {install}")),
        (not python, SCRIPT.wrong(f"the first line of {path} names no interpreter{why}", install)),
    )  # fmt: skip
    if not wrong and user.uid == os.geteuid() == 0:
        wrong = _not_for_root(path, Path(python))
    return wrong or SCRIPT.ok(f"{path} -> {real}" if link else str(path)), Path(python)


def _not_for_root(*paths: Path) -> Finding | None:
    """What there is to say of a program that root would run here, and another user can change."""
    for path in paths:
        try:
            other = changer(path)
        except HostError as error:
            says, _, do = str(error).rpartition(": ")
            return SCRIPT.wrong(says or do, do)
        if other:
            return SCRIPT.wrong(
                f"{other} can change {path}, and root is to run it",
                f"make it root's, or run check --user {other.owner}",
            )
    return None


def _python(python: Path, user: User, run: Run, config: Config | None) -> Iterator[Finding]:
    """Its line, and that of its packages."""
    prefix = Path(os.path.abspath(python)).parent.parent
    host = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "<one for everybody>"
    there, bar = os.path.exists(python), blocked(python, RUN, user)
    link = f" (a link to {python.readlink()})" if os.path.islink(python) else ""
    wanted = (
        ("postgresql", config and config.outbox.startswith("postgresql")),
        ("http", config and config.http),
    )
    extras = [extra for extra, needed in wanted if needed]
    names = [*_NEEDED, *(name for extra in extras for name in _OF_EXTRAS[extra])]
    said, version, missing, ours = "", [], {}, ""
    if there and not bar:
        said = run([str(python), "-I", "-c", _ASK, *names], _PATIENCE, user).last_line
        with suppress(ValueError):
            version, missing, ours = json.loads(said)
    number = ".".join(map(str, version))
    another = another_python(prefix, host)
    wrong = first(
        (not there, PYTHON.wrong(f"{python}, which runs sms.agi, is not there{link}", another)),
        (bar, PYTHON.wrong(f"{python}: {bar.says if bar else ''}", another)),
        (not version,
         PYTHON.wrong(f"{python} does not run as {user.name}: {said[:200]}", another)),
        (tuple(version) < _OLDEST, PYTHON.wrong(
            f"{python} is {number}, older than 3.11", another_python(prefix, "<a newer one>"))),
    )  # fmt: skip
    yield wrong or PYTHON.ok(f"{number}, {python}")
    lacks = [
        f"{name} is missing" if kind == "ModuleNotFoundError" else f"{name} fails ({kind})"
        for name, kind in missing.items()
    ]
    others = f"sms.agi is of dialplan-sms {ours}, this command of {__version__}"
    yield first(
        (wrong, PACKAGES),
        (lacks, PACKAGES.wrong(listed(lacks, 2), cure(prefix, extras))),
        (ours not in ("", __version__), PACKAGES.warning(others, cure(prefix))),
    ) or PACKAGES.ok(f"all there, dialplan-sms {ours or __version__}")
