"""``dialplan-sms setup --remove``: what the manifest records is taken back; edited files stay."""

import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from dialplan_sms.cli.setup import dialplan
from dialplan_sms.cli.setup.find_asterisk import AsteriskHost
from dialplan_sms.cli.setup.manifest import Entry, Manifest
from dialplan_sms.cli.setup.places import Host
from dialplan_sms.cli.setup.service import stop_service
from dialplan_sms.cli.setup.steps import Action, Step, StepState, Work, drop
from dialplan_sms.host import files
from dialplan_sms.host.identity import HostError
from dialplan_sms.host.installation import EXTENSIONS, PIPX, UNIT, is_copy, is_pipx
from dialplan_sms.host.privileges import as_changer


def steps(manifest: Manifest, found: AsteriskHost | None) -> list[Step]:
    """The way back, in its order: what is used first, the folders last."""
    etc = found.etc if found else None

    def include(path: Path, entry: Entry, work: Work) -> Action:
        return dialplan.undo_include(path, entry, work, etc)

    def file(path: Path, entry: Entry, work: Work) -> Action:
        included = dialplan.find_includes(etc) if etc and path.name == EXTENSIONS else ()
        if needing := [each.path for each in included if not each.may_miss]:
            about = f"{needing[0]} has an #include of it, which would fail"
            return Action(path, StepState.KEEP, f"{about}: remove that, then run again")
        return undo_file(path, entry, work)

    def each(kind: str, undo: Callable[[Path, Entry, Work], Action]) -> list[Step]:
        return [partial(undo, path, entry) for path, entry in manifest.of(kind)]

    reload = [partial(dialplan.reload_without, found)] if found and found.answers else []
    return [
        *([stop_service] if manifest.of("service") else []),
        *each("include", include), *each("file", file), *each("link", undo_link),
        *reload,
        *each("folder", undo_folder), *each("program", undo_copy),
    ]  # fmt: skip


def finish(work: Work) -> None:
    """Forget, once nothing is left to take back."""
    for path, _ in work.manifest.of("service"):
        work.manifest.drop(path)
    if not work.manifest.entries:
        forget_all(work.host.places.state)


def forget_all(state: Path) -> None:
    """Remove the manifest's folder with what is setup's in it."""
    for name in ("setup.json", "lock"):
        (state / name).unlink(missing_ok=True)
    with suppress(OSError):
        state.rmdir()


def take_back(path: Path, about: str, pending: str = "") -> Step:
    """What an earlier run put at *path*, and that is not needed any more."""

    def look(work: Work) -> Action:
        entry = work.manifest.entries.get(str(path))
        if entry is None or not os.path.lexists(path):
            return Action(path, None)
        undo = undo_link if entry.kind == "link" else undo_file
        action = undo(path, entry, work)

        def take() -> str | None:
            work.manifest.expect(pending)
            return action.act() if action.act else None

        if action.state is StepState.REMOVE:
            return Action(path, StepState.REMOVE, about, take, pending)
        return Action(path, StepState.THERE, "not of setup, so it stays")

    return look


def undo_file(path: Path, entry: Entry, work: Work) -> Action:
    """Remove a file of ours, unless an admin has edited it."""

    def take() -> None:
        files.remove(path)
        if UNIT in (path.name, path.parent.name.removesuffix(".d")):
            if path.name != UNIT:
                files.remove_folder(path.parent)
            work.host.run(["systemctl", "daemon-reload"], 100, None)

    content = files.content_of(path)
    if content is not None and files.digest(content) not in entry.marks:
        return drop(path, work, StepState.KEEP, "edited, so it stays")
    return drop(path, work, None if content is None else StepState.REMOVE, act=take)


def undo_link(path: Path, entry: Entry, work: Work) -> Action:
    """Remove a link of ours."""

    def take() -> str | None:
        try:
            files.unlink(path, entry.marks)
        except HostError as why:  # made by the folder's owner, and no reason to stop half-way
            return f"kept: {path}: {why}"
        return None

    if not path.is_symlink() or str(path.readlink()) not in entry.marks:
        return drop(path, work, StepState.KEEP, "it is no link of setup any more")
    return drop(path, work, StepState.REMOVE, act=take)


def undo_folder(path: Path, _: Entry, work: Work) -> Action:
    """Remove a folder of ours if nothing is in it."""
    empty = path.is_dir() and not any(path.iterdir())
    return drop(
        path, work, StepState.REMOVE if empty else None, act=lambda: files.remove_folder(path)
    )


def undo_copy(path: Path, _: Entry, work: Work) -> Action:
    """Remove a copy of the program that setup of 0.1.0 made: all at once by its name."""

    def take() -> None:
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)  # of a run that was ended
        with suppress(FileNotFoundError):
            os.rename(path, old)
        shutil.rmtree(old, ignore_errors=True)

    if path.exists() and not is_copy(path):
        about = "it is not the one that setup has put there, and stays"
        return drop(path, work, StepState.KEEP, about)
    return drop(path, work, StepState.REMOVE, "the program", lambda: as_changer(path, take))


def drop_copy(path: Path, found: AsteriskHost, prefix: Path) -> Step:
    """A copy of the program that setup of 0.1.0 made goes once nothing uses it any more."""

    def look(work: Work) -> Action:
        action = undo_copy(path, Entry("program"), work)

        def take() -> str | None:
            if work.failed:
                return f"{path}, an earlier copy of the program, stays until all is well"
            return action.act() if action.act else None

        if not is_copy(path):
            ended = str(path) in work.manifest.entries and not path.exists()
            return Action(path, None, act=action.act if ended else None)
        units = work.host.places.units
        candidates = [*found.etc.rglob("*.conf"), units / UNIT, *units.glob(f"{UNIT}.d/*.conf")]
        users = [
            str(each)
            for each in _naming(candidates, os.fsencode(path) + b"/")
            if not work.manifest.knows(each, files.digest(files.content_of(each) or b""))
        ]
        if not users and found.systemd:
            about = f"an earlier setup's copy of the program, which is in {prefix} now"
            return Action(path, StepState.REMOVE, about, take)
        why = f"{', '.join(users)} names it" if users else "a supervisor may run the service of it"
        said = (
            f"{path} is an earlier setup's copy of the program and stays, since {why}: put"
            f" {prefix} there, then rm -r {shlex.quote(str(path))} deletes it"
        )
        return Action(path, StepState.NOTE, said, lambda: f"note: {said}")

    return look


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
