"""What setup has put on this host, so that it knows its own from an admin's, and takes it back.

An entry is written before the change that it records: whatever ends setup, the next run knows.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dialplan_sms.host import files
from dialplan_sms.host.identity import HostError


@dataclass(slots=True)
class Entry:
    """One thing at one path: a file, link, include, folder, service, or a program.

    That is a copy of the program, which only setup of 0.1.0 made.
    ``marks`` are what it was given: digests of a file's contents, targets of a link, the bytes
    (as Latin-1) that were put into a file of the admin's.
    """

    kind: str
    marks: list[str] = field(default_factory=list)


class Manifest:
    """The entries by path, in the order in which they came, in one file."""

    def __init__(self, folder: Path | None) -> None:
        """Without a *folder* nothing is stored. Raises HostError if the file is damaged."""
        self.path = folder / "setup.json" if folder else None
        self.entries: dict[str, Entry] = {}
        self.pending: set[str] = set()
        """What has to be reloaded after a change: ``service``, ``dialplan``."""
        self._stored = files.content_of(self.path) if self.path else None
        if self._stored is None:
            return
        try:
            stored = json.loads(self._stored)
            for path, entry in stored["entries"].items():
                self.entries[path] = Entry(entry["kind"], [*map(str, entry["marks"])])
            self.pending = {*map(str, stored["pending"])}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise HostError(
                f"{self.path} is damaged: delete it; setup then takes what it wrote for an"
                " admin's own if it differs"
            ) from None

    def note(self, path: Path, kind: str, *marks: str) -> None:
        """Remember that *path* is, or is about to be, ours."""
        entry = self.entries.get(str(path))
        if entry is None or entry.kind != kind:
            entry = self.entries[str(path)] = Entry(kind)
        entry.marks += [mark for mark in marks if mark not in entry.marks]
        self._save()

    def knows(self, path: Path, mark: str) -> bool:
        """Whether setup has given *path* that *mark*."""
        entry = self.entries.get(str(path))
        return entry is not None and mark in entry.marks

    def drop(self, path: Path) -> None:
        """Forget *path*."""
        self.entries.pop(str(path), None)
        self._save()

    def expect(self, pending: str) -> None:
        """Remember that *pending* has to be reloaded."""
        self.pending.add(pending)
        self._save()

    def reloaded(self, pending: str) -> None:
        """*pending* was reloaded."""
        self.pending.discard(pending)
        self._save()

    def of(self, kind: str) -> list[tuple[Path, Entry]]:
        """The paths and entries of that kind."""
        return [(Path(path), each) for path, each in self.entries.items() if each.kind == kind]

    def _save(self) -> None:
        entries = {path: asdict(entry) for path, entry in self.entries.items()}
        text = json.dumps({"entries": entries, "pending": sorted(self.pending)}, indent=1)
        content = text.encode() + b"\n"
        if self.path is None or content == self._stored:
            return
        if not self.path.parent.is_dir():
            files.make_folder(self.path.parent, 0o755)
        files.put(self.path, content, 0o644)  # a dry run needs no root
        self._stored = content


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Only one setup at a time. Raises HostError."""
    if not folder.is_dir():
        files.make_folder(folder, 0o755)
    before = os.umask(0o022)  # nobody else writes to what is being made
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise HostError("another dialplan-sms setup runs: wait for its end") from None
    finally:
        os.umask(before)
        os.close(descriptor)
