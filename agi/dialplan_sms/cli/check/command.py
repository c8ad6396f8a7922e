"""``dialplan-sms check``: the command."""

import sys
from pathlib import Path
from typing import Any

import click

from dialplan_sms.cli.check import show
from dialplan_sms.cli.check.finding import exit_status
from dialplan_sms.cli.check.inspect import CannotCheck, inspect
from dialplan_sms.cli.main import config_option
from dialplan_sms.config import config as smsconf
from dialplan_sms.host.identity import named


class _Plugin(click.Command):
    """Wrong usage has an exit status of its own: 2 is "something is wrong"."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*args, **options)
        except click.UsageError as error:
            raise CannotCheck(error.format_message(), error.ctx) from None


@click.command(cls=_Plugin, short_help="Find what is wrong and say what to do.")
@config_option
@click.option("--user", "name", help="Whose rights to judge, in place of Asterisk's user.")
@click.option("--json", "as_json", is_flag=True, help="The lines as JSON.")
def check(config: Path | None, name: str | None, as_json: bool) -> None:
    """Find what is wrong, and say what to do: files, PBX, outbox, service, Asterisk.

    No SMS is sent. What only follows from another line is not looked at. Run it as root or as
    Asterisk's user; Asterisk's folder is $AST_CONFIG_DIR or /etc/asterisk.

    Exit status: 0 all is well, 1 a warning, 2 something is wrong, 3 cannot be checked.
    """
    user = named(name) if name is not None else None
    if name is not None and user is None:
        raise CannotCheck(f"--user: there is no user {name}")
    path = smsconf.find(str(config) if config else None).absolute()
    found = show.without_secrets(*inspect(path, user))
    if as_json:
        click.echo(show.as_json(found))
    elif sys.stdout is not None:  # closed: who runs this wants the exit status alone
        show.show(found, sys.stdout)
    raise SystemExit(exit_status(found))
