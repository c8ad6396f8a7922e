"""Who besides root can change a path, and what keeps a user from one.

Root does nothing through a path that another user can change, who could put a link to any file
there meanwhile. It does such work as that user (process.py), who can do no more with it.
"""

import errno
import grp
import os
import pwd
import stat
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms.host import ConfigError

READ, WRITE, RUN = 4, 2, 1
_RIGHTS = {READ: ("r", "read"), WRITE: ("w", "write"), RUN: ("x", "run")}
EVERYBODY = -1
"""A user id that stands for any user of this host."""
_ACL_USER, _ACL_OWN_GROUP, _ACL_GROUP = 0x02, 0x04, 0x08  # Linux: uapi/linux/posix_acl.h


class HostError(ConfigError):
    """Why this host refuses what root or setup was to do, in one line that says what to do."""


def refuse(wrong: object, says: str) -> None:
    """Raise HostError if something is *wrong*."""
    if wrong:
        raise HostError(says)


@dataclass(frozen=True, slots=True)
class User:
    """A user of this host; *gids* begin with the primary group."""

    name: str
    uid: int
    gids: tuple[int, ...]

    def __str__(self) -> str:
        if self.uid == EVERYBODY:
            return "everybody"
        return f"the {self.name}" if " " in self.name else f"the user {self.name}"

    def may(self, found: os.stat_result, want: int) -> bool:
        """Whether the mode of a file gives all of *want*."""
        mode = stat.S_IMODE(found.st_mode)
        if self.uid == 0:  # root runs only what somebody may run
            return not want & RUN or stat.S_ISDIR(found.st_mode) or bool(mode & 0o111)
        if found.st_uid == self.uid:
            mode >>= 6
        elif found.st_gid in self.gids:
            mode >>= 3
        return mode & want == want

    @property
    def owner(self) -> str:
        """The name as chown takes it, or the number."""
        return str(self.uid) if " " in self.name else self.name

    @property
    def group(self) -> str:
        """The name or number of the primary group."""
        return group_name(self.gids[0])


