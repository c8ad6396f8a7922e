"""Files are replaced whole or not at all, with a backup, owner and mode as they were."""

import grp
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from dialplan_sms.host.files import look, settled
from dialplan_sms.host.rights import HostError
from dialplan_sms.host.trust import refuse_turned

BACKUP = ".before-dialplan-sms"


class CannotWrite(Exception):
    """A file that could not be written; nothing of it has changed."""


def replace(path: Path, old: bytes, new: bytes) -> Path:
    """Replace *old* by *new* in the file *path*; returns the backup. Raises CannotWrite."""
    try:
        # As root in a folder of Asterisk's user: what setup minds there, see host/trust.py.
        path = settled(path)
        refuse_turned(path.parent, str(path))
        found = look(path)
        if found is None or found.content != old:
            raise CannotWrite(f"{path} was changed meanwhile: run migrate again")
        place = (found.owner.uid, found.owner.gid, found.mode)
        backup = _backup(path, old, place)
        _put(path, new, place)
    except HostError as error:
        raise CannotWrite(str(error)) from None
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror or error}") from None
    return backup


def add(path: Path, content: str, old: str | None, beside: Path | None) -> Path | None:
    """Write sms.conf: as it was, where there is one, else ours, for Asterisk's group.

    *beside* is a file of Asterisk's, whose group a new one gets. Returns the backup of
    one that there was. Raises CannotWrite.
    """
    try:
        if old is not None:
            return replace(path, old.encode(), content.encode())
        if os.path.lexists(path):
            raise CannotWrite(f"{path} was made meanwhile, or is a link to nothing: look at it")
        refuse_turned(path.parent, str(path))
        uid, gid = os.geteuid(), os.getegid()
        if uid == 0:
            gid = (beside or path.parent).stat().st_gid
            if not gid:
                with suppress(KeyError):
                    gid = grp.getgrnam("asterisk").gr_gid
        _put(path, content.encode(), (uid, gid, 0o640))
    except HostError as error:
        raise CannotWrite(str(error)) from None
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror or error}") from None
    return None


def backup_names(path: Path) -> str:
    """What every backup of *path* begins with."""
    return f"{path}{BACKUP}"


def _backup(path: Path, content: bytes, place: tuple[int, int, int]) -> Path:
    for number in range(1, 1000):
        backup = Path(f"{path}{BACKUP}{f'-{number}' if number > 1 else ''}")
        try:
            descriptor = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with open(descriptor, "wb") as file:
            _fill(file.fileno(), content, place)
        return backup
    raise CannotWrite(f"{path} has 999 backups: remove some")


def _put(path: Path, content: bytes, place: tuple[int, int, int]) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            _fill(file.fileno(), content, place)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _fill(descriptor: int, content: bytes, place: tuple[int, int, int]) -> None:
    uid, gid, mode = place
    here = os.fstat(descriptor)
    if (here.st_uid, here.st_gid) != (uid, gid):
        os.fchown(descriptor, uid, gid)
    os.fchmod(descriptor, mode)
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)
