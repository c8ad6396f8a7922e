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
    """An Asterisk; ``conf`` is its -C, None where it uses the one that it was built with.

    ``program`` is what it runs, None where that is a loader, or cannot be seen.
    """

    uid: int
    gid: int
    conf: Path | None
    program: Path | None = None


def running(proc: Path, guess: bool = False) -> list[Process]:
    """Every Asterisk of this host; those in containers have files of their own and are none.

    *guess*: also those of which /proc hides from other users than root whether they are one. That
    will do to show a plan, and for nothing else.
    """
    found = []
    with suppress(OSError):
        for entry in sorted(proc.iterdir()):
            if entry.name.isdecimal():
                with suppress(OSError, ValueError):
                    if process := _look(entry, guess):
                        found.append(process)
    return found


def _look(entry: Path, guess: bool) -> Process | None:
    arguments = (entry / "cmdline").read_bytes().decode("utf-8", "surrogateescape").split("\0")
    # Second to fifth: where it is run through another loader.
    names = enumerate(f"/{word}" if not n else word for n, word in enumerate(arguments[:5]))
    place = next((n for n, word in names if word.endswith("/asterisk")), None)
    if place is None:
        return None
    program, root = _link(entry / "exe", guess), _link(entry / "root", guess)
    if not _runs_asterisk(program, place) or root not in ("/", None):
        return None
    remote, conf = _options(arguments[place + 1 :])
    if remote:
        return None
    said = {}
    for line in (entry / "status").read_text(errors="replace").splitlines():
        name, _, values = line.partition(":")
        said[name] = values.split()
    if root is None and len(said.get("NSpid", ())) > 1:  # in a container, as far as can be seen
        return None
    if conf:
        path = Path(conf)
        conf = str(path if path.is_absolute() else Path(os.readlink(entry / "cwd")) / path)
    # The real ids: anybody can start a set-user-id program under the name asterisk.
    uid, gid = (int(said.get(name, ["0"])[0]) for name in ("Uid", "Gid"))
    return Process(uid, gid, Path(conf) if conf else None, _own(program))


def _link(path: Path, guess: bool) -> str | None:
    """Where a link of /proc leads; None where that is hidden, and a guess will do."""
    try:
        return os.readlink(path)
    except PermissionError:
        if not guess:
            raise
        return None


def _runs_asterisk(program: str | None, place: int) -> bool:
    """Whether *program* is Asterisk, or a loader whose argument at *place* it is.

    The arguments alone say nothing: an editor has the name of a file among them, too.
    """
    if program is None:
        return place == 0
    name = os.path.basename(program)
    return bool(_PROGRAM.match(name)) or (place > 0 and bool(_LOADER.match(name)))


def _own(program: str | None) -> Path | None:
    """The program of an Asterisk that can be run again, also after its update."""
    path = Path((program or "").removesuffix(" (deleted)"))
    return path if _PROGRAM.match(path.name) else None


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
