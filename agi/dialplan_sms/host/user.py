"""Whose rights count, and what keeps that user from a file: by mode and groups."""

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

READ, WRITE, RUN = 4, 2, 1
_VERBS = {READ: "read", WRITE: "write", RUN: "run"}
_MOST_LINKS = 40
"""Linux: MAXSYMLINKS."""


@dataclass(frozen=True, slots=True)
class User:
    """A user of this host; *gids* begin with the primary group."""

    name: str
    uid: int
    gids: tuple[int, ...]

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
        """As chown takes it, where the host knows no name, too."""
        return str(self.uid) if " " in self.name else self.name

    @property
    def group(self) -> str:
        try:
            return grp.getgrgid(self.gids[0]).gr_name
        except (KeyError, IndexError):
            return str(self.gids[0]) if self.gids else self.name


def named(name: str) -> User | None:
    """The user of that name or number."""
    if name.isascii() and name.isdigit() and len(name) < 10:
        try:
            name = pwd.getpwuid(int(name)).pw_name
        except KeyError:
            return by_id(int(name), (int(name),))
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None
    gids = dict.fromkeys([entry.pw_gid, *os.getgrouplist(entry.pw_name, entry.pw_gid)])
    return User(entry.pw_name, entry.pw_uid, tuple(gids))


def by_id(uid: int, gids: tuple[int, ...]) -> User:
    """The user of a process; without a name where the host knows none."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"user {uid}"
    return User(name, uid, gids)


def current() -> User:
    """Who runs this."""
    return by_id(os.geteuid(), tuple(dict.fromkeys([os.getegid(), *os.getgroups()])))


@dataclass(frozen=True, slots=True)
class Blocked:
    """What keeps a user from a file: *path* is the file or a folder on the way to it."""

    path: Path
    says: str
    do: str
    missing: bool = False


def blocked(path: Path, want: int, user: User) -> Blocked | None:
    """What keeps *user* from *path*, symbolic links followed; None where nothing does."""
    for link in _links(path):
        for folder in reversed(link.parents):
            found = _stat(folder)
            if found is None:
                return Blocked(folder, f"there is no folder {folder}", f"create {folder}", True)
            if not user.may(found, RUN) and not _has_acl(folder):
                return Blocked(
                    folder,
                    f"{user.name} may not pass the folder {folder}",
                    f"chmod o+x {folder}, or chgrp {user.group} {folder} && chmod g+x {folder}",
                )
    found = _stat(path)
    if found is None:
        return Blocked(path, f"there is no {path}", f"create {path}", True)
    if user.may(found, want) or _has_acl(path):
        return None
    if stat.S_ISDIR(found.st_mode):
        verbs = "write into the folder"
    else:
        verbs = " and ".join(verb for bit, verb in _VERBS.items() if want & bit)
    letters = "".join(
        verb[0] for bit, verb in zip((4, 2, 1), ("r", "w", "x"), strict=True) if want & bit
    )
    return Blocked(
        path,
        f"{user.name} may not {verbs} {path}, which is {describe(found)}",
        f"chgrp {user.group} {path} && chmod g+{letters} {path}",
    )


def describe(found: os.stat_result) -> str:
    """Owner, group and mode of a file: ``root:root 0600``."""
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    return f"{owner}:{group} {stat.S_IMODE(found.st_mode):04o}"


def _links(path: Path) -> Iterator[Path]:
    """*path* and what it links to, each without links among its folders, too."""
    path = path.absolute()
    for _ in range(_MOST_LINKS):
        yield path
        yield Path(os.path.realpath(path.parent)) / path.name
        if not os.path.islink(path):
            return
        path = Path(os.path.normpath(path.parent.resolve() / path.readlink()))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _has_acl(path: Path) -> bool:
    """Whether an access list says more than the mode, which is then not judged."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False
