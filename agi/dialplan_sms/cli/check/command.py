"""``dialplan-sms check``: the command, and all that it looks at, at the same time."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import click

from dialplan_sms.cli.check import asterisk, conf, finding, outbox, pbx, program, service
from dialplan_sms.cli.check.finding import Finding
from dialplan_sms.cli.main import config_option
from dialplan_sms.config.config import Config
from dialplan_sms.host.identity import READ, User, blocked, current, named
from dialplan_sms.host.process import PATH, Run, run
from dialplan_sms.routes.pbx import CONNECT_TIME

_LONGEST = 15.0
"""Seconds after which what has not ended is given up."""
_SOCKET = "/run/dialplan-sms/agi.sock"
_OF_CONF = (
    conf.LOG, *pbx.LINES, outbox.DISK, outbox.OUTBOX,
    service.SERVICE, service.SOCKET, service.FASTAGI,
)  # fmt: skip
Part = Callable[[], Iterable[Finding]]


class CannotCheck(click.UsageError):
    """Who runs this sees too little, or has called it wrongly; the text says what to do."""

    exit_code = 3
    """What monitoring takes for "cannot be checked"."""


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
def check(config: Path, name: str | None, as_json: bool) -> None:
    """Find what is wrong, and say what to do: files, PBX, outbox, service, Asterisk.

    No SMS is sent. What only follows from another line is not looked at. Run it as root or as
    Asterisk's user; Asterisk's folder is $AST_CONFIG_DIR or /etc/asterisk.

    Exit status: 0 all is well, 1 a warning, 2 something is wrong, 3 cannot be checked.
    """
    user = named(name) if name is not None else None
    if name is not None and user is None:
        raise CannotCheck(f"--user: there is no user {name}")
    found = finding.without_secrets(*inspect(config.absolute(), user))
    if as_json:
        click.echo(finding.as_json(found))
    elif sys.stdout is not None:  # closed: who runs this wants the exit status alone
        finding.show(found, sys.stdout)
    raise SystemExit(finding.exit_status(found))


def inspect(
    path: Path, user: User | None = None, environ: Mapping[str, str] = os.environ, run: Run = run,
    proc: Path = Path("/proc"), connect_time: float = CONNECT_TIME,
) -> tuple[list[Finding], Config | None]:  # fmt: skip
    """What was found, causes only, and the configuration if there is one.

    *path* is that of sms.conf, *user* whose rights are looked at, in place of Asterisk's user.
    Raises CannotCheck.
    """
    etc = Path(environ.get("AST_CONFIG_DIR") or "/etc/asterisk").absolute()
    host = asterisk.Asterisk(etc, run, proc, environ.get("PATH") or PATH)
    unit = service.ask_unit(run)
    candidates = (
        (user, "as --user says"),
        (host.process and host.process.user, "as Asterisk runs"),
        (named(unit.get("User", "")), "as the service's unit says"),
        (named("asterisk"), "since there is that user"),
    )
    nobody = (current(), "who runs this check: --user names another")
    who, why = next(((each, why) for each, why in candidates if each), nobody)
    me = current()
    if me.uid not in (0, who.uid) and (bar := blocked(path, READ, me)) and not bar.missing:
        raise CannotCheck(f"{bar.says}: run this as root or as {who.name}")
    loaded = conf.load(path)
    config = loaded if isinstance(loaded, Config) else None
    http = config.http if config else None
    parts: dict[str, Part] = {
        program.SCRIPT.name: lambda: program.check(host, who, run, config),
        conf.CONF.name: lambda: [conf.check(path, loaded, who)],
    }
    if config is None:
        parts[""] = lambda: [replace(line, needs=(conf.CONF.name,)) for line in _OF_CONF]
    else:
        socket = Path(environ.get("DIALPLAN_SMS_SOCKET") or _SOCKET)
        parts |= {
            conf.LOG.name: lambda: [conf.check_log(config, who)],
            **{f"name {one.of}": one.check for one in pbx.each(config, connect_time)},
            outbox.OUTBOX.name: lambda: outbox.check(config.outbox, who),
            service.SERVICE.name: lambda: service.check(config, unit, socket, who),
            service.HTTP.name: lambda: service.check_http(config),
        }
    ports = {port for _, port in http.listen} if http else set()
    parts[asterisk.ASTERISK.name] = lambda: asterisk.check(host, who, ports)
    found = [Finding("user").ok(f"{who.name}, {why}"), *at_once(parts, _LONGEST)]
    return finding.causes_only(found), config


def at_once(parts: Mapping[str, Part], longest: float) -> list[Finding]:
    """The findings of all *parts* in their order; each runs on a thread of its own."""
    until = time.monotonic() + longest
    found: dict[str, list[Finding]] = {}

    def look(name: str) -> None:
        try:
            found[name] = list(parts[name]())
        except Exception as error:  # noqa: BLE001 - the other parts are of use all the same
            says = f"the check itself failed: {type(error).__name__}: {error}"[:200]
            found[name] = [Finding(name).warning(says, "please report this line")]

    threads = [threading.Thread(target=look, args=(name,), daemon=True) for name in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.01, until - time.monotonic()))
    late = f"not done within {longest:.0f} s", "run it again; what of it is stuck?"
    lines = (found.get(name, [Finding(name).wrong(*late)]) for name in parts)
    return list(chain.from_iterable(lines))
