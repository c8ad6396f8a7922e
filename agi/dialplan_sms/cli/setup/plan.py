"""From what is there and what was answered to the steps of setup, in their order."""

import os
import shlex
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dialplan_sms.cli.setup.answers import Answers
from dialplan_sms.cli.setup.dialplan import load_dialplan, put_include, report_merged
from dialplan_sms.cli.setup.host import AsteriskHost, Host, refuse
from dialplan_sms.cli.setup.remove import drop_copy, take_back
from dialplan_sms.cli.setup.service import put_unit, start_service
from dialplan_sms.cli.setup.sms_conf import put_sender
from dialplan_sms.cli.setup.steps import Action, StepState, Work, put_file, put_link
from dialplan_sms.host import files
from dialplan_sms.host.files import Ownership
from dialplan_sms.host.identity import RUN, WRITE, HostError, User, blocked, changer
from dialplan_sms.host.installation import (
    EXTENSIONS,
    another_python,
    first_line,
    shared_file,
    write_script,
)

_IMPORTS = "import dialplan_sms.cli.main, dialplan_sms.agi.script"


def refuse_program(host: Host, found: AsteriskHost) -> None:
    """Raise HostError if Asterisk's user cannot run this program, or another user can change it."""
    prefix, package = host.prefix, host.places.package
    refuse(
        (package / "bin/sms.agi").exists() and not host.packaged,
        f"the package has the program in {package}: run /usr/bin/dialplan-sms setup",
    )
    script, python = prefix / "bin/sms.agi", prefix / "bin/python3"
    again = another_python(prefix, "/usr/bin/python3")
    first_line(python)
    refuse(not script.is_file(), f"there is no {script}: {again}")
    user = changer(script) or changer(python)
    refuse(user, f"{user} can change the program in {prefix}, and root would run it: {again}")
    ran = host.ask_program(found.user, ["-c", _IMPORTS], 60) if host.is_root else None
    if ran is not None and ran.status:
        bar = blocked(python, RUN, found.user)
        why = bar.says if bar else ran.last_line
        raise HostError(f"{found.user.name} cannot run the program in {prefix}, {why}: {again}")


def steps(work: Work, found: AsteriskHost, answers: Answers | None) -> Iterator[Action]:
    """All steps, each of which looks when it is its turn."""
    prefix, places, outbox = work.host.prefix, work.host.places, found.spool / "sms"
    yield _put_first_line(prefix)
    yield put_link(work, found.agi_bin / "sms.agi", prefix / "bin/sms.agi")
    command = places.commands / "dialplan-sms"
    if work.host.packaged:
        yield take_back(work, command, "the package has its own")
    else:
        yield put_link(work, command, prefix / "bin/dialplan-sms", needed=False)
    yield make_outbox_folder(work, outbox, found.user)
    yield put_sender(found, answers)
    extensions = shared_file(EXTENSIONS).read_bytes()
    yield put_file(work, found.etc / EXTENSIONS, extensions, "[sub-sms]", "dialplan")
    yield put_include(work, found)
    yield report_merged(found.etc)
    yield load_dialplan(work, found)
    if found.systemd:
        yield from put_unit(work, found)
    yield start_service(work, found)
    copies = {path for path, _ in work.manifest.of("program")} | {places.prefix}
    for path in sorted(copies - {prefix}):
        yield drop_copy(work, path, found)


def _put_first_line(prefix: Path) -> Action:
    """The first line of sms.agi, which pip writes without its options."""
    script, python = prefix / "bin/sms.agi", prefix / "bin/python3"
    line = first_line(python)
    with script.open("rb") as file:
        if file.readline() == line.encode():
            return Action(script, None)
    write = partial(write_script, script, script, python)
    return Action(script, StepState.CHANGE, f"its first line: {line.strip()}", write)


def make_outbox_folder(work: Work, path: Path, user: User) -> Action:
    """The outbox's folder for *user*. One that is there is not given to another: its path is that
    user's, who could turn it to any file meanwhile.

    Raises HostError if something else is there, or a folder that *user* cannot write to.
    """
    about = "for the outbox"
    try:
        status = path.stat()
    except PermissionError:
        if work.host.is_root:
            raise
        return Action(path, StepState.NOTE, f"only root can look at it; {about}")
    except OSError:  # not there, below a file, or a link to nothing
        status = None
    if status is None or not stat.S_ISDIR(status.st_mode):
        first = next(each for each in (path, *path.parents) if os.path.lexists(each))
        refuse(
            not first.is_dir(),
            f"{first} is no folder, and one is needed {about}: move it away",
        )
        make = partial(files.make_folder, path, 0o750, Ownership(user.uid, user.gids[0]))
        return Action(path, StepState.MAKE, about, make, ours=(path, "folder", "made"))
    run = "chmod u+rwx" if status.st_uid == user.uid else f"chown -R {user.owner}"
    refuse(
        not user.may(status, WRITE | RUN),
        f"{user.owner} cannot write to {path}, the folder {about}: run {run}"
        f" {shlex.quote(str(path))}, then setup again",
    )
    return Action(path, StepState.THERE, about)
