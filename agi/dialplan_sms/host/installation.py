"""How a dialplan-sms was installed: where its files are, what brings what it lacks, its sms.agi.

``python -m dialplan_sms.host.installation FILE`` writes sms.agi to FILE. An installer of wheels
makes a script's first line a bare interpreter; with ``-IS`` (isolated, no site) the script starts
in a third less time, so that line is written here.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import dialplan_sms
from dialplan_sms.host.identity import HostError, User, refuse

DEBIAN = Path("/usr/lib/dialplan-sms")  # debian/build.py: PREFIX
PIPX = "PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx"
"""pipx as root, in a folder that every user may enter."""
EXTENSIONS, UNIT = "extensions-sms.conf", "dialplan-sms.service"
"""What comes with the program and goes elsewhere."""
COPY_MARK = ".setup"
"""Only setup of 0.1.0 made this file: it copied the program that it ran from to another folder."""
_PIPX_INSTALL = (
    f"{PIPX} install --force './dialplan_sms-{dialplan_sms.__version__}-py3-none-any.whl"
    "[http,postgresql,sandbox]'"
)


def cure(prefix: Path, extras: Sequence[str] = ()) -> str:
    """What to do if the program in *prefix* lacks packages, perhaps those of *extras*."""
    wanted = f" WITH={','.join(extras)}" if extras else ""
    install = f"in the source folder, run make install{wanted}"
    cures = {
        "debian": "install the Debian package again, which has all:"
        " apt install --reinstall ./dialplan-sms_*.deb",
        "pipx": f"run {_PIPX_INSTALL}",
        "copy": "run dialplan-sms setup",
        "source": "in the source folder, run make venv",
        "make": install,
    }
    return cures.get(_way(prefix), f"{install}; or, installed with pipx, {_PIPX_INSTALL}")


def put_in_place(prefix: Path, variables: str) -> str:
    """What brings sms.agi and extensions-sms.conf to Asterisk; *variables* are those of make."""
    install = f"in the source folder, run make install {variables}"
    return install if _way(prefix) in ("source", "make") else "run dialplan-sms setup"


def another_python(prefix: Path, python: str) -> str:
    """What makes *python* run the program in *prefix*, in place of one that cannot."""
    cures = dict.fromkeys(("debian", "copy"), cure(prefix))
    cures["pipx"] = f"run {_PIPX_INSTALL} --python {python}"
    install = f"in the source folder, run umask 022; make install PYTHON={python}"
    return cures.get(_way(prefix), install)


def make_run_folder(path: Path, user: User) -> str:
    """The command that makes the folder of the service's socket, as the unit does."""
    return shlex.join(
        ["install", "-d", "-o", user.owner, "-g", user.group, "-m", "0750", str(path)]
    )


def is_pipx(prefix: Path) -> bool:
    """Whether pipx has installed the program in *prefix*."""
    return (prefix / "pipx_metadata.json").is_file()


def is_copy(prefix: Path) -> bool:
    """Whether setup of 0.1.0 has copied the program to *prefix*."""
    return (prefix / COPY_MARK).is_file()


def _way(prefix: Path) -> str:
    """How the program in *prefix* was installed; empty if that is not known."""
    ways = {
        "debian": prefix == DEBIAN,
        "pipx": is_pipx(prefix),
        "copy": is_copy(prefix),
        "source": prefix.parent == source() and (prefix.parent / "Makefile").is_file(),
        "make": (prefix / "pyvenv.cfg").is_file() and (prefix / "bin/sms.agi").is_file(),
    }
    return next((way for way, is_so in ways.items() if is_so), "")


def source() -> Path:
    """The source folder, if the program runs from there."""
    return Path(dialplan_sms.__file__).parents[2]


def shared_file(name: str) -> Path:
    """The program's own extensions-sms.conf or unit. Raises HostError."""
    top, share = source(), Path(sys.prefix) / "share/dialplan-sms"  # setup.cfg: data_files
    # The source folder's are always as new as the code.
    of_source = (top / "setup.cfg").is_file()
    for folder in (top / "dialplan", top / "systemd") if of_source else (share,):
        if (folder / name).is_file():
            return folder / name
    raise HostError(f"{name} did not come with this installation: install dialplan-sms again")


def first_line(python: Path) -> str:
    """The first line of an sms.agi that *python* runs. Raises HostError if none can name it."""
    line = f"#!{python} -IS\n"
    # Linux before 5.1 takes 127 bytes (fs/binfmt_script.c).
    is_unfit = len(line.encode()) > 128 or any(map(str.isspace, str(python)))
    refuse(is_unfit, f"{python}: too long or with a space: install into a shorter path")
    return line


def write_script(source: Path, target: Path, python: Path) -> None:
    """Write the script *source* to *target*, to be run by *python*. Raises HostError."""
    body = source.read_text(encoding="utf-8").partition("\n")[2]
    fresh = target.with_name(f".{target.name}.new")
    fresh.write_text(first_line(python) + body, encoding="utf-8")
    fresh.chmod(0o755)
    fresh.replace(target)  # a call that starts meanwhile finds the old one or the new one


if __name__ == "__main__":
    bin_ = Path(sys.prefix) / "bin"
    try:
        write_script(bin_ / "sms.agi", Path(sys.argv[1]), bin_ / "python3")
    except (OSError, HostError) as error:
        sys.exit(f"sms.agi was not installed: {error}")
