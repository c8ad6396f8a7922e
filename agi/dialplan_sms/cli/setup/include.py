"""The line that includes extensions-sms.conf: finding it, putting it in, taking it out."""

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms.cli.migrate.files import Tree
from dialplan_sms.host.asterisk_syntax import lines
from dialplan_sms.host.installation import EXTENSIONS

LINE = f"#tryinclude {EXTENSIONS}".encode()
MAIN = "extensions.conf"


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Where a file is included, and whether it may be missing."""

    path: Path
    may_miss: bool


def find(etc: Path, name: str = EXTENSIONS) -> Iterator[Inclusion]:
    """Every line of the dialplan that includes *name* of this folder."""
    tree = Tree(etc)
    tree.read(etc / MAIN)
    for line in tree.stream:
        kind, named = line.said.include or ("exec", "")
        pattern = str(etc / named)
        if kind != "exec" and "\0" not in pattern and _names(pattern, etc / name):
            yield Inclusion(line.path, kind == "tryinclude")


def _names(pattern: str, wanted: Path) -> bool:
    """Whether Asterisk takes *wanted* for *pattern*, be it there or not; it may be a link to it."""
    if os.path.realpath(pattern) == os.path.realpath(wanted):
        return True
    parts = os.path.normpath(pattern).split("/")
    there = os.path.normpath(wanted).split("/")
    # Part by part: unlike fnmatch's, the star of an #include stays within its folder.
    return len(parts) == len(there) and all(map(fnmatch.fnmatchcase, there, parts))


def insert(content: bytes) -> tuple[bytes, bytes]:
    """*content* with the line in it, and what was put in.

    It goes above the first ``[context]``, since lines after it would continue [sub-sms]; to the
    end if there is none. Line ends are the file's own.
    """
    newline = b"\r\n" if b"\r\n" in content else b"\n"
    # If a comment block ends in the header's own line, another header is as good.
    text = os.fsdecode(content)
    headers = (line.start for line in lines(text) if line.header and not line.commented)
    if (header := next(headers, None)) is not None:
        put, start = LINE + newline, len(os.fsencode(text[:header]))
        return content[:start] + put + content[start:], put
    if content and not content.endswith(b"\n") and content != b"\xef\xbb\xbf":
        put = newline + LINE
    else:
        put = LINE + newline
    return content + put, put


def take_out(content: bytes, put: bytes) -> bytes | None:
    """*content* without what insert() has *put* in; None if it is not there as a line."""
    position = content.find(put)
    while position >= 0:
        end = position + len(put)
        begins = (
            put[:1] in b"\r\n" or position in (0, 3) or content[position - 1 : position] == b"\n"
        )
        if begins and (content[end - 1 : end] == b"\n" or content[end : end + 1] in b"\r\n"):
            return content[:position] + content[end:]
        position = content.find(put, position + 1)
    stripped = put.strip()
    return take_out(content, stripped + b"\n") if put != stripped + b"\n" else None
