"""extensions.conf as steps: context, extension, priority and application of each line."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from dialplan_sms.cli.migrate.expression import split
from dialplan_sms.cli.migrate.files import Line, Tree

_MOST = 20
"""Semicolons of a line that are tried as part of its text."""
LONGEST = 8191
"""Bytes of a line that Asterisk reads (main/config.c)."""

_HEADER = re.compile(r"\ufeff?[ \t]*\[([^\]]*)\]")
_STEP = re.compile(r"\ufeff?[ \t]*(exten|same)[ \t]*=>?[ \t]*", re.IGNORECASE)
_PRIORITY = re.compile(
    r"[ \t]*(\d+|n|next|s|same|hint)[ \t]*(\+[ \t]*\d+)?[ \t]*(?:\(([^)]*)\))?[ \t]*,[ \t]*",
    re.IGNORECASE,
)
_PAIR = re.compile(r"[ \t]*(\w+)[ \t]*=>?[ \t]*(.*)")
_SET = re.compile(r"(M?)Set\((.*)\)", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"[ \t]*(?:GLOBAL\(|LOCAL\()?_{0,2}(\w+)\)?[ \t]*=(.*)", re.IGNORECASE | re.DOTALL
)
_WITHIN = re.compile(r"(?:ExecIf\(.*?[?:]|TryExec\()[ \t]*(Set\(.*)\)", re.IGNORECASE)
_BASES = re.compile(r"[ \t]*\(([^)]*)\)")


@dataclass(frozen=True, slots=True)
class Step:
    """One priority of an extension.

    The line is *before*, the priority (*token*, and *label* in brackets), *app* and *comment*;
    *app* is as written, with ``\\;`` for a semicolon. *priority* is None where nobody can say.
    """

    line: Line = field(repr=False)
    section: int
    context: str
    exten: str
    token: str
    priority: int | None
    label: str | None
    before: str = field(repr=False)
    app: str = field(repr=False)
    comment: str = field(repr=False)
    start: int
    """Where *app* begins in the line."""

    @property
    def key(self) -> tuple[str, str]:
        return self.context, self.exten

    @property
    def plain(self) -> str:
        """The application as Asterisk sees it."""
        return self.app.replace("\\;", ";")

    @property
    def assigned(self) -> dict[str, str]:
        """The plain variables that a Set() or MSet() sets, and their values."""
        found = _SET.fullmatch(self.plain)
        if found is None:
            return {}
        pairs = map(_ASSIGNED.fullmatch, _of_mset(found[2]) if found[1] else [found[2]])
        return {pair[1]: pair[2] for pair in pairs if pair}

    @property
    def perhaps_assigned(self) -> dict[str, str]:
        """The same of a Set() that another application may run."""
        found = _WITHIN.fullmatch(self.plain)
        apps = re.split(r"\)[ \t]*:[ \t]*", found[1]) if found else []
        sets = (_SET.fullmatch(f"{app.removesuffix(')')})") for app in apps)
        pairs = (_ASSIGNED.fullmatch(each[2]) for each in sets if each and not each[1])
        return {pair[1]: pair[2] for pair in pairs if pair}

    def as_line(self, app: str, *, first: bool) -> str:
        """The line with *app* in place of its own; the first of several keeps the priority."""
        if not first:
            return f"{self.before.lstrip(chr(0xFEFF))}n,{app}"
        label = "" if self.label is None else f"({self.label})"
        comment = self.comment if self.comment.strip("; \t") else ""
        space = " " if comment.startswith(";") else ""
        return f"{self.before}{self.token}{label},{app}{space}{comment}"

    def at(self, priority: int, app: str) -> str:
        """A line of the same extension with this priority."""
        arrow = "=>" if "=>" in self.before else "="
        return f"exten {arrow} {self.exten},{priority},{app}"


@dataclass(slots=True)
class Dialplan:
    """All steps in Asterisk's order, and what else of the files matters here."""

    steps: list[Step] = field(default_factory=list)
    contexts: dict[str, list[Line]] = field(default_factory=dict)
    """Their headers."""
    templates: set[str] = field(default_factory=set)
    """Contexts that give their lines to others, or have some of others."""
    assigned: dict[str, list[tuple[Step | None, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    extensions: dict[tuple[str, str], list[Step]] = field(default_factory=lambda: defaultdict(list))
    global_lines: dict[str, Line] = field(default_factory=dict)
    section_ends: dict[int, Line] = field(default_factory=dict)
    others: list[tuple[Line, str]] = field(default_factory=list)
    """Lines that are neither step nor comment, and their content."""
    comments: list[Line] = field(default_factory=list)


def read(tree: Tree) -> Dialplan:
    """The dialplan of the files in *tree*."""
    plan = Dialplan()
    section, context, exten, last, depth = 0, "", "", None, 0
    for line in tree.stream:
        content, depth = _content(line.raw, depth)
        header = _HEADER.match(content)
        if header:
            section, context, exten, last = section + 1, header[1], "", None
            plan.contexts.setdefault(context, []).append(line)
            bases = _BASES.match(content, header.end())
            if bases:
                plan.templates |= {context, *(base.strip() for base in bases[1].split(","))}
        elif not content.strip("\ufeff \t"):
            plan.comments.append(line)
            continue
        if not content.lstrip("\ufeff \t").startswith("#"):
            plan.section_ends[section] = line  # an included file may have begun another section
        step = None if header else _step(line, content, exten, last, section, context)
        if step is not None:
            exten = step.exten
            last = last if step.token.lower() == "hint" else step.priority
            plan.steps.append(step)
            plan.extensions[step.key].append(step)
            for name, value in (step.assigned or step.perhaps_assigned).items():
                plan.assigned[name].append((step, value))
        elif not header:
            plan.others.append((line, content))
            pair = _PAIR.match(content)
            if pair and context.lower() == "globals":
                value = pair[2].replace("\\;", ";").rstrip()
                plan.assigned[pair[1]].append((None, value))
                plan.global_lines[pair[1]] = line
    return plan


def _of_mset(text: str) -> Iterator[str]:
    """The arguments of MSet(), which drops quotes and backslashes; no comma within them parts."""
    held: list[str] = []
    for item in split(text, ","):
        held.append(item)
        whole = ",".join(held)
        if whole.count("(") <= whole.count(")") and whole.count('"') % 2 == 0:
            yield re.sub(r'\\(.)|"', r"\1", whole)
            held = []


def _content(raw: str, depth: int) -> tuple[str, int]:
    """What is no comment, still with ``\\;``; and how many comment blocks are open after it."""
    kept, position = "", 0
    while (found := raw.find(";", position)) >= 0:
        if not depth and found and raw[found - 1] == "\\":
            kept += raw[position : found + 1]
        elif raw.startswith(";--", found) and not raw.startswith(";---", found):
            kept += "" if depth else raw[position:found]
            depth += 1
            position = found + 3
            continue
        elif depth and raw[max(0, found - 2) : found] == "--":
            depth -= 1
        elif not depth:
            return kept + raw[position:found], 0
        position = found + 1
    return kept + ("" if depth else raw[position:]), depth


def _step(
    line: Line, content: str, exten: str, last: int | None, section: int, context: str
) -> Step | None:
    start = _STEP.match(content)
    # A line with a comment block in it is left alone.
    if start is None or not line.raw.startswith(content) or len(content) > LONGEST:
        return None
    position = start.end()
    if start[1].lower() == "exten":
        comma = _name_end(content, position)
        if comma < 0:
            return None
        exten, position = content[position:comma].strip(), comma + 1
    found = _PRIORITY.match(content, position)
    if found is None:
        return None
    word, plus = found[1].lower(), int((found[2] or "0").strip("+ \t"))
    priority: int | None
    if word.isdecimal():
        priority = int(word[:9]) + plus
    elif word == "hint" or last is None:
        priority = None
    else:
        priority = last + (1 if word[0] == "n" else 0) + plus
    app = content[found.end() :]
    return Step(
        line, section, context, exten, f"{found[1]}{found[2] or ''}", priority, found[3],
        content[: found.start(1)], app.rstrip(" \t"), line.raw[len(content) :], found.end(),
    )  # fmt: skip


def _name_end(text: str, start: int) -> int:
    """The comma after the extension's name, which may hold ``[…]``."""
    depth = 0
    for position in range(start, len(text)):
        if text[position] == "[":
            depth += 1
        elif text[position] == "]":
            depth -= 1
        elif text[position] == "," and depth <= 0:
            return position
    return -1


def readings(step: Step) -> Iterator[Step]:
    """The step as Asterisk reads it, then with ever more ``;`` that were to be part of a text."""
    yield step
    for semicolon in list(re.finditer(";", step.comment))[1:_MOST]:
        yield _up_to(step, len(step.line.raw) - len(step.comment) + semicolon.start())
    if step.comment:
        yield _up_to(step, len(step.line.raw))


def _up_to(step: Step, end: int) -> Step:
    raw = step.line.raw
    return replace(step, app=raw[step.start : end].rstrip("; \t"), comment=raw[end:])
