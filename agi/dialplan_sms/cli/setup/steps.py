"""One step of setup, or of its way back: what is there, what it would do, and its doing.

A step looks at the host and returns an Action. The plan is a generator of them: shown, it only
looks; done, each step looks after the one before has acted.
"""

import os
import re
import shlex
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

from dialplan_sms.cli.setup.host import Host, refuse
from dialplan_sms.cli.setup.manifest import Manifest
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


class Failed(Exception):
    """What an action could not do; it is said, and setup goes on."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a step finds and would do; without a state it is not shown.

    ``act`` does it and returns what is to be said, if that is not ``says``. ``pending`` has to be
    reloaded afterwards. ``ours`` (path, kind, mark) is what the manifest is to know before it, and
    the path that it is to ``forget`` after it. What ``fails`` is left to the admin.
    """

    target: Path | str
    state: StepState | None
    about: str = ""
    act: Callable[[], str | None] | None = None
    pending: str = ""
    ours: tuple[Path, str, str] | None = None
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
        if action.ours:
            self.manifest.note(*action.ours)
            if not (folder := action.ours[0].parent).is_dir():
                files.make_folder(folder, 0o755)
        if action.pending:
            self.manifest.expect(action.pending)
        try:
            said = action.act() if action.act else None
        except Failed as why:
            self.failed = True
            return str(why)
        if action.forget:
            self.manifest.drop(action.forget)
        self.failed |= action.fails
        return said or action.says


def put_file(work: Work, path: Path, content: bytes, about: str, pending: str) -> Action:
    """A file of ours. One that an admin has edited stays; ours goes beside it as .new."""
    mark, new = files.digest(content), new_of(path)
    there = files.content_of(path)
    ours = (path, "file", mark)
    put = partial(files.put, path, content, 0o644)
    if there is None:
        return Action(path, StepState.MAKE, about, put, pending, ours)
    if there == content:  # perhaps of an installation by hand
        return Action(path, StepState.THERE, about, ours=None if work.host.packaged else ours)
    if work.manifest.knows(path, files.digest(there)):
        unedited = f"{about}, not edited since setup wrote it"
        return Action(path, StepState.CHANGE, unedited, put, pending, ours)
    stays = f"{path} was edited and stays: compare it with {new}"
    if files.content_of(new) == content:
        edited = f"edited; the new one is beside it, {new.name}"
        return Action(path, StepState.THERE, edited, says=stays)
    edited = f"edited; the new one goes beside it, {new.name}"
    put = partial(files.put, new, content, 0o644)
    return Action(path, StepState.KEEP, edited, put, ours=(new, "file", mark), says=stays)


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
    ours = (path, "link", str(to))
    put = Action(path, StepState.CHANGE, about, partial(files.link, path, to), ours=ours)
    if not target and not path.exists():
        return replace(put, state=StepState.MAKE)
    # realpath(): unlike resolve(), no error for a circle. It may be a relative link.
    if target and os.path.realpath(path) == os.path.realpath(to):
        by_hand = (path, "link", target) if needed and not work.host.packaged else None
        return Action(path, StepState.THERE, about, ours=by_hand)
    known = not path.exists() or work.manifest.knows(path, target)
    if target and (known or _is_of_dialplan_sms(path)):
        return put
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


def run_command(
    work: Work, target: str, about: str, command: Sequence[str], forget: Path | None = None
) -> Action:
    """A command of the way back, which goes on if it fails."""

    def act() -> str:
        done = work.host.run(command, 100, None)
        return f"warning: {about}: {done.last_line}" if done.status else ""

    return Action(target, StepState.RUN, about, act, forget=forget)


def _is_of_dialplan_sms(path: Path) -> bool:
    """Whether *path* is a script of a dialplan-sms, be it another installation's."""
    with suppress(OSError, HostError):
        return _OURS.search(files.content_of(path) or b"") is not None
    return False


def make_outbox_folder(work: Work, path: Path, user: User) -> Action:
    """The outbox's folder for *user*. One that is there is not given to another: its path is that
    user's, who could turn it to any file meanwhile.

    Raises HostError if something else is there, or a folder that *user* cannot write to.
    """
    about = "for the outbox"
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
        refuse(
            not first.is_dir(),
            f"{first} is no folder, and one is needed {about}: move it away",
        )
        make = partial(files.make_folder, path, 0o750, Ownership(user.uid, user.gids[0]))
        return Action(path, StepState.MAKE, about, make, ours=(path, "folder", "made"))
    run = "chmod u+rwx" if status.st_uid == user.uid else f"chown -R {user.owner}"
    refuse(
        not user.may(status, WRITE | RUN),
        f"{user.owner} cannot write to {path}, the folder {about}: run {run}"
        f" {shlex.quote(str(path))}, then setup again",
    )
    return Action(path, StepState.THERE, about)
