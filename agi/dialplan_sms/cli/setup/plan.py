"""The steps of setup, in their order, and those of the way back; what stays after that."""

import os
import shlex
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from dialplan_sms.cli.setup import dialplan
from dialplan_sms.cli.setup.answers import Answers
from dialplan_sms.cli.setup.host import AsteriskHost, Host, refuse
from dialplan_sms.cli.setup.pbx import prove
from dialplan_sms.cli.setup.service import put_unit, start_service
from dialplan_sms.cli.setup.sms_conf import put_sender
from dialplan_sms.cli.setup.steps import (
    Action,
    Step,
    StepState,
    Work,
    put_file,
    put_link,
    take_back,
)
from dialplan_sms.host import files, installation
from dialplan_sms.host.identity import RUN, WRITE, HostError, User, blocked, changer
from dialplan_sms.host.installation import EXTENSIONS, UNIT, first_line, is_copy, shared_file
from dialplan_sms.host.process import as_changer


def refuse_program(host: Host, found: AsteriskHost) -> None:
    """Raise HostError if Asterisk's user cannot run this program, or another user can change it."""
    prefix, package = host.prefix, host.places.package
    refuse(
        (package / "bin/sms.agi").exists() and not host.packaged,
        f"the package has the program in {package}: run /usr/bin/dialplan-sms setup",
    )
    script, python = prefix / "bin/sms.agi", prefix / "bin/python3"
    again = installation.another_python(prefix, "/usr/bin/python3")
    first_line(python)
    refuse(not script.is_file(), f"there is no {script}: {again}")
    user = changer(script) or changer(python)
    refuse(user, f"{user} can change the program in {prefix}, and root would run it: {again}")
    imports = "import dialplan_sms.cli.main, dialplan_sms.agi.script"
    if host.is_root and (ran := host.ask_program(found.user, ["-c", imports], 60)).status:
        bar = blocked(python, RUN, found.user)
        why = bar.says if bar else ran.last_line
        raise HostError(f"{found.user.name} cannot run the program in {prefix}, {why}: {again}")


def steps(work: Work, found: AsteriskHost, answers: Answers | None) -> Iterator[Step]:
    """All steps, each of which looks when it is its turn."""
    prefix, places, command = work.host.prefix, work.host.places, work.host.places.commands
    yield _put_first_line(prefix)
    yield put_link(work, found.agi_bin / "sms.agi", prefix / "bin/sms.agi")
    if work.host.packaged:
        yield take_back(work, command / "dialplan-sms", "the package has its own")
    else:
        yield put_link(work, command / "dialplan-sms", prefix / "bin/dialplan-sms", needed=False)
    yield make_outbox_folder(work, found.spool / "sms", found.user)
    yield put_sender(work, found, answers)
    yield put_file(
        work, found.etc / EXTENSIONS, shared_file(EXTENSIONS).read_bytes(), "[sub-sms]", "dialplan"
    )
    yield dialplan.put_include(work, found)
    yield dialplan.report_merged(work, found.etc)
    yield dialplan.load_dialplan(work, found)
    if found.systemd:
        yield from put_unit(work, found)
    yield start_service(work, found)
    for path in sorted({*work.manifest.of("program"), places.prefix} - {prefix}):
        yield drop_copy(work, path, found)
    yield prove(work, found, answers.sender if answers else "")


def _put_first_line(prefix: Path) -> Step:
    """The first line of sms.agi, which pip writes without its options."""
    script, python = prefix / "bin/sms.agi", prefix / "bin/python3"
    line = first_line(python)
    if script.read_bytes().startswith(line.encode()):
        yield Action(script, None)
    else:
        yield Action(script, StepState.CHANGE, f"its first line: {line.strip()}")
        installation.write_script(script, script, python)


def make_outbox_folder(work: Work, path: Path, user: User) -> Step:
    """The outbox's folder for *user*. Raises HostError if something else is there.

    One that is there is not given to another: its path is that user's, who could turn it to any
    file meanwhile.
    """
    about = "for the outbox"
    try:
        status = path.stat()
    except OSError as error:  # not there, below a file, or a link to nothing
        status = None
        if isinstance(error, PermissionError) and not work.host.is_root:
            yield Action(path, StepState.NOTE, f"only root can look at it; {about}")
            return
    if status is not None and stat.S_ISDIR(status.st_mode):
        run = "chmod u+rwx" if status.st_uid == user.uid else f"chown -R {user.owner}"
        refuse(
            not user.may(status, WRITE | RUN),
            f"{user.owner} cannot write to {path}, the folder {about}: run {run}"
            f" {shlex.quote(str(path))}, then setup again",
        )
        yield Action(path, StepState.THERE, about)
    else:
        first = next(each for each in (path, *path.parents) if os.path.lexists(each))
        refuse(not first.is_dir(), f"{first} is no folder, and one is needed {about}: move it away")
        yield Action(path, StepState.MAKE, about, ours=(path, "folder", "made"))
        files.make_folder(path, 0o750, files.Ownership(user.uid, user.gids[0]))


