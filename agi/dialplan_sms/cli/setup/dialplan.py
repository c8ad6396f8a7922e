"""The steps of the dialplan: the line that includes extensions-sms.conf, its reload, the proof."""

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms.cli.check.asterisk import Files
from dialplan_sms.cli.check.finding import CheckState
from dialplan_sms.cli.migrate.files import Tree
from dialplan_sms.cli.setup.find_asterisk import AsteriskHost
from dialplan_sms.cli.setup.manifest import Entry
from dialplan_sms.cli.setup.steps import Action, Step, StepState, Work, drop, new_owner
from dialplan_sms.host import files
from dialplan_sms.host.asterisk_syntax import lines
from dialplan_sms.host.files import Ownership
from dialplan_sms.host.installation import EXTENSIONS

LINE = f"#tryinclude {EXTENSIONS}".encode()
MAIN = "extensions.conf"


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Where a file is included, and whether it may be missing."""

    path: Path
    may_miss: bool


def find_includes(etc: Path, name: str = EXTENSIONS) -> Iterator[Inclusion]:
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


def put_include(path: Path, included: list[Inclusion], mode: int, owner: Ownership) -> Step:
    """The line that includes extensions-sms.conf; *included* says where it is already."""

    def look(work: Work) -> Action:
        if included:
            return Action(path, StepState.THERE, f"included by {included[0].path}")
        if path.exists():
            about = f"{LINE.decode()} above the first [context]{new_owner(path)}"
            state = StepState.CHANGE
        else:
            state, about = StepState.MAKE, f"with the line {LINE.decode()}"
        return Action(path, state, about, lambda: _insert(path, mode, owner, work), "dialplan")

    return look


def _insert(path: Path, mode: int, owner: Ownership, work: Work) -> str | None:
    to = Path(os.path.realpath(path))
    there = files.look(path)
    content, put = insert(there.content if there else b"")
    if there is None:
        work.manifest.note(to, "include", "made")
    else:
        mode, owner = there.mode, there.owner
    work.manifest.note(to, "include", put.decode("latin-1"), "dialplan")
    files.put(path, content, mode, owner)
    if path.name != MAIN and not any(find_includes(path.parent, path.name)):
        return f"warning: {MAIN} does not include {path}: include it there"
    return None


def undo_include(path: Path, entry: Entry, work: Work, etc: Path | None) -> Action:
    """Take the line out again; *etc* is Asterisk's folder, if there is an Asterisk."""
    there = files.look(path)
    left = content = there.content if there else None
    for mark in entry.marks:
        if left is not None and mark != "made":
            taken = take_out(left, mark.encode("latin-1", "replace"))
            left = left if taken is None else taken
    if there is None or left == content:
        return drop(path, work, StepState.KEEP, "there is no line of setup in it any more")
    needed = etc is not None and any(not each.may_miss for each in find_includes(etc, path.name))
    gone = "made" in entry.marks and not left and not needed

    def take() -> None:
        if gone:
            files.remove(path)
        else:
            files.put(path, left or b"", there.mode, there.owner)

    state = StepState.REMOVE if gone else StepState.CHANGE
    return drop(path, work, state, f"without the line {LINE.decode()}", take)


def report_merged(etc: Path) -> Step:
    """Whether the dialplan in *etc* has another [sub-sms], which only its admin can move."""

    def look(work: Work) -> Action:
        merged = Files(etc).merged(coming=True)
        if merged is None:
            return Action("[sub-sms]", None)
        said = f"{merged.says}: {merged.do}"

        def act() -> str:
            work.failed |= merged.state is CheckState.WRONG
            return said

        return Action("[sub-sms]", StepState.NOTE, said, act)

    return look


def load_dialplan(found: AsteriskHost) -> Step:
    """``dialplan reload``, and the proof that [sub-sms] is there."""

    def is_there(work: Work) -> bool:
        shown = work.host.run([*found.console, "dialplan show sub-sms"], 30, None).output
        return "Context 'sub-sms'" in shown

    def look(work: Work) -> Action:
        def load() -> str:
            done = work.host.run([*found.console, "dialplan reload"], 60, None)
            if is_there(work):
                work.manifest.reloaded("dialplan")
                return "the dialplan has [sub-sms]"
            work.failed = True
            why = f" ({done.last_line})" if done.status else ""
            return (
                f"the dialplan has no [sub-sms] after its reload{why}: look for errors of"
                " pbx_config in Asterisk's log; if #include names a file that is missing, the"
                " old dialplan stays"
            )

        target = "the dialplan"
        if not found.answers:
            why, cure = "Asterisk does not run", "start it, which loads the dialplan"
            if found.runs:  # without root, the console of a running one is closed
                why = "Asterisk's console does not answer"
                cure = "run asterisk -rx 'dialplan reload' as root"
            said = f"warning: {why}, so [sub-sms] could not be looked for: {cure}"
            return Action(target, StepState.NOTE, f"{why}: {cure}", lambda: said)
        if work.must_reload("dialplan") or not is_there(work):
            return Action(
                target, StepState.RUN, "dialplan reload, then dialplan show sub-sms", load
            )
        return Action(target, StepState.THERE, "it has [sub-sms]")

    return look


def reload_without(found: AsteriskHost, work: Work) -> Action:
    """``dialplan reload`` after the way back."""

    def reload() -> str:
        done = work.host.run([*found.console, "dialplan reload"], 60, None)
        return f"warning: dialplan reload: {done.last_line}" if done.status else ""

    return Action("the dialplan", StepState.RUN, "dialplan reload", reload)
