"""``--remove``: all that the manifest tells of is taken back; what an admin edited stays."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms.cli.setup import include, program
from dialplan_sms.cli.setup.manifest import Entry
from dialplan_sms.cli.setup.steps import State, Work
from dialplan_sms.cli.setup.surroundings import UNIT, Surroundings
from dialplan_sms.host import files
from dialplan_sms.host.identity import HostError


@dataclass(frozen=True, slots=True)
class Undo:
    """One thing to take back; ``act`` is None where it stays.

    ``state`` is None where there is nothing to show: it is gone, or told of at the end.
    """

    target: str
    state: State | None
    about: str
    act: Callable[[Work], str] | None


def make(found: Surroundings | None, work: Work) -> list[Undo]:
    """The way back, in its order: what is used first, the program last."""
    manifest = work.manifest
    undoes = [_service(path) for path, _ in manifest.of("service")]
    undoes += [_include(path, entry, found) for path, entry in manifest.of("include")]
    undoes += [_file(path, entry, found) for path, entry in manifest.of("file")]
    undoes += [_link(path, entry) for path, entry in manifest.of("link")]
    if found is not None and found.answers:
        undoes.append(Undo("the dialplan", State.RUN, "dialplan reload", _reload(found)))
    undoes += [_folder(path) for path, _ in manifest.of("folder")]
    undoes += [_program(path) for path, _ in manifest.of("program")]
    return undoes


def end(work: Work) -> None:
    """Forget, once nothing is left to take back."""
    manifest = work.manifest
    for path, _ in list(manifest.of("service")):
        manifest.drop(path)
    if not manifest.entries:
        manifest.path.unlink(missing_ok=True)
        forget(manifest.path.parent)


def forget(state: Path) -> None:
    """Remove what the manifest lay in."""
    (state / "lock").unlink(missing_ok=True)
    with suppress(OSError):
        state.rmdir()


def _service(path: Path) -> Undo:
    def act(work: Work) -> str:
        done = work.host.run(["systemctl", "disable", "--now", UNIT], 100)
        if done.status:
            return f"warning: systemctl disable --now {UNIT}: {done.last_line}"
        return ""

    return Undo("the service", State.RUN, f"systemctl disable --now {UNIT}", act)


def _include(path: Path, entry: Entry, found: Surroundings | None) -> Undo:
    there = files.look(path)
    puts = [mark.encode("latin-1", "replace") for mark in entry.marks if mark != "made"]
    left = content = there.content if there else None
    for put in puts:
        taken = include.take_out(left, put) if left is not None else None
        left = left if taken is None else taken
    if there is None or left == content:
        return _drop(path, "there is no line of setup in it any more")
    needed = found is not None and any(not e.may_miss for e in include.find(found.etc, path.name))
    gone = "made" in entry.marks and not left and not needed

    def act(work: Work) -> str:
        if gone:
            files.remove(path)
        else:
            files.put(path, left or b"", there.mode, there.owner)
        work.manifest.drop(path)
        return ""

    state = State.REMOVE if gone else State.CHANGE
    return Undo(str(path), state, f"without the line {include.LINE.decode()}", act)


def _file(path: Path, entry: Entry, found: Surroundings | None) -> Undo:
    content = files.content_of(path)
    if content is not None and files.digest(content) not in entry.marks:
        return _drop(path, "edited, so it stays")
    others = [] if found is None or path.name != include.NAME else found.included
    if using := [each.path for each in others if not each.may_miss]:
        about = f"{using[0]} has an #include of it, which would fail: remove that, then run again"
        return Undo(str(path), State.KEEP, about, None)

    def act(work: Work) -> str:
        files.remove(path)
        if path.parent.name == f"{UNIT}.d":
            with suppress(OSError):
                path.parent.rmdir()
        if UNIT in (path.name, path.parent.name.removesuffix(".d")):
            work.host.run(["systemctl", "daemon-reload"], 100)
        work.manifest.drop(path)
        return ""

    return Undo(str(path), None if content is None else State.REMOVE, "", act)


def _link(path: Path, entry: Entry) -> Undo:
    if not path.is_symlink() or str(path.readlink()) not in entry.marks:
        return _drop(path, "it is no link of setup any more")

    def act(work: Work) -> str:
        kept = ""
        try:
            files.unlink(path, entry.marks)
        except HostError as why:  # of the folder's owner's making, and no reason to stop half-way
            kept = f"kept: {path}: {why}"
        work.manifest.drop(path)
        return kept

    return Undo(str(path), State.REMOVE, "", act)


def _folder(path: Path) -> Undo:
    empty = path.is_dir() and not any(path.iterdir())

    def act(work: Work) -> str:
        files.remove_folder(path)
        work.manifest.drop(path)
        return ""

    return Undo(str(path), State.REMOVE if empty else None, "", act)


def _program(path: Path) -> Undo:
    if path.exists() and not program.mark(path):
        return _drop(path, "it is not the one that setup has put there, and stays")

    def act(work: Work) -> str:
        program.take(path)
        work.manifest.drop(path)
        return ""

    return Undo(str(path), State.REMOVE, "the program", act)


def _drop(path: Path, about: str) -> Undo:
    """Nothing to do but to forget."""

    def act(work: Work) -> str:
        work.manifest.drop(path)
        return ""

    return Undo(str(path), State.KEEP, about, act)


def _reload(found: Surroundings) -> Callable[[Work], str]:
    def act(work: Work) -> str:
        done = work.host.run([*found.console, "dialplan reload"], 60)
        return f"warning: dialplan reload: {done.last_line}" if done.status else ""

    return act
