"""The service: whether systemd runs it, and what it says of itself."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dialplan_sms import __version__
from dialplan_sms.cli.check import doors
from dialplan_sms.cli.check.doors import LOG, RESTART, UNIT
from dialplan_sms.cli.check.finding import Finding
from dialplan_sms.config.config import Config
from dialplan_sms.daemon import client
from dialplan_sms.host.identity import User
from dialplan_sms.host.process import Run
from dialplan_sms.outbox.retry import STALE

SERVICE = Finding("service")
_DOWN = Finding("service", ("sms.conf", "Python", "packages"))
_NONE = Finding("service", (*_DOWN.needs, "outbox"))
_PATIENCE = 4.0


def ask_unit(run: Run) -> dict[str, str]:
    """What systemd says of the service; empty without systemd or without such a unit."""
    properties = "LoadState,ActiveState,UnitFileState,User"
    ran = run(["systemctl", "show", f"{UNIT}.service", f"--property={properties}"], _PATIENCE, None)
    found = dict(line.split("=", 1) for line in ran.output.splitlines() if "=" in line)
    return found if ran.status == 0 and found.get("LoadState") == "loaded" else {}


def check(config: Config, unit: Mapping[str, str], socket: Path, user: User) -> Iterator[Finding]:
    """The service and its doors for Asterisk, which are open if it answers."""
    found, runs = _service(config, unit)
    yield found
    if runs:
        yield from doors.check(config, socket, user)
    else:
        yield from (line.skipped("no service") for line in (doors.SOCKET, doors.FASTAGI))


def _service(config: Config, unit: Mapping[str, str]) -> tuple[Finding, bool]:
    """Its line, and whether it runs."""
    address = config.monitor[0]
    peer = f"{address[0]} port {address[1]}"
    try:
        figures = client.figures(address, _PATIENCE)
        healthy = client.is_healthy(address, _PATIENCE)
    except client.NotOurs:
        do = "set monitor in sms.conf to another port, and restart the service"
        return SERVICE.wrong(f"what answers on {peer} is not dialplan-sms", do), False
    except TimeoutError:
        says = f"no answer on {peer} within {_PATIENCE:.0f} s"
        return SERVICE.wrong(says, f"{RESTART}; then {LOG}"), False
    except OSError:
        return _down(config, unit, peer), False
    return up(figures, healthy, config), True


def _down(config: Config, unit: Mapping[str, str], peer: str) -> Finding:
    state = unit.get("ActiveState")
    if state == "active":
        do = f"{RESTART}, if monitor in sms.conf is new"
        return _DOWN.wrong(f"it runs, but nothing answers on {peer}", do)
    if state in ("failed", "activating"):
        return _DOWN.wrong(f"it does not start ({state})", LOG)
    if unit.get("UnitFileState") == "enabled":
        return _DOWN.wrong("it was stopped", f"systemctl start {UNIT}")
    start = "docs/service.md, By hand: install its unit and start it"
    if state:
        start = f"systemctl enable --now {UNIT}"
    if config.http is not None:
        says = "none runs, and it is what answers those who send through [http]"
        return _NONE.wrong(says, start)
    stored = [sender.name for sender in config.senders.values() if sender.mode != "wait"]
    if config.outbox and stored:
        says = f"none runs, and it is what sends the stored SMS of {', '.join(stored)}"
        return _NONE.wrong(says, start)
    if config.outbox:
        return _NONE.warning("none runs here, and it is what sends stored SMS", start)
    return SERVICE.skipped("none runs here: sms.agi does the whole job itself")


def up(figures: Mapping[str, Any], healthy: bool, config: Config) -> Finding:
    """What a service says of itself in its *figures*."""
    conf = figures.get("sms_conf") or {}
    outbox = figures.get("outbox") or {}
    if not healthy:
        return SERVICE.wrong("a call is stuck", f"{RESTART}; then {LOG}")
    if figures.get("version") != __version__:
        says = f"dialplan-sms {figures.get('version', 'of an older version')} runs, and"
        return SERVICE.warning(f"{says} {__version__} is installed", RESTART)
    ours = conf.get("path") == os.path.abspath(config.path)
    if ours and conf.get("version") != config.version:
        says = f"{config.path}, or a file that it names, has changed since it was read"
        return SERVICE.warning(says, f"systemctl reload {UNIT}")
    if waiting := conf.get("waiting"):
        says = f"of {conf.get('path')} it has not taken over {' and '.join(waiting)}"
        return SERVICE.warning(says, RESTART)
    calls, most = figures["in_flight"], figures["max_calls"]
    if calls >= most:
        says = f"it carries {calls} calls, as many as max_calls allows"
        return SERVICE.warning(says, "see why the PBX answers slowly, or raise max_calls")
    if held := outbox.get("held"):
        says = ", ".join(f"all SMS of {sender} wait: {cause}" for sender, cause in held.items())
        return SERVICE.warning(says, "mend that; dialplan-sms outbox shows until when")
    if outbox.get("works") and (idle := outbox.get("oldest_due_seconds", 0)) > STALE:
        says = f"no worker took an SMS for {idle:.0f} s"
        return SERVICE.warning(says, "is workers = 0 in sms.conf?")
    return SERVICE.ok(f"up, {calls} of {most} calls under way")
