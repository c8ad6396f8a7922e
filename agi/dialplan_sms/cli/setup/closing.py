"""What setup does once all is in its place: tries it, and says how to go on."""

import shlex
from pathlib import Path

import click

from dialplan_sms.cli.setup import probe
from dialplan_sms.cli.setup.steps import Work
from dialplan_sms.cli.setup.surroundings import Surroundings
from dialplan_sms.host.terminal import plain

_READ = """\
import sys
from pathlib import Path
from dialplan_sms.config import config, parser
try:
    config.load(Path(sys.argv[1]))
except parser.ConfigError as error:
    sys.exit(str(error))
"""
_PROBE_TIME = 40.0
"""Seconds: the probe gives name, connection and answer their own time, 15 in all."""
_USUAL = Path("/etc/asterisk")


def close(found: Surroundings, prefix: Path, sender: str, work: Work) -> None:
    """Try sms.conf and the PBX with *sender*, the default one where that is empty."""
    if _try_as_asterisk(found, prefix, work):
        _ask_pbx(found, prefix, sender, work)
    for line in last_words(found, prefix, failed=work.failed):
        click.echo(line)


def _try_as_asterisk(found: Surroundings, prefix: Path, work: Work) -> bool:
    """Whether Asterisk's user can read sms.conf with the program that is there now."""
    command = [str(prefix / "bin/python3"), "-I", "-c", _READ, str(found.etc / "sms.conf")]
    done = work.host.run_as(found.uid, found.gid, command, 60)
    if done.status:
        work.failed = True
        click.echo(f"{found.user} cannot use sms.conf: {done.last_line}")
    return done.status == 0


def _ask_pbx(found: Surroundings, prefix: Path, sender: str, work: Work) -> None:
    """Whether the PBX accepts *sender*, asked from here as calls will."""
    conf = found.etc / "sms.conf"
    command = [str(prefix / "bin/python3"), "-I", "-m", probe.__name__, str(conf), sender]
    done = work.host.run_as(found.uid, found.gid, command, _PROBE_TIME)
    try:
        answer = probe.read("" if done.status else done.last_line)
    except ValueError:
        why = f" ({done.last_line})" if done.status else ""
        click.echo(f"warning: the PBX was not asked{why}: run dialplan-sms check")
        return
    if answer is None:
        click.echo(
            "note: the PBX was not asked, since sms.conf has several senders and no"
            " default_sender: run dialplan-sms check"
        )
        return
    reload = ", then systemctl reload dialplan-sms" if found.systemd else ""
    said, good = probe.sentence(answer, conf, reload)
    click.echo(plain(said))
    work.failed |= not good


def last_words(found: Surroundings, prefix: Path, failed: bool) -> list[str]:
    """How to send a first SMS, where nothing has *failed*; where the commands find sms.conf."""
    lines = []
    command = "dialplan-sms send"
    if found.etc != _USUAL:
        words = [f"{prefix}/bin/dialplan-sms", "send", "--config", f"{found.etc}/sms.conf"]
        command = shlex.join(words)
        lines.append(
            f"Every command looks in {_USUAL}: run export"
            f" AST_CONFIG_DIR={shlex.quote(str(found.etc))} first (and put it into /root/.profile)"
        )
    if failed:
        return lines
    user = f"runuser -u {found.user} -- " if found.uid else ""
    lines.append(
        "\nSend a first SMS, to a number of your own:\n"
        f'  echo "Hello from the PBX" | {user}{command} +39333123456\n'
        "In the dialplan: Gosub(sub-sms,s,1(+39333123456,TEXT)), TEXT being the name of the"
        f" variable\nthat holds the text; examples: {prefix}/share/dialplan-sms/README.md"
    )
    return lines
