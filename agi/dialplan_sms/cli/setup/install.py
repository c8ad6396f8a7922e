"""``make install``: the source as a program in a folder of its own, and its files for Asterisk.

By the Python that is to run the program, from the source and with the standard library alone. The
settings are make's variables, in the environment.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path

from dialplan_sms.cli.setup.host import Host, Places, refuse
from dialplan_sms.cli.setup.steps import Manifest, StepState, Work, put_file, put_link
from dialplan_sms.host import files, installation
from dialplan_sms.host.identity import RUN, HostError, User, blocked
from dialplan_sms.host.installation import EXTENSIONS, source
from dialplan_sms.host.process import run

# Asterisk's user is another one than root, so what it has to run is tried as nobody.
_OTHERS = User("other users", 65534, (65534,))


def install(given: Mapping[str, str]) -> None:
    """Install as *given*. Raises HostError; if that is wrong, before anything is changed."""
    extras = given.get("WITH", "").replace(",", " ").split()
    agi_bin = given.get("AGI_BIN") or next(filter(os.path.isdir, map(str, Places().agi_bins)), "")
    etc = given.get("ASTERISK_ETC", "/etc/asterisk")
    refuse(not agi_bin, "no agi-bin folder: run make install AGI_BIN=<folder>")
    refuse(not os.path.isdir(agi_bin), f"AGI_BIN={agi_bin} is no folder: give Asterisk's agi-bin")
    refuse(not os.path.isdir(etc), f"no {etc}: run make install ASTERISK_ETC=<folder>")
    prefix = _prefix(given.get("PREFIX", str(Places().prefix)))
    python = given.get("PYTHON") or sys.executable
    setup = ConfigParser()
    setup.read(source() / "setup.cfg")
    allowed = setup["options.extras_require"]
    wrong = " ".join(extra for extra in extras if extra not in allowed)
    refuse(wrong, f"WITH={wrong} is no extra, allowed: {' '.join(allowed)}")
    work = Work(Host(prefix=prefix), Manifest(None))
    path = Path(os.path.abspath(agi_bin), "sms.agi")
    dialplan = Path(os.path.abspath(etc), EXTENSIONS)
    refuse(
        next(put_link(work, path, prefix / "bin/sms.agi")).state is StepState.KEEP,
        f"{path} is not from make install: run mv {path} {path}.old, and make install again",
    )
    if os.geteuid() == 0:
        _refuse_closed(prefix, python)
    # What the last make install put into Asterisk's folder is still in PREFIX.
    if earlier := files.content_of(prefix / "share/dialplan-sms" / EXTENSIONS):
        work.manifest.note(dialplan, "file", files.digest(earlier))

    print(f"installing into {prefix} ...", flush=True)
    os.umask(0o022)
    _make(prefix, python, extras)
    extensions = installation.shared_file(EXTENSIONS).read_bytes()
    work.do(put_file(work, dialplan, extensions, "[sub-sms]", "dialplan"))
    work.do(put_link(work, path, prefix / "bin/sms.agi"))


def _prefix(text: str) -> Path:
    refuse(
        len(text.split()) != 1,
        f"PREFIX={text} must be one folder without a space: run make install PREFIX=<that>",
    )
    prefix = Path(os.path.abspath(text))
    for path in (prefix, *prefix.parents):
        refuse(
            os.path.lexists(path) and not os.path.isdir(path), f"PREFIX={text}: {path} is no folder"
        )
    try:
        installation.first_line(prefix / "bin/python3")
    except HostError:
        raise HostError(
            f"PREFIX={text} is longer than the first line of a script may be: give a shorter one"
        ) from None
    refuse(
        (prefix / "bin").exists() and not (prefix / "pyvenv.cfg").exists(),
        f"PREFIX={text} has other programs: give a folder for dialplan-sms alone",
    )
    return prefix


def _refuse_closed(prefix: Path, python: str) -> None:
    """Raise HostError if others than root cannot enter *prefix* or run *python*."""
    program = Path(os.path.realpath(sys.executable))
    for name, path in (("PREFIX", prefix), ("PYTHON", program)):
        bar = blocked(path, RUN, _OTHERS)
        refuse(
            bar and not bar.missing,
            f"other users cannot enter {bar and bar.path}: chmod o+x it, or give {name} elsewhere",
        )
    # Some containers let root become no other user: then it cannot be tried.
    fails = run([str(program), "-c", ""], 60, _OTHERS).status
    refuse(
        fails and not run(["true"], 60, _OTHERS).status,
        f"other users cannot run {program}, of PYTHON={python}: give another PYTHON",
    )


def _make(prefix: Path, python: str, extras: list[str]) -> None:
    """The virtual environment with the program, and the script that Asterisk starts."""
    top = source()
    shutil.rmtree(top / "build", ignore_errors=True)  # else a deleted module would be installed
    for path in (prefix / "bin").glob("python*"):  # of a virtual environment, as _prefix() sees to
        path.unlink()  # else an earlier interpreter would stay
    (prefix / installation.COPY_MARK).unlink(missing_ok=True)
    ours = str(prefix / "bin/python3")
    what = f".[{','.join(extras)}]" if extras else "."
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in (
        [python, "-m", "venv", str(prefix)],
        [ours, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", what],
    ):
        status = subprocess.call(command, cwd=top, env=environment)  # noqa: S603
        refuse(status, f"{' '.join(command)} failed, exit status {status}")
    installation.write_script(prefix / "bin/sms.agi", prefix / "bin/sms.agi", Path(ours))
    shutil.rmtree(top / "build", ignore_errors=True)


def main() -> None:
    """Install as make's variables say; what is wrong is said in one line."""
    try:
        install(os.environ)
        return
    except HostError as error:
        print(error)
    except PermissionError as error:
        print(f"{error.filename}: {error.strerror}: run make install as root")
    sys.exit(1)


if __name__ == "__main__":
    main()
