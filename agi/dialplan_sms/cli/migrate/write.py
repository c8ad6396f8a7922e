"""The new content of files, which are replaced whole or not at all: backup, owner and mode stay."""

import grp
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from dialplan_sms.cli.migrate.files import content_of, lines
from dialplan_sms.host.files import look, settled
from dialplan_sms.host.rights import HostError
from dialplan_sms.host.trust import refuse_turned

BACKUP = ".before-dialplan-sms"


@dataclass(slots=True)
class Edits:
    """The new lines in place of a line and after it, by path and number; without endings."""

    replaced: dict[Path, dict[int, list[str]]] = field(default_factory=lambda: defaultdict(dict))
    after: dict[Path, dict[int, list[str]]] = field(default_factory=lambda: defaultdict(dict))

    def number(self, path: Path, number: int) -> int:
        """The number that the line of *path* has once the edits are made."""
        replaced = (len(new) - 1 for at, new in self.replaced[path].items() if at < number)
        added = (len(new) for at, new in self.after[path].items() if at < number)
        return number + sum(replaced) + sum(added)

    def content(self, path: Path, content: bytes) -> bytes:
        """*content* of the file *path* with them; new lines end as their neighbours."""
        out: list[str] = []
        old = list(lines(path, content))
        for line in old:
            ending = old[0].ending if line is old[-1] else line.ending
            new = self.replaced[path].get(line.number)
            out += [line.raw + line.ending] if new is None else [each + ending for each in new]
            out += [each + ending for each in self.after[path].get(line.number, ())]
        if old[-1].number in self.replaced[path].keys() | self.after[path].keys():
            out[-1] = out[-1].rstrip("\r\n") + "\n"  # as the file's last line has no ending
        return content_of(out)


class CannotWrite(Exception):
    """A file that could not be written; nothing of it has changed."""


def replace(path: Path, old: bytes, new: bytes) -> Path:
    """Replace *old* by *new* in the file *path*; returns the backup. Raises CannotWrite."""
    with _refused(path):
        # As root in a folder of Asterisk's user: what setup minds there, see host/trust.py.
        path = settled(path)
        refuse_turned(path.parent, str(path))
        found = look(path)
        if found is None or found.content != old:
            raise CannotWrite(f"{path} was changed meanwhile: run migrate again")
        place = (found.owner.uid, found.owner.gid, found.mode)
        backup = _backup(path, old, place)
        _put(path, new, place)
    return backup


def add(path: Path, content: str, old: str | None, beside: Path | None) -> Path | None:
    """Write sms.conf: in place of *old*, or a new one of our own for Asterisk's group.

    *beside* is a file of Asterisk's, whose group a new one gets. Returns the backup of
    one that there was. Raises CannotWrite.
    """
    if old is not None:
        return replace(path, old.encode(), content.encode())
    with _refused(path):
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
    return None


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except HostError as error:
        raise CannotWrite(str(error)) from None
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror or error}") from None


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
