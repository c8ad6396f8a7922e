"""The steps of the dialplan: the line that includes extensions-sms.conf, its reload, the proof."""

import fnmatch
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dialplan_sms.cli.check import CheckState
from dialplan_sms.cli.check.dialplan import Files
from dialplan_sms.cli.migrate.files import Tree
from dialplan_sms.cli.setup.host import AsteriskHost
from dialplan_sms.cli.setup.steps import Action, Entry, Failed, StepState, Work, new_owner
from dialplan_sms.host import files
from dialplan_sms.host.asterisk_syntax import lines
from dialplan_sms.host.files import Ownership
from dialplan_sms.host.installation import EXTENSIONS

LINE = f"#tryinclude {EXTENSIONS}".encode()
MAIN = "extensions.conf"
_MADE = "made"
"""The mark of a file that setup has made for the line."""


def find_includes(etc: Path, name: str = EXTENSIONS) -> Iterator[tuple[Path, bool]]:
    """Each line of the dialplan that includes *name* of this folder: its file, may *name* miss."""
    tree = Tree(etc)
    tree.read(etc / MAIN)
    for line in tree.stream:
        kind, named = line.include or ("exec", "")
        pattern = str(etc / named)
        if kind != "exec" and "\0" not in pattern and _names(pattern, etc / name):
            yield line.path, kind == "tryinclude"


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
    for lines_put in (put, put.strip() + b"\n"):
        begin = b"" if lines_put[:1] in b"\r\n" else rb"(?:(?<![^\n])|(?<=\A\xef\xbb\xbf))"
        end = b"" if lines_put.endswith(b"\n") else rb"(?=[\r\n]|\Z)"
        if found := re.search(begin + re.escape(lines_put) + end, content):
            return content[: found.start()] + content[found.end() :]
    return None


def put_include(work: Work, found: AsteriskHost) -> Action:
    """The line that includes extensions-sms.conf, unless one is there already."""
    path, line = found.dialplan, LINE.decode()
    if included := next(find_includes(found.etc), None):
        return Action(path, StepState.THERE, f"included by {included[0]}")
    put = partial(_put_include, work, found)
    if not path.exists():
        return Action(path, StepState.MAKE, f"with the line {line}", put, "dialplan")
    about = f"{line} above the first [context]{new_owner(path)}"
    return Action(path, StepState.CHANGE, about, put, "dialplan")


def _put_include(work: Work, found: AsteriskHost) -> str | None:
    path = found.dialplan
    there = files.look(path)
    content, put = insert(there.content if there else b"")
    like = there or files.look(found.etc / MAIN)  # FreePBX's own pages write both
    asterisk = Ownership(0, found.user.gids[0])
    mode, owner = (like.mode, like.owner) if like else (0o640, asterisk)
    made = [] if there else [_MADE]
    work.manifest.note(Path(os.path.realpath(path)), "include", *made, put.decode("latin-1"))
    files.put(path, content, mode, owner)
    if path.name != MAIN and not any(find_includes(found.etc, path.name)):
        return f"warning: {MAIN} does not include {path}: include it there"
    return None


def undo_include(path: Path, entry: Entry, etc: Path | None) -> Action:
    """Take the line out again; *etc* is Asterisk's folder, if there is an Asterisk."""
    there = files.look(path)
    left = content = there.content if there else b""
    for mark in entry.marks:
        taken = take_out(left, mark.encode("latin-1", "replace")) if mark != _MADE else None
        left = left if taken is None else taken
    if there is None or left == content:
        about = "there is no line of setup in it any more"
        return Action(path, StepState.KEEP, about, forget=path)
    about = f"without the line {LINE.decode()}"
    needed = etc is not None and not all(may_miss for _, may_miss in find_includes(etc, path.name))
    if _MADE in entry.marks and not left and not needed:
        return Action(path, StepState.REMOVE, about, partial(files.remove, path), forget=path)
    put = partial(files.put, path, left, there.mode, there.owner)
    return Action(path, StepState.CHANGE, about, put, forget=path)


def report_merged(etc: Path) -> Action:
    """Whether the dialplan in *etc* has another [sub-sms], which only its admin can move."""
    merged = Files(etc).merged(coming=True)
    if merged is None:
        return Action("[sub-sms]", None)
    said, wrong = f"{merged.says}: {merged.do}", merged.state is CheckState.WRONG
    return Action("[sub-sms]", StepState.NOTE, said, says=said, fails=wrong)


def load_dialplan(work: Work, found: AsteriskHost) -> Action:
    """``dialplan reload``, and the proof that [sub-sms] is there."""

    def is_there() -> bool:
        shown = work.host.run([*found.console, "dialplan show sub-sms"], 30, None).output
        return "Context 'sub-sms'" in shown

    def load() -> str:
        done = work.host.run([*found.console, "dialplan reload"], 60, None)
        if is_there():
            return "the dialplan has [sub-sms]"
        why = f" ({done.last_line})" if done.status else ""
        raise Failed(
            f"the dialplan has no [sub-sms] after its reload{why}: look for errors of"
            " pbx_config in Asterisk's log; if #include names a file that is missing, the"
            " old dialplan stays"
        )

    if not found.answers:
        why, cure = "Asterisk does not run", "start it, which loads the dialplan"
        if found.runs:  # without root, the console of a running one is closed
            why = "Asterisk's console does not answer"
            cure = "run asterisk -rx 'dialplan reload' as root"
        said = f"warning: {why}, so [sub-sms] could not be looked for: {cure}"
        return Action("the dialplan", StepState.NOTE, f"{why}: {cure}", says=said)
    if "dialplan" in work.manifest.pending or not is_there():
        about = "dialplan reload, then dialplan show sub-sms"
        return Action("the dialplan", StepState.RUN, about, load, reloads="dialplan")
    return Action("the dialplan", StepState.THERE, "it has [sub-sms]")
