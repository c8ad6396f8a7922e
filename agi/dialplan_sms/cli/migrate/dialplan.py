"""extensions.conf as steps (Asterisk: pbx_config.c), and what is in a text (pbx_variables.c)."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from dialplan_sms.cli.migrate.files import FileLine, Tree

NAME = re.compile(r"\$\{(?:GLOBAL\()?(\w+)\)?\}")  # a variable as a whole
READ = re.compile(r"\$\{(?:GLOBAL\()?(\w+)")
IF_PLAIN = "; the lines below are right if it is plain text"
_OPENING = re.compile(r"\$(?=[{\[])")
_PAIRS = {"{": "}", "[": "]"}

_LONGEST = 8191  # bytes of a line that Asterisk reads (main/config.c)
_STEP = re.compile(
    r"(?P<before>\ufeff?[ \t]*"
    r"(?:same[ \t]*=>?|exten[ \t]*=>?(?P<exten>(?:[^,\[]|\[[^\[\]]*\])*),)[ \t]*)"
    r"(?P<token>(?P<word>\d+|n|next|s|same|hint)(?:[ \t]*\+[ \t]*(?P<plus>\d+))?)[ \t]*"
    r"(?:\((?P<label>[^)]*)\))?[ \t]*,[ \t]*",
    re.IGNORECASE,
)
_SET = re.compile(r"(M?)Set\((.*)\)", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"[ \t]*(?:GLOBAL\(|LOCAL\()?_{0,2}(?P<name>CURLOPT\(\w+\)|\w+)\)?[ \t]*="
    r"(?P<value>(?s:.*))",
    re.IGNORECASE,
)
_ARGUMENT = re.compile(r'(?:"[^"]*"|\((?:[^()]|\([^()]*\))*\)|[^,])+')
_READ = re.compile(r"Read\([ \t]*(\w+)[ \t]*(?:,.*)?\)", re.IGNORECASE)
WITHIN = re.compile(r"(ExecIf|TryExec|Exec)\((.*)\)", re.IGNORECASE)
# Applications that set no variable but Asterisk's own.
HARMLESS = re.compile(
    r"(?:NoOp|Verbose|Log|(?:Try)?System|Playback|BackGround|Goto(?:If(?:Time)?)?|Dial|Queue|Answer|Hangup"
    r"|Wait\w*|Ringing|Progress|Busy|Congestion|Return|Say\w+|MusicOnHold|PlayTones|SendDTMF|VoiceMail"
    r"|Record|Page|ConfBridge|MeetMe|MixMonitor|NoCDR|ResetCDR|While|EndWhile|ExitWhile)\b",
    re.IGNORECASE,
)


class Unclear(Exception):
    """What is not converted, and why; for the admin."""


def first(*rows: tuple[object, str]) -> str:
    """The reason of the first row that applies; empty if none does."""
    return next((reason for applies, reason in rows if applies), "")


def refuse_if(*rows: tuple[object, str]) -> None:
    """Raise Unclear with the reason of the first row that applies."""
    if reason := first(*rows):
        raise Unclear(reason)


def closing(text: str, start: int) -> int:
    """Where the ``${`` or ``$[`` at *start* ends (exclusive); -1 if it does not."""
    opens, closes = text[start + 1], _PAIRS[text[start + 1]]
    depth = 0
    for position in range(start + 1, len(text)):
        depth += (text[position] == opens) - (text[position] == closes)
        if not depth:
            return position + 1
    return -1


def parts(text: str) -> Iterator[tuple[bool, str]]:
    """*text* in pieces, some of them empty: whether it is an expression, and the piece."""
    begin = 0
    for found in _OPENING.finditer(text):
        if found.start() >= begin:
            end = closing(text, found.start())
            if end < 0:
                break  # nothing after it closes either, or Asterisk would not read it so
            yield False, text[begin : found.start()]
            yield True, text[found.start() : end]
            begin = end
    yield False, text[begin:]


def split(text: str, separator: str) -> list[str]:
    """*text* at each *separator* that stands outside of expressions."""
    found = [""]
    for is_expression, piece in parts(text):
        first, *rest = [piece] if is_expression else piece.split(separator)
        found[-1] += first
        found += rest
    return found


def literal(text: str, mark: str = "") -> str:
    """*text* with *mark* in place of each expression."""
    return "".join(mark if is_expression else piece for is_expression, piece in parts(text))


@dataclass(frozen=True, slots=True, eq=False)
class Priority:
    """One priority of an extension: *before*, *token* and *label* in brackets, *app*, a comment."""

    line: FileLine
    section: int
    context: str
    exten: str
    token: str
    priority: int | None  # None if nobody can say
    label: str | None
    before: str
    app: str = field(repr=False)  # as written, with \; for a semicolon
    plain: str = field(repr=False)  # the same as Asterisk sees it
    start: int  # of *app* in the line
    writes: dict[str, str] = field(repr=False)  # the plain variables it sets, and curlopt(name)

    @property
    def key(self) -> tuple[str, str]:
        return self.context, self.exten

    @property
    def name(self) -> str:
        """The extension without the caller whom it is for."""
        return self.exten.partition("/")[0]


class Dialplan:
    """All steps of a tree in Asterisk's order, and what else of the files matters here."""

    def __init__(self, tree: Tree) -> None:
        self.steps: list[Priority] = []
        self.extensions: dict[tuple[str, str], list[Priority]] = defaultdict(list)
        self.contexts: dict[str, list[FileLine]] = defaultdict(list)  # their headers
        self.templates: set[str] = set()  # contexts that give lines to others, or have some of them
        self.variables: dict[str, list[str]] = defaultdict(list)  # all values, of [globals], too
        self.global_lines: dict[str, FileLine] = {}
        self.section_ends: dict[int, FileLine] = {}
        self.others: list[FileLine] = []  # no step, header or variable of [globals]: comments, too
        section, context, exten, last = 0, "", "", None
        for line in tree.stream:
            header, text = line.header, line.text
            if header:
                section, context, exten, last = section + 1, header[0], "", None
                self.contexts[context].append(line)
                if header[1]:
                    self.templates.update(map(str.strip, [context, *header[1].split(",")]))
            elif step := _step(line, section, context, exten, last):
                exten = step.exten
                last = last if step.token.lower() == "hint" else step.priority
                self.steps.append(step)
                self.extensions[step.key].append(step)
                for name, value in step.writes.items():
                    self.variables[name].append(value)
            elif context.lower() == "globals" and (pair := line.pair):
                self.variables[pair[0]].append(pair[1])
                self.global_lines[pair[0]] = line
            else:
                self.others.append(line)
            if text and not text.startswith("#"):
                self.section_ends[section] = line  # an included file may have begun another


def _step(
    line: FileLine, section: int, context: str, exten: str, last: int | None
) -> Priority | None:
    """The step of a line below one of *exten* whose priority is *last*; None if it is none."""
    content = line.content
    found = _STEP.match(content)
    # A line with a comment block in it is left alone.
    if found is None or not line.raw.startswith(content) or len(content) > _LONGEST:
        return None
    word, app = found["word"].lower(), content[found.end() :].rstrip(" \t")
    priority = int(word[:9]) if word.isdecimal() else last
    if priority is not None:
        priority += int((found["plus"] or "0")[:9]) + (word[0] == "n")
    plain = app.replace("\\;", ";")
    writes = dict(_writes(plain))
    return Priority(
        line, section, context, exten if found["exten"] is None else found["exten"].strip(),
        found["token"], None if word == "hint" else priority, found["label"], found["before"],
        app, plain, found.end(), {} if "" in writes else writes,
    )  # fmt: skip


def _writes(app: str) -> Iterator[tuple[str, str]]:
    """The variables that an application sets; an empty name for others that it may set."""
    apps = [app]
    if within := WITHIN.fullmatch(app):
        # What stands before the question mark of an ExecIf() is its condition.
        text = "?".join(split(within[2], "?")[1:]) if within[1].lower() == "execif" else within[2]
        found = re.split(r"\)[ \t]*:[ \t]*", text)
        apps = [f"{each.strip().removesuffix(')')})" for each in found]
    for each in apps:
        if keys := _READ.fullmatch(each):
            yield keys[1], "0"
        elif is_set := _SET.fullmatch(each):
            texts = [is_set[2]]
            if is_set[1]:  # MSet() drops quotes and backslashes; no comma within them parts
                texts = [re.sub(r'\\(.)|"', r"\1", text) for text in _ARGUMENT.findall(is_set[2])]
            for text in texts:
                pair = _ASSIGNED.fullmatch(text)
                name = pair["name"] if pair else ""
                yield name.lower() if "(" in name else name, pair["value"] if pair else ""
        elif not HARMLESS.match(each):
            yield "", ""
