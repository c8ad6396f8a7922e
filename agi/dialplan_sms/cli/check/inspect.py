"""All that is looked at: at the same time, in one order, within one time."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dialplan_sms.cli.check import conf, dialplan, doors, outbox, pbx, program, service
from dialplan_sms.cli.check.asterisk import Asterisk
from dialplan_sms.cli.check.finding import Finding, causes_only
from dialplan_sms.config.config import Config
from dialplan_sms.host.process import PATH, Run, run
from dialplan_sms.host.user import READ, User, blocked, current, named
from dialplan_sms.routes.pbx import CONNECT_TIME

_LONGEST = 15.0
"""Seconds after which what has not ended is given up."""
_SOCKET = "/run/dialplan-sms/agi.sock"
_OF_CONF = (
    conf.LOG, *pbx.LINES, outbox.DISK, outbox.OUTBOX,
    service.SERVICE, doors.SOCKET, doors.FASTAGI,
)  # fmt: skip
Part = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class Surroundings:
    """What a check finds itself in."""

    path: Path
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    user: User | None = None
    run: Run = run
    proc: Path = Path("/proc")
    free: Callable[[Path], int] = outbox.free
    mounts: Path = Path("/proc/self/mountinfo")
    connect_time: float = CONNECT_TIME

    @property
    def asterisk(self) -> Asterisk:
        etc = self.environ.get("AST_CONFIG_DIR") or "/etc/asterisk"
        return Asterisk(Path(etc).absolute(), self.run, self.proc, self.environ.get("PATH") or PATH)

    @property
    def socket(self) -> Path:
        return Path(self.environ.get("DIALPLAN_SMS_SOCKET") or _SOCKET)


class CannotCheck(Exception):
    """Who runs this sees too little; the text says who should."""


def inspect(around: Surroundings) -> tuple[list[Finding], Config | None]:
    """What was found, causes only, and the configuration if there is one.

    Raises CannotCheck.
    """
    asterisk = around.asterisk
    unit = service.ask_unit(around.run)
    user, why = _who(around.user, asterisk, unit.user)
    me = current()
    if me.uid not in (0, user.uid) and (bar := blocked(around.path, READ, me)) and not bar.missing:
        raise CannotCheck(f"{bar.says}: run this as root or as {user.name}")
    loaded = conf.load(around.path)
    config = loaded if isinstance(loaded, Config) else None
    parts: dict[str, Part] = {
        program.SCRIPT.name: lambda: program.check(asterisk, user, around.run, config),
        conf.CONF.name: lambda: [conf.check(around.path, loaded, user)],
    }
    ports: set[int] = set()
    if config is None:
        parts |= {"": lambda: [replace(line, needs=(conf.CONF.name,)) for line in _OF_CONF]}
    else:
        parts |= _parts_of(config, around, unit, user)
        ports |= {port for _, port in config.http.listen} if config.http else set()
    parts[dialplan.ASTERISK.name] = lambda: dialplan.check(asterisk, user, ports)
    found = [Finding("user").ok(f"{user.name}, {why}"), *at_once(parts, _LONGEST)]
    return causes_only(found), config


def _parts_of(
    config: Config, around: Surroundings, unit: service.Unit, user: User
) -> dict[str, Part]:
    """What can be looked at with an sms.conf only."""
    return {
        conf.LOG.name: lambda: [conf.check_log(config, user)],
        **{f"name {each.of}": each.check for each in pbx.of(config, around.connect_time)},
        outbox.OUTBOX.name: lambda: outbox.check(config.outbox, user, around.free, around.mounts),
        service.SERVICE.name: lambda: _service(config, around, unit, user),
        doors.HTTP.name: lambda: doors.check_http(config),
    }


def _service(
    config: Config, around: Surroundings, unit: service.Unit, user: User
) -> Iterator[Finding]:
    found, runs = service.check(config, unit)
    yield found
    if runs:
        yield from doors.check(config, around.socket, user)
    else:
        yield from (doors.SOCKET.skipped("no service"), doors.FASTAGI.skipped("no service"))


def _who(given: User | None, asterisk: Asterisk, of_unit: str) -> tuple[User, str]:
    """Whose rights are looked at, and why those."""
    if given is not None:
        return given, "as --user says"
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
        says = f"not done within {longest:.0f} s"
        found.setdefault(name, [Finding(name).wrong(says, "run it again; what of it is stuck?")])
    return [each for name in parts for each in found[name]]


def _run(name: str, part: Part, found: dict[str, list[Finding]]) -> None:
    try:
        lines = list(part())
    except Exception as error:  # noqa: BLE001 - the other parts are of use all the same
        says = f"the check itself failed: {type(error).__name__}: {error}"[:200]
        lines = [Finding(name).warning(says, "please report this line")]
    found.setdefault(name, lines)
