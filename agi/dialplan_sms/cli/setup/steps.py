"""One step of setup, or of its way back; and the record of what setup has put on this host.

A step looks at the host and returns an Action. The plan is a generator of them: shown, it only
looks; done, each step looks after the one before has acted. The record is written before the
change that it tells of: whatever ends setup, the next run knows its own from an admin's.
"""

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

from dialplan_sms.cli.setup.host import Host
from dialplan_sms.host import files
from dialplan_sms.host.identity import HostError, changer

_OURS = re.compile(rb"^ *from dialplan_sms", re.MULTILINE)


class StepState(StrEnum):
    """What a step finds; the words are those of the plan that is shown."""

    THERE = "there"
    MAKE = "make"
    CHANGE = "change"
    KEEP = "keep"
    REMOVE = "remove"
    RUN = "run"
    NOTE = "note"


class Failed(Exception):
    """What an action could not do; it is said, and setup goes on."""


@dataclass(slots=True)
class Entry:
    """One thing at one path: a file, link, include, folder, service, or a program.

    That is a copy of the program, which only setup of 0.1.0 made.
    ``marks`` are what it was given: digests of a file's contents, targets of a link, the bytes
    (as Latin-1) that were put into a file of the admin's.
    """

    kind: str
    marks: list[str] = field(default_factory=list)


class Manifest:
    """The entries by path, in the order in which they came, in one file."""

    def __init__(self, folder: Path | None) -> None:
        """Without a *folder* nothing is stored. Raises HostError if the file is damaged."""
        self._path = folder / "setup.json" if folder else None
        self.entries: dict[str, Entry] = {}
        self.pending: set[str] = set()
        """What has to be reloaded after a change: ``service``, ``dialplan``."""
        self._stored = files.content_of(self._path) if self._path else None
        if self._stored is None:
            return
        try:
            stored = json.loads(self._stored)
            for path, entry in stored["entries"].items():
                self.entries[path] = Entry(entry["kind"], [*map(str, entry["marks"])])
            self.pending = {*map(str, stored["pending"])}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise HostError(
                f"{self._path} is damaged: delete it; setup then takes what it wrote for an"
                " admin's own if it differs"
            ) from None

    def note(self, path: Path, kind: str, *marks: str) -> None:
        """Remember that *path* is, or is about to be, ours."""
        entry = self.entries.get(str(path))
        if entry is None or entry.kind != kind:
            entry = self.entries[str(path)] = Entry(kind)
        entry.marks += [mark for mark in marks if mark not in entry.marks]
        self.save()

    def knows(self, path: Path, mark: str) -> bool:
        """Whether setup has given *path* that *mark*."""
        entry = self.entries.get(str(path))
        return entry is not None and mark in entry.marks

    def of(self, kind: str) -> list[tuple[Path, Entry]]:
        """The paths and entries of that kind."""
        return [(Path(path), each) for path, each in self.entries.items() if each.kind == kind]

    def save(self) -> None:
        """Store what has changed; the folder is there, as lock() makes it."""
        entries = {path: asdict(entry) for path, entry in self.entries.items()}
        text = json.dumps({"entries": entries, "pending": sorted(self.pending)}, indent=1)
        content = text.encode() + b"\n"
        if self._path and content != self._stored:
            files.put(self._path, content, 0o644)  # a dry run needs no root
            self._stored = content


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Only one setup at a time. Raises HostError."""
    if not folder.is_dir():
        files.make_folder(folder, 0o755)
    before = os.umask(0o022)  # nobody else writes to what is being made
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise HostError("another dialplan-sms setup runs: wait for its end") from None
    finally:
        os.umask(before)
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Action:
    """What a step finds and would do; without a state it is not shown.

    ``act`` does it and returns what is to be said, if that is not ``says``. ``pending`` has to be
    reloaded afterwards, ``reloads`` no longer. ``ours`` (path, kind, mark) is what the manifest is
    to know before it, and the path that it is to ``forget`` after it. What ``fails`` is left to
    the admin.
    """

    target: Path | str
    state: StepState | None
    about: str = ""
    act: Callable[[], str | None] | None = None
    pending: str = ""
    ours: tuple[Path, str, str] | None = None
    reloads: str = ""
    forget: Path | None = None
    says: str = ""
    fails: bool = False


@dataclass(slots=True)
class Work:
    """What steps share."""

    host: Host
    manifest: Manifest
    failed: bool = False

    def do(self, action: Action) -> str:
        """Do it; what is to be said."""
        if action.pending:
            self.manifest.pending.add(action.pending)
        if action.ours:
            self.manifest.note(*action.ours)
            if not (folder := action.ours[0].parent).is_dir():
                files.make_folder(folder, 0o755)
        self.manifest.save()
        try:
            said = action.act() if action.act else None
        except Failed as why:
            self.failed = True
            return str(why)
        if action.forget:
            self.manifest.entries.pop(str(action.forget), None)
        self.manifest.pending.discard(action.reloads)
        self.manifest.save()
        self.failed |= action.fails
        return said or action.says


def put_file(work: Work, path: Path, content: bytes, about: str, pending: str) -> Action:
    """A file of ours. One that an admin has edited stays; ours goes beside it as .new."""
    ours, new, there = (path, "file", files.digest(content)), new_of(path), files.content_of(path)
    if there == content:  # perhaps of an installation by hand
        return Action(path, StepState.THERE, about, ours=None if work.host.packaged else ours)
    put = Action(
        path, StepState.MAKE, about, partial(files.put, path, content, 0o644), pending, ours
    )
    if there is None:
        return put
    if work.manifest.knows(path, files.digest(there)):
        unedited = f"{about}, not edited since setup wrote it"
        return replace(put, state=StepState.CHANGE, about=unedited)
    stays = f"{path} was edited and stays: compare it with {new}"
    if files.content_of(new) == content:
        edited = f"edited; the new one is beside it, {new.name}"
        return Action(path, StepState.THERE, edited, says=stays)
    return Action(
        path, StepState.KEEP, f"edited; the new one goes beside it, {new.name}",
        partial(files.put, new, content, 0o644), ours=(new, *ours[1:]), says=stays,
    )  # fmt: skip


def new_of(path: Path) -> Path:
    """Where our version goes if an admin's stays."""
    return path.with_name(path.name + ".new")


