"""What is read, byte for byte: files and what they include, or fields that are pasted."""

import glob
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from dialplan_sms.host import asterisk_syntax
from dialplan_sms.host.files import matching
from dialplan_sms.host.identity import READ, HostError, blocked, by_id, changers

OTHER_LANGUAGES = {
    ".ael": (
        "AEL", "Set(SMS_NUMBER=<number>);", "Set(SMS_MESSAGE=<text>);", "AGI(sms.agi);",
    ),
    ".lua": (
        "Lua", 'channel.SMS_NUMBER = "<number>"', 'channel.SMS_MESSAGE = "<text>"',
        'app.AGI("sms.agi")',
    ),
}  # fmt: skip
"""Files that are not converted: the language, and what to put there by hand."""
PASTED = Path("pasted")
_NO_FIELDS = {"", "Set(SMS_STATUS=)", "Set(SMS_SENDER=)"}
"""Not worth a field of their own; without a sender it is default_sender."""
_OPTION = re.compile(r"(?i)CURLOPT\(\w+\)\s*=")
_STEP = re.compile(r"(?i)\s*(?:exten\s*=>?\s*[^,]*,|same\s*=>?\s*)\s*[^,]*,\s*")
_SEMICOLON = re.compile(r"(?<!\\);")

_MOST = 2000  # files that one pattern may name
_LARGEST = 16 << 20
_DEEPEST = 10  # Asterisk: main/config.c, MAX_INCLUDE_LEVEL

Place = tuple[Path, int]  # A line by its file and number: the same for one that is included twice


@dataclass(frozen=True, slots=True)
class Problem:
    """What was not converted, or needs a look: ``path:line: reason``; line 0 is the whole file.

    *other* is the line that the reason is about, if it is not the line itself. *by_hand* are the
    applications to put there in its place.
    """

    path: Path | None
    line: int
    reason: str
    note: bool = False
    other: Place | None = None
    by_hand: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}: " if self.line else f"{self.path}: "
        other = f"line {self.other[1]} of {self.other[0].name} " if self.other else ""
        return f"{place if self.path else ''}{other}{self.reason}"

    def moved(self, number: Callable[[Path, int], int]) -> "Problem":
        """The same with the numbers that its lines have now."""
        line = number(self.path, self.line) if self.path and self.line else self.line
        other = (self.other[0], number(*self.other)) if self.other else None
        return replace(self, line=line, other=other)


@dataclass(frozen=True, slots=True)
class FileLine:
    """One line of a file."""

    path: Path
    said: asterisk_syntax.Line

    @property
    def number(self) -> int:
        return self.said.number

    @property
    def raw(self) -> str:
        return self.said.raw

    @property
    def place(self) -> Place:
        return self.path, self.said.number


