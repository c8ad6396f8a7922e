"""One step of setup, or of its way back; and the record of what setup has put on this host.

A step is a generator: it looks, yields its line of the plan, and then does it. A plan that is shown
takes the lines only; done, each step looks after the one before has acted. The record is written
before the change that it tells of: whatever ends setup, the next run knows its own from an admin's.
"""

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from dialplan_sms.cli.setup.host import Host
from dialplan_sms.host import files
from dialplan_sms.host.identity import HostError, changer
from dialplan_sms.host.installation import UNIT

_OURS = re.compile(rb"^ *from dialplan_sms", re.MULTILINE)
# What a step finds; the words are those of the plan that is shown.
StepState = StrEnum("StepState", "THERE MAKE CHANGE KEEP REMOVE RUN NOTE")


class Failed(Exception):
    """What a step could not do, or leaves to the admin; it is said, and setup goes on."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a step finds and would do; without a state it is not shown."""

    target: Path | str
    state: StepState | None
    about: str = ""
    pending: tuple[str, ...] = ()  # what has to be reloaded afterwards
    ours: tuple[Path, str, str] | None = None  # path, kind, mark: for the manifest, before it acts


Step = Iterator[Action]


@dataclass(slots=True)
class Entry:
    """One thing at one path."""

    kind: str  # file, link, include, folder, service; program, a copy that only setup 0.1.0 made
    marks: list[str] = field(default_factory=list)  # digests of a file, targets of a link


