"""Root's rights, which a command lays down before it uses files of another user.

SQLite believes what lies beside its file: a journal that somebody has left there names another file
to delete, and a link in place of the file leads elsewhere. With the rights of who can put such
things there, they do no more than that user could anyway.
"""

import contextlib
import os
import pwd
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError


def lay_down(outbox: str) -> None:
    """As root, become for good the user of the SQLite file behind the URL *outbox*.

    Where all that leads there is root's, or this process is not root's, all stays as it is.
    """
    owner = owner_of(outbox)
    if os.geteuid() != 0 or owner is None or owner[0] == 0:
        return
    uid, gid = owner
    os.setgroups(groups_of(uid, gid))
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def owner_of(outbox: str) -> tuple[int, int] | None:
    """User and group id of who can change what lies at the URL *outbox*; None for a server.

    That is who owns its folder, else the file, else a folder or a link on the way there.
    """
    try:
        url = make_url(outbox)
    except ArgumentError:
        return None
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    file = Path(url.database).absolute()
    found = None
    for path in (file.parent, file, *file.parent.parents, *file.resolve().parents):
        for look in (path.stat, path.lstat):
            with contextlib.suppress(OSError):
                status = look()
                if status.st_uid != 0:
                    return status.st_uid, status.st_gid
                found = found or (status.st_uid, status.st_gid)
    return found


def groups_of(uid: int, gid: int) -> list[int]:
    """The groups of that user, *gid* among them."""
    with contextlib.suppress(KeyError):
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    return [gid]
