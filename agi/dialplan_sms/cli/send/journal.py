"""The journal of a list: what became of each SMS, on the disk before and after its request.

Lines of JSON. An SMS is known by a digest of what it is (number, text, gateway, postponement), so
that no text is in here, and one row is the same wherever it stands in the list.
"""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Any

import click

from dialplan_sms.cli.send.listfile import Result

_HEAD = b'{"journal":"dialplan-sms send","version":1,'
_WHY = {errno.ELOOP: "it is a link", errno.ENOENT: "there is no such folder"}


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One SMS in the journal."""

    result: Result = Result.UNKNOWN
    answered: bool = True  # its last request
    key: str = ""  # its SMS_KEY in the outbox
    resends: int = 0  # how often it was sent once more although it may have been sent


class JournalError(click.ClickException):
    """A journal that cannot be used or written; says what to do."""


@dataclass
class Journal:
    """What is in the journal in *path*, and its file; without one it is kept in memory only."""

    path: Path | None
    file: FileIO | None = None
    list: str = ""  # the digest of the list that it belongs to, empty for none yet
    salt: str = field(default_factory=lambda: secrets.token_hex(8))
    entries: dict[str, JournalEntry] = field(default_factory=dict, repr=False)

    def digest(self, *parts: str) -> str:
        """What stands for an SMS or a list, here only."""
        salt = self.salt.encode()
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16, key=salt).hexdigest()

    def results(self, digests: Iterable[str]) -> Counter[Result]:
        """How many of the SMS with these digests have which result."""
        return Counter(self.entries[each].result for each in digests if each in self.entries)

    def begin(self, digest: str) -> None:
        """It is the journal of the list with *digest* from here on."""
        if digest != self.list:
            head = {"journal": "dialplan-sms send", "version": 1, "salt": self.salt}
            self._add({**head, "list": digest})

    def going_out(self, sms: str, line: int, key: str, resends: int) -> None:
        """The request for *sms* goes out next: from here on it may have been sent."""
        self._add({"sms": sms, "line": line, "out": True, "key": key, "again": resends})

    def ended(self, sms: str, line: int, result: Result, cause: str) -> None:
        """How it ended. A refusal without a request stays in memory: as if it was not tried."""
        before = self.entries.get(sms, JournalEntry())
        record = {"sms": sms, "line": line, "end": result, "cause": cause}
        (self._apply if result is Result.REFUSED and before.answered else self._add)(record)

    def load(self, content: bytes) -> int:
        """Take over the *content* of its file, and say how much of that counts."""
        # A last line without its end was cut off when it was written: its request had not gone out,
        # or has no answer yet.
        *lines, torn = content.split(b"\n")
        number = 1
        try:
            if content[: len(_HEAD)] != _HEAD[: len(content)]:
                raise ValueError  # somebody else's file
            for number, line in enumerate(lines, 1):  # noqa: B007 - the error names it
                self._apply(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            why = "is no journal of dialplan-sms send: name another with --journal"
            raise JournalError(f"{self.path}:{number}: {why}") from None
        return len(content) - len(torn)

    def _apply(self, record: dict[str, Any]) -> None:
        if "list" in record:
            self.list, self.salt = str(record["list"]), str(record.get("salt", self.salt))
        elif "out" in record:
            key, resends = str(record["key"]), int(record["again"])
            self.entries[record["sms"]] = JournalEntry(Result.UNKNOWN, False, key, resends)
        else:
            before = self.entries.get(record["sms"], JournalEntry())
            result = Result(record["end"])
            self.entries[record["sms"]] = replace(before, result=result, answered=True)

    def _add(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        try:
            if self.file is not None:
                size = os.fstat(self.file.fileno()).st_size
                if self.file.write(line) != len(line):
                    self.file.truncate(size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if "end" not in record:
                    os.fdatasync(self.file)  # an end that is lost is unknown, which is the truth
        except OSError as error:
            raise self.unusable(error) from None
        self._apply(record)

    def unusable(self, error: OSError) -> JournalError:
        """Why it cannot be used."""
        why = _WHY.get(error.errno or 0, error.strerror)
        return JournalError(
            f"the journal {self.path} cannot be written, {why}: without it no list is sent, since"
            " it is what keeps an SMS from being sent twice; --journal FILE names another"
        )


@contextmanager
def opened(path: Path | None, reading: bool = False) -> Iterator[Journal]:
    """The journal in *path*, locked; *reading* leaves the file as it is. Raises JournalError."""
    journal = Journal(path)
    with ExitStack() as closing:
        try:
            if path is not None:
                # No waiting for a FIFO; no link, which others could put there for root to follow.
                flags = os.O_RDONLY if reading else os.O_RDWR | os.O_CREAT | os.O_APPEND
                descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW, 0o600)
                journal.file = closing.enter_context(FileIO(descriptor, "rb" if reading else "ab+"))
                if not stat.S_ISREG(os.fstat(journal.file.fileno()).st_mode):
                    raise JournalError(f"{path} is no regular file: name another with --journal")
                if not reading:
                    fcntl.flock(journal.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                journal.file.seek(0)
                end = journal.load(journal.file.readall())
                if not reading:
                    journal.file.truncate(end)
        except BlockingIOError:
            raise JournalError(f"another dialplan-sms sends this list now: {path}") from None
        except OSError as error:
            if not (reading and error.errno == errno.ENOENT):
                raise journal.unusable(error) from None
        yield journal
