"""extensions.conf as steps: context, extension, priority and application of each line."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from dialplan_sms.cli.migrate.expression import split
from dialplan_sms.cli.migrate.files import FileLine, Tree

_LONGEST = 8191  # bytes of a line that Asterisk reads (main/config.c)

_STEP = re.compile(r"\ufeff?[ \t]*(exten|same)[ \t]*=>?[ \t]*", re.IGNORECASE)
_PRIORITY = re.compile(
    r"[ \t]*(\d+|n|next|s|same|hint)[ \t]*(\+[ \t]*\d+)?[ \t]*(?:\(([^)]*)\))?[ \t]*,[ \t]*",
    re.IGNORECASE,
)
_SET = re.compile(r"(M?)Set\((.*)\)", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"[ \t]*(?:GLOBAL\(|LOCAL\()?_{0,2}(?:CURLOPT\((?P<option>\w+)|(?P<name>\w+))\)?"
    r"[ \t]*=(?P<value>(?s:.*))",
    re.IGNORECASE,
)
_READ = re.compile(r"Read\([ \t]*(\w+)[ \t]*(?:,.*)?\)", re.IGNORECASE)
_WITHIN = re.compile(r"(ExecIf|TryExec|Exec)\((.*)\)", re.IGNORECASE)
HARMLESS = re.compile(
    r"(?:NoOp|Verbose|Log|(?:Try)?System|Playback|BackGround|Goto(?:If(?:Time)?)?|Dial|Queue|Answer|Hangup"
    r"|Wait\w*|Ringing|Progress|Busy|Congestion|Return|Say\w+|MusicOnHold|PlayTones|SendDTMF|VoiceMail"
    r"|Record|Page|ConfBridge|MeetMe|MixMonitor|NoCDR|ResetCDR|While|EndWhile|ExitWhile)\b",
    re.IGNORECASE,
)
"""Applications that set no variable but Asterisk's own."""


@dataclass(frozen=True, slots=True)
class Priority:
    """One priority of an extension.

    The line is *before*, the priority (*token*, and *label* in brackets), *app* and *comment*;
    *app* is as written, with ``\\;`` for a semicolon, and begins at *start*. *priority* is None if
    nobody can say. *writes* are the plain variables that it sets, and ``CURLOPT(name)``; *surely*
    or perhaps.
    """

    line: FileLine = field(repr=False)
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
    writes: dict[str, str] = field(repr=False)
    surely: bool

    @property
    def key(self) -> tuple[str, str]:
        return self.context, self.exten

    @property
    def name(self) -> str:
        """The extension without the caller whom it is for."""
        return self.exten.partition("/")[0]

    @property
    def plain(self) -> str:
        """The application as Asterisk sees it."""
        return self.app.replace("\\;", ";")

    def as_line(self, app: str) -> str:
        """The line with *app* in place of its own."""
        label = "" if self.label is None else f"({self.label})"
        comment = self.comment if self.comment.strip("; \t") else ""
        space = " " if comment.startswith(";") else ""
        return f"{self.before}{self.token}{label},{app}{space}{comment}"


class Dialplan:
    """All steps of a tree in Asterisk's order, and what else of the files matters here.

    *contexts* have their headers, *templates* are those that give their lines to others, or have
    some of others. *variables* have the values that they are given anywhere, in [globals], too.
    *others* say something, but are neither step nor header nor variable of [globals].
    """

    def __init__(self, tree: Tree) -> None:
        self.steps: list[Priority] = []
        self.extensions: dict[tuple[str, str], list[Priority]] = defaultdict(list)
        self.contexts: dict[str, list[FileLine]] = defaultdict(list)
        self.templates: set[str] = set()
        self.variables: dict[str, list[str]] = defaultdict(list)
        self.global_lines: dict[str, FileLine] = {}
        self.section_ends: dict[int, FileLine] = {}
        self.others: list[FileLine] = []
        self.comments: list[FileLine] = []
        section, context, exten, last = 0, "", "", None
        for line in tree.stream:
            header, text = line.said.header, line.said.text
            if not text:
                self.comments.append(line)
                continue
            if header:
                section, context, exten, last = section + 1, header[0], "", None
                self.contexts[context].append(line)
                if header[1]:
                    self.templates |= {context, *(base.strip() for base in header[1].split(","))}
            if not text.startswith("#"):
                self.section_ends[section] = line  # an included file may have begun another
            step = None if header else _step(line, exten, last, section, context)
            if step is not None:
                exten = step.exten
                last = last if step.token.lower() == "hint" else step.priority
                self.steps.append(step)
                self.extensions[step.key].append(step)
                for name, value in step.writes.items():
                    self.variables[name].append(value)
            elif context.lower() == "globals" and (pair := line.said.pair):
                self.variables[pair[0]].append(pair[1])
                self.global_lines[pair[0]] = line
            elif not header:
                self.others.append(line)


def _writes(app: str) -> tuple[dict[str, str], bool]:
    """The variables that an application sets, and whether surely; none if it may set others."""
    if keys := _READ.fullmatch(app):
        return {keys[1]: "0"}, True
    found, within = _SET.fullmatch(app), _WITHIN.fullmatch(app)
    texts: list[str] = []
    if found:
        texts = list(_of_mset(found[2])) if found[1] else [found[2]]
    elif within:
        _, *rest = split(within[2], "?") if within[1].lower() == "execif" else ["", within[2]]
        for each in re.split(r"\)[ \t]*:[ \t]*", "?".join(rest)):
            inner = _SET.fullmatch(f"{each.strip().removesuffix(')')})")
            if inner and not inner[1]:
                texts.append(inner[2])
            elif not HARMLESS.match(each.strip()):
                return {}, False
    writes: dict[str, str] = {}
    for text in texts:
        pair = _ASSIGNED.fullmatch(text)
        if pair is None:
            return {}, False
        name = f"CURLOPT({pair['option'].lower()})" if pair["option"] else pair["name"]
        writes[name] = pair["value"]
    return writes, found is not None


def _of_mset(text: str) -> Iterator[str]:
    """The arguments of MSet(), which drops quotes and backslashes; no comma within them parts."""
    held: list[str] = []
    for item in split(text, ","):
        held.append(item)
        whole = ",".join(held)
        if whole.count("(") <= whole.count(")") and whole.count('"') % 2 == 0:
            yield re.sub(r'\\(.)|"', r"\1", whole)
            held = []


def _step(
    line: FileLine, exten: str, last: int | None, section: int, context: str
) -> Priority | None:
    content = line.said.content
    start = _STEP.match(content)
    # A line with a comment block in it is left alone.
    if start is None or not line.raw.startswith(content) or len(content) > _LONGEST:
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
    app = content[found.end() :].rstrip(" \t")
    return Priority(
        line, section, context, exten, f"{found[1]}{found[2] or ''}", priority, found[3],
        content[: found.start(1)], app, line.raw[len(content) :], found.end(),
        *_writes(app.replace("\\;", ";")),
    )  # fmt: skip


def _name_end(text: str, start: int) -> int:
    """The comma after the extension's name, which may hold ``[…]``."""
    depth = 0
    for position in range(start, len(text)):
        depth += {"[": 1, "]": -1}.get(text[position], 0)
        if text[position] == "," and depth <= 0:
            return position
    return -1
