"""Files are replaced whole or not at all, with a backup, owner and mode as they were."""

import grp
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dialplan_sms.host import files
from dialplan_sms.host.identity import HostError

BACKUP = ".before-dialplan-sms"


class CannotWrite(Exception):
    """A file that could not be written; nothing of it has changed."""


def replace(path: Path, old: bytes, new: bytes) -> Path:
    """Replace *old* by *new* in the file *path*; returns the backup. Raises CannotWrite."""
    with _told(path):
        found = files.look(path)
        if found is None or found.content != old:
            raise CannotWrite(f"{path} was changed meanwhile: run migrate again")
        backup = _free(Path(os.path.realpath(path)))
        files.put(backup, old, found.mode, found.owner)
        files.put(path, new, found.mode, found.owner)
    return backup


def add(path: Path, content: str, old: str | None, beside: Path | None) -> Path | None:
    """Write sms.conf: as it was, where there is one, else ours, for Asterisk's group.

    *beside* is a file of Asterisk's, whose group a new one gets. Returns the backup of
    one that there was. Raises CannotWrite.
    """
    if old is not None:
        return replace(path, old.encode(), content.encode())
    with _told(path):
        if os.path.lexists(path):
            raise CannotWrite(f"{path} was made meanwhile, or is a link to nothing: look at it")
        uid, gid = os.geteuid(), os.getegid()
        if uid == 0:
            gid = (beside or path.parent).stat().st_gid
            if not gid:
                with suppress(KeyError):
                    gid = grp.getgrnam("asterisk").gr_gid
        files.put(path, content.encode(), 0o640, files.Ownership(uid, gid))
    return None


def backup_names(path: Path) -> str:
    """What every backup of *path* begins with."""
    return f"{path}{BACKUP}"


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the host refuses into CannotWrite."""
    try:
        yield
    except HostError as error:
        raise CannotWrite(str(error)) from None
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror or error}") from None


def _free(path: Path) -> Path:
    """The first name of a backup that is free. Raises CannotWrite."""
    for number in range(1, 1000):
        backup = Path(f"{backup_names(path)}{f'-{number}' if number > 1 else ''}")
        if not os.path.lexists(backup):
            return backup
    raise CannotWrite(f"{path} has 999 backups: remove some")
