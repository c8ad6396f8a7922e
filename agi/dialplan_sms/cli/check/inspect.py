"""All that is looked at: at the same time, in one order, within one time."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import click

from dialplan_sms.cli.check import conf, dialplan, doors, outbox, pbx, program, service
from dialplan_sms.cli.check.asterisk import Asterisk
from dialplan_sms.cli.check.finding import Finding, causes_only
from dialplan_sms.config.config import Config
from dialplan_sms.host.identity import READ, User, blocked, current, named
from dialplan_sms.host.process import PATH, Run, run
from dialplan_sms.routes.pbx import CONNECT_TIME

_LONGEST = 15.0
"""Seconds after which what has not ended is given up."""
_SOCKET = "/run/dialplan-sms/agi.sock"
_OF_CONF = (
    conf.LOG, *pbx.LINES, outbox.DISK, outbox.OUTBOX,
    service.SERVICE, doors.SOCKET, doors.FASTAGI,
)  # fmt: skip
Part = Callable[[], Iterable[Finding]]


class CannotCheck(click.UsageError):
    """Who runs this sees too little, or has called it wrongly; the text says what to do."""

    exit_code = 3
    """What monitoring takes for "cannot be checked"."""


def inspect(
    path: Path,
    user: User | None = None,
    environ: Mapping[str, str] = os.environ,
    run: Run = run,
    proc: Path = Path("/proc"),
    connect_time: float = CONNECT_TIME,
) -> tuple[list[Finding], Config | None]:
    """What was found, causes only, and the configuration if there is one.

    *path* is that of sms.conf, *user* whose rights are looked at, in place of Asterisk's user.
    Raises CannotCheck.
    """
    etc = Path(environ.get("AST_CONFIG_DIR") or "/etc/asterisk").absolute()
    asterisk = Asterisk(etc, run, proc, environ.get("PATH") or PATH)
    unit = service.ask_unit(run)
    who, why = (user, "as --user says") if user else _user_of(asterisk, unit.get("User"))
    me = current()
    if me.uid not in (0, who.uid) and (bar := blocked(path, READ, me)) and not bar.missing:
        raise CannotCheck(f"{bar.says}: run this as root or as {who.name}")
    loaded = conf.load(path)
    config = loaded if isinstance(loaded, Config) else None
    parts: dict[str, Part] = {
        program.SCRIPT.name: lambda: program.check(asterisk, who, run, config),
        conf.CONF.name: lambda: [conf.check(path, loaded, who)],
    }
    ports: set[int] = set()
    if config is None:
        parts |= {"": lambda: [replace(line, needs=(conf.CONF.name,)) for line in _OF_CONF]}
    else:
        socket = Path(environ.get("DIALPLAN_SMS_SOCKET") or _SOCKET)
        parts |= {
            conf.LOG.name: lambda: [conf.check_log(config, who)],
            **{f"name {one.of}": one.check for one in pbx.each(config, connect_time)},
            outbox.OUTBOX.name: lambda: outbox.check(config.outbox, who),
            service.SERVICE.name: lambda: service.check(config, unit, socket, who),
            doors.HTTP.name: lambda: doors.check_http(config),
        }
        ports |= {port for _, port in config.http.listen} if config.http else set()
    parts[dialplan.ASTERISK.name] = lambda: dialplan.check(asterisk, who, ports)
    found = [Finding("user").ok(f"{who.name}, {why}"), *at_once(parts, _LONGEST)]
    return causes_only(found), config


def _user_of(asterisk: Asterisk, of_unit: str | None) -> tuple[User, str]:
    """Whose rights are looked at, and why those."""
    if asterisk.process is not None:
        return asterisk.process.user, "as Asterisk runs"
    if of_unit and (found := named(of_unit)):
        return found, "as the service's unit says"
    if found := named("asterisk"):
        return found, "since there is that user"
    return current(), "who runs this check: --user names another"


def at_once(parts: Mapping[str, Part], longest: float) -> list[Finding]:
    """The findings of all *parts* in their order; each runs on a thread of its own."""
    until = time.monotonic() + longest
    found: dict[str, list[Finding]] = {}
    threads = {}
    for name, part in parts.items():
        threads[name] = threading.Thread(target=_run, args=(name, part, found), daemon=True)
        threads[name].start()
    for name, thread in threads.items():
        thread.join(max(0.01, until - time.monotonic()))
        late = Finding(name).wrong(
            f"not done within {longest:.0f} s", "run it again; what of it is stuck?"
        )
        found.setdefault(name, [late])
    return [each for name in parts for each in found[name]]


def _run(name: str, part: Part, found: dict[str, list[Finding]]) -> None:
    try:
        lines = list(part())
    except Exception as error:  # noqa: BLE001 - the other parts are of use all the same
        says = f"the check itself failed: {type(error).__name__}: {error}"[:200]
        lines = [Finding(name).warning(says, "please report this line")]
    found.setdefault(name, lines)
