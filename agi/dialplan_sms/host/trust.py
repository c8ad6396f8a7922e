"""Whose word root takes, and which paths nobody can turn elsewhere while root writes there."""

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dialplan_sms.host.rights import HostError, member_of

_MOST_LINKS = 40
_SYSTEM = (
    "/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys"
    " /tmp /usr /usr/bin /usr/lib /usr/local /usr/local/bin /usr/local/lib /usr/local/sbin"
    " /usr/local/share /usr/sbin /usr/share /var /var/cache /var/lib /var/log /var/opt /var/spool"
    " /var/tmp"
).split()
"""Folders that belong to all programs, and to no single one."""
_BELOW = ("/boot", "/dev", "/etc", "/proc", "/sys")
"""Where files mean something to the whole host, whatever their names."""


def ours() -> frozenset[int]:
    """The ids of those who decide on this host: root, and who runs setup."""
    return frozenset((0, os.geteuid()))


def usual() -> frozenset[int]:
    """Those, and the user ``asterisk``, as packages make it."""
    with suppress(KeyError):
        return ours() | {pwd.getpwnam("asterisk").pw_uid}
    return ours()


def name_of(uid: int) -> str:
    """The name of a user, for people."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"of id {uid}"


def owners(path: Path) -> set[int]:
    """Whom the file or folder *path* belongs to, and the folders that lead there. Raises OSError.

    Who owns one of these can put something else in its place.
    """
    return {_written_by(path.stat())} | {owner for _, owner in _leading(path)}


def refuse_turned(path: Path, why: str) -> None:
    """Raise HostError where others than root can turn *path*, a folder, into another one.

    Root writes there by name, and each file as its own: in a folder that has become a link to
    /etc, it would write the host's own files. *path* itself may be anybody's.
    """
    try:
        for folder, owner in _leading(path):
            if owner not in ours():
                raise HostError(
                    f"{why} is reached through {folder}, whose owner, user {name_of(owner)}, could"
                    f" put another folder in its place while root writes there: run chown root"
                    f" {folder}, or move {path.name}"
                )
    except FileNotFoundError:
        return  # which is said elsewhere
    except OSError as error:
        raise HostError(f"{why} cannot be followed, {error.strerror or error}") from None


def open_folder(path: Path) -> int:
    """A descriptor of the folder *path*, which holds whatever is put in its place meanwhile.

    It was reached by no link that another user made, so that it is where it is said to be. Raises
    HostError for one that was, OSError.
    """
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    rest, links = list(reversed(path.absolute().parts[1:])), 0
    here = os.open("/", flags | os.O_DIRECTORY)
    try:
        while rest:
            part = rest.pop()
            there = os.open(part, flags, dir_fd=here)
            found = os.fstat(there)
            if not stat.S_ISLNK(found.st_mode):
                os.close(here)
                here = there
                continue
            try:
                target = Path(os.readlink("", dir_fd=there))
            finally:
                os.close(there)
            if found.st_uid not in ours():
                raise HostError(
                    f"{path} is reached through the link {part} of user {name_of(found.st_uid)},"
                    " who could turn it elsewhere: put a folder in its place"
                )
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            if target.is_absolute():
                os.close(here)
                here = os.open("/", flags | os.O_DIRECTORY)
    except BaseException:
        os.close(here)
        raise
    return here


def refuse_system(path: Path, why: str, etc: Path) -> None:
    """Raise HostError where *path* is a folder of the whole host, and none of Asterisk's.

    *etc* is the folder of asterisk.conf, below which an Asterisk may have all of its own.
    """
    real, own = os.path.realpath(path), os.path.realpath(etc)
    below = any(real.startswith(f"{top}/") for top in _BELOW)
    if real in _SYSTEM or (below and real != own and not real.startswith(f"{own}/")):
        raise HostError(f"{why} is a folder of the whole host: name one that is Asterisk's own")


def refuse_foreign(path: Path, why: str, owners_of_conf: set[int]) -> None:
    """Raise HostError for a folder that is not Asterisk's, where not root alone names folders.

    *owners_of_conf* is who can change asterisk.conf.
    """
    others = owners_of_conf - ours()
    if not others or "asterisk" in os.path.realpath(path).lower():
        return
    with suppress(OSError):
        if path.stat().st_uid in others:
            return
    names = " and ".join(sorted(map(name_of, others)))
    raise HostError(
        f"{why} does not look like Asterisk's, and the user {names} can change asterisk.conf: make"
        f" it that user's, or asterisk.conf and its folder root's"
    )


def _leading(path: Path) -> Iterator[tuple[Path, int]]:
    """The folders in which a part of *path* is looked up, links followed, and who can change them.

    A link counts as one, and in a folder where everybody has files, as /tmp, what is in it is its
    owner's. Raises OSError; also for /proc, whose links lead elsewhere than they say.
    """
    rest, here, links = list(reversed(path.absolute().parts[1:])), Path("/"), 0
    while rest:
        status = here.stat()
        yield here, _changed_by(status)
        part = rest.pop()
        if part == "..":
            here = here.parent
            continue
        there = here / part
        if there == Path("/proc"):
            raise OSError("it is a path through /proc")
        found = there.lstat()
        if stat.S_ISLNK(found.st_mode) or status.st_mode & stat.S_IWOTH:
            yield there, found.st_uid
        if not stat.S_ISLNK(found.st_mode):
            here = there
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError("too many links")
        target = there.readlink()
        rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        here = Path("/") if target.is_absolute() else here


def _changed_by(folder: os.stat_result) -> int:
    """Who can put something else in the place of what is in it: its owner, or nobody (65534)."""
    if folder.st_mode & stat.S_ISVTX:
        return folder.st_uid
    return 65534 if folder.st_mode & stat.S_IWOTH else _written_by(folder)


def _written_by(status: os.stat_result) -> int:
    """Who can write there: its owner, or where that is root and a group can, one of that."""
    if status.st_uid or not status.st_mode & stat.S_IWGRP or not status.st_gid:
        return status.st_uid
    return member_of(status.st_gid) or 0
