"""The files of the dialplan: what is read, byte for byte, with what they include; and written."""

import glob
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

from dialplan_sms.host import asterisk_syntax, files
from dialplan_sms.host.identity import READ, HostError, blocked, by_id, changers, named

BACKUP = ".before-dialplan-sms"
_LARGEST = 16 << 20

Place = tuple[Path, int]  # A line by its file and number: the same for one that is included twice


@dataclass(frozen=True, slots=True)
class Problem:
    """What was not converted, or needs a look: ``path:line: reason``."""

    path: Path
    line: int  # 0 is the whole file
    reason: str
    note: bool = False
    other: Place | None = None  # the line that the reason is about, if it is another
    by_hand: tuple[str, ...] = field(default=(), repr=False)  # the applications to put there

    def told(self, number: Callable[[Path, int], int] = lambda _, line: line) -> str:
        """The same for people, with the numbers that its lines have now."""
        place = f"{self.path}:{number(self.path, self.line)}" if self.line else self.path
        other = f"line {number(*self.other)} of {self.other[0].name} " if self.other else ""
        return f"{place}: {other}{self.reason}"


@dataclass(frozen=True, slots=True)
class FileLine(asterisk_syntax.Line):
    """One line of a file."""

    path: Path = field(kw_only=True)

    @property
    def place(self) -> Place:
        return self.path, self.number


@dataclass(slots=True)
class Tree:
    """The files in Asterisk's order, each once by its real path, and which lines name them."""

    etc: Path
    contents: dict[Path, bytes] = field(default_factory=dict)
    stream: list[FileLine] = field(default_factory=list)
    named: dict[Path, list[Place]] = field(default_factory=lambda: defaultdict(list))
    globs: list[str] = field(default_factory=list)
    # As root: who can change the files read so far, and so have others read.
    changers: set[int] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    # The new lines in place of a line, and after one.
    replaced: dict[Place, list[str]] = field(default_factory=dict)
    after: dict[Place, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(
        self, path: Path, content: bytes, named_by: Place, within: tuple[Path, ...] = ()
    ) -> None:
        """Add a file's lines, UTF-8 with other bytes as surrogates, and what they include."""
        self.contents[path] = content
        self.named[path].append(named_by)
        text = content.decode("utf-8", "surrogateescape") if len(self.named[path]) <= 100 else ""
        for each in asterisk_syntax.lines(text):
            line = FileLine(
                each.number, each.start, each.raw, each.content, each.commented, path=path
            )
            self.stream.append(line)
            if include := line.include:
                self._include(*include, line, (*within, path))

    def read(
        self, path: Path, within: tuple[Path, ...] = (), named_by: Place | None = None
    ) -> None:
        """Add *path* and what it includes to the stream; what cannot be read is a problem."""
        named, shown = named_by or (path, 0), f"{path} " if named_by else ""
        try:
            real = path.resolve()
            if real not in within and len(within) < 10:  # main/config.c, MAX_INCLUDE_LEVEL
                content = self.contents.get(real) or self._content(path, real)
                self.add(real, content, named, within)
                return
            too_deep = "is included too deep for Asterisk: it is not read"
            why = "is included within itself" if real in within else too_deep
        except (OSError, ValueError, RuntimeError, HostError) as error:
            why = f"cannot be read: {getattr(error, 'strerror', None) or str(error) or 'no path'}"
        self.problems.append(Problem(*named, f"{shown}{why}"))

    def _content(self, path: Path, real: Path) -> bytes:
        if os.geteuid() == 0:
            self.changers.update(changers(path))
        if not real.is_file():
            raise ValueError("it is not a file" if real.exists() else "there is no such file")
        with open(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            # A password that a global variable holds goes to sms.conf, which others can read.
            for user in map(by_id, self.changers):
                if not user.may(os.fstat(file.fileno()), READ) or blocked(real, READ, user):
                    raise ValueError(f"{user}, who can change what names it, may not read it")
            content = file.read(_LARGEST + 1) or b""  # None: as /proc/kmsg, if nothing waits
        if len(content) > _LARGEST:
            raise ValueError("it is larger than 16 MiB")
        return content

    def _include(self, kind: str, name: str, line: FileLine, within: tuple[Path, ...]) -> None:
        pattern = str(self.etc / name)
        is_one = not glob.has_magic(pattern)
        if kind == "exec":
            self.problems.append(Problem(*line.place, "what #exec prints is not looked at", True))
        elif name and "\0" not in name:
            self.globs.append(pattern)
            found = [pattern] if is_one else files.matching(pattern, most=2000)
            if found is None:
                self.problems.append(
                    Problem(*line.place, "it is in too many folders: not looked at")
                )
            for each in map(Path, found or ()):
                if (is_one and kind == "include") or each.exists():
                    self.read(each, within, line.place)

    def number(self, path: Path, number: int) -> int:
        """The number that the line of *path* has in the new file."""
        lines = [(place, len(new) - 1) for place, new in self.replaced.items()]
        lines += [(place, len(new)) for place, new in self.after.items()]
        return number + sum(more for (file, at), more in lines if file == path and at < number)

    def changed(self, path: Path) -> bytes:
        """The file *path* with the new lines, which end as their neighbours."""
        old = self.contents[path].decode("utf-8", "surrogateescape").split("\n")
        new: list[str] = []
        for number, line in enumerate(old, 1):
            raw = line.rstrip("\r")
            # The file's last line has no ending.
            like = old[0] if number == len(old) else line
            ending = like[len(like.rstrip("\r")) :] + "\n"
            put = self.replaced.get((path, number), [raw]) + self.after.get((path, number), [])
            if put:
                new.append(ending.join(put) + line[len(raw) :])
        return "\n".join(new).encode("utf-8", "surrogateescape")


def asterisk_folder(named: tuple[Path, ...]) -> Path:
    """The folder that #include starts from."""
    usual = Path(os.environ.get("AST_CONFIG_DIR") or "/etc/asterisk")
    first = named[0].absolute() if named else usual / "extensions.conf"
    return usual if first.is_relative_to(usual) else first.parent


def around(tree: Tree, whole: Path) -> Tree:
    """The tree of *whole* if it includes all of *tree*, for its [globals] and contexts."""
    if tree.contents and not tree.problems and whole.is_file():
        found = Tree(tree.etc)
        found.read(whole)
        if tree.contents.keys() <= found.contents.keys():
            found.problems = []
            return found
    return tree


def write(path: Path, old: bytes | None, new: bytes, beside: Path) -> Path | None:
    """Write *new* in place of *old*; returns the backup of that. Raises HostError, OSError.

    Whole or not at all; owner and mode stay. For root in another's folder: see host/files.py.
    """
    found = files.look(path)
    if (found.content if found else None) != old:
        raise HostError(f"{path} was changed meanwhile: run migrate again")
    if found is None:  # our own then, for Asterisk's group
        gid = os.getegid()
        if os.geteuid() == 0:
            asterisk = named("asterisk")
            gid = beside.stat().st_gid or (asterisk.gids[0] if asterisk else 0)
        files.put(path, new, 0o640, files.Ownership(os.geteuid(), gid))
        return None
    first = f"{os.path.realpath(path)}{BACKUP}"
    names = chain([first], (f"{first}-{number}" for number in count(2)))
    backup = Path(next(name for name in names if not os.path.lexists(name)))
    files.put(backup, found.content, found.mode, found.owner)
    files.put(path, new, found.mode, found.owner)
    return backup
