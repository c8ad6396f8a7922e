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
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from dialplan_sms.cli.send.listfile import Result

_KIND = "dialplan-sms send"
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
"""No waiting for a FIFO; no link, which others could put beside their list for root to follow."""
_HEAD = f'{{"journal":"{_KIND}"'.encode()


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One SMS in the journal.

    *answered* is whether its last request had an answer, *key* its SMS_KEY in the outbox, *resends*
    how often it was sent once more although it may have been sent.
    """

    result: Result
    answered: bool = True
    key: str = ""
    resends: int = 0


class JournalError(click.ClickException):
    """A journal that cannot be used or written; says what to do."""


@dataclass
class Journal:
    """The journal in *path*, locked until it is closed; None keeps it in memory only.

    *reading* leaves the file as it is. Raises JournalError.
    """

    path: Path | None
    reading: bool = False
    salt: str = field(default_factory=lambda: secrets.token_hex(8))
    list: str = ""
    """The digest of the list that it belongs to; empty for none yet."""
    entries: dict[str, JournalEntry] = field(default_factory=dict, repr=False)
    _file: int | None = None

    def __post_init__(self) -> None:
        if self.path is None:
            return
        flags = os.O_RDONLY if self.reading else os.O_RDWR | os.O_CREAT | os.O_APPEND
        try:
            self._file = os.open(self.path, flags | _FLAGS, 0o600)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise JournalError(f"{self.path} is no regular file: name another with --journal")
            if not self.reading:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(self._file)
        except FileNotFoundError:
            if not self.reading:
                raise self._unusable("there is no such folder") from None
        except BlockingIOError:
            self.close()
            raise JournalError(f"another dialplan-sms sends this list now: {self.path}") from None
        except OSError as error:
            self.close()
            why = "it is a link" if error.errno == errno.ELOOP else error.strerror
            raise self._unusable(why or "cannot be opened") from None
        except BaseException:
            self.close()
            raise

    def digest(self, *parts: str) -> str:
        """What stands for an SMS or a list, here only."""
        whole = json.dumps(parts).encode()
        return hashlib.blake2b(whole, digest_size=16, key=self.salt.encode()).hexdigest()

    def results(self, digests: Iterable[str]) -> Counter[Result]:
        """How many of the SMS with these digests have which result."""
        found = (self.entries.get(digest) for digest in digests)
        return Counter(entry.result for entry in found if entry is not None)

    def begin(self, digest: str) -> None:
        """It is the journal of the list with *digest* from here on."""
        if digest != self.list:
            head = {} if self.list else {"journal": _KIND, "version": 1, "salt": self.salt}
            self._add(head | {"list": digest})

    def going_out(self, sms: str, line: int, key: str, resends: int) -> None:
        """The request for *sms* goes out next: from here on it may have been sent."""
        self._add({"sms": sms, "line": line, "out": True, "key": key, "again": resends})

    def ended(self, sms: str, line: int, result: Result, cause: str) -> None:
        """How it ended. A refusal without a request stays in memory: as if it was not tried."""
        before = self.entries.get(sms)
        record = {"sms": sms, "line": line, "end": result, "cause": cause}
        if result is Result.REFUSED and (before is None or before.answered):
            self._apply(record)
        else:
            self._add(record)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _load(self, file: int) -> None:
        with open(os.dup(file), "rb") as whole:
            content = whole.read() or b""  # None if there is nothing to read yet
        lines = content.split(b"\n")
        # A last line without its end was cut off when it was written: its request had not gone out,
        # or has no answer yet.
        torn = len(lines.pop())
        if torn and not lines and content[: len(_HEAD)] != _HEAD[: len(content)]:
            self._refuse(1)  # somebody else's file
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                if number == 1:
                    if (record["journal"], record["version"]) != (_KIND, 1):
                        self._refuse(1)
                    self.salt = str(record["salt"])
                self._apply(record)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                self._refuse(number)
        if torn and not self.reading:
            os.ftruncate(file, len(content) - torn)

    def _refuse(self, line: int) -> None:
        raise JournalError(
            f"{self.path}:{line}: is no journal of dialplan-sms send: name another with --journal"
        )

    def _apply(self, record: dict[str, Any]) -> None:
        if "list" in record:
            self.list = str(record["list"])
        elif "out" in record:
            key, resends = str(record["key"]), int(record["again"])
            self.entries[record["sms"]] = JournalEntry(Result.UNKNOWN, False, key, resends)
        else:
            before = self.entries.get(record["sms"], JournalEntry(Result.UNKNOWN))
            result = Result(record["end"])
            self.entries[record["sms"]] = replace(before, result=result, answered=True)

    def _add(self, record: dict[str, Any]) -> None:
        if self._file is not None:
            self._write(self._file, record)
        self._apply(record)

    def _write(self, file: int, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        try:
            size = os.fstat(file).st_size
            if os.write(file, line) < len(line):
                os.ftruncate(file, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if "end" not in record:
                os.fdatasync(file)  # an end that is lost is unknown, which is the truth
        except OSError as error:
            raise self._unusable(error.strerror or "cannot be written") from None

    def _unusable(self, why: str) -> JournalError:
        return JournalError(
            f"the journal {self.path} cannot be written, {why}: without it no list is sent, since"
            " it is what keeps an SMS from being sent twice; --journal FILE names another"
        )
