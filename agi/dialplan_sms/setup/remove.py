"""``dialplan-sms setup --remove``: shows the way back, asks, and goes it."""

from pathlib import Path

import click

from dialplan_sms.setup import stays, surroundings, undo
from dialplan_sms.setup.consent import HALFWAY, confirm, interruptible
from dialplan_sms.setup.host import Host, SetupError
from dialplan_sms.setup.manifest import Manifest, alone
from dialplan_sms.setup.steps import Work


def remove(host: Host, conf: Path | None, yes: bool, dry_run: bool) -> None:
    """Take back all that the manifest tells of. Raises SetupError."""
    try:
        found = surroundings.look(host, conf)
    except SetupError as error:
        if conf is not None:
            raise
        click.echo(f"note: {error}")
        found = None
    if not (host.places.state / "setup.json").exists():
        if not dry_run:
            undo.forget(host.places.state)
        click.echo("nothing of setup is here")
        return
    _show(undo.make(found, Work(host, Manifest(host.places.state))))
    if dry_run:
        click.echo("dry run: nothing was changed")
        return
    confirm(host, yes)
    with interruptible(HALFWAY), alone(host.places.state):
        work = Work(host, Manifest(host.places.state))
        programs = stays.programs(work.manifest, host.places)  # the manifest forgets them
        for each in undo.make(found, work):
            if each.act and (said := each.act(work)):
                click.echo(said)
        undo.end(work)
    for line in stays.kept(found, programs):
        click.echo(line)


def _show(undoes: list[undo.Undo]) -> None:
    for each in undoes:
        if each.state is not None:
            about = f": {each.about}" if each.about else ""
            click.echo(f"  {each.state:7} {each.target}{about}")
