"""Asterisk's configuration files as Asterisk reads them, leniently: lines, settings, folders."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms.host.files import content_of
from dialplan_sms.host.identity import HostError

_HEADER = re.compile(rb"\[([^\]]*)\]\s*(\([^)]*\))?")
_INCLUDE = re.compile(rb"#(try)?include\s+(.+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that says something: where it begins in the file, and what is left of comments.

    ``commented``: it begins in a comment block.
    """

    start: int
    content: bytes
    commented: bool

    @property
    def header(self) -> tuple[bytes, bytes] | None:
        """Name and what stands in parentheses, of ``[name](template)``."""
        found = _HEADER.match(self.content)
        return (found[1].strip(), found[2] or b"") if found else None

    @property
    def include(self) -> tuple[bytes, bool] | None:
        """The file that is included, and whether it may be missing (``#tryinclude``)."""
        found = _INCLUDE.fullmatch(self.content)
        return (found[2].strip().strip(b'"<>').strip(), bool(found[1])) if found else None


def read(path: Path) -> bytes:
    """What *path* holds. Raises HostError where that is no file or larger than 32 MiB."""
    try:
        content = content_of(path)
    except OSError as error:
        raise HostError(f"{path} cannot be read, {error.strerror}") from None
    if content is None:
        raise HostError(f"there is no {path}: name the right one with --asterisk-conf")
    return content


def lines(content: bytes) -> Iterator[Line]:
    """The lines of a file but for comments and empty ones (Asterisk: main/config.c)."""
    start, depth = 3 if content.startswith(b"\xef\xbb\xbf") else 0, 0
    while start < len(content):
        end = content.find(b"\n", start) + 1 or len(content)
        kept, after = _without_comment(content[start:end], depth)
        if kept:
            yield Line(start, kept, depth > 0)
        start, depth = end, after


def _without_comment(line: bytes, depth: int) -> tuple[bytes, int]:
    """What is no comment, and in how many comment blocks the next line begins."""
    kept, position = bytearray(), 0
    while position < len(line):
        semicolon = line.find(b";", position)
        if semicolon < 0:
            kept += b"" if depth else line[position:]
            break
        if not depth:
            kept += line[position:semicolon]
        if semicolon and line[semicolon - 1 : semicolon] == b"\\" and not depth:
            kept[-1:] = b";"
        elif line.startswith(b";--", semicolon) and not line.startswith(b";---", semicolon):
            depth, semicolon = depth + 1, semicolon + 2
        elif depth and line[max(position, semicolon - 2) : semicolon] == b"--":
            depth -= 1
        elif not depth:
            break
        position = semicolon + 1
    return bytes(kept).strip(), depth


def settings(content: bytes) -> dict[str, dict[str, str]]:
    """The sections of asterisk.conf; keys in small letters.

    A section that is marked ``(!)`` is a template, which Asterisk does not use: its name ends in
    an exclamation mark here. In the samples its values are those that Asterisk was built with.
    """
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in lines(content):
        if header := line.header:
            name = header[0].decode("utf-8", "replace").lower()
            section = found.setdefault(name + ("!" if b"!" in header[1] else ""), {})
            continue
        key, equals, value = line.content.partition(b"=")
        if equals:
            text = value.removeprefix(b">").strip().decode("utf-8", "surrogateescape")
            section[key.strip().decode("utf-8", "replace").lower()] = text
    return found


def folder(folders: Mapping[str, str], key: str, conf: Path) -> Path | None:
    """The absolute path that *folders*, of *conf*, have for *key*; None for none that can be used.

    Raises HostError for ``/``, and for a path with ``..``, which says other than it leads to.
    """
    text = folders.get(key)
    if not text or not text.startswith("/") or not text.isprintable():
        return None
    if ".." in text.split("/") or not text.strip("/"):
        raise HostError(f"{text}, {key} in {conf}, is no folder of Asterisk's: name it without ..")
    return Path(text)
