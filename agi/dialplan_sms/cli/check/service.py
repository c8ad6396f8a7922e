"""The service: whether it runs, what it says of itself, and its doors."""

import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from dialplan_sms import __version__
from dialplan_sms.cli.check import Finding
from dialplan_sms.config.config import Config
from dialplan_sms.daemon import client
from dialplan_sms.host.address import is_loopback
from dialplan_sms.host.identity import WRITE, User, by_id
from dialplan_sms.host.process import Run
from dialplan_sms.outbox.retry import STALE
from dialplan_sms.transport.tls import any_peer

SERVICE = Finding("service")
SOCKET = Finding("socket", (SERVICE.name,))
FASTAGI = Finding("FastAGI", (SERVICE.name,))
HTTP = Finding("HTTP", (SERVICE.name,))
_DOWN = Finding("service", ("sms.conf", "Python", "packages"))
_NONE = Finding("service", (*_DOWN.needs, "outbox"))
_UNIT = "dialplan-sms"
_RESTART = f"systemctl restart {_UNIT}"
_BY_HAND = "docs/service.md, By hand: install its unit and start it"
_LOG = f"journalctl -u {_UNIT} -n 20"
_PATIENCE = 4.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound to
_ASKS = (b"GET FULL VARIABLE", b"EXEC MSet", b"NOOP")
"""How the service begins, once it knows who calls."""
_CALL = (
    b"agi_network: yes\nagi_network_script: check\nagi_request: agi://127.0.0.1/check\n"
    b"agi_channel: dialplan-sms-check\nagi_uniqueid: check\nagi_callerid: unknown\n"
    b"agi_threadid: 1\n\n"
)
"""A call, in Asterisk's order, that says all but what to send."""
Problem = tuple[str, str] | None
"""What is wrong with one address, and what to do."""


def ask_unit(run: Run) -> dict[str, str]:
    """What systemd says of the service; empty without systemd or without such a unit."""
    properties = "--property=LoadState,ActiveState,UnitFileState,User"
    ran = run(["systemctl", "show", f"{_UNIT}.service", properties], _PATIENCE, None)
    found = dict(line.split("=", 1) for line in ran.output.splitlines() if "=" in line)
    return found if ran.status == 0 and found.get("LoadState") == "loaded" else {}


def check(config: Config, unit: Mapping[str, str], path: Path, user: User) -> Iterator[Finding]:
    """The service, and if it runs what Asterisk calls: *path* is the socket's."""
    address = config.monitor[0]
    peer = "{} port {}".format(*address)
    try:
        figures = client.figures(address, _PATIENCE)
        running = up(figures, client.is_healthy(address, _PATIENCE), config)
    except client.NotOurs:
        other = "set monitor in sms.conf to another port, and restart the service"
        yield SERVICE.wrong(f"what answers on {peer} is not dialplan-sms", other)
    except TimeoutError:
        late = f"no answer on {peer} within {_PATIENCE:.0f} s"
        yield SERVICE.wrong(late, f"{_RESTART}; then {_LOG}")
    except OSError:
        yield _down(config, unit, peer)
    else:
        yield running
        yield sms_agi(path, user)
        yield _listening(FASTAGI, config.listen, fastagi)
        return
    yield from (line.skipped("no service") for line in (SOCKET, FASTAGI))


def _down(config: Config, unit: Mapping[str, str], peer: str) -> Finding:
    state = unit.get("ActiveState")
    start = f"systemctl enable --now {_UNIT}" if state else _BY_HAND
    stored = ", ".join(each.name for each in config.senders.values() if each.mode != "wait")
    return (
        (state == "active" and _DOWN.wrong(
            f"it runs, but nothing answers on {peer}",
            f"{_RESTART}, if monitor in sms.conf is new"))
        or (state in ("failed", "activating") and _DOWN.wrong(f"it does not start ({state})", _LOG))
        or (unit.get("UnitFileState") == "enabled" and _DOWN.wrong(
            "it was stopped", f"systemctl start {_UNIT}"))
        or (config.http and _NONE.wrong(
            "none runs, and it is what answers those who send through [http]", start))
        or (config.outbox and stored and _NONE.wrong(
            f"none runs, and it is what sends the stored SMS of {stored}", start))
        or (config.outbox and _NONE.warning(
            "none runs here, and it is what sends stored SMS", start))
        or SERVICE.skipped("none runs here: sms.agi does the whole job itself")
    )  # fmt: skip


def up(figures: Mapping[str, Any], healthy: bool, config: Config) -> Finding:
    """What a service says of itself in its *figures*."""
    conf, outbox = figures.get("sms_conf") or {}, figures.get("outbox") or {}
    runs = figures.get("version", "of an older version")
    is_same = conf.get("path") == os.path.abspath(config.path)
    late = " and ".join(conf.get("waiting") or ())
    calls, most = figures["in_flight"], figures["max_calls"]
    held, failing = (outbox.get("held") or {}).items(), outbox.get("on_failure")
    idle = outbox.get("oldest_due_seconds", 0) if outbox.get("works") else 0
    return (
        (not healthy and SERVICE.wrong("a call is stuck", f"{_RESTART}; then {_LOG}"))
        or (runs != __version__ and SERVICE.warning(
            f"dialplan-sms {runs} runs, and {__version__} is installed", _RESTART))
        or (is_same and conf.get("version") != config.version and SERVICE.warning(
            f"{config.path}, or a file that it names, has changed since it was read",
            f"systemctl reload {_UNIT}"))
        or (late and SERVICE.warning(
            f"of {conf.get('path')} it has not taken over {late}", _RESTART))
        or (calls >= most and SERVICE.warning(
            f"it carries {calls} calls, as many as max_calls allows",
            "see why the PBX answers slowly, or raise max_calls"))
        or (failing and SERVICE.warning(
            "; ".join(failing), f"mend the program of on_failure, then systemctl reload {_UNIT}"))
        or (held and SERVICE.warning(
            ", ".join(f"all SMS of {s} wait: {cause}{config.relief(s)}" for s, cause in held),
            "mend that; dialplan-sms outbox shows until when"))
        or (idle > STALE and SERVICE.warning(
            f"no worker took an SMS for {idle:.0f} s", "is workers = 0 in sms.conf?"))
        or SERVICE.ok(f"up, {calls} of {most} calls under way")
    )  # fmt: skip


