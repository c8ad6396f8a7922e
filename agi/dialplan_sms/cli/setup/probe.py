"""The end of setup: Asterisk's user reads sms.conf, and the PBX accepts the sender.

The PBX is asked as ``check`` asks it, without a number, so that nothing is sent; by a program of
its own, run by the user that will send.
"""

import json
import sys
from pathlib import Path

import click

from dialplan_sms.cli.check import CheckState, Finding
from dialplan_sms.cli.setup.host import AsteriskHost
from dialplan_sms.cli.setup.steps import Work
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.identity import current
from dialplan_sms.host.terminal import plain

_PATIENCE = 60.0
"""Seconds: ``check`` gives name, connection and answer their own time, 15 in all."""


def prove(found: AsteriskHost, sender: str, work: Work) -> None:
    """Try sms.conf and the PBX with *sender*, the default one if that is empty."""
    command = ["-m", __name__, str(found.etc / "sms.conf"), sender]
    command += ["systemd"] if found.systemd else []
    done = work.host.ask_program(found.user, command, _PATIENCE)
    try:
        said, good = json.loads(done.last_line)
    except (ValueError, TypeError):
        why = f" ({done.last_line})" if done.status else ""
        said, good = f"warning: the PBX was not asked{why}: run dialplan-sms check", True
    click.echo(plain(str(said)))
    work.failed |= not good


def ask(conf: Path, name: str, systemd: str = "") -> tuple[str, bool]:
    """A line on that sender, on the default one if *name* is empty, and whether SMS can go out."""
    from dialplan_sms.cli.check.pbx import PbxCheck  # only here: setup itself asks nothing

    try:
        sender = smsconf.load(conf).sender(name)
    except ConfigError as error:
        return f"{current().name} cannot use sms.conf: {error}", False
    if sender is None:
        return (
            "note: the PBX was not asked, since sms.conf has several senders and no"
            " default_sender: run dialplan-sms check"
        ), True
    findings = list(PbxCheck([sender]).check())
    found = next(each for each in findings if each.name == "credentials")
    if found.state is CheckState.SKIPPED:  # it was not asked: the first that is wrong says why
        found = next((each for each in findings if each.state is CheckState.WRONG), found)
    reload = ", then systemctl reload dialplan-sms" if systemd else ""
    return sentence(sender, found, f"{conf}{reload}")


def sentence(sender: Sender, found: Finding, conf: str) -> tuple[str, bool]:
    """One line on what ``check`` has *found*, and whether SMS can go out.

    *conf* is sms.conf, and what puts a change of it in force.
    """
    cure = f": {found.do}" if found.do else ""
    match found.name, found.state:
        case "credentials", CheckState.OK:
            return f"the PBX accepts {sender.name}", True
        case "credentials", CheckState.WRONG:
            key, what = ("token", "the token") if sender.token else ("password", "user or password")
            wrong = f"the PBX refuses {what} of [{sender.name}]"
            return f"{wrong}: correct {key} in {conf}", False
        case (("name" | "connection"), _):
            asked = f"warning: the PBX could not be asked whether it accepts {sender.name}"
            return f"{asked}, {found.says}{cure}; then run dialplan-sms check", True
        case _, CheckState.WRONG:
            return f"no SMS of {sender.name} can be sent, {found.name}: {found.says}{cure}", False
    return f"warning: {found.says}{cure}", True


if __name__ == "__main__":
    print(json.dumps(ask(Path(sys.argv[1]), *sys.argv[2:])))
