"""The command line: ``dialplan-sms COMMAND``; each command is a module that loads when it runs."""

import errno
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import click

from dialplan_sms import __version__
from dialplan_sms.config import config as smsconf
from dialplan_sms.config import values
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.terminal import clean_output, plain

_COMMANDS = {
    "check": "check.command",
    "migrate": "migrate.command",
    "outbox": "outbox.command",
    "sandbox": "sandbox",
    "send": "send.command",
    "serve": "serve",
    "setup": "setup.command",
    "status": "status",
    "user": "user",
    "worker": "serve",
}
"""The modules of the commands, beside this one; in each, its command has its own name."""


class _Commands(click.Group):
    def main(self, *args: Any, **more: Any) -> Any:
        """Run the program; what is wrong with the disk or the terminal is one line, too."""
        clean_output()
        try:
            try:
                return super().main(*args, **more)
            finally:
                if sys.stdout is not None:  # closed by who started this
                    sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # no second try at exit
            if error.errno != errno.EPIPE:  # else nobody reads any more
                where = f"{error.filename}: " if error.filename else ""
                click.echo(plain(f"Error: {where}{error.strerror or error}"), err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what ends it is one line, and nothing that it quotes begins another."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.message = plain(error.message)  # type: ignore[misc]
            raise
        except ConfigError as error:
            raise click.ClickException(plain(str(error))) from None
        except ImportError as error:
            command = ctx.invoked_subcommand
            raise click.ClickException(f"{command} {_need(command, error)}") from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        try:
            module = importlib.import_module(f"dialplan_sms.cli.{_COMMANDS[cmd_name]}")
        except ImportError as error:
            return _missing(cmd_name, error)
        return getattr(module, cmd_name)  # type: ignore[no-any-return]


def _need(command: str | None, error: ImportError) -> str:
    """Which package *command* needs, and how to install it."""
    from dialplan_sms.host.installation import cure

    how = cure(Path(sys.prefix), ["sandbox"] if command == "sandbox" else [])
    return f"needs the Python package {error.name}: {how}"


def _missing(command: str, error: ImportError) -> click.Command:
    """Stands in for a command that cannot be imported, in the list of commands and when it runs."""

    def explain(_: tuple[str, ...]) -> None:
        raise error

    return click.Command(
        command,
        callback=explain,
        params=[click.Argument(["_"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
        short_help=f"({_need(command, error)})",
    )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="dialplan-sms")
def main() -> None:
    """Send SMS from the Asterisk dialplan through the PBX's SMS API."""


config_option = click.option(
    "--config",
    type=click.Path(readable=False),  # the reader says better why it cannot read the file
    callback=lambda _, __, path: smsconf.find(path),
    help="sms.conf to use, in place of $DIALPLAN_SMS_CONF, $AST_CONFIG_DIR/sms.conf or"
    " /etc/asterisk/sms.conf.",
)
"""Every command that reads sms.conf takes it, and gets the Path of the file to read."""


class Misused(click.ClickException):
    """Wrong usage that one line explains better than the command's usage does."""

    exit_code = 2


@dataclass(eq=False)
class Value(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    """What *read* makes of a value. If it takes none, its ValueError or *wrong* says so."""

    name: str
    read: Callable[[str], Any]
    wrong: str = ""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.read(value)
        except (ValueError, values.Bad) as error:
            self.fail(self.wrong.format(value) or str(error), param, ctx)


@contextmanager
def interruptible(ask: Callable[[], None]) -> Iterator[None]:
    """In the block the first SIGINT, SIGTERM or SIGHUP calls *ask*, the next ends the block.

    That one raises KeyboardInterrupt. What is ignored stays so, as SIGHUP with nohup. For the main
    thread; *ask* must be safe between any two steps of the block, as ``SimpleQueue.put`` is.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]

    def first(_: int, __: FrameType | None) -> None:
        for number in heard:
            signal.signal(number, signal.default_int_handler)
        ask()

    before = {number: signal.signal(number, first) for number in heard}
    try:
        yield
    finally:
        for number, how in before.items():
            signal.signal(number, how)
