"""The new content of files, which are replaced whole or not at all: backup, owner and mode stay.

As root in a folder that another user can change, that user writes them: see host/files.py.
"""

import grp
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from dialplan_sms.cli.migrate.files import content_of, lines
from dialplan_sms.host import files
from dialplan_sms.host.identity import HostError

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
        found = files.look(path)
        if found is None or found.content != old:
            raise CannotWrite(f"{path} was changed meanwhile: run migrate again")
        backup = _free(Path(os.path.realpath(path)))
        files.put(backup, old, found.mode, found.owner)
        files.put(path, new, found.mode, found.owner)
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
def _refused(path: Path) -> Iterator[None]:
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
