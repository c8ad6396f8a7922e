"""``dialplan-sms setup --remove``: shows the way back, asks, and goes it."""

from collections.abc import Iterable
from pathlib import Path

import click

from dialplan_sms.cli.setup import stays, surroundings, undo
from dialplan_sms.cli.setup.consent import HALFWAY, confirm, interruptible
from dialplan_sms.cli.setup.host import Host
from dialplan_sms.cli.setup.manifest import Manifest, alone
from dialplan_sms.cli.setup.steps import Work
from dialplan_sms.host.identity import HostError
from dialplan_sms.host.terminal import plain


def remove(host: Host, conf: Path | None, yes: bool, dry_run: bool) -> None:
    """Take back all that the manifest tells of. Raises HostError."""
    try:
        found = surroundings.look(host, conf)
    except HostError as error:
        if conf is not None:
            raise
        click.echo(f"note: {error}")
        found = None
    if not (host.places.state / "setup.json").exists():
        if not dry_run:
            undo.forget(host.places.state)
        click.echo("nothing of setup is here")
        return
    manifest = Manifest(host.places.state)
    _show(undo.make(found, Work(host, manifest)))
    if dry_run:
        _tell(stays.kept(found, stays.programs(manifest, host.places)))
        click.echo("dry run: nothing was changed")
        return
    confirm(host, yes)
    with interruptible(HALFWAY), alone(host.places.state):
        work = Work(host, Manifest(host.places.state))
        programs = stays.programs(work.manifest, host.places)  # the manifest forgets them
        for each in undo.make(found, work):
            if each.act and (said := each.act(work)):
                click.echo(plain(said))
        undo.end(work)
    _tell(stays.kept(found, programs))


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(plain(line))


def _show(undoes: list[undo.Undo]) -> None:
    for each in undoes:
        if each.state is not None:
            about = f": {each.about}" if each.about else ""
            click.echo(plain(f"  {each.state:7} {each.target}{about}"))
