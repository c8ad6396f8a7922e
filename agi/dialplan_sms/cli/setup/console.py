"""The console of the Asterisk that runs: which program it is, and what it tells of its folders."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from dialplan_sms.cli.setup.host import Host
from dialplan_sms.host.asterisk import Process
from dialplan_sms.host.identity import HostError, changers

_SETTING = re.compile(
    r"^\s*(Configuration|Spool|Log|AGI Scripts) directory:[ \t]*(/.*?)\s*$", re.MULTILINE
)
_NAMES = {
    "Configuration": "astetcdir",
    "Spool": "astspooldir",
    "Log": "astlogdir",
    "AGI Scripts": "astagidir",
}


def command(host: Host, conf: Path, process: Process | None) -> tuple[str, ...]:
    """The command that takes one line of the command line of *process*; empty where there is none.

    It is that Asterisk's own program: another one, built for other folders, would connect to the
    Asterisk that runs there. Unless others than root can change it, since root would run that.
    """
    program = shutil.which("asterisk", path=host.places.path)
    if process is not None and process.program is not None:
        with suppress(HostError):
            if not changers(process.program):
                program = str(process.program)
    return (program, "-C", str(conf), "-rx") if program else ()


def folders(output: str) -> dict[str, str]:
    """What ``core show settings`` tells of folders, by the names that asterisk.conf has."""
    return {_NAMES[found[1]]: found[2] for found in _SETTING.finditer(output)}


def refuse_another(told: str | None, conf: Path, etc: Path) -> None:
    """Raise HostError where the Asterisk that answers has *told* of a folder that is not that of
    *conf*, nor the *etc* it names: it is another one, and so are all its folders."""
    if told and os.path.realpath(told) not in map(os.path.realpath, (etc, conf.parent)):
        raise HostError(
            f"asked with {conf}, an Asterisk answers with the folder {told}, not {etc}: start the"
            f" one that is meant, with astetcdir => {etc} below [directories] of that file, or name"
            " the file of the one that answers with --asterisk-conf"
        )
