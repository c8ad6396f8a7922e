"""The new lines: where they have room, the files that they make, and how those are written.

A file is replaced whole or not at all: backup, owner and mode stay. As root in a folder that
another user can change, that user writes it: see host/files.py.
"""

import grp
import os
from collections import defaultdict
from contextlib import suppress
from itertools import islice
from pathlib import Path

from dialplan_sms.cli.migrate.dialplan import Dialplan, Priority
from dialplan_sms.cli.migrate.files import Place, Tree
from dialplan_sms.cli.migrate.flow import Flow
from dialplan_sms.host import files
from dialplan_sms.host.identity import HostError

BACKUP = ".before-dialplan-sms"
_TEMPLATE = (
    "its context is a template or made from one, and numbers of priorities matter in it:"
    " write n for them, or convert by hand"
)


class Edits:
    """The new lines in place of a line and after it; no priority but theirs changes."""

    def __init__(self, tree: Tree, dialplan: Dialplan, flow: Flow, files: set[Path]) -> None:
        self._tree = tree
        self._dialplan = dialplan
        self._flow = flow
        self._files = files
        self._position = {id(step): number for number, step in enumerate(dialplan.steps)}
        highest = max((step.priority or 0 for step in dialplan.steps), default=0)
        # From here on nobody has priorities.
        self._free = max(1000, (highest // 100 + 1) * 100) + 1
        self.replaced: dict[Place, list[str]] = {}
        self.after: dict[Place, list[str]] = defaultdict(list)

    def refusal(self, step: Priority) -> str:
        """Why the step cannot become several; empty if it can."""
        end = self._dialplan.section_ends[step.section]
        if any(len(self._tree.named[path]) > 1 for path in (step.line.path, end.path)):
            return "the file is included more than once: convert by hand"
        if self._has_room(step):
            return ""
        if step.priority is None or step.token.lower() == "hint":
            return "its priority cannot be known: give it a number or n"
        if end.path not in self._files:
            return f"its context ends in {end.path}: convert that file, too"
        # New priorities far behind would move the next "n" of whoever has these lines, too.
        return _TEMPLATE if step.context in self._dialplan.templates else ""

    def _has_room(self, step: Priority) -> bool:
        """Whether lines may come and go here: only ``n`` follows, and nobody jumps to a number."""
        if step.priority is None or not step.token[:1].isalnum():
            return False
        for other in self._dialplan.extensions[step.key]:
            follows = self._position[id(other)] > self._position[id(step)]
            if other.section != step.section and (other.priority or 0) > step.priority:
                return False
            if other.section == step.section and follows and not _counts_on(other):
                return False
        return not self._is_counted_from(step) and not self._flow.jumps_to_numbers(step)

    def _is_counted_from(self, step: Priority) -> bool:
        """Whether a line of another extension counts on from the last one of this."""
        below = islice(self._dialplan.steps, self._position[id(step)] + 1, None)
        others = (
            each for each in below if (each.section, each.exten) != (step.section, step.exten)
        )
        first = next(others, None)
        return first is not None and first.section == step.section and _counts_on(first)

    def put(self, step: Priority, first: str, *rest: str) -> None:
        """Applications in place of the step's: there, or far behind if numbers must not change."""
        if self._has_room(step):
            next_lines = [f"{step.before.lstrip(chr(0xFEFF))}n,{app}" for app in rest]
            self.replaced[step.line.place] = [step.as_line(first), *next_lines]
            return
        self.replaced[step.line.place] = [step.as_line(f"Goto({self._free})")]
        apps = (first, *rest, f"Goto({(step.priority or 0) + 1})")
        before = f"exten {'=>' if '=>' in step.before else '='} {step.exten}"
        end = self._dialplan.section_ends[step.section].place
        self.after[end] += [f"{before},{self._free + n},{app}" for n, app in enumerate(apps)]
        self._free += 100

    def replace(self, step: Priority, app: str) -> None:
        """Another application in a line that stays as it is."""
        before, after = step.line.raw[: step.start], step.line.raw[step.start + len(step.app) :]
        self.replaced[step.line.place] = [before + app + after]

    def remove(self, step: Priority) -> None:
        """Without the line, or with nothing in it if its number or label counts."""
        is_next = step.token.lower() == "n" and not step.label
        if is_next and not self.refusal(step) and self._has_room(step):
            self.replaced[step.line.place] = []
        else:
            self.replace(step, "NoOp()")

    def number(self, path: Path, number: int) -> int:
        """The number that the line of *path* has once the edits are made."""
        lines = [(place, len(new) - 1) for place, new in self.replaced.items()]
        lines += [(place, len(new)) for place, new in self.after.items()]
        return number + sum(more for (file, at), more in lines if file == path and at < number)

    def content(self, path: Path) -> bytes:
        """The file *path* with the new lines, which end as their neighbours."""
        old = self._tree.contents[path].decode("utf-8", "surrogateescape").split("\n")
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


def _counts_on(step: Priority) -> bool:
    return step.token.lower() in ("n", "next", "hint")


def write(path: Path, old: bytes | None, new: bytes, beside: Path) -> Path | None:
    """Write *new* in place of *old*; returns the backup of that. Raises HostError, OSError.

    One that was not there is our own then, for the group of *beside*, which is Asterisk's.
    """
    found = files.look(path)
    if (found.content if found else None) != old:
        raise HostError(f"{path} was changed meanwhile: run migrate again")
    if found is None:
        uid, gid = os.geteuid(), os.getegid()
        if uid == 0:
            gid = beside.stat().st_gid
            if not gid:
                with suppress(KeyError):
                    gid = grp.getgrnam("asterisk").gr_gid
        files.put(path, new, 0o640, files.Ownership(uid, gid))
        return None
    first = f"{os.path.realpath(path)}{BACKUP}"
    for backup in map(Path, (first, *(f"{first}-{number}" for number in range(2, 1000)))):
        if not os.path.lexists(backup):
            files.put(backup, found.content, found.mode, found.owner)
            files.put(path, new, found.mode, found.owner)
            return backup
    raise HostError(f"{path} has 999 backups: remove some")
