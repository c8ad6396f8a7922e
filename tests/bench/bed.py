"""What a benchmark runs on: nginx, the slow API, the service, and both Asterisks, all on loopback."""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import certifi
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import rsa

from dialplan_sms.outbox import gateways
from dialplan_sms.outbox.database import open_engine
from dialplan_sms.outbox.schema import message, number, prepare
from dialplan_sms.sandbox.certificate import self_signed
from tests.asterisk.fetch import INSTALLED_VARIABLE, VERSIONS, fetch
from tests.asterisk.installation import AsteriskUnavailable, Installation
from tests.asterisk.pbx import Pbx
from tests.asterisk.site import PASSWORD, agi_bin
from tests.bench import servers
from tests.bench.measure import Load, children
from tests.bench.ways import FLOOR, NUMBER, Api, Way, dialplan, write_naive
from tests.children import Child, free_ports
from tests.tools import Tools

FAST, SLOW, STALE, FULL = "fast", "slow", "stale", "full"
"""The API that answers at once, after 100 ms, that keeps no connection between two calls, and the
first one again, for a sender with very many SMS in the outbox, which a worker sends."""
_PORTS = {
    FAST: ("http", "https"), SLOW: ("slow_http", "slow_https"), STALE: ("http", "stale_https"),
    FULL: ("http", "https"),
}  # fmt: skip
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_LOGGER = "[logfiles]\nfull = notice,warning,error\n"  # without a line for each step of a call
_WAITING = 100_000  # SMS
_GENERAL = """\
[general]
log = sms.log
listen = 127.0.0.1:{}
monitor = 127.0.0.1:{}
default_sender = fast
"""
_SENDER = "[{}]\nurl = {}\npassword = {}\nverify = {}/certificate.pem\ncountry = IT\n"


@dataclass(frozen=True)
class Bed:
    """Everything runs: what is called, and what is measured."""

    loads: dict[int, Load]  # by Asterisk's major version
    apis: dict[str, Api]
    service: int  # its process id
    socket: Path  # where the service takes calls of sms.agi
    versions: dict[str, str]
    lacking: Mapping[Way, str]  # what this host cannot run, and why

    def fill(self) -> None:
        """Have so many SMS of sender FULL wait in the outbox, as if they had just been stored."""
        engine = open_engine(f"sqlite:///{self.socket.parent}/outbox/outbox.sqlite")
        with engine.begin() as connection:
            prepare(connection)
            store(connection, FULL, range(_WAITING, 2 * _WAITING), time.time() - 60)
        engine.dispose()


def store(connection: sa.Connection, sender: str, ids: range, at: float) -> None:
    """Have SMS wait in the outbox that were stored one after the other since *at*."""
    new = {"state": "pending", "mode": "queue", "sender": sender, "text": "Hi", "chars": 2}
    times = [(id_, at + id_ / 10_000) for id_ in ids]
    rows = [new | {"id": n, "token": f"waits {n}", "created": t, "due": t} for n, t in times]
    to = [{"message_id": n, "number": NUMBER, "state": "pending", "created": t} for n, t in times]
    connection.execute(message.insert(), rows)
    connection.execute(number.insert(), to)
    gateways.ensure(connection, sender, "")


