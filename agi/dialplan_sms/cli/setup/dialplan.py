"""The steps of the dialplan: the line that includes extensions-sms.conf, its reload, the proof."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

from dialplan_sms.cli.check import CheckState
from dialplan_sms.cli.check.dialplan import Files
from dialplan_sms.cli.migrate.files import Tree
from dialplan_sms.cli.setup.host import MAIN, AsteriskHost
from dialplan_sms.cli.setup.steps import Action, Failed, Step, StepState, Work, new_owner, take_back
from dialplan_sms.host import files
from dialplan_sms.host.asterisk_syntax import lines
from dialplan_sms.host.installation import EXTENSIONS

LINE = f"#tryinclude {EXTENSIONS}"
_PUT = re.compile(
    rf"\r?\n{re.escape(LINE)}\Z|(?:^|(?<=\A\ufeff)){re.escape(LINE)}(?:\r?\n|\Z)", re.MULTILINE
)
# Why the console does not answer, by whether Asterisk runs, and the cure.
_SILENT = {
    False: ("Asterisk does not run", "start it, which loads the dialplan"),
    # Without root, the console of a running one is closed.
    True: ("Asterisk's console does not answer", "run asterisk -rx 'dialplan reload' as root"),
}
_MADE = "made"  # the mark of a file that setup has made for the line


def find_includes(etc: Path, name: str = EXTENSIONS) -> Iterator[tuple[Path, bool]]:
    """Each line that Asterisk takes for one that includes *name*: its file, and may *name* miss."""
    tree, wanted = Tree(etc), str(etc / name)
    tree.read(etc / MAIN)
    for line in tree.stream:
        kind, named = line.include or ("exec", "")
        pattern = str(etc / named)
        if kind != "exec" and "\0" not in pattern:  # it may be another name of the same file
            is_link = os.path.realpath(pattern) == os.path.realpath(wanted)
            # Part by part: the star of an #include stays within its folder.
            if is_link or PurePath(os.path.normpath(wanted)).match(os.path.normpath(pattern)):
                yield line.path, kind == "tryinclude"


def with_line(text: str) -> str:
    """*text* with the line above its first ``[context]``, or at its end if there is none."""
    newline = "\r\n" if "\r\n" in text else "\n"
    # Lines after it would continue [sub-sms]. If a comment block ends in the header's own line,
    # another header is as good.
    headers = (line.start for line in lines(text) if line.header and not line.commented)
    start = next(headers, len(text))
    if text[:start].strip("\ufeff") and not text[:start].endswith("\n"):
        return text + newline + LINE
    return text[:start] + LINE + newline + text[start:]


def put_include(work: Work, found: AsteriskHost) -> Step:
    """The line that includes extensions-sms.conf, unless one is there already."""
    path, state, about = found.dialplan, StepState.MAKE, f"with the line {LINE}"
    if included := next(find_includes(found.etc), None):
        yield Action(path, StepState.THERE, f"included by {included[0]}")
        return
    if path.exists():
        state, about = StepState.CHANGE, f"{LINE} above the first [context]{new_owner(path)}"
    yield Action(path, state, about, ("dialplan",))
    there = files.look(path)
    like = there or files.look(found.etc / MAIN)  # FreePBX's own pages write both
    mode, owner = (
        (like.mode, like.owner) if like else (0o640, files.Ownership(0, found.user.gids[0]))
    )
    work.manifest.note(Path(os.path.realpath(path)), "include", LINE if there else _MADE)
    content = with_line(os.fsdecode(there.content if there else b""))
    files.put(path, os.fsencode(content), mode, owner)
    if path.name != MAIN and not any(find_includes(found.etc, path.name)):
        work.say(f"warning: {MAIN} does not include {path}: include it there")


def take_out_include(work: Work, path: Path, etc: Path | None) -> Step:
    """Take the line out again; *etc* is Asterisk's folder, if there is an Asterisk."""
    there, about = files.look(path), f"without the line {LINE}"
    left = os.fsencode(_PUT.sub("", os.fsdecode(there.content), 1)) if there else b""
    is_made = _MADE in work.manifest.entries[path].marks
    is_needed = etc and not all(may_miss for _, may_miss in find_includes(etc, path.name))
    if there is None or left == there.content:
        yield Action(path, StepState.KEEP, "there is no line of setup in it any more")
    elif is_made and not left and not is_needed:
        yield Action(path, StepState.REMOVE, about)
        files.remove(path)
    else:
        yield Action(path, StepState.CHANGE, about)
        files.put(path, left, there.mode, there.owner)
    del work.manifest.entries[path]


def take_back_file(work: Work, path: Path, etc: Path | None) -> Step:
    """A file of ours, unless an #include of an admin's needs it."""
    included = find_includes(etc) if etc and path.name == EXTENSIONS else ()
    if needing := [by for by, may_miss in included if not may_miss]:
        why = f"{needing[0]} has an #include of it, which would fail"
        yield Action(path, StepState.KEEP, f"{why}: remove that, then run again")
    else:
        yield from take_back(work, path)


def report_merged(work: Work, etc: Path) -> Step:
    """Whether the dialplan in *etc* has another [sub-sms], which only its admin can move."""
    merged = Files(etc).merged(coming=True)
    said = f"{merged.says}: {merged.do}" if merged else ""
    yield Action("[sub-sms]", StepState.NOTE if merged else None, said)
    if merged:
        work.failed |= merged.state is CheckState.WRONG
        work.say(said)


def load_dialplan(work: Work, found: AsteriskHost) -> Step:
    """``dialplan reload``, and the proof that [sub-sms] is there."""

    def is_there() -> bool:
        shown = work.host.run([*found.console, "dialplan show sub-sms"], 30, None).output
        return "Context 'sub-sms'" in shown

    if not found.answers:
        why, cure = _SILENT[found.runs]
        yield Action("the dialplan", StepState.NOTE, f"{why}: {cure}")
        work.say(f"warning: {why}, so [sub-sms] could not be looked for: {cure}")
    elif "dialplan" not in work.manifest.pending and is_there():
        yield Action("the dialplan", StepState.THERE, "it has [sub-sms]")
    else:
        yield Action("the dialplan", StepState.RUN, "dialplan reload, then dialplan show sub-sms")
        done = work.host.run([*found.console, "dialplan reload"], 60, None)
        if not is_there():
            why = f" ({done.last_line})" if done.status else ""
            raise Failed(
                f"the dialplan has no [sub-sms] after its reload{why}: look for errors of"
                " pbx_config in Asterisk's log; if #include names a file that is missing, the"
                " old dialplan stays"
            )
        work.manifest.pending.discard("dialplan")
        work.say("the dialplan has [sub-sms]")