def steps_back(work: Work, found: AsteriskHost | None) -> Iterator[Step]:
    """The way back, in its order: what is used first, the folders last."""
    etc = found.etc if found else None
    ways: dict[str, Callable[[Path], Step]] = {
        "service": lambda path: _run(
            work, "the service", path, "systemctl", "disable", "--now", UNIT
        ),
        "include": lambda path: dialplan.take_out_include(work, path, etc),
        "file": lambda path: dialplan.take_back_file(work, path, etc),
        "link": lambda path: take_back(work, path),
        "folder": lambda path: _remove_folder(work, path),
        "program": lambda path: _remove_copy(work, path, StepState.REMOVE, "the program"),
    }
    for kind, way in ways.items():
        yield from map(way, work.manifest.of(kind))
    if found and found.answers:
        yield _run(work, "the dialplan", None, *found.console, "dialplan reload")


def _run(work: Work, target: str, path: Path | None, *command: str) -> Step:
    """A command of the way back, and what that takes back."""
    about = " ".join(command) if path else command[-1]
    yield Action(target, StepState.RUN, about)
    done = work.host.run([*command], 100, None)
    if done.status:
        work.say(f"warning: {about}: {done.last_line}")
    if path:
        del work.manifest.entries[path]


def _remove_folder(work: Work, path: Path) -> Step:
    """A folder that setup has made goes, if it is empty."""
    is_empty = path.is_dir() and not any(path.iterdir())
    yield Action(path, StepState.REMOVE if is_empty else None)
    files.remove_folder(path)
    del work.manifest.entries[path]


def _remove_copy(work: Work, path: Path, state: StepState | None, about: str = "") -> Step:
    """A copy of the program that setup of 0.1.0 made goes: all at once by its name."""

    def remove() -> None:
        old = path.with_name(f".{path.name}.old")
        with suppress(FileNotFoundError):  # of a run that was ended
            os.rename(path, old)
        shutil.rmtree(old, ignore_errors=True)

    if path.exists() and not is_copy(path):
        yield Action(path, StepState.KEEP, "it is not the one that setup has put there, and stays")
    else:
        yield Action(path, state, about)
        as_changer(path, remove)
    work.manifest.entries.pop(path, None)


def drop_copy(work: Work, path: Path, found: AsteriskHost) -> Step:
    """A copy of the program that setup of 0.1.0 made goes once nothing uses it any more."""
    prefix, units = work.host.prefix, work.host.places.units
    if not is_copy(path):
        is_ended = path in work.manifest.entries and not path.exists()
        yield from _remove_copy(work, path, None) if is_ended else [Action(path, None)]
        return
    candidates = [*found.etc.rglob("*.conf"), units / UNIT, *units.glob(f"{UNIT}.d/*.conf")]
    naming = _naming(candidates, os.fsencode(path) + b"/")
    users = [str(each) for each in naming if not work.manifest.is_ours(each)]
    if users or not found.systemd:
        why = f"{', '.join(users)} names it" if users else "a supervisor may run the service of it"
        said = (
            f"{path} is an earlier setup's copy of the program and stays, since {why}: put"
            f" {prefix} there, then rm -r {shlex.quote(str(path))} deletes it"
        )
        yield Action(path, StepState.NOTE, said)
        work.say(f"note: {said}")
    elif work.failed:
        yield Action(path, StepState.KEEP)
        work.say(f"{path}, an earlier copy of the program, stays until all is well")
    else:
        about = f"an earlier setup's copy of the program, which is in {prefix} now"
        yield from _remove_copy(work, path, StepState.REMOVE, about)


def kept(found: AsteriskHost | None, host: Host) -> Iterator[str]:
    """What stays, how to delete it, and who still uses what is gone."""
    if found:
        for path in filter(Path.exists, (found.etc / "sms.conf", found.spool / "sms")):
            yield f"kept: {path}"
        # Of setup, which keeps no digest of what holds a password, and of migrate.
        beside = (found.etc / "sms.conf.new", *sorted(found.etc.glob("*.before-dialplan-sms*")))
        for path in filter(Path.is_file, beside):
            delete = f"rm {shlex.quote(str(path))}"
            yield f"kept: {path}, which may hold a password: {delete} deletes it"
    if not host.packaged and (host.prefix / "bin/sms.agi").is_file():
        delete = f"rm -r {shlex.quote(str(host.prefix))}"
        if installation.is_pipx(host.prefix):
            delete = f"{installation.PIPX} uninstall dialplan-sms"
        yield f"kept: {host.prefix}, the program: {delete} deletes it"
    theirs = {*found.etc.glob("extensions*.conf")} - {found.etc / EXTENSIONS} if found else ()
    if users := ", ".join(map(str, _naming(theirs, b"(sub-sms", b"(sms.agi"))):
        yield f"calls that still use sub-sms or sms.agi: see {users}"


def _naming(paths: Iterable[Path], *words: bytes) -> Iterator[Path]:
    """The files that have one of *words*."""
    for path in sorted(paths):
        with suppress(OSError, HostError):
            content = files.content_of(path) or b""
            if any(word in content for word in words):
                yield path
