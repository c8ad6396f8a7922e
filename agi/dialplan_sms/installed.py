"""How a dialplan-sms was installed, and so what brings the packages that it lacks."""

from collections.abc import Sequence
from pathlib import Path

import dialplan_sms

DEBIAN = Path("/usr/lib/dialplan-sms")
"""Where the Debian package has it (debian/build.py: PREFIX)."""
_WHEEL = f"dialplan_sms-{dialplan_sms.__version__}-py3-none-any.whl[http,postgresql,sandbox]"
_PIPX = f"pipx install --force '{_WHEEL}'"


def cure(prefix: Path, extras: Sequence[str] = ()) -> str:
    """What to do where the program in *prefix* lacks packages, perhaps those of *extras*."""
    if prefix == DEBIAN:
        return "install the Debian package again, which has all: apt install ./dialplan-sms_*.deb"
    install = f"make install WITH={','.join(extras)}" if extras else "make install"
    if (prefix / "pipx_metadata.json").is_file():
        return f"run {_PIPX}"
    if (prefix / ".setup").is_file():  # a copy of the program that setup ran from
        return f"run {_PIPX}, then dialplan-sms setup again; or {install} in the source folder"
    if prefix.parent == _source() and (prefix.parent / "Makefile").is_file():
        return "in the source folder, run make venv"
    if (prefix / "pyvenv.cfg").is_file() and (prefix / "bin/sms.agi").is_file():
        return f"in the source folder, run {install}"
    return f"in the source folder, run {install}; or, installed with pipx, {_PIPX}"


def _source() -> Path:
    return Path(dialplan_sms.__file__).parents[2]