def sms_agi(path: Path, user: User) -> Finding:
    """The socket for sms.agi, as Asterisk's user sees it; without it, the script does the job."""
    if not os.path.exists(path):
        return SOCKET.warning(
            f"there is no {path}: sms.agi does without the service",
            "set DIALPLAN_SMS_SOCKET to the service's, for Asterisk, too",
        )
    owner = path.stat().st_uid
    return (
        (not path.is_socket() and SOCKET.wrong(
            f"{path} is no socket", f"remove it and {_RESTART}"))
        or (user.uid not in (0, owner) and SOCKET.wrong(
            f"it is for {by_id(owner).name}, as the service runs, not for {user.name}",
            f"User={user.name} in the unit, then {_RESTART}"))
        or SOCKET.if_blocked(path, WRITE, user)
        or _greeted(path)
        or (os.geteuid() not in (0, owner) and SOCKET.skipped(
            f"{path}: run check as root or as {user.name}"))
        or SOCKET.wrong(f"{path} does not answer", _RESTART)
    )  # fmt: skip


def _greeted(path: Path) -> Finding | None:
    """Whether a service says there that it is ready; None if that cannot be seen."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(str(path))
            return SOCKET.ok(str(path)) if connection.recv(16) == b"READY\n" else None
    except ConnectionRefusedError:
        says = f"nobody listens at {path}: left behind by a service that was killed"
        return SOCKET.wrong(says, _RESTART)
    except OSError:
        return None


def check_http(config: Config) -> Iterator[Finding]:
    if config.http is not None:
        kind = "https" if config.http.certificate else "http"
        yield _listening(HTTP, config.http.listen, partial(sms_api, kind), f", {kind}")


def _listening(
    line: Finding, addresses: Sequence[tuple[str, int]], ask: Callable[[str, int], Problem],
    kind: str = "",
) -> Finding:  # fmt: skip
    """The first of *addresses* that is wrong, else all of them."""
    seen: list[str] = []
    for host, port in addresses:
        problem = ask(host, port)
        if problem is None:
            seen.append(f"{host} port {port}")
        elif not seen or (host, port) != ("::1", 4573):  # on a host without IPv6
            return line.wrong(*problem)
    return line.ok(", ".join(seen) + kind)


def fastagi(host: str, port: int) -> Problem:
    """Call the service there, and hang up once it asks what to send: nothing can be sent."""
    peer, target = f"{host} port {port}", _ANY.get(host, host)
    restart = f"listen in sms.conf is new? {_RESTART}"
    try:
        with socket.create_connection((target, port), timeout=_PATIENCE) as connection:
            connection.sendall(_CALL)
            command = connection.makefile("rb").readline(4096)
    except TimeoutError:
        return f"{peer} takes calls and does not answer them", _RESTART
    except ConnectionRefusedError:
        return f"nothing listens on {peer}", restart
    except OSError as error:
        return f"{peer} does not answer, {error.strerror or type(error).__name__}", restart
    if command.startswith(_ASKS) or (not command and not is_loopback(target)):
        return None  # or it takes calls from those in allow only, which this host need not be
    return f"what answers on {peer} is not dialplan-sms", "set listen in sms.conf to another port"


def sms_api(kind: str, host: str, port: int) -> Problem:
    """Ask the HTTP SMS server there by *kind* what it is; nobody logs in, and nothing is sent."""
    peer, target = f"{host} port {port}", _ANY.get(host, host)
    restart = f"the service runs with an older sms.conf? {_RESTART}"
    connection = HTTPConnection(target, port, timeout=_PATIENCE)
    if kind == "https":  # clients look at whose certificate it is: it need not name this address
        connection = HTTPSConnection(target, port, timeout=_PATIENCE, context=any_peer())
    try:
        with closing(connection):
            connection.request("GET", "/openapi.json")
            answer = connection.getresponse()
            title = json.loads(answer.read(1 << 20))["info"]["title"]
            ours = answer.status == 200 and title == _UNIT  # as in web/openapi.json
    except TimeoutError:
        return f"no answer on {peer} within {_PATIENCE:.0f} s", f"{_RESTART}; then {_LOG}"
    except (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError):  # RemoteDisconnected, too
        # It answers those in allow only, which this host need not be.
        ours = not is_loopback(target)
    except (ssl.SSLError, HTTPException, ValueError, LookupError, TypeError):
        ours = False
    except OSError:
        return f"nothing listens on {peer}", restart
    return None if ours else (
        f"what answers on {peer} is not the HTTP SMS server by {kind}",
        f"{restart}; else another program listens there: another listen in [http]",
    )  # fmt: skip
