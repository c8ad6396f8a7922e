"""How a dialplan-sms was installed, and so what brings the packages that it lacks."""

from collections.abc import Sequence
from pathlib import Path

import dialplan_sms

DEBIAN = Path("/usr/lib/dialplan-sms")
"""Where the Debian package has it (debian/build.py: PREFIX)."""
_WHEEL = f"dialplan_sms-{dialplan_sms.__version__}-py3-none-any.whl[http,postgresql,sandbox]"
_PIPX = f"pipx install --force './{_WHEEL}'"
_APT = "apt install --reinstall ./dialplan-sms_*.deb"


def cure(prefix: Path, extras: Sequence[str] = ()) -> str:
    """What to do where the program in *prefix* lacks packages, perhaps those of *extras*."""
    if prefix == DEBIAN:
        return f"install the Debian package again, which has all: {_APT}"
    install = f"make install WITH={','.join(extras)}" if extras else "make install"
    if (prefix / "pipx_metadata.json").is_file():
        return f"run {_PIPX}"
    if (prefix / ".setup").is_file():  # a copy of the program that setup ran from
        return f"run {_PIPX}, then dialplan-sms setup again; or {install} in the source folder"
    if _is_of_the_source(prefix):
        return "in the source folder, run make venv"
    if _is_of_make_install(prefix):
        return f"in the source folder, run {install}"
    return f"in the source folder, run {install}; or, installed with pipx, {_PIPX}"


def put_in_place(prefix: Path, variables: str) -> str:
    """What brings sms.agi and extensions-sms.conf to Asterisk; *variables* are those of make."""
    if _is_of_the_source(prefix) or _is_of_make_install(prefix):
        return f"in the source folder, run make install {variables}"
    return "run dialplan-sms setup"


def another_python(prefix: Path, python: str) -> str:
    """What makes *python* run the program in *prefix*, in place of one that cannot."""
    if prefix == DEBIAN:
        return cure(prefix)
    if (prefix / "pipx_metadata.json").is_file():
        return f"run {_PIPX} --python {python}"
    if (prefix / ".setup").is_file():
        return f"run {_PIPX} --python {python}, then dialplan-sms setup again"
    return f"in the source folder, run umask 022; make install PYTHON={python}"


def _is_of_the_source(prefix: Path) -> bool:
    return prefix.parent == _source() and (prefix.parent / "Makefile").is_file()


def _is_of_make_install(prefix: Path) -> bool:
    mine = (prefix / "pyvenv.cfg").is_file() and (prefix / "bin/sms.agi").is_file()
    kinds = ("pipx_metadata.json", ".setup")
    return mine and prefix != DEBIAN and not any((prefix / kind).is_file() for kind in kinds)


def _source() -> Path:
    return Path(dialplan_sms.__file__).parents[2]
