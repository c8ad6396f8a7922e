"""The steps of setup: what each finds, and what it does. All are values until then."""

import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from dialplan_sms.cli.setup import include
from dialplan_sms.cli.setup.host import Host
from dialplan_sms.cli.setup.manifest import Manifest
from dialplan_sms.host import files
from dialplan_sms.host.files import Ownership

MAIN = "extensions.conf"


class State(StrEnum):
    """What a step finds; the words are those of the plan that is shown."""

    THERE = "there"
    MAKE = "make"
    CHANGE = "change"
    KEEP = "keep"
    REMOVE = "remove"
    RUN = "run"
    NOTE = "note"


@dataclass(slots=True)
class Work:
    """What steps share. ``coming`` is what the steps before will make necessary."""

    host: Host
    manifest: Manifest
    coming: set[str] = field(default_factory=set)
    failed: bool = False


class Step(Protocol):
    """One step; ``pending`` names what must be told once it has changed something."""

    @property
    def target(self) -> str: ...
    @property
    def pending(self) -> str: ...
    def state(self, work: Work) -> tuple[State, str]:
        """What it would do, and a word on that; none where nothing is to be shown."""

    def do(self, work: Work) -> str:
        """Do it, where state() is not THERE; returns what is to be said, if anything."""


@dataclass(frozen=True, slots=True)
class PutFile:
    """A file of ours. One that an admin has edited stays; ours goes beside it as .new."""

    path: Path
    content: bytes = field(repr=False)
    about: str
    mode: int = 0o644
    owner: Ownership | None = None
    pending: str = ""

    @property
    def target(self) -> str:
        return str(self.path)

    def state(self, work: Work) -> tuple[State, str]:
        there = files.content_of(self.path)
        if there is None:
            return State.MAKE, self.about
        if there == self.content:
            return State.THERE, self.about
        if work.manifest.knows(self.path, files.digest(there)):
            return State.CHANGE, f"{self.about}, not edited since setup wrote it"
        if files.content_of(new_of(self.path)) == self.content:
            return State.THERE, f"edited; the new one is beside it, {new_of(self.path).name}"
        return State.KEEP, f"edited; the new one goes beside it, {new_of(self.path).name}"

    def do(self, work: Work) -> str:
        state, _ = self.state(work)
        if state is State.KEEP:
            put_beside(self.path, self.content, self.mode, self.owner, work.manifest)
            return f"{self.path} was edited and stays: compare it with {new_of(self.path)}"
        work.manifest.note(self.path, "file", files.digest(self.content), self.pending)
        if not self.path.parent.is_dir():
            files.make_folder(self.path.parent, 0o755)
        files.put(self.path, self.content, self.mode, self.owner)
        return ""

    def adopt(self, work: Work) -> None:
        """Take what is there with the same content for ours."""
        if files.content_of(self.path) == self.content:
            work.manifest.note(self.path, "file", files.digest(self.content))


def new_of(path: Path) -> Path:
    """Where our version goes when an admin's stays."""
    return path.with_name(path.name + ".new")


def put_beside(
    path: Path, content: bytes, mode: int, owner: Ownership | None, manifest: Manifest
) -> None:
    """Write *path*.new."""
    manifest.note(new_of(path), "file", files.digest(content))
    files.put(new_of(path), content, mode, owner)


@dataclass(frozen=True, slots=True)
class PutLink:
    """A link into the program. ``needed``: whether SMS need it."""

    path: Path
    to: Path
    needed: bool
    pending: str = ""

    @property
    def target(self) -> str:
        return str(self.path)

    def state(self, work: Work) -> tuple[State, str]:
        about = f"a link to {self.to}"
        if not self.path.is_symlink():
            if not self.path.exists():
                return State.MAKE, about
        else:
            there = self.path.readlink()
            if self._is_ours():
                return State.THERE, about
            if not self.path.exists() or work.manifest.knows(self.path, str(there)):
                return State.CHANGE, about
        if not self.needed:
            return State.THERE, f"it is another's; the program is {self.to}"
        if new_of(self.path).is_symlink() and new_of(self.path).readlink() == self.to:
            return State.THERE, f"it is another's; ours is beside it, {new_of(self.path).name}"
        return State.KEEP, f"it is another's; ours goes beside it, {new_of(self.path).name}"

    def do(self, work: Work) -> str:
        state, _ = self.state(work)
        path = new_of(self.path) if state is State.KEEP else self.path
        work.manifest.note(path, "link", str(self.to))
        if not path.parent.is_dir():
            files.make_folder(path.parent, 0o755)
        files.link(path, self.to)
        if state is State.KEEP:
            return (
                f"{self.path} is another program and stays: put {path} in its place, or set"
                f" SMS_AGI={self.to} in [globals] of the dialplan"
            )
        return ""

    def adopt(self, work: Work) -> None:
        if self._is_ours():
            work.manifest.note(self.path, "link", str(self.path.readlink()))

    def _is_ours(self) -> bool:
        """Whether it is a link that ends where ours would; it may be a relative one."""
        if not self.path.is_symlink():
            return False
        there = os.path.realpath(self.path)  # unlike resolve() of a circle, no error
        return self.path.readlink() == self.to or there == os.path.realpath(self.to)


@dataclass(frozen=True, slots=True)
class PutInclude:
    """The line that includes extensions-sms.conf; ``included`` says where it is already."""

    path: Path
    included: tuple[include.Inclusion, ...]
    mode: int
    owner: Ownership
    pending: str = "dialplan"

    @property
    def target(self) -> str:
        return str(self.path)

    def state(self, work: Work) -> tuple[State, str]:
        line = include.LINE.decode()
        if self.included:
            return State.THERE, f"included by {self.included[0].path}"
        if self.path.exists():
            return State.CHANGE, f"{line} above the first [context]"
        return State.MAKE, f"with the line {line}"

    def do(self, work: Work) -> str:
        path = Path(os.path.realpath(self.path))
        there = files.look(path)
        content, put = include.insert(there.content if there else b"")
        if there is None:
            work.manifest.note(path, "include", "made")
        work.manifest.note(path, "include", put.decode("latin-1"), self.pending)
        mode, owner = (self.mode, self.owner) if there is None else (there.mode, there.owner)
        files.put(path, content, mode, owner)
        if self.path.name != MAIN and not any(include.find(self.path.parent, self.path.name)):
            return f"warning: {MAIN} does not include {self.path}: include it there"
        return ""


@dataclass(frozen=True, slots=True)
class TakeFile:
    """A file that an earlier run has written and that is not needed any more."""

    path: Path
    about: str
    pending: str = ""

    @property
    def target(self) -> str:
        return str(self.path)

    def state(self, work: Work) -> tuple[State, str]:
        there = files.content_of(self.path)
        if there is None:
            return State.THERE, ""
        ours = work.manifest.knows(self.path, files.digest(there))
        return (State.REMOVE, self.about) if ours else (State.THERE, "not of setup, so it stays")

    def do(self, work: Work) -> str:
        work.manifest.expect(self.pending)
        files.remove(self.path)
        work.manifest.drop(self.path)
        return ""
