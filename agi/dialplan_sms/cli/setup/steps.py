"""The steps of setup, and their way back: what each finds, and what it would do.

A step looks at the host and returns an Action. The plan is what the steps find first; to do it,
each looks again and acts.
"""

import os
import re
import shlex
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from dialplan_sms.cli.setup.manifest import Manifest
from dialplan_sms.cli.setup.places import Host
from dialplan_sms.host import files
from dialplan_sms.host.files import Ownership
from dialplan_sms.host.identity import HostError, by_id

_OURS = re.compile(rb"^ *from dialplan_sms", re.MULTILINE)


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
    """What steps share. ``coming`` is what the steps before will have to be reloaded."""

    host: Host
    manifest: Manifest
    coming: set[str] = field(default_factory=set)
    failed: bool = False

    def must_reload(self, what: str) -> bool:
        """Whether *what* has to be reloaded after a change, done or coming."""
        return what in self.coming | self.manifest.pending


@dataclass(frozen=True, slots=True)
class Action:
    """What a step finds and would do; without a state it is not shown.

    ``act`` does it and returns what is to be said, if anything. ``pending`` has to be reloaded
    afterwards.
    """

    target: Path | str
    state: State | None
    about: str = ""
    act: Callable[[], str] | None = None
    pending: str = ""

    @property
    def changes(self) -> bool:
        """Whether it would change the host."""
        return self.state not in (None, State.THERE, State.NOTE)


Step = Callable[[Work], Action]


def put_file(
    path: Path,
    content: bytes,
    about: str,
    owner: Ownership | None = None,
    mode: int = 0o644,
    pending: str = "",
) -> Step:
    """A file of ours. One that an admin has edited stays; ours goes beside it as .new."""
    mark, new = files.digest(content), new_of(path)
    stays = f"{path} was edited and stays: compare it with {new}"

    def look(work: Work) -> Action:
        def put() -> str:
            work.manifest.note(path, "file", mark, pending)
            if not path.parent.is_dir():
                files.make_folder(path.parent, 0o755)
            files.put(path, content, mode, owner)
            return ""

        def put_beside() -> str:
            work.manifest.note(new, "file", mark)
            files.put(new, content, mode, owner)
            return stays

        def adopt() -> str:  # of an installation by hand
            work.manifest.note(path, "file", mark)
            return ""

        there = files.content_of(path)
        if there is None:
            return Action(path, State.MAKE, about, put, pending)
        if there == content:
            return Action(path, State.THERE, about, None if work.host.packaged else adopt)
        if work.manifest.knows(path, files.digest(there)):
            return Action(
                path, State.CHANGE, f"{about}, not edited since setup wrote it", put, pending
            )
        if files.content_of(new) == content:
            edited = f"edited; the new one is beside it, {new.name}"
            return Action(path, State.THERE, edited, lambda: stays)
        edited = f"edited; the new one goes beside it, {new.name}"
        return Action(path, State.KEEP, edited, put_beside)

    return look


def new_of(path: Path) -> Path:
    """Where our version goes if an admin's stays."""
    return path.with_name(path.name + ".new")


def put_link(path: Path, to: Path, needed: bool = True) -> Step:
    """A link into the program, in place of one into another dialplan-sms.

    *needed*: SMS need it, so it goes beside what is another program's.
    """
    new = new_of(path)

    def look(work: Work) -> Action:
        def put(place: Path = path) -> str:
            work.manifest.note(place, "link", str(to))
            if not place.parent.is_dir():
                files.make_folder(place.parent, 0o755)
            files.link(place, to)
            return ""

        def put_beside() -> str:
            put(new)
            return (
                f"{path} is another program and stays: put {new} in its place, or set"
                f" SMS_AGI={to} in [globals] of the dialplan"
            )

        def adopt() -> str:  # of an installation by hand
            work.manifest.note(path, "link", str(path.readlink()))
            return ""

        about, is_link = f"a link to {to}", path.is_symlink()
        if not is_link and not path.exists():
            return Action(path, State.MAKE, about, put)
        # realpath(): unlike resolve(), no error for a circle. It may be a relative link.
        if is_link and os.path.realpath(path) == os.path.realpath(to):
            by_hand = needed and not work.host.packaged
            return Action(path, State.THERE, about, adopt if by_hand else None)
        if is_link and (
            not path.exists()
            or work.manifest.knows(path, str(path.readlink()))
            or _is_of_dialplan_sms(path)
        ):
            return Action(path, State.CHANGE, about, put)
        if not needed:
            return Action(path, State.THERE, f"it is another's; the program is {to}")
        if new.is_symlink() and new.readlink() == to:
            return Action(path, State.THERE, f"it is another's; ours is beside it, {new.name}")
        about = f"it is another's; ours goes beside it, {new.name}"
        return Action(path, State.KEEP, about, put_beside)

    return look


def _is_of_dialplan_sms(path: Path) -> bool:
    """Whether *path* is a script of a dialplan-sms, be it another installation's."""
    with suppress(OSError, HostError):
        return _OURS.search(files.content_of(path) or b"") is not None
    return False


def make_folder(path: Path, mode: int, owner: Ownership, about: str) -> Step:
    """A folder for Asterisk's user. One that is there is not given to another: its path is that
    user's, who could turn it to any file meanwhile."""

    def look(work: Work) -> Action:
        """Raises HostError if something else is there."""

        def make() -> str:
            work.manifest.note(path, "folder", "made")
            files.make_folder(path, mode, owner)
            return ""

        try:
            status = path.stat()
        except PermissionError:
            if work.host.is_root:
                raise
            return Action(path, State.NOTE, f"only root can look at it; {about}")
        except OSError:  # not there, below a file, or a link to nothing
            status = None
        if status is None or not stat.S_ISDIR(status.st_mode):
            first = next(each for each in (path, *path.parents) if os.path.lexists(each))
            if not first.is_dir():
                raise HostError(f"{first} is no folder, and one is needed {about}: move it away")
            return Action(path, State.MAKE, about, make)
        _refuse_closed(path, status, owner, about)
        return Action(path, State.THERE, about)

    return look


def _refuse_closed(path: Path, status: os.stat_result, owner: Ownership, about: str) -> None:
    """Raise HostError if *owner* cannot make files in *path*."""
    shift = 0
    if status.st_uid == owner.uid:
        shift = 6
    elif status.st_gid == owner.gid:
        shift = 3
    if owner.uid == 0 or status.st_mode >> shift & 3 == 3:
        return
    who, place = by_id(owner.uid).owner, shlex.quote(str(path))
    run = "chmod u+rwx" if shift == 6 else f"chown -R {who}"
    raise HostError(
        f"{who} cannot write to {path}, the folder {about}: run {run} {place}, then setup again"
    )


def forget(path: Path, work: Work, about: str) -> Action:
    """Leave *path* as it is, and take it for ours no longer."""

    def act() -> str:
        work.manifest.drop(path)
        return ""

    return Action(path, State.KEEP, about, act)
