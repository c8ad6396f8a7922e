"""What a benchmark runs on: nginx, the slow API, the service, and both Asterisks, all on loopback."""

import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import certifi
from cryptography.hazmat.primitives.asymmetric import rsa

from dialplan_sms.outbox import gateways
from dialplan_sms.outbox.database import open_engine
from dialplan_sms.outbox.schema import message, now, number, prepare
from dialplan_sms.sandbox.certificate import self_signed
from tests.asterisk.fetch import INSTALLED_VARIABLE, VERSIONS, fetch
from tests.asterisk.installation import AsteriskUnavailable, Installation
from tests.asterisk.pbx import Pbx
from tests.asterisk.site import PASSWORD, agi_bin
from tests.bench import floor, nginx
from tests.bench.load import Load
from tests.bench.measure import children
from tests.bench.test_script_cost import NAIVE
from tests.bench.ways import FLOOR, Api, Way, dialplan, write_naive
from tests.children import Child, free_ports

FAST, SLOW, STALE, FULL = "fast", "slow", "stale", "full"
"""The API that answers at once, after 100 ms, that keeps no connection between two calls, and the
first one again, for a sender with very many SMS in the outbox, which a worker sends."""

_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_LOGGER = "[logfiles]\nfull = notice,warning,error\n"  # without a line for each step of a call
_WAITING = 100_000  # SMS
_SENDER = "[{name}]\nurl = {url}\npassword = {password}\nverify = {verify}\ncountry = IT\n"


@dataclass(frozen=True)
class Bed:
    """Everything runs: what is called, and what is measured."""

    loads: dict[int, Load]  # by Asterisk's major version
    apis: dict[str, Api]
    service: int  # its process id
    socket: Path  # where the service takes calls of sms.agi
    versions: dict[str, str]
    lacking: dict[Way, str]  # what this host cannot run, and why

    def fill(self) -> None:
        """Have so many SMS of sender FULL wait in the outbox, as if they had been stored now."""
        numbers = range(1, _WAITING + 1)
        new = {"state": "pending", "mode": "queue", "sender": FULL, "text": "Hi", "chars": 2}
        rows = [new | {"token": f"waiting {n}", "id": _WAITING + n} for n in numbers]
        to = [
            {"message_id": row["id"], "number": "+39333123456", "state": "pending"} for row in rows
        ]
        engine = open_engine(f"sqlite:///{self.socket.parent}/outbox/outbox.sqlite")
        with engine.begin() as connection:
            prepare(connection)
            connection.execute(message.insert().values(created=now(), due=now()), rows)
            connection.execute(number.insert().values(created=now()), to)
            gateways.ensure(connection, FULL, "")
        engine.dispose()