class Manifest:
    """The entries by path, in the order in which they came, in one file."""

    def __init__(self, folder: Path | None) -> None:
        """Without a *folder* nothing is stored. Raises HostError if the file is damaged."""
        self.entries: dict[Path, Entry] = {}
        self.pending: set[str] = set()  # to be reloaded after a change: service, dialplan
        self._path = folder / "setup.json" if folder else None
        self._stored = files.content_of(self._path) if self._path else None
        if self._stored is None:
            return
        try:
            stored = json.loads(self._stored)
            for path, entry in stored["entries"].items():
                self.entries[Path(path)] = Entry(entry["kind"], [*map(str, entry["marks"])])
            self.pending.update(map(str, stored["pending"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            then = "setup then takes what it wrote for an admin's own if it differs"
            raise HostError(f"{self._path} is damaged: delete it; {then}") from None

    def note(self, path: Path, kind: str, mark: str) -> None:
        """Remember that *path* is, or is about to be, ours."""
        entry = self.entries.setdefault(path, Entry(kind))
        if mark not in entry.marks:
            entry.marks.append(mark)
        self.save()

    def is_ours(self, path: Path) -> bool:
        """Whether the file or link at *path* is still as setup has made it."""
        entry = self.entries.get(path, Entry(""))
        if entry.kind == "link":
            return path.is_symlink() and str(path.readlink()) in entry.marks
        return bool(entry.kind) and files.digest(files.content_of(path) or b"") in entry.marks

    def of(self, kind: str) -> list[Path]:
        """The paths of that kind."""
        return [path for path, entry in self.entries.items() if entry.kind == kind]

    def save(self) -> None:
        """Store what has changed; the folder is there, as lock() makes it."""
        entries = {str(path): asdict(entry) for path, entry in self.entries.items()}
        whole = {"entries": entries, "pending": sorted(self.pending)}
        content = json.dumps(whole, indent=1).encode() + b"\n"
        if self._path and content != self._stored:
            files.put(self._path, content, 0o644)  # a dry run needs no root
            self._stored = content


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Only one setup at a time. Raises HostError."""
    if not folder.is_dir():
        files.make_folder(folder, 0o755)
    before = os.umask(0o022)  # nobody else writes to what is being made
    try:
        with open(os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError:
        raise HostError("another dialplan-sms setup runs: wait for its end") from None
    finally:
        os.umask(before)


def forget_all(folder: Path) -> None:
    """Remove the manifest's folder with what is setup's in it."""
    for name in ("setup.json", "lock"):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


@dataclass(slots=True)
class Work:
    """What steps share; ``say`` tells what is to be known once a step has acted."""

    host: Host
    manifest: Manifest
    say: Callable[[str], object] = print
    failed: bool = False

    def look(self, step: Step) -> Action:
        """What *step* would do; the steps after it know what has to be reloaded then."""
        action = next(step)
        self.manifest.pending.update(action.pending)
        return action

    def do(self, step: Step) -> None:
        """Do it, and tell what it could not do."""
        if ours := self.look(step).ours:
            self.manifest.note(*ours)
            if not (folder := ours[0].parent).is_dir():
                files.make_folder(folder, 0o755)
        self.manifest.save()
        try:
            next(step, None)
        except Failed as why:
            self.failed = True
            self.say(str(why))
        self.manifest.save()


def put_file(work: Work, path: Path, content: bytes, about: str, pending: str) -> Step:
    """A file of ours. One that an admin has edited stays; ours goes beside it as .new."""
    mark, new, there = files.digest(content), new_of(path), files.content_of(path)
    ours = (path, "file", mark)
    if there == content:  # perhaps of an installation by hand
        yield Action(path, StepState.THERE, about, ours=None if work.host.packaged else ours)
    elif there is None or work.manifest.is_ours(path):
        state = StepState.MAKE if there is None else StepState.CHANGE
        unedited = "" if there is None else ", not edited since setup wrote it"
        yield Action(path, state, about + unedited, (pending,), ours)
        files.put(path, content, 0o644)
    else:
        is_beside = files.content_of(new) == content
        state, goes = (StepState.THERE, "is") if is_beside else (StepState.KEEP, "goes")
        about = f"edited; the new one {goes} beside it, {new.name}"
        yield Action(path, state, about, ours=(new, "file", mark))
        if not is_beside:
            files.put(new, content, 0o644)
        work.say(f"{path} was edited and stays: compare it with {new}")


def new_of(path: Path) -> Path:
    """Where our version goes if an admin's stays."""
    return path.with_name(path.name + ".new")


def new_owner(path: Path) -> str:
    """What is to be said of a file that gets another owner when it is written anew."""
    # Root writes it as who can change its folder, who could make the file his own anyway.
    user = changer(path, itself=False) if os.geteuid() == 0 else None
    if user is None or path.stat().st_uid == user.uid:
        return ""
    return f"; it will belong to {user}, whose folder it is in"


def put_link(work: Work, path: Path, to: Path, needed: bool = True) -> Step:
    """A link into the program; if SMS need it, it goes beside what is another program's."""
    new, about, ours = new_of(path), f"a link to {to}", (path, "link", str(to))
    target, is_ours = str(path.readlink()) if path.is_symlink() else "", work.manifest.is_ours
    # realpath(): unlike resolve(), no error for a circle. It may be a relative link.
    if target and os.path.realpath(path) == os.path.realpath(to):
        by_hand = (path, "link", target) if needed and not work.host.packaged else None
        yield Action(path, StepState.THERE, about, ours=by_hand)
    elif not path.exists() or (target and (is_ours(path) or _is_of_dialplan_sms(path))):
        yield Action(path, StepState.CHANGE if target else StepState.MAKE, about, ours=ours)
        files.link(path, to)
    elif not needed:
        yield Action(path, StepState.THERE, f"it is another's; the program is {to}")
    elif new.is_symlink() and new.readlink() == to:
        yield Action(path, StepState.THERE, f"it is another's; ours is beside it, {new.name}")
    else:
        about = f"it is another's; ours goes beside it, {new.name}"
        yield Action(path, StepState.KEEP, about, ours=(new, "link", str(to)))
        files.link(new, to)
        work.say(
            f"{path} is another program and stays: put {new} in its place, or set"
            f" SMS_AGI={to} in [globals] of the dialplan"
        )


def _is_of_dialplan_sms(path: Path) -> bool:
    """Whether *path* is a script of a dialplan-sms, be it of another installation."""
    with suppress(OSError, HostError):
        return _OURS.search(files.content_of(path) or b"") is not None
    return False


def take_back(work: Work, path: Path, about: str = "", *pending: str) -> Step:
    """A file or link of ours goes, unless an admin has made another of it."""
    entry, there = work.manifest.entries.get(path), os.path.lexists(path)
    if entry is None:
        yield Action(path, None)
    elif there and not work.manifest.is_ours(path):
        stays = {"file": "edited, so it stays", "link": "it is no link of setup any more"}
        yield Action(path, StepState.KEEP, stays[entry.kind])
    else:  # also if it is gone: an earlier run may have ended here
        yield Action(path, StepState.REMOVE if there else None, about, pending if there else ())
        try:
            files.remove(path)
        except HostError as why:  # of who owns the folder, and no reason to stop half-way
            work.say(f"kept: {path}: {why}")
        if UNIT in str(path):
            files.remove_folder(work.host.places.units / f"{UNIT}.d")
            work.host.run(["systemctl", "daemon-reload"], 100, None)
    work.manifest.entries.pop(path, None)
