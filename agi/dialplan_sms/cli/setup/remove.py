"""``dialplan-sms setup --remove``: what the manifest records is taken back; edited files stay."""

import os
import shlex
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from dialplan_sms.cli.setup.dialplan import find_includes, undo_include
from dialplan_sms.cli.setup.host import AsteriskHost, Host
from dialplan_sms.cli.setup.steps import Action, Entry, StepState, Work
from dialplan_sms.host import files
from dialplan_sms.host.identity import HostError
from dialplan_sms.host.installation import EXTENSIONS, PIPX, UNIT, is_copy, is_pipx
from dialplan_sms.host.process import as_changer


def steps(work: Work, found: AsteriskHost | None) -> Iterator[Action]:
    """The way back, in its order: what is used first, the folders last."""
    of, etc = work.manifest.of, found.etc if found else None

    def run(target: str, about: str, *command: str, forget: Path | None = None) -> Action:
        def act() -> str:
            done = work.host.run([*command], 100, None)
            return f"warning: {about}: {done.last_line}" if done.status else ""

        return Action(target, StepState.RUN, about, act, forget=forget)

    stop = ("systemctl", "disable", "--now", UNIT)
    for path, _ in of("service"):
        yield run("the service", " ".join(stop), *stop, forget=path)
    for path, entry in of("include"):
        yield undo_include(path, entry, etc)
    for path, entry in of("file"):
        included = find_includes(etc) if etc and path.name == EXTENSIONS else ()
        if needing := [by for by, may_miss in included if not may_miss]:
            about = f"{needing[0]} has an #include of it, which would fail"
            yield Action(path, StepState.KEEP, f"{about}: remove that, then run again")
        else:
            yield undo_file(work, path, entry)
    for path, entry in of("link"):
        yield undo_link(path, entry)
    if found and found.answers:
        yield run("the dialplan", "dialplan reload", *found.console, "dialplan reload")
    for path, _ in of("folder"):
        empty = path.is_dir() and not any(path.iterdir())
        state = StepState.REMOVE if empty else None
        yield Action(path, state, act=partial(files.remove_folder, path), forget=path)
    for path, _ in of("program"):
        yield undo_copy(path)
    if not work.manifest.entries:
        folder = work.host.places.state
        yield Action(folder, None, act=partial(forget_all, folder))


def forget_all(state: Path) -> None:
    """Remove the manifest's folder with what is setup's in it."""
    for name in ("setup.json", "lock"):
        (state / name).unlink(missing_ok=True)
    with suppress(OSError):
        state.rmdir()


def take_back(work: Work, path: Path, about: str, pending: str = "") -> Action:
    """What an earlier run put at *path*, and that is not needed any more."""
    entry = work.manifest.entries.get(str(path))
    if entry is None or not os.path.lexists(path):
        return Action(path, None)
    undone = undo_link(path, entry) if entry.kind == "link" else undo_file(work, path, entry)
    if undone.state is StepState.REMOVE:
        return replace(undone, about=about, pending=pending)
    return Action(path, StepState.THERE, "not of setup, so it stays")


def undo_file(work: Work, path: Path, entry: Entry) -> Action:
    """Remove a file of ours, unless an admin has edited it."""

    def take() -> None:
        files.remove(path)
        if path.parent.name == f"{UNIT}.d":
            files.remove_folder(path.parent)
        if UNIT in (path.name, path.parent.name.removesuffix(".d")):
            work.host.run(["systemctl", "daemon-reload"], 100, None)

    content = files.content_of(path)
    if content is not None and files.digest(content) not in entry.marks:
        return Action(path, StepState.KEEP, "edited, so it stays", forget=path)
    return Action(path, None if content is None else StepState.REMOVE, act=take, forget=path)


def undo_link(path: Path, entry: Entry) -> Action:
    """Remove a link of ours."""

    def take() -> str | None:
        try:
            files.unlink(path, entry.marks)
        except HostError as why:  # made by the folder's owner, and no reason to stop half-way
            return f"kept: {path}: {why}"
        return None

    if not path.is_symlink() or str(path.readlink()) not in entry.marks:
        return Action(path, StepState.KEEP, "it is no link of setup any more", forget=path)
    return Action(path, StepState.REMOVE, act=take, forget=path)


def undo_copy(path: Path) -> Action:
    """Remove a copy of the program that setup of 0.1.0 made: all at once by its name."""

    def take() -> None:
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)  # of a run that was ended
        with suppress(FileNotFoundError):
            os.rename(path, old)
        shutil.rmtree(old, ignore_errors=True)

    if path.exists() and not is_copy(path):
        about = "it is not the one that setup has put there, and stays"
        return Action(path, StepState.KEEP, about, forget=path)
    act = partial(as_changer, path, take)
    return Action(path, StepState.REMOVE, "the program", act, forget=path)


def drop_copy(work: Work, path: Path, found: AsteriskHost) -> Action:
    """A copy of the program that setup of 0.1.0 made goes once nothing uses it any more."""
    undone, prefix, units = undo_copy(path), work.host.prefix, work.host.places.units
    if not is_copy(path):
        ended = str(path) in work.manifest.entries and not path.exists()
        return replace(undone, state=None) if ended else Action(path, None)
    candidates = [*found.etc.rglob("*.conf"), units / UNIT, *units.glob(f"{UNIT}.d/*.conf")]
    users = [
        str(each)
        for each in _naming(candidates, os.fsencode(path) + b"/")
        if not work.manifest.knows(each, files.digest(files.content_of(each) or b""))
    ]
    if users or not found.systemd:
        why = f"{', '.join(users)} names it" if users else "a supervisor may run the service of it"
        said = (
            f"{path} is an earlier setup's copy of the program and stays, since {why}: put"
            f" {prefix} there, then rm -r {shlex.quote(str(path))} deletes it"
        )
        return Action(path, StepState.NOTE, said, says=f"note: {said}")
    if work.failed:
        said = f"{path}, an earlier copy of the program, stays until all is well"
        return Action(path, StepState.KEEP, says=said)
    about = f"an earlier setup's copy of the program, which is in {prefix} now"
    return replace(undone, about=about)


def kept(found: AsteriskHost | None, host: Host) -> Iterator[str]:
    """What stays, how to delete it, and who still uses what is gone."""
    if found is not None:
        for path in (found.etc / "sms.conf", found.spool / "sms"):
            if path.exists():
                yield f"kept: {path}"
        # Of setup, which keeps no digest of what holds a password, and of migrate.
        beside = sorted(found.etc.glob("*.before-dialplan-sms*"))
        for path in [found.etc / "sms.conf.new", *beside]:
            if path.is_file():
                place = shlex.quote(str(path))
                yield f"kept: {path}, which may hold a password: rm {place} deletes it"
    if not host.packaged and (host.prefix / "bin/sms.agi").is_file():
        delete = f"rm -r {shlex.quote(str(host.prefix))}"
        if is_pipx(host.prefix):
            delete = f"{PIPX} uninstall dialplan-sms"
        yield f"kept: {host.prefix}, the program: {delete} deletes it"
    if found is not None:
        theirs = (path for path in found.etc.glob("extensions*.conf") if path.name != EXTENSIONS)
        if users := _naming(theirs, b"(sub-sms", b"(sms.agi"):
            yield f"calls that still use sub-sms or sms.agi: see {', '.join(map(str, users))}"


def _naming(paths: Iterable[Path], *words: bytes) -> list[Path]:
    """The files that have one of *words*."""
    found = []
    for path in sorted(paths):
        with suppress(OSError, HostError):
            content = files.content_of(path) or b""
            if any(word in content for word in words):
                found.append(path)
    return found
