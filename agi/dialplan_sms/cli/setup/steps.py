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
from dialplan_sms.host.identity import RUN, WRITE, HostError, User, changer

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
    state: StepState | None
    about: str = ""
    act: Callable[[], str | None] | None = None
    pending: str = ""

    @property
    def changes(self) -> bool:
        """Whether it would change the host."""
        return self.state not in (None, StepState.THERE, StepState.NOTE)


Step = Callable[[Work], Action]


def put_file(path: Path, content: bytes, about: str, pending: str) -> Step:
    """A file of ours. One that an admin has edited stays; ours goes beside it as .new."""
    mark, new = files.digest(content), new_of(path)
    stays = f"{path} was edited and stays: compare it with {new}"

    def look(work: Work) -> Action:
        def adopt() -> None:  # of an installation by hand
            if not work.host.packaged:
                work.manifest.note(path, "file", mark)

        def put() -> None:
            work.manifest.note(path, "file", mark, pending)
            if not path.parent.is_dir():
                files.make_folder(path.parent, 0o755)
            files.put(path, content, 0o644)

        def put_beside() -> str:
            work.manifest.note(new, "file", mark)
            files.put(new, content, 0o644)
            return stays

        there = files.content_of(path)
        if there is None:
            return Action(path, StepState.MAKE, about, put, pending)
        if there == content:
            return Action(path, StepState.THERE, about, adopt)
        if work.manifest.knows(path, files.digest(there)):
            unedited = f"{about}, not edited since setup wrote it"
            return Action(path, StepState.CHANGE, unedited, put, pending)
        if files.content_of(new) == content:
            edited = f"edited; the new one is beside it, {new.name}"
            return Action(path, StepState.THERE, edited, lambda: stays)
        edited = f"edited; the new one goes beside it, {new.name}"
        return Action(path, StepState.KEEP, edited, put_beside)

    return look


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


def put_link(path: Path, to: Path, needed: bool = True) -> Step:
    """A link into the program, in place of one into another dialplan-sms.

    *needed*: SMS need it, so it goes beside what is another program's.
    """
    new = new_of(path)

    def look(work: Work) -> Action:
        def put(place: Path = path) -> None:
            work.manifest.note(place, "link", str(to))
            if not place.parent.is_dir():
                files.make_folder(place.parent, 0o755)
            files.link(place, to)

        def put_beside() -> str:
            put(new)
            return (
                f"{path} is another program and stays: put {new} in its place, or set"
                f" SMS_AGI={to} in [globals] of the dialplan"
            )

        def adopt() -> None:  # of an installation by hand
            if needed and not work.host.packaged:
                work.manifest.note(path, "link", str(path.readlink()))

        about, is_link = f"a link to {to}", path.is_symlink()
        if not is_link and not path.exists():
            return Action(path, StepState.MAKE, about, put)
        # realpath(): unlike resolve(), no error for a circle. It may be a relative link.
        if is_link and os.path.realpath(path) == os.path.realpath(to):
            return Action(path, StepState.THERE, about, adopt)
        if is_link and (
            not path.exists()
            or work.manifest.knows(path, str(path.readlink()))
            or _is_of_dialplan_sms(path)
        ):
            return Action(path, StepState.CHANGE, about, put)
        if not needed:
            return Action(path, StepState.THERE, f"it is another's; the program is {to}")
        if new.is_symlink() and new.readlink() == to:
            return Action(path, StepState.THERE, f"it is another's; ours is beside it, {new.name}")
        about = f"it is another's; ours goes beside it, {new.name}"
        return Action(path, StepState.KEEP, about, put_beside)

    return look


def _is_of_dialplan_sms(path: Path) -> bool:
    """Whether *path* is a script of a dialplan-sms, be it another installation's."""
    with suppress(OSError, HostError):
        return _OURS.search(files.content_of(path) or b"") is not None
    return False


def make_folder(path: Path, mode: int, user: User, about: str) -> Step:
    """A folder for *user*. One that is there is not given to another: its path is that user's, who
    could turn it to any file meanwhile."""

    def look(work: Work) -> Action:
        """Raises HostError if something else is there, or a folder that *user* cannot write to."""

        def make() -> None:
            work.manifest.note(path, "folder", "made")
            files.make_folder(path, mode, Ownership(user.uid, user.gids[0]))

        try:
            status = path.stat()
        except PermissionError:
            if work.host.is_root:
                raise
            return Action(path, StepState.NOTE, f"only root can look at it; {about}")
        except OSError:  # not there, below a file, or a link to nothing
            status = None
        if status is None or not stat.S_ISDIR(status.st_mode):
            first = next(each for each in (path, *path.parents) if os.path.lexists(each))
            if not first.is_dir():
                raise HostError(f"{first} is no folder, and one is needed {about}: move it away")
            return Action(path, StepState.MAKE, about, make)
        if not user.may(status, WRITE | RUN):
            run = "chmod u+rwx" if status.st_uid == user.uid else f"chown -R {user.owner}"
            raise HostError(
                f"{user.owner} cannot write to {path}, the folder {about}: run {run}"
                f" {shlex.quote(str(path))}, then setup again"
            )
        return Action(path, StepState.THERE, about)

    return look


def drop(
    path: Path,
    work: Work,
    state: StepState | None,
    about: str = "",
    act: Callable[[], str | None] = lambda: None,
) -> Action:
    """What *act* takes back is not ours any more; if it does nothing, it stays as it is."""

    def take() -> str | None:
        said = act()
        work.manifest.drop(path)
        return said

    return Action(path, state, about, take)
