"""The doors of the service: sms.agi's socket, FastAGI, and the HTTP SMS server of [http]."""

import contextlib
import http.client
import json
import os
import socket
import ssl
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from dialplan_sms.cli.check.finding import Finding
from dialplan_sms.config.config import Config
from dialplan_sms.host.address import is_loopback
from dialplan_sms.host.identity import WRITE, User, blocked, by_id
from dialplan_sms.transport.tls import any_peer

UNIT = "dialplan-sms"
RESTART = f"systemctl restart {UNIT}"
LOG = f"journalctl -u {UNIT} -n 20"
SOCKET = Finding("socket", ("service",))
FASTAGI = Finding("FastAGI", ("service",))
HTTP = Finding("HTTP", ("service",))
_PATIENCE = 4.0
_LARGEST = 1 << 20
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound to
_ASKS = (b"GET FULL VARIABLE", b"EXEC MSet", b"NOOP")
"""How the service begins, once it knows who calls."""
_CALL = (
    "network: yes", "network_script: check", "request: agi://127.0.0.1/check",
    "channel: dialplan-sms-check", "language: en", "type: none", "uniqueid: check",
    "version: 0", "callerid: unknown", "calleridname: unknown", "callingpres: 0",
    "callingani2: 0", "callington: 0", "callingtns: 0", "dnid: unknown", "rdnis: unknown",
    "context: check", "extension: s", "priority: 1", "enhanced: 0.0", "accountcode: ",
    "threadid: 1",
)  # fmt: skip
"""A call that says all but what to send."""
Problem = tuple[str, str] | None
"""What is wrong with one address, and what to do."""


def check(config: Config, path: Path, user: User) -> Iterator[Finding]:
    """What Asterisk calls: *path* is that of the socket."""
    yield sms_agi(path, user)
    yield _listening(FASTAGI, config.listen, fastagi)


def check_http(config: Config) -> Iterator[Finding]:
    """One line for all addresses of [http], if there are any."""
    if config.http is not None:
        tls = bool(config.http.certificate)
        ask, scheme = partial(sms_api, tls), "https" if tls else "http"
        yield _listening(HTTP, config.http.listen, ask, f", {scheme}")


def sms_agi(path: Path, user: User) -> Finding:
    """The socket for sms.agi, as Asterisk's user sees it; without it, the script does the job."""
    if not os.path.exists(path):
        do = "set DIALPLAN_SMS_SOCKET to the service's, for Asterisk, too"
        return SOCKET.warning(f"there is no {path}: sms.agi does without the service", do)
    found = path.stat()
    if not stat.S_ISSOCK(found.st_mode):
        return SOCKET.wrong(f"{path} is no socket", f"remove it and {RESTART}")
    if user.uid not in (0, found.st_uid):
        says = f"it is for {by_id(found.st_uid).name}, as the service runs, not for {user.name}"
        return SOCKET.wrong(says, f"User={user.name} in the unit, then {RESTART}")
    if bar := blocked(path, WRITE, user):
        return SOCKET.wrong(bar.says, bar.do)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(str(path))
            ready = connection.recv(16) == b"READY\n"
    except ConnectionRefusedError:
        says = f"nobody listens at {path}: left behind by a service that was killed"
        return SOCKET.wrong(says, RESTART)
    except OSError:
        ready = False
    if ready:
        return SOCKET.ok(str(path))
    if os.geteuid() not in (0, found.st_uid):
        return SOCKET.skipped(f"{path}: run check as root or as {user.name}")
    return SOCKET.wrong(f"{path} does not answer", RESTART)


def _listening(
    line: Finding,
    addresses: Sequence[tuple[str, int]],
    ask: Callable[[str, int], Problem],
    kind: str = "",
) -> Finding:
    """One line for all *addresses*: the first that is wrong, else all of them."""
    seen: list[str] = []
    for host, port in addresses:
        problem = ask(host, port)
        if problem and (host, port) == ("::1", 4573) and seen:
            continue  # a host without IPv6
        if problem:
            return line.wrong(*problem)
        seen.append(f"{host} port {port}")
    return line.ok(", ".join(seen) + kind)


def fastagi(host: str, port: int) -> Problem:
    """Call the service there, and hang up once it asks what to send: nothing can be sent."""
    peer, target = f"{host} port {port}", _ANY.get(host, host)
    restart = f"listen in sms.conf is new? {RESTART}"
    try:
        with socket.create_connection((target, port), timeout=_PATIENCE) as connection:
            lines = "".join(f"agi_{line}\n" for line in _CALL)
            connection.sendall(f"{lines}\n".encode())
            command = connection.makefile("rb").readline(4096)
    except TimeoutError:
        return f"{peer} takes calls and does not answer them", RESTART
    except ConnectionRefusedError:
        return f"nothing listens on {peer}", restart
    except OSError as error:
        return f"{peer} does not answer, {error.strerror or type(error).__name__}", restart
    if command.startswith(_ASKS) or (not command and not is_loopback(target)):
        return None  # or it takes calls from those in allow only, which this host need not be
    return f"what answers on {peer} is not dialplan-sms", "set listen in sms.conf to another port"


def sms_api(tls: bool, host: str, port: int) -> Problem:
    """Ask the HTTP SMS server there what it is; nobody logs in, and nothing is sent."""
    peer, target = f"{host} port {port}", _ANY.get(host, host)
    restart = f"the service runs with an older sms.conf? {RESTART}"
    other = (
        f"what answers on {peer} is not the HTTP SMS server by {'https' if tls else 'http'}",
        f"{restart}; else another program listens there: another listen in [http]",
    )
    connection = http.client.HTTPConnection(target, port, timeout=_PATIENCE)
    if tls:  # whose certificate it is, clients look at: its names need not be this address
        context = any_peer()
        connection = http.client.HTTPSConnection(target, port, timeout=_PATIENCE, context=context)
    with contextlib.closing(connection):
        try:
            connection.connect()
            connection.request("GET", "/openapi.json")
            answer = connection.getresponse()
            described = json.loads(answer.read(_LARGEST))
            # The title is that of web/relay/openapi.json.
            ours = answer.status == 200 and described["info"]["title"] == UNIT
        except TimeoutError:
            return f"no answer on {peer} within {_PATIENCE:.0f} s", f"{RESTART}; then {LOG}"
        except (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError):  # RemoteDisconnected, too
            # It answers those in allow only, which this host need not be.
            ours = not is_loopback(target)
        except (ssl.SSLError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return other
        except OSError:
            return f"nothing listens on {peer}", restart
    return None if ours else other
