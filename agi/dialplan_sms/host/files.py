"""Files that appear whole or not at all, whatever ends the program.

As root, each is read and written as the user who can change its folder: see identity.py.
"""

import glob
import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from dialplan_sms.host.identity import HostError, refuse
from dialplan_sms.host.process import as_changer

_LARGEST = 32 << 20  # bytes of a file that is read


@dataclass(frozen=True, slots=True)
class Ownership:
    """Whom a file is to belong to. Only root can give a file away; others keep what they make."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is to be replaced; *mode* is no more than rwx, so never set-user-id."""

    content: bytes = field(repr=False)
    mode: int
    owner: Ownership


def matching(pattern: str, most: int) -> list[str] | None:
    """What an #include names, at most so many; None if in so many folders that it takes minutes."""
    patterns = sum(map(glob.has_magic, pattern.split("/")[:-1]))  # in the names of folders
    return sorted(islice(glob.iglob(pattern), most)) if patterns <= 2 else None


def digest(content: bytes) -> str:
    """What tells one content from another."""
    return hashlib.sha256(content).hexdigest()


def look(path: Path) -> Found | None:
    """The file at *path*, links followed; None if nothing is there. Raises HostError, OSError."""
    return as_changer(path, lambda: _look(path))


def content_of(path: Path) -> bytes | None:
    """What a file holds; None if nothing is there. Raises HostError, OSError."""
    found = look(path)
    return None if found is None else found.content


def _look(path: Path) -> Found | None:
    # A pipe that somebody has put there must not keep setup waiting.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        _target(path)  # which refuses a link to nothing
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise HostError(f"{path} is no file: move it away")
    with open(descriptor, "rb") as file:
        content = file.read(_LARGEST + 1) or b""  # None: nothing to read yet, as in /proc/kmsg
    refuse(len(content) > _LARGEST, f"{path} is larger than 32 MiB: no configuration is")
    return Found(content, status.st_mode & 0o777, Ownership(status.st_uid, status.st_gid))


def put(
    path: Path,
    content: bytes,
    mode: int,
    owner: Ownership | None = None,
    check: Callable[[Path], object] = lambda fresh: None,
) -> None:
    """Write *content* to *path*, in place of what is there, in one instant; a link stays one.

    *check* is given the new file before it takes its place; what it raises keeps the old one.
    """

    def write(fresh: Path) -> None:
        with open(fresh, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(content)
            _give(file.fileno(), mode, owner)
            file.flush()
            os.fsync(file.fileno())
        try:
            check(fresh)
        except BaseException:
            fresh.unlink()
            raise

    as_changer(path, lambda: _replace(_target(path), write))


def _target(path: Path) -> Path:
    """The file behind *path*, which may be a link. Raises HostError for a link to nothing."""
    is_dangling = path.is_symlink() and not path.exists()
    refuse(is_dangling, f"{path} is a link to nothing: remove it, or make the file")
    return Path(os.path.realpath(path))


def _replace(
    path: Path, make: Callable[[Path], object], clear: Callable[[Path], None] = Path.unlink
) -> None:
    """Give what *make* puts beside *path* its name; *clear* removes what an ended run left."""
    fresh = path.with_name(f".{path.name}.dialplan-sms")
    with suppress(FileNotFoundError):
        clear(fresh)
    make(fresh)
    os.replace(fresh, path)


def _give(fresh: int | Path, mode: int, owner: Ownership | None) -> None:
    """Give a new file or folder its mode, and its owner as far as we may.

    If it cannot be of the group *owner* names, its group gets no more of it than everybody.
    """
    if owner is not None:
        try:
            os.chown(fresh, -1 if os.geteuid() else owner.uid, owner.gid)
        except PermissionError:
            mode = mode & ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3
    os.chmod(fresh, mode)


def link(path: Path, target: Path) -> None:
    """Make *path* a link to *target*, in place of what is there, in one instant."""
    as_changer(
        path.parent, lambda: _replace(path, lambda fresh: fresh.symlink_to(target)), itself=True
    )


def remove(path: Path) -> None:
    """Remove the file or link *path*, if there is one."""
    as_changer(path.parent, lambda: path.unlink(missing_ok=True), itself=True)


def remove_folder(path: Path) -> None:
    """Remove the folder *path*, if it is empty."""
    with suppress(OSError):
        as_changer(path.parent, path.rmdir, itself=True)


def make_folder(path: Path, mode: int, owner: Ownership | None = None) -> None:
    """Make *path*, and what is above it as far as it is missing."""
    if not path.parent.is_dir():
        make_folder(path.parent, 0o755)

    def make(fresh: Path) -> None:
        fresh.mkdir(0o700)
        _give(fresh, mode, owner)

    as_changer(path.parent, lambda: _replace(path, make, Path.rmdir), itself=True)
