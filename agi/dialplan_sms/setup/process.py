"""The Asterisk that runs on this host, from /proc."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_WITH_VALUE = "eGLMsUxC"
"""Options of Asterisk that take a value (Asterisk: main/asterisk.c, getopt)."""


_PROGRAM = re.compile(r"asterisk\b")
_LOADER = re.compile(r"ld[-.]|ld\d")


@dataclass(frozen=True, slots=True)
class Process:
    """An Asterisk; ``conf`` is its -C, None where it uses the one that it was built with."""

    uid: int
    gid: int
    conf: Path | None


def running(proc: Path) -> list[Process]:
    """Every Asterisk of this host; those in containers have files of their own and are none."""
    found = []
    with suppress(OSError):
        for entry in sorted(proc.iterdir()):
            if entry.name.isdecimal():
                with suppress(OSError, ValueError):
                    if process := _look(entry):
                        found.append(process)
    return found


def _look(entry: Path) -> Process | None:
    arguments = (entry / "cmdline").read_bytes().decode("utf-8", "surrogateescape").split("\0")
    # Second to fifth: where it is run through another loader.
    names = enumerate(f"/{word}" if not n else word for n, word in enumerate(arguments[:5]))
    place = next((n for n, word in names if word.endswith("/asterisk")), None)
    if place is None or not _runs_asterisk(entry, place):
        return None
    if os.readlink(entry / "root") != "/":
        return None
    remote, conf = _options(arguments[place + 1 :])
    if remote:
        return None
    ids = {}
    for line in (entry / "status").read_text(errors="replace").splitlines():
        name, _, values = line.partition(":")
        if name in ("Uid", "Gid"):
            # The real one: anybody can start a set-user-id program under the name asterisk.
            ids[name] = int(values.split()[0])
    if conf:
        path = Path(conf)
        conf = str(path if path.is_absolute() else Path(os.readlink(entry / "cwd")) / path)
    return Process(ids.get("Uid", 0), ids.get("Gid", 0), Path(conf) if conf else None)


def _runs_asterisk(entry: Path, place: int) -> bool:
    """Whether the program is Asterisk, or a loader whose argument at *place* it is.

    The arguments alone say nothing: an editor has the name of a file among them, too.
    """
    try:
        program = os.path.basename(os.readlink(entry / "exe"))
    except PermissionError:  # another user's, where we are not root, and change nothing
        return place == 0
    return bool(_PROGRAM.match(program)) or (place > 0 and bool(_LOADER.match(program)))


def _options(arguments: Sequence[str]) -> tuple[bool, str]:
    """Whether it is a console of another one, and the value of -C."""
    remote, conf = False, ""
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            continue
        for position, letter in enumerate(word[1:], 1):
            if letter in "rRx":
                remote = True
            if letter in _WITH_VALUE:
                value = word[position + 1 :] or next(words, "")
                conf = value if letter == "C" else conf
                break
    return remote, conf