@contextmanager
def bed(tools: Tools, rsa_bits: int) -> Iterator[Bed]:
    """Start it all; whatever happens, end it all and remove its folder.

    The API's certificate has an RSA key of *rsa_bits*, ECDSA P-256 where they are 0.

    Raises AsteriskUnavailable.
    """
    if os.environ.get(INSTALLED_VARIABLE):
        raise AsteriskUnavailable(
            f"the benchmark compares Asterisk 22 and 16: unset {INSTALLED_VARIABLE}"
        )
    installations = [fetch(version) for version in VERSIONS]
    with ExitStack() as stack:
        # In /tmp whatever TMPDIR says: the path of the bundle has to be short, see _trusting.
        temporary = tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp")
        folder = Path(stack.enter_context(temporary))
        ports = dict(zip(servers.PORTS, free_ports(len(servers.PORTS)), strict=True))
        key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else None
        certificate = self_signed(key=key)
        stack.enter_context(servers.slow(folder, ports["slow"]))
        web = stack.enter_context(servers.pbx(tools, folder, ports, certificate)).pid
        usual = Path(_BUNDLE) if Path(_BUNDLE).exists() else Path(certifi.where())
        bundle = folder / "ca.crt"  # of the usual size, with the API's certificate
        bundle.write_bytes(usual.read_bytes() + certificate.pem)
        apis = {
            name: Api(name, f"http://127.0.0.1:{ports[http]}", f"https://127.0.0.1:{ports[https]}")
            for name, (http, https) in _PORTS.items()
        }
        senders = "".join(
            _SENDER.format(each.name, each.https, PASSWORD, folder) for each in apis.values()
        )
        senders += "pace = 0s\n"  # of the last one, FULL

        def serve(there: Path, more: str) -> tuple[int, int, dict[str, str]]:
            """A service: its process, its FastAGI's port, and the environment of its script."""
            fastagi, monitor, conf = *free_ports(2), there / "sms.conf"
            conf.touch(0o600)
            conf.write_text(_GENERAL.format(fastagi, monitor) + more + senders)
            environment = {
                "PATH": os.environ["PATH"],
                "DIALPLAN_SMS_CONF": str(conf),
                "DIALPLAN_SMS_SOCKET": f"{there}/agi.sock",
            }
            program = (Path(sys.prefix) / "bin/dialplan-sms", "serve")
            child = Child(program, fastagi, there / "service.told", environment)
            return stack.enter_context(child).pid, fastagi, environment

        service, fastagi, environment = serve(folder, "")
        storage = folder / "outbox"
        storage.mkdir()
        outbox = f"outbox = sqlite:///{storage}/outbox.sqlite\n"
        storing_service, storing, _ = serve(storage, outbox)
        services, lacking, (port,) = [service, storing_service], {}, free_ports(1)
        try:
            services.append(stack.enter_context(servers.floor(folder, port)).pid)
        except (OSError, subprocess.CalledProcessError):
            lacking[FLOOR] = "cc does not compile floor.c: run apt install gcc libc6-dev"
        scripts = folder / "agi-bin"
        scripts.mkdir()
        agi_bin(scripts)
        for api in apis.values():
            write_naive(scripts / f"naive-{api.name}.agi", api.https, bundle)
        text = dialplan(apis.values(), fastagi, storing, port)
        measured = {"nginx": [web, *children(web)], "service": services}
        loads = {}
        for installation in installations:
            asterisk = Pbx(
                _trusting(installation, bundle, folder), text, agi_bin=scripts,
                files={"logger.conf": _LOGGER}, environment=environment,
            )  # fmt: skip
            loads[installation.major] = Load(stack.enter_context(asterisk), measured)
        versions = {str(each.major): each.version for each in installations}
        versions |= {"python": platform.python_version(), "kernel": platform.release()}
        versions["certificate"] = f"RSA {rsa_bits}" if rsa_bits else "ECDSA P-256"
        yield Bed(loads, apis, service, folder / "agi.sock", versions, lacking)


def _trusting(installation: Installation, bundle: Path, folder: Path) -> Installation:
    """The installation with a libcurl that reads *bundle* in place of the host's.

    CURL() of Asterisk 16 has no setting for it, and libcurl heeds no variable of the environment:
    the path is compiled in. An admin would add the certificate to the host's bundle, which is not
    ours to write, so that a copy of the library gets another path, of the same length.
    """
    assert installation.root is not None
    library = next(installation.root.glob("usr/lib/*/libcurl.so.4"))
    room = len(_BUNDLE) - len(str(bundle))
    path = str(bundle.parent) + "/" * (room + 1) + bundle.name
    patched = library.read_bytes().replace(_BUNDLE.encode(), path.encode())
    copies = folder / f"lib-{installation.major}"
    copies.mkdir()
    (copies / library.name).write_bytes(patched)
    loader, option, places, *rest = installation.command
    return replace(installation, command=(loader, option, f"{copies}:{places}", *rest))