@dataclass(slots=True)
class Tree:
    """The files in Asterisk's order, each once by its real path, and which lines name them.

    As root, *changers* can change the files read so far, and so have others read.
    """

    etc: Path
    contents: dict[Path, bytes] = field(default_factory=dict)
    stream: list[FileLine] = field(default_factory=list)
    named: dict[Path, list[Place]] = field(default_factory=lambda: defaultdict(list))
    globs: list[str] = field(default_factory=list)
    changers: set[int] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: Path, content: bytes) -> None:
        """Add a file that is not read from the disk."""
        self.contents[path] = content
        self.named[path] = [(path, 0)]
        self.stream += lines(path, content)

    def read(
        self, path: Path, within: tuple[Path, ...] = (), named_by: Place | None = None
    ) -> None:
        """Add *path* and what it includes to the stream; what cannot be read is a problem."""
        named = named_by or (path, 0)
        try:
            real = path.resolve()
            if real in within:
                self._name(*named, f"{path} is included within itself")
                return
            if len(within) >= _DEEPEST:
                self._name(*named, f"{path} is included too deep for Asterisk: it is not read")
                return
            content = self._content(path, real)
        except (OSError, ValueError, RuntimeError, HostError) as error:
            why = getattr(error, "strerror", None) or str(error) or "no path"
            self._name(*named, f"{f'{path} ' if named_by else ''}cannot be read: {why}")
            return
        self.named[real].append(named)
        for line in lines(real, content) if len(self.named[real]) <= 100 else ():
            self.stream.append(line)
            if include := line.said.include:
                self._include(*include, line, (*within, real))

    def _content(self, path: Path, real: Path) -> bytes:
        if real not in self.contents:
            if os.geteuid() == 0:
                self.changers.update(changers(path))
            if not real.exists():
                raise ValueError("there is no such file")
            if not real.is_file():
                raise ValueError("it is not a file")
            with open(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                # A password that a global variable holds goes to sms.conf, which others can read.
                for user in map(by_id, self.changers):
                    if not user.may(os.fstat(file.fileno()), READ) or blocked(real, READ, user):
                        raise ValueError(f"{user}, who can change what names it, may not read it")
                content = file.read(_LARGEST + 1) or b""  # None: as /proc/kmsg, if nothing waits
            if len(content) > _LARGEST:
                raise ValueError("it is larger than 16 MiB")
            self.contents[real] = content
        return self.contents[real]

    def _include(self, kind: str, name: str, line: FileLine, within: tuple[Path, ...]) -> None:
        if kind == "exec":
            self._name(*line.place, "what #exec prints is not looked at", note=True)
        elif name and "\0" not in name:
            pattern = str(self.etc / name)
            found: list[str] | None = [pattern]
            must_be = kind == "include"
            if glob.has_magic(pattern):
                found, must_be = matching(pattern, _MOST), False
                self.globs.append(pattern)
            if found is None:
                self._name(*line.place, "it is in too many folders: not looked at")
            for each in map(Path, found or ()):
                if must_be or each.exists():
                    self.read(each, within, line.place)

    def _name(self, path: Path, line: int, reason: str, note: bool = False) -> None:
        problem = Problem(path, line, reason, note)
        if problem not in self.problems:
            self.problems.append(problem)


def lines(path: Path, content: bytes) -> Iterator[FileLine]:
    """The lines of a file; UTF-8, other bytes as surrogates."""
    text = content.decode("utf-8", "surrogateescape")
    return (FileLine(path, line) for line in asterisk_syntax.lines(text))


def asterisk_folder(files: tuple[Path, ...]) -> Path:
    """The folder that #include starts from."""
    named = Path(os.environ.get("AST_CONFIG_DIR") or "/etc/asterisk")
    first = files[0].absolute() if files else named / "extensions.conf"
    return named if first.is_relative_to(named) else first.parent


def around(tree: Tree, whole: Path) -> Tree:
    """The tree of *whole* if it includes all of *tree*, for its [globals] and contexts."""
    if tree.contents and not tree.problems and whole.is_file():
        found = Tree(tree.etc)
        found.read(whole)
        if tree.contents.keys() <= found.contents.keys():
            found.problems = []
            return found
    return tree


def of_fields(text: str) -> Tree:
    """Each line of *text*, a step's beginning left off, as the steps of one extension.

    A semicolon of a field is part of its text; one of a file would begin a comment.
    """
    tree = Tree(Path("/"))
    content = "[pasted]\nexten => s,1,NoOp()\n"
    for line in text.split("\n"):
        app, of_a_file = _STEP.subn("", line, count=1)
        app = app.strip() if of_a_file else _SEMICOLON.sub(r"\\;", app.strip("; \t\r"))
        content += f"exten => s,n,{f'Set({app})' if _OPTION.match(app) else app}\n"
    tree.add(PASTED, content.encode("utf-8", "surrogateescape"))
    return tree


def to_fields(content: bytes) -> list[str]:
    """The applications of the converted steps."""
    text = content.decode("utf-8", "surrogateescape")
    apps = [line.split(",", 2)[2] for line in text.split("\n") if line.startswith("exten")]
    return [app for app in apps[1:] if app not in _NO_FIELDS]