def new_owner(path: Path) -> str:
    """What is to be said of a file that gets another owner when it is written anew.

    Root writes it as who can change its folder, who could make the file his own anyway.
    """
    user = changer(path, itself=False) if os.geteuid() == 0 else None
    there = files.look(path)
    if user is None or there is None or there.owner.uid == user.uid:
        return ""
    return f"; it will belong to {user}, whose folder it is in"


def put_link(work: Work, path: Path, to: Path, needed: bool = True) -> Action:
    """A link into the program, in place of one into another dialplan-sms.

    *needed*: SMS need it, so it goes beside what is another program's.
    """
    new, about = new_of(path), f"a link to {to}"
    target = str(path.readlink()) if path.is_symlink() else ""
    put = Action(
        path, StepState.MAKE, about, partial(files.link, path, to), ours=(path, "link", str(to))
    )
    if not target and not path.exists():
        return put
    # realpath(): unlike resolve(), no error for a circle. It may be a relative link.
    if target and os.path.realpath(path) == os.path.realpath(to):
        by_hand = (path, "link", target) if needed and not work.host.packaged else None
        return Action(path, StepState.THERE, about, ours=by_hand)
    known = not path.exists() or work.manifest.knows(path, target)
    if target and (known or _is_of_dialplan_sms(path)):
        return replace(put, state=StepState.CHANGE)
    if not needed:
        return Action(path, StepState.THERE, f"it is another's; the program is {to}")
    if new.is_symlink() and new.readlink() == to:
        return Action(path, StepState.THERE, f"it is another's; ours is beside it, {new.name}")
    return Action(
        path, StepState.KEEP, f"it is another's; ours goes beside it, {new.name}",
        partial(files.link, new, to), ours=(new, "link", str(to)),
        says=f"{path} is another program and stays: put {new} in its place, or set"
        f" SMS_AGI={to} in [globals] of the dialplan",
    )  # fmt: skip


def _is_of_dialplan_sms(path: Path) -> bool:
    """Whether *path* is a script of a dialplan-sms, be it another installation's."""
    with suppress(OSError, HostError):
        return _OURS.search(files.content_of(path) or b"") is not None
    return False
