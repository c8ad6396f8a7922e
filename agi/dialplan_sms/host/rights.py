"""Root's rights, which a command lays down before it uses files of another user.

Who can change sms.conf names the log, the outbox and the PBX; and SQLite believes what lies beside
its file: a journal that somebody has left there names another file to delete, and a link in place
of the file leads elsewhere. With the rights of who can put such things there, they do no more than
that user could anyway.
"""

import contextlib
import grp
import os
import pwd
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

_NOBODY = 65534


class HostError(Exception):
    """Why this host refuses what root or setup was to do, in one line that says what to do."""


def lay_down(conf: Path, outbox: str) -> None:
    """Become for good who can change *conf*, else who can change what is at *outbox*; as root.

    If all of that is root's, all stays as it is. Raises HostError if that user cannot read this
    program, of which parts are yet to be loaded.
    """
    owner = changer(conf)
    if owner is None and outbox:
        owner = owner_of(outbox)
    if owner is None or owner[0] == 0:
        return
    uid, gid = owner
    groups = groups_of(uid, gid)
    if closed := _closed(uid, groups, (Path(sys.prefix), Path(sys.base_prefix), Path(__file__))):
        raise HostError(
            f"root uses no rights but those of the user {_name(uid)} here, who can change {conf} or"
            f" the outbox, and that user may not enter {closed}, where this program is: run"
            " /opt/dialplan-sms/bin/dialplan-sms, see README, or chmod o+x it"
        )
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def owner_of(outbox: str) -> tuple[int, int] | None:
    """User and group id of who can change what lies at the URL *outbox*; None for a server."""
    from sqlalchemy.engine import make_url  # 0.4 s that only who has an outbox pays
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(outbox)
    except ArgumentError:
        return None
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    file = Path(url.database).absolute()
    found = changer(file)
    if found is None:
        with contextlib.suppress(OSError):
            status = file.parent.stat()
            found = status.st_uid, status.st_gid
    return found


def changer(file: Path) -> tuple[int, int] | None:
    """User and group id of who can change *file* without being root; None where nobody can.

    That is who owns its folder, else the file, else a folder or a link on the way there; or, where
    these are root's, one of the group that may write there.
    """
    file = file.absolute()
    for path in (file.parent, file, *file.parent.parents, *file.resolve().parents):
        for look in (path.stat, path.lstat):
            with contextlib.suppress(OSError):
                if (found := _changer(look())) is not None:
                    return found
    return None


def _changer(status: os.stat_result) -> tuple[int, int] | None:
    if status.st_uid != 0:
        return status.st_uid, status.st_gid
    if (
        stat.S_ISDIR(status.st_mode)
        and status.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH
    ):
        return _NOBODY, _NOBODY  # everybody
    if stat.S_ISLNK(status.st_mode) or not status.st_mode & stat.S_IWGRP or status.st_gid == 0:
        return None
    member = member_of(status.st_gid)
    return None if member is None else (member, status.st_gid)


def member_of(gid: int) -> int | None:
    """A user, not root, of the group *gid*; None where it has none, as Debian's staff."""
    with contextlib.suppress(KeyError):
        for name in grp.getgrgid(gid).gr_mem:
            with contextlib.suppress(KeyError):
                if uid := pwd.getpwnam(name).pw_uid:
                    return uid
    return next(
        (each.pw_uid for each in pwd.getpwall() if each.pw_gid == gid and each.pw_uid), None
    )


def not_theirs(status: os.stat_result, path: Path, conf: Path) -> str:
    """Why root does not use *path*, which *conf* names: who can change that may not; else empty.

    Root would send a secret of its own to whom *conf* says.
    """
    owner = changer(conf) if os.geteuid() == 0 else None
    if owner is None:
        return ""
    uid, gid = owner
    groups = groups_of(uid, gid)
    bits = 0o400 if status.st_uid == uid else 0o040 if status.st_gid in groups else 0o004
    if status.st_mode & bits:
        return ""
    name = _name(uid)
    return f"the user {name}, who can change {conf.name}, may not read {path}: chown {name} {path}"


def _closed(uid: int, groups: list[int], places: Iterable[Path]) -> Path | None:
    """A folder on the way to one of *places* that this user may not enter."""
    for place in places:
        for folder in reversed(place.resolve().parents):
            status = folder.stat()
            bit = 0o100 if status.st_uid == uid else 0o010 if status.st_gid in groups else 0o001
            if not status.st_mode & bit:
                return folder
    return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def groups_of(uid: int, gid: int) -> list[int]:
    """The groups of that user, *gid* among them."""
    with contextlib.suppress(KeyError):
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    return [gid]
