"""The service: whether it answers its monitor, sms.agi and FastAGI."""

import os
import socket
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dialplan_sms import __version__
from dialplan_sms.cli.check.finding import Finding, ok, skipped, warning, wrong
from dialplan_sms.cli.check.storage import OUTBOX
from dialplan_sms.config.config import Config
from dialplan_sms.daemon import client
from dialplan_sms.host.identity import WRITE, User, blocked, by_id
from dialplan_sms.host.process import Run
from dialplan_sms.outbox.retry import STALE

SERVICE, SOCKET, FASTAGI = "service", "socket", "FastAGI"
UNIT = "dialplan-sms"
_PATIENCE = 4.0
_ASKS = (b"GET FULL VARIABLE", b"EXEC MSet", b"NOOP")
"""How the service begins, once it knows who calls."""
_LOG = f"journalctl -u {UNIT} -n 20"
_ENVIRONMENT = (
    "network: yes", "network_script: check", "request: agi://127.0.0.1/check",
    "channel: dialplan-sms-check", "language: en", "type: none", "uniqueid: check",
    "version: 0", "callerid: unknown", "calleridname: unknown", "callingpres: 0",
    "callingani2: 0", "callington: 0", "callingtns: 0", "dnid: unknown", "rdnis: unknown",
    "context: check", "extension: s", "priority: 1", "enhanced: 0.0", "accountcode: ",
    "threadid: 1",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unit:
    """The service as systemd knows it; empty where there is no systemd or no such unit."""

    active: str = ""
    enabled: str = ""
    user: str = ""


def ask_unit(run: Run) -> Unit:
    """What systemd says."""
    properties = "LoadState,ActiveState,UnitFileState,User"
    ran = run(["systemctl", "show", f"{UNIT}.service", f"--property={properties}"], _PATIENCE, None)
    found = dict(line.split("=", 1) for line in ran.out.splitlines() if "=" in line)
    if ran.status != 0 or found.get("LoadState") != "loaded":
        return Unit()
    return Unit(found.get("ActiveState", ""), found.get("UnitFileState", ""), found.get("User", ""))


def check(
    config: Config, unit: Unit, user: User, path: Path, needs: tuple[str, ...]
) -> Iterator[Finding]:
    """The lines of the service; *path* is its socket, *needs* what it cannot do without."""
    host, port = config.monitor[0]
    try:
        figures = client.figures((host, port), _PATIENCE)
    except client.NotOurs:
        says = f"what answers on {host} port {port} is not dialplan-sms"
        cure = "set monitor in sms.conf to another port, and restart the service"
        yield wrong(SERVICE, says, cure)
    except TimeoutError:
        says = f"no answer on {host} port {port} within {_PATIENCE:.0f} s"
        yield wrong(SERVICE, says, f"systemctl restart {UNIT}; then {_LOG}")
    except OSError:
        finding = _down(config, unit, needs)
        yield finding
        reason = "the service does not run" if finding.needs else "no service"
        yield skipped(SOCKET, reason, needs=[SERVICE])
        yield skipped(FASTAGI, reason, needs=[SERVICE])
        return
    else:
        yield _up(figures, _is_healthy(host, port), config)
        yield _socket(path, user)
        yield _fastagi(config)
        return
    yield skipped(SOCKET, "", needs=[SERVICE])
    yield skipped(FASTAGI, "", needs=[SERVICE])


def _is_healthy(host: str, port: int) -> bool:
    try:
        return client.is_healthy((host, port), _PATIENCE)
    except (OSError, client.NotOurs):
        return False


def _down(config: Config, unit: Unit, needs: tuple[str, ...]) -> Finding:
    host, port = config.monitor[0]
    if unit.active == "active":
        says = f"it runs, but nothing answers on {host} port {port}"
        return wrong(
            SERVICE, says, f"systemctl restart {UNIT}, if monitor in sms.conf is new", needs=needs
        )
    if unit.active in ("failed", "activating"):
        return wrong(SERVICE, f"it does not start ({unit.active})", _LOG, needs=needs)
    stored = [s.name for s in config.senders.values() if s.mode != "wait"]
    start = (
        f"systemctl enable --now {UNIT}"
        if unit.active
        else "README, The service: install its unit and start it"
    )
    if unit.enabled == "enabled":
        return wrong(SERVICE, "it was stopped", f"systemctl start {UNIT}", needs=needs)
    needs = (*needs, OUTBOX)
    if config.http is not None:
        says = "none runs, and it is what answers those who send through [http]"
        return wrong(SERVICE, says, start, needs=needs)
    if config.outbox and stored:
        says = f"none runs, and it is what sends the stored SMS of {', '.join(stored)}"
        return wrong(SERVICE, says, start, needs=needs)
    if config.outbox:
        return warning(
            SERVICE, "none runs here, and it is what sends stored SMS", start, needs=needs
        )
    return skipped(SERVICE, "none runs here: sms.agi does the whole job itself")


def _up(figures: Mapping[str, Any], healthy: bool, config: Config) -> Finding:
    told = figures.get("sms_conf") or {}
    outbox = figures.get("outbox") or {}
    held = outbox.get("held") or {}
    if not healthy:
        return wrong(SERVICE, "a call is stuck", f"systemctl restart {UNIT}; then {_LOG}")
    if figures.get("version") != __version__:
        says = f"dialplan-sms {figures.get('version', 'of an older version')} runs, and"
        return warning(SERVICE, f"{says} {__version__} is installed", f"systemctl restart {UNIT}")
    ours = told.get("path") == os.path.abspath(config.path)
    if ours and told.get("version") != config.version:
        says = f"{config.path}, or a file that it names, has changed since it was read"
        return warning(SERVICE, says, f"systemctl reload {UNIT}")
    if waiting := told.get("waiting"):
        says = f"of {told.get('path')} it has not taken over {' and '.join(waiting)}"
        return warning(SERVICE, says, f"systemctl restart {UNIT}")
    if figures["in_flight"] >= figures["max_calls"]:
        says = f"it carries {figures['in_flight']} calls, as many as max_calls allows"
        return warning(SERVICE, says, "see why the PBX answers slowly, or raise max_calls")
    if held:
        says = ", ".join(f"all SMS of {sender} wait: {cause}" for sender, cause in held.items())
        return warning(SERVICE, says, "mend that; dialplan-sms outbox shows until when")
    if outbox.get("works") and outbox.get("oldest_due_seconds", 0) > STALE:
        return warning(
            SERVICE,
            f"no worker took an SMS for {outbox['oldest_due_seconds']:.0f} s",
            "is workers = 0 in sms.conf?",
        )
    return ok(SERVICE, f"up, {figures['in_flight']} of {figures['max_calls']} calls under way")


def _socket(path: Path, user: User) -> Finding:
    """The socket for sms.agi, as Asterisk's user sees it; without it, the script does the job."""
    needs = [SERVICE]
    if not os.path.exists(path):
        do = "set DIALPLAN_SMS_SOCKET to the service's, for Asterisk, too"
        return warning(
            SOCKET, f"there is no {path}: sms.agi does without the service", do, needs=needs
        )
    found = path.stat()
    if not stat.S_ISSOCK(found.st_mode):
        return wrong(
            SOCKET, f"{path} is no socket", f"remove it and systemctl restart {UNIT}", needs=needs
        )
    if user.uid not in (0, found.st_uid):
        says = f"it is for {by_id(found.st_uid, ()).name}, as the service runs, not for {user.name}"
        return wrong(
            SOCKET,
            says,
            f"User={user.name} in the unit, then systemctl restart {UNIT}",
            needs=needs,
        )
    bar = blocked(path, WRITE, user)
    if bar:
        return wrong(SOCKET, bar.says, bar.do, needs=needs)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(str(path))
            ready = connection.recv(16) == b"READY\n"
    except ConnectionRefusedError:
        says = f"nobody listens at {path}: left behind by a service that was killed"
        return wrong(SOCKET, says, f"systemctl restart {UNIT}", needs=needs)
    except PermissionError:
        return skipped(SOCKET, f"{path}: run check as root or as {user.name}")
    except OSError:
        ready = False
    if not ready and by_id(os.geteuid(), ()).uid not in (0, found.st_uid):
        return skipped(SOCKET, f"{path}: run check as root or as {user.name}")
    if not ready:
        return wrong(SOCKET, f"{path} does not answer", f"systemctl restart {UNIT}", needs=needs)
    return ok(SOCKET, str(path))


def _fastagi(config: Config) -> Finding:
    seen: list[str] = []
    for host, port in config.listen:
        problem = _call(host, port)
        if problem and (host, port) == ("::1", 4573) and seen:
            continue  # a host without IPv6
        if problem:
            return wrong(FASTAGI, *problem, needs=[SERVICE])
        seen.append(f"{host} port {port}")
    return ok(FASTAGI, ", ".join(seen))


def _call(host: str, port: int) -> tuple[str, str] | None:
    """What is wrong with one address.

    A call that says all but what to send: once the service asks for that, it is over, so that
    nothing can be sent and no call is counted.
    """
    peer = f"{host} port {port}"
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound to
    ours = target == "::1" or target.startswith("127.")
    restart = f"listen in sms.conf is new? systemctl restart {UNIT}"
    try:
        with socket.create_connection((target, port), timeout=_PATIENCE) as connection:
            lines = "".join(f"agi_{line}\n" for line in _ENVIRONMENT)
            connection.sendall(f"{lines}\n".encode())
            command = connection.makefile("rb").readline(4096)
    except TimeoutError:
        return f"{peer} takes calls and does not answer them", f"systemctl restart {UNIT}"
    except ConnectionRefusedError:
        return f"nothing listens on {peer}", restart
    except OSError as error:
        return f"{peer} does not answer, {error.strerror or type(error).__name__}", restart
    if command.startswith(_ASKS) or (not ours and not command):
        return None  # or it takes calls from those in allow only, which this host need not be
    return f"what answers on {peer} is not dialplan-sms", "set listen in sms.conf to another port"
