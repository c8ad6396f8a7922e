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

_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
"""No waiting for a FIFO; no link, which others could put beside their list for root to follow."""
_HEAD = b'{"journal":"dialplan-sms send","version":1,'
_WHY = {errno.ELOOP: "it is a link", errno.ENOENT: "there is no such folder"}


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
        except BlockingIOError:
            self.close()
            raise JournalError(f"another dialplan-sms sends this list now: {self.path}") from None
        except OSError as error:
            self.close()
            if not (self.reading and error.errno == errno.ENOENT):
                raise self._unusable(error) from None
        except JournalError:
            self.close()
            raise

    def digest(self, *parts: str) -> str:
        """What stands for an SMS or a list, here only."""
        whole = json.dumps(parts).encode()
        return hashlib.blake2b(whole, digest_size=16, key=self.salt.encode()).hexdigest()

    def results(self, digests: Iterable[str]) -> Counter[Result]:
        """How many of the SMS with these digests have which result."""
        return Counter(self.entries[each].result for each in digests if each in self.entries)

    def begin(self, digest: str) -> None:
        """It is the journal of the list with *digest* from here on."""
        head = {"journal": "dialplan-sms send", "version": 1, "salt": self.salt, "list": digest}
        if digest != self.list:
            self._add({"list": digest} if self.list else head)

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
        # A last line without its end was cut off when it was written: its request had not gone out,
        # or has no answer yet.
        *lines, torn = content.split(b"\n")
        number = 1
        try:
            if content[: len(_HEAD)] != _HEAD[: len(content)]:
                raise ValueError  # somebody else's file
            for number, line in enumerate(lines, 1):
                record = json.loads(line)
                if number == 1:
                    self.salt = str(record["salt"])
                self._apply(record)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise JournalError(
                f"{self.path}:{number}: is no journal of dialplan-sms send: name another with"
                " --journal"
            ) from None
        if torn and not self.reading:
            os.ftruncate(file, len(content) - len(torn))

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
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        try:
            if self._file is not None:
                size = os.fstat(self._file).st_size
                if os.write(self._file, line) < len(line):
                    os.ftruncate(self._file, size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if "end" not in record:
                    os.fdatasync(self._file)  # an end that is lost is unknown, which is the truth
        except OSError as error:
            raise self._unusable(error) from None
        self._apply(record)

    def _unusable(self, error: OSError) -> JournalError:
        why = _WHY.get(error.errno or 0, error.strerror)
        return JournalError(
            f"the journal {self.path} cannot be written, {why}: without it no list is sent, since"
            " it is what keeps an SMS from being sent twice; --journal FILE names another"
        )
