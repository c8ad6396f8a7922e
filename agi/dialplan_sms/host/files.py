"""Files that appear whole or not at all, whatever ends the program."""

import errno
import glob
import hashlib
import os
import stat
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from dialplan_sms.host import trust
from dialplan_sms.host.rights import HostError

LARGEST = 32 << 20
"""Bytes of a file that is read."""
_MOST_FOLDERS = 2
"""Parts of an #include's path, but for the last, that may be patterns."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a file is to belong to; only root can give one away."""

    uid: int
    gid: int


def matching(pattern: str, most: int) -> list[str] | None:
    """What a pattern of an #include names, at most so many; None where it is in too many folders.

    To look through those would take minutes, and Asterisk as long at each reload.
    """
    if sum(map(glob.has_magic, pattern.split("/")[:-1])) > _MOST_FOLDERS:
        return None
    return sorted(islice(glob.iglob(pattern), most))


def digest(content: bytes) -> str:
    """What tells one content from another."""
    return hashlib.sha256(content).hexdigest()


def put(path: Path, content: bytes, mode: int, owner: Owner | None = None) -> None:
    """Write *content* to *path*, in place of what is there, in one instant."""
    commit(stage(path, content, mode, owner), path)


def stage(path: Path, content: bytes, mode: int, owner: Owner | None = None) -> Path:
    """Write *content* beside *path*, on disk, ready for commit()."""
    fresh = path.with_name(f".{path.name}.dialplan-sms")
    with suppress(FileNotFoundError):
        fresh.unlink()  # of a run that was ended
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
        file.write(content)
        if owner is not None and os.geteuid() == 0:
            os.fchown(file.fileno(), owner.uid, owner.gid)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    return fresh


def commit(staged: Path, path: Path) -> None:
    os.replace(staged, path)


def link(path: Path, target: Path) -> None:
    """Make *path* a link to *target*, in place of what is there, in one instant.

    Its folder may be in one of another user's, who can turn its path elsewhere meanwhile.
    """
    fresh = f".{path.name}.dialplan-sms"
    folder = trust.open_folder(path.parent)
    try:
        with suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        os.symlink(target, fresh, dir_fd=folder)
        os.rename(fresh, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        os.close(folder)


def unlink(path: Path, targets: Container[str]) -> None:
    """Remove the link *path*, if it leads to one of *targets*; its folder as for link()."""
    folder = trust.open_folder(path.parent)
    try:
        if os.readlink(path.name, dir_fd=folder) in targets:
            os.unlink(path.name, dir_fd=folder)
    finally:
        os.close(folder)


def make_folder(path: Path, mode: int, owner: Owner | None = None) -> None:
    """Make *path*, and what is above it as far as it is missing; its folder as for link()."""
    if not path.parent.is_dir():
        make_folder(path.parent, 0o755)
    fresh = f".{path.name}.dialplan-sms"
    parent = trust.open_folder(path.parent)
    try:
        with suppress(FileNotFoundError):
            os.rmdir(fresh, dir_fd=parent)  # of a run that was ended
        os.mkdir(fresh, 0o700, dir_fd=parent)
        # Whose folder this is in can put a link in its place: no chown by name.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(fresh, flags, dir_fd=parent)
        try:
            if owner is not None and os.geteuid() == 0:
                os.fchown(descriptor, owner.uid, owner.gid)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        os.rename(fresh, path.name, src_dir_fd=parent, dst_dir_fd=parent)
    finally:
        os.close(parent)


def settled(path: Path) -> Path:
    """The file behind *path*, where that is a link that can be trusted. Raises HostError.

    Asterisk's user can make links in its own folder; root must not follow those to files of
    others, nor into folders that can become others meanwhile.
    """
    if not path.is_symlink():
        return path
    try:
        target = path.resolve(strict=True)
        maker = path.lstat().st_uid
        mine = maker in (0, target.stat().st_uid) and stat.S_ISREG(target.stat().st_mode)
    except (OSError, RuntimeError):
        raise HostError(f"{path} is a link to nothing: remove it, or make the file") from None
    if not mine:
        raise HostError(
            f"{path} is a link to what belongs to another user: put a file in its place"
        )
    trust.refuse_turned(target.parent, f"{target.parent}, where the link {path} leads,")
    return target


def kept(path: Path) -> tuple[int, Owner]:
    """Mode and owner of a file that is there; no more than rwx, so never set-user-id."""
    return _kept(path.stat())


def _kept(status: os.stat_result) -> tuple[int, Owner]:
    return stat.S_IMODE(status.st_mode) & 0o777, Owner(status.st_uid, status.st_gid)


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is to be replaced, as it was in one instant."""

    content: bytes = field(repr=False)
    mode: int
    owner: Owner


def look(path: Path) -> Found | None:
    """The file at *path*, itself and no link; None where nothing is there. Raises HostError.

    Content, mode and owner come from one open file: were they asked for by name one by one, who
    can write to the folder could have root give the content of one file the rights of another.
    """
    try:
        content, status = _read(path, os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise HostError(f"{path} has become a link: put a file in its place") from None
    mode, owner = _kept(status)
    return Found(content, mode, owner)


def content_of(path: Path) -> bytes | None:
    """What a file holds; None where nothing is there. Raises HostError for what is no file."""
    try:
        return _read(path)[0]
    except FileNotFoundError:
        return None


def _read(path: Path, flags: int = 0) -> tuple[bytes, os.stat_result]:
    # A pipe that somebody has put there must not keep setup waiting.
    flags |= os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise HostError(f"{path} is no file: move it away")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(LARGEST + 1) or b""  # None: nothing to read yet, as in /proc/kmsg
    if len(content) > LARGEST:
        raise HostError(f"{path} is larger than 32 MiB: no configuration is")
    return content, status
