"""All that is looked at: at the same time, in one order, within one time."""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dialplan_sms.cli.check import (
    conf,
    dialplan,
    httpserver,
    pbx,
    program,
    service,
    storage,
    verdict,
)
from dialplan_sms.cli.check.asterisk import Asterisk
from dialplan_sms.cli.check.certificate import CERTIFICATE, CLOCK
from dialplan_sms.cli.check.finding import Finding, ok, settle, skipped, warning, wrong
from dialplan_sms.cli.check.service import Unit
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import Config
from dialplan_sms.host.identity import READ, User, blocked, current, named
from dialplan_sms.host.process import PATH, Run, run
from dialplan_sms.routes.pbx import CONNECT_TIME

LONGEST = 15.0
"""Seconds after which what has not ended is given up."""
_SOCKET = "/run/dialplan-sms/agi.sock"
Part = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class Surroundings:
    """What a check finds itself in."""

    path: Path
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    user: User | None = None
    run: Run = run
    now: Callable[[], float] = time.time
    proc: Path = Path("/proc")
    devlog: Path = Path("/dev/log")
    free: Callable[[Path], int] | None = None
    mounts: Path = Path("/proc/self/mountinfo")
    connect_time: float = CONNECT_TIME
    longest: float = LONGEST

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
    """What was found, causes only, and the configuration where there is one.

    Raises CannotCheck.
    """
    asterisk = around.asterisk
    unit = service.ask_unit(around.run)
    user, why = _who(around, asterisk, unit)
    me = current()
    if me.uid not in (0, user.uid) and (bar := blocked(around.path, READ, me)) and not bar.missing:
        raise CannotCheck(f"{bar.says}: run this as root or as {user.name}")
    config, error = conf.load(around.path)
    parts: dict[str, Part] = {
        program.SCRIPT: lambda: program.check(asterisk, user, around.run, config),
        conf.CONF: lambda: _conf(around, config, error, user),
        pbx.NAME: lambda: _pbxes(around, config),
        storage.OUTBOX: lambda: _storage(around, config, user),
        service.SERVICE: lambda: _service(around, config, unit, user),
        httpserver.HTTP: lambda: _http(config),
        dialplan.ASTERISK: lambda: dialplan.check(asterisk, user, _ports(config)),
    }
    found = [ok("user", f"{user.name}, {why}"), *_all(parts, around.longest)]
    return settle(found), config


def _who(around: Surroundings, asterisk: Asterisk, unit: Unit) -> tuple[User, str]:
    """Whose rights are judged, and why those."""
    if around.user is not None:
        return around.user, "as --user says"
    if asterisk.process is not None:
        return asterisk.process.user, "as Asterisk runs"
    if unit.user and (found := named(unit.user)):
        return found, "as the service's unit says"
    if found := named("asterisk"):
        return found, "since there is that user"
    return current(), "who runs this check: --user names another"


def _ports(config: Config | None) -> tuple[int, ...]:
    return tuple(port for _, port in config.http.listen) if config and config.http else ()


def _conf(
    around: Surroundings, config: Config | None, error: Exception | None, user: User
) -> Iterator[Finding]:
    assert config is not None or error is not None  # noqa: S101
    yield conf.check(around.path, config, error, user)  # type: ignore[arg-type]
    if config is None:
        yield skipped(conf.LOG, "", needs=[conf.CONF])
    else:
        yield conf.check_log(config, user, around.devlog)


def _pbxes(around: Surroundings, config: Config | None) -> Iterator[Finding]:
    names = (
        pbx.NAME,
        pbx.CONNECTION,
        CLOCK,
        CERTIFICATE,
        pbx.API,
        verdict.CREDENTIALS,
        verdict.LENGTH,
    )
    if config is None:
        yield from (skipped(name, "", needs=[conf.CONF]) for name in names)
        return
    groups: dict[tuple[str, str], list[smsconf.Sender]] = {}
    for sender in config.senders.values():
        groups.setdefault((sender.url, sender.verify), []).append(sender)
    parts: dict[str, Part] = {
        f"{pbx.NAME} {group[0].name}": pbx.Pbx(
            group, around.now, connect_time=around.connect_time
        ).check
        for group in groups.values()
    }
    yield from _all(parts, around.longest - 1)


def _storage(around: Surroundings, config: Config | None, user: User) -> Iterator[Finding]:
    if config is None:
        yield skipped(storage.DISK, "", needs=[conf.CONF])
        yield skipped(storage.OUTBOX, "", needs=[conf.CONF])
    elif around.free is None:
        yield from storage.check(config.outbox, user, mounts=around.mounts)
    else:
        yield from storage.check(config.outbox, user, around.free, around.mounts)


def _service(
    around: Surroundings, config: Config | None, unit: Unit, user: User
) -> Iterator[Finding]:
    needs = (conf.CONF, program.PYTHON, program.PACKAGES)
    if config is None:
        for name in (service.SERVICE, service.SOCKET, service.FASTAGI):
            yield skipped(name, "", needs=[conf.CONF])
        return
    yield from service.check(config, unit, user, around.socket, needs)


def _http(config: Config | None) -> Iterator[Finding]:
    if config is not None and config.http is not None:
        yield from httpserver.check(config.http)


def _all(parts: Mapping[str, Part], longest: float) -> list[Finding]:
    """The findings of all *parts* in their order; each runs on a thread of its own."""
    until = time.monotonic() + longest
    results: dict[str, queue.SimpleQueue[list[Finding]]] = {}
    for name, part in parts.items():
        results[name] = queue.SimpleQueue()
        threading.Thread(
            target=_do, args=(name, part, results[name]), name=name, daemon=True
        ).start()
    found: list[Finding] = []
    for name, result in results.items():
        try:
            found += result.get(timeout=max(0.01, until - time.monotonic()))
        except queue.Empty:
            says = f"not done within {longest:.0f} s"
            found.append(wrong(name, says, "run it again; what of it is stuck?"))
    return found


def _do(name: str, part: Part, result: "queue.SimpleQueue[list[Finding]]") -> None:
    try:
        found = list(part())
    except Exception as error:  # noqa: BLE001 - the other parts are of use all the same
        says = f"the check itself failed: {type(error).__name__}: {error}"[:200]
        found = [warning(name, says, "please report this line")]
    result.put(found)
