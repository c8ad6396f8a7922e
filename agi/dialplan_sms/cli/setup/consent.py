"""The person at the terminal: who agrees, and who presses Ctrl-C."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from dialplan_sms.cli.setup.host import Host
from dialplan_sms.host.identity import HostError

UNTOUCHED = "nothing was changed"
HALFWAY = "interrupted: run it again, it goes on from here"
_INTERRUPTED = 130
"""The exit status of what Ctrl-C has ended: 128 and SIGINT."""


def confirm(host: Host, yes: bool) -> None:
    """Ask before the changes. Raises HostError where the answer is no."""
    if yes:
        return
    if not host.interactive:
        raise HostError(f"{UNTOUCHED}: give --yes to do this without being asked")
    if not click.confirm("Do this?", default=True):
        raise HostError(UNTOUCHED)


@contextmanager
def interruptible(says: str) -> Iterator[None]:
    """Where Ctrl-C ends what is within, *says* what that means."""
    try:
        yield
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"\n{says}", err=True)
        raise SystemExit(_INTERRUPTED) from None