def group_name(gid: int) -> str:
    """The name of a group, its number if the host knows none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def by_id(uid: int, gids: Iterable[int] = ()) -> User:
    """The user of that id, with *gids*, else with all its groups.

    A user whom the host does not know has the group of the same number.
    """
    gids = tuple(dict.fromkeys(gids))
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(f"user {uid}", uid, gids or (uid,))
    return User(entry.pw_name, uid, gids or tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def named(name: str) -> User | None:
    """The user of that name or number."""
    is_number = name.isascii() and name.isdigit() and len(name) < 10
    with suppress(KeyError, ValueError):
        return by_id(int(name) if is_number else pwd.getpwnam(name).pw_uid)
    return None


def current() -> User:
    """Who runs this."""
    return by_id(os.geteuid(), [os.getegid(), *os.getgroups()])


def changer(path: Path, itself: bool = True) -> User | None:
    """The one user of changers(), None if there is none. Raises HostError if there are several."""
    found = changers(path, itself)
    if place := found.get(EVERYBODY):
        shared = place.is_dir() and place.stat().st_mode & stat.S_ISVTX  # /tmp is to stay as it is
        cure = f"take a path elsewhere than {path}" if shared else "run chmod o-w on it"
        raise HostError(f"everybody can change {place}: {cure}")
    if len(found) > 1:
        each = " and ".join(f"{by_id(uid).name} ({place})" for uid, place in found.items())
        raise HostError(
            f"more than one user can change {path}, {each}, and root works there as the only one:"
            " leave it to one of them, or to root"
        )
    return by_id(next(iter(found))) if found else None


def changers(path: Path, itself: bool = True) -> dict[int, Path]:
    """Who can change *path*, besides root and who runs this, and by which file or folder.

    That is who can put something else in its place, in a folder or by a link on the way; with
    *itself*, also who can write to what is there. Raises HostError if it cannot be followed.
    """
    who: dict[int, Path] = {}
    try:
        for folder, place, found, last in _lookups(path):
            status = folder.lstat()
            # In a folder with the sticky bit, as /tmp, only owners replace what is there; who can
            # write puts there what is not.
            sticky = bool(status.st_mode & stat.S_ISVTX) and found is not None
            users = {status.st_uid} if sticky else _writers(folder, status)
            who = dict.fromkeys(users, folder) | who
            if found is not None:
                users = {found.st_uid} if sticky or stat.S_ISLNK(found.st_mode) else set()
                users |= _writers(place, found) if last and itself else set()
                who = dict.fromkeys(users, place) | who
            refuse(
                place == Path("/proc"),
                f"{path} is a path through /proc, whose links lead elsewhere",
            )
    except OSError as error:
        raise HostError(f"{path} cannot be followed, {error.strerror or error}") from None
    return {uid: place for uid, place in who.items() if uid not in (0, os.geteuid())}


def _writers(path: Path, found: os.stat_result) -> set[int]:
    users, mode = {found.st_uid}, 0 if stat.S_ISLNK(found.st_mode) else found.st_mode
    if mode & stat.S_IWOTH:
        users.add(EVERYBODY)
    # With an access list, the rights of the group are its mask.
    entries = (_access_list(path) or [(_ACL_OWN_GROUP, WRITE, 0)]) if mode & stat.S_IWGRP else ()
    for kind, rights, number in entries:
        if rights & WRITE and kind == _ACL_USER:
            users.add(number)
        elif rights & WRITE and kind in (_ACL_GROUP, _ACL_OWN_GROUP):
            users |= _members(number if kind == _ACL_GROUP else found.st_gid)
    return users


def _members(gid: int) -> set[int]:
    """The ids of a group's users: those whose own group it is, else those added to it.

    Who is added to another user's own group shares all that it can write with that user. None are
    in Debian's group staff; those of root's group are system users without a login.
    """
    if gid == 0:
        return set()
    users = {each.pw_uid for each in pwd.getpwall() if each.pw_gid == gid}
    with suppress(KeyError):
        for name in () if users else grp.getgrgid(gid).gr_mem:
            with suppress(KeyError):
                users.add(pwd.getpwnam(name).pw_uid)
    return users


def _access_list(path: Path) -> list[tuple[int, int, int]]:
    """The entries of a POSIX access list: kind, rights, user or group id; empty for none."""
    with suppress(OSError):
        packed = os.getxattr(path, "system.posix_acl_access", follow_symlinks=False)
        return [*struct.iter_unpack("<HHI", packed[4:])]
    return []


def _lookups(path: Path) -> Iterator[tuple[Path, Path, os.stat_result | None, bool]]:
    """How the kernel looks up *path*, part for part, also those of links. Raises OSError.

    The folder in which it looks, the path of what it looks for, what is there, if anything, and
    whether that is the last part.
    """
    rest, here, links = list(reversed(path.absolute().parts[1:])), Path("/"), 0
    while rest:
        part = rest.pop()
        place, found = here.parent if part == ".." else here / part, None
        with suppress(FileNotFoundError, NotADirectoryError):
            found = place.lstat()
        yield here, place, found, not rest
        if found is None:
            return
        if not stat.S_ISLNK(found.st_mode):
            here = place
            continue
        rest += reversed((here / place.readlink()).parts[1:])  # from / on: what is there may change
        here, links = Path("/"), links + 1
        if links > 40:  # Linux: MAXSYMLINKS
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


@dataclass(frozen=True, slots=True)
class Blocked:
    """What keeps a user from a file: *path* is the file or a folder on the way to it."""

    path: Path
    says: str
    do: str
    missing: bool = False


def blocked(path: Path, want: int, user: User) -> Blocked | None:
    """What keeps *user* from *path*, links followed; None if nothing does."""
    try:
        for folder, place, there, last in _lookups(path):
            if not user.may(folder.lstat(), RUN) and not _access_list(folder):
                do = f"chmod o+x {folder}, or chgrp {user.group} {folder} && chmod g+x {folder}"
                return Blocked(folder, f"{user.name} may not pass the folder {folder}", do)
            if there is None and not last:
                return Blocked(place, f"there is no folder {place}", f"create {place}", True)
        found = path.stat()
    except OSError:
        return Blocked(path, f"there is no {path}", f"create {path}", True)
    if user.may(found, want) or _access_list(path):
        return None
    letters, verbs = zip(*(right for bit, right in _RIGHTS.items() if want & bit), strict=True)
    does = "write into the folder" if stat.S_ISDIR(found.st_mode) else " and ".join(verbs)
    return Blocked(
        path,
        f"{user.name} may not {does} {path}, which is {by_id(found.st_uid).owner}"
        f":{group_name(found.st_gid)} {stat.S_IMODE(found.st_mode):04o}",
        f"chgrp {user.group} {path} && chmod g+{''.join(letters)} {path}",
    )