@contextmanager
def bed(rsa_bits: int) -> Iterator[Bed]:
    """Start it all; whatever happens, end it all and remove its folder.

    The API's certificate has an RSA key of *rsa_bits*, ECDSA P-256 where they are 0.

    Raises AsteriskUnavailable and NginxUnavailable.
    """
    if os.environ.get(INSTALLED_VARIABLE):
        raise AsteriskUnavailable(
            f"the benchmark compares Asterisk 22 and 16: unset {INSTALLED_VARIABLE}"
        )
    binary = nginx.obtain()
    installations = [fetch(version) for version in VERSIONS]
    with ExitStack() as stack:
        # In /tmp whatever TMPDIR says: the path of the bundle has to be short, see _trusting.
        temporary = tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp")
        folder = Path(stack.enter_context(temporary))
        ports = nginx.Ports(*free_ports(6))
        key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else None
        certificate = self_signed(key=key)
        stack.enter_context(_slow(folder, ports.slow))
        web = stack.enter_context(nginx.server(binary, folder, ports, certificate))
        bundle = _bundle(folder, certificate.pem)
        apis = {api.context: api for api in _apis(ports)}
        conf, fastagi = _configure(folder, apis.values())
        (folder / "outbox").mkdir()
        stored, storing = _configure(folder / "outbox", apis.values(), folder / "certificate.pem")
        environment = {
            "PATH": os.environ["PATH"],
            "DIALPLAN_SMS_CONF": str(conf),
            "DIALPLAN_SMS_SOCKET": str(folder / "agi.sock"),
        }
        serve = (Path(sys.prefix) / "bin/dialplan-sms", "serve")
        service = stack.enter_context(
            Child(serve, fastagi, folder / "service.told", environment)
        ).pid
        storage = stack.enter_context(
            Child(
                (*serve, "--config", stored),
                storing,
                folder / "outbox/service.told",
                {"PATH": os.environ["PATH"], "DIALPLAN_SMS_SOCKET": f"{folder}/outbox/agi.sock"},
            )
        ).pid
        (port,) = free_ports(1)
        services, lacking = [service, storage], {}
        try:
            services.append(stack.enter_context(floor.server(folder, port)).pid)
        except floor.CompilerUnavailable as error:
            lacking[FLOOR] = str(error)
        scripts = folder / "agi-bin"
        scripts.mkdir()
        agi_bin(scripts)
        for api in apis.values():
            write_naive(scripts, api, NAIVE, sys.executable, bundle)
        web_pids = [web.pid, *children(web.pid)]
        loads = {}
        for installation in installations:
            asterisk = Pbx(
                _trusting(installation, bundle, folder),
                dialplan(apis.values(), fastagi, storing, port),
                agi_bin=scripts,
                files={"logger.conf": _LOGGER},
                environment=environment,
            )
            stack.enter_context(asterisk)
            measured = {"nginx": web_pids, "service": services}
            loads[installation.major] = Load(asterisk, measured)
        versions = {str(each.major): each.version for each in installations}
        versions |= {"python": platform.python_version(), "kernel": platform.release()}
        versions["certificate"] = f"RSA {rsa_bits}" if rsa_bits else "ECDSA P-256"
        yield Bed(loads, apis, service, folder / "agi.sock", versions, lacking)


def _slow(folder: Path, port: int) -> Child:
    script = Path(__file__).with_name("slow.py")
    return Child((sys.executable, "-IS", script, str(port)), port, folder / "slow.told", {})


def _apis(ports: nginx.Ports) -> Iterator[Api]:
    host = "127.0.0.1"
    yield Api(FAST, f"http://{host}:{ports.http}", f"https://{host}:{ports.https}", FAST)
    slow = f"https://{host}:{ports.slow_https}"
    yield Api(SLOW, f"http://{host}:{ports.slow_http}", slow, SLOW)
    stale = f"https://{host}:{ports.stale_https}"
    yield Api(STALE, f"http://{host}:{ports.http}", stale, STALE)
    yield Api(FULL, f"http://{host}:{ports.http}", f"https://{host}:{ports.https}", FULL)


def _configure(
    folder: Path, apis: Iterable[Api], outbox_of: Path | None = None
) -> tuple[Path, int]:
    """Write sms.conf, a sender for each place; and the port that the service listens on.

    *outbox_of* is the certificate for one that has an outbox.
    """
    fastagi, monitor = free_ports(2)
    text = f"[general]\nlog = sms.log\nlisten = 127.0.0.1:{fastagi}\n"
    text += f"monitor = 127.0.0.1:{monitor}\ndefault_sender = {FAST}\n"
    if outbox_of is not None:
        text += f"outbox = sqlite:///{folder}/outbox.sqlite\n"
    for api in apis:
        text += _SENDER.format(
            name=api.sender, url=api.https, password=PASSWORD,
            verify=outbox_of or folder / "certificate.pem",
        )  # fmt: skip
    text += "pace = 0s\n"  # of the last one, FULL
    conf = folder / "sms.conf"
    conf.touch(0o600)
    conf.write_text(text)
    return conf, fastagi


def _bundle(folder: Path, certificate: bytes) -> Path:
    """A CA bundle of the usual size that the API's certificate is part of."""
    usual = Path(_BUNDLE) if Path(_BUNDLE).exists() else Path(certifi.where())
    path = folder / "ca.crt"
    path.write_bytes(usual.read_bytes() + certificate)
    return path


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
