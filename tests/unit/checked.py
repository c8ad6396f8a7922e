"""A whole site for ``dialplan-sms check``: files, a stand-in PBX, a service, an Asterisk's console."""

import http.server
import json
import os
import shutil
import socket
import socketserver
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dialplan_sms.cli.check import CheckState, Finding, outbox
from dialplan_sms.cli.check.command import exit_status, inspect
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.host import process
from dialplan_sms.host.identity import User, current
from dialplan_sms.host.process import Ran
from dialplan_sms.sandbox import Sandbox
from dialplan_sms.sms import api
from tests.asterisk.serving import Service, free_port

ROOT = Path(__file__).parents[2]
MODULES = "pbx_config res_agi app_stack app_verbose func_strings func_curl".split()
_CONSOLE = """#!/bin/sh
for command; do :; done
cat "{folder}/console/$command" 2>/dev/null || exit 1
"""


class Bed:
    """A healthy site; a test breaks one thing of it, and asks for what the check finds."""

    def __init__(self, folder: Path, sandbox: Sandbox, service: Service, stack: ExitStack) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.service = service
        self.stack = stack
        self.user = current()
        self.environ = {
            "AST_CONFIG_DIR": str(folder / "etc"),
            "DIALPLAN_SMS_SOCKET": str(service.socket),
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        }
        self.unit = ""
        self.free: int = 10 << 30
        self.bodies: list[bytes] = []
        self.sender = f"url = {sandbox.url}\npassword = sms101api\nverify = {sandbox.fingerprint}\n"
        self.general = (
            f"log = {folder}/sms.log\noutbox = sqlite:///{service.folder}/outbox.sqlite\n"
            f"listen = 127.0.0.1:{service.port}\nmonitor = 127.0.0.1:{service.monitor}\n"
        )
        for name in ("etc", "bin", "agi-bin", "opt", "console", "proc"):
            (folder / name).mkdir()
        self.script = folder / "opt/sms.agi"
        self.link = folder / "agi-bin/sms.agi"
        self.python = folder / "opt/python3"
        self.extensions = folder / "etc/extensions.conf"
        self.conf = folder / "etc/sms.conf"
        self._make()

    def _make(self) -> None:
        (self.folder / "etc/asterisk.conf").write_text(
            f"[directories]\nastagidir => {self.folder}/agi-bin\n"
        )
        self.program(self.python, f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        body = (ROOT / "agi/sms.agi").read_text().partition("\n")[2]
        self.program(self.script, f"#!{self.python} -IS\n{body}")
        self.link.symlink_to(self.script)
        shutil.copy(ROOT / "dialplan/extensions-sms.conf", self.folder / "etc")
        self.extensions.write_text("#tryinclude extensions-sms.conf\n[test]\nexten => 1,1,NoOp()\n")
        self.program(self.folder / "bin/asterisk", _CONSOLE.format(folder=self.folder))
        says = f"  Version: 22.10.1\n  AGI Scripts directory: {self.folder}/agi-bin\n"
        self.console("core show settings", says)
        self.modules(MODULES)
        self.console("dialplan show", "[ Context 'sub-sms' created by 'pbx_config' ]\n")
        (self.folder / "sms.log").touch(0o660)
        (self.folder / "sms.log").chmod(0o660)

    def program(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def console(self, command: str, answer: str) -> None:
        """What the fake ``asterisk -rx`` answers."""
        (self.folder / "console" / command).write_text(answer)

    def modules(self, names: Iterable[str]) -> None:
        head = "Module                         Description        Use Count  Status      Support Level\n"
        rows = "".join(
            f"{name}.so".ljust(30) + " Something          0          Running              core\n"
            for name in names
        )
        self.console("module show", head + rows + f"{len(rows)} modules loaded\n")

    def down(self) -> None:
        """Asterisk is not running."""
        shutil.rmtree(self.folder / "console")

    def without_service(self) -> None:
        """Neither service nor outbox, which are optional."""
        self.general = f"log = {self.folder}/sms.log\nmonitor = 127.0.0.1:{free_port()}\n"

    def as_asterisk(self) -> None:
        """Asterisk's user is another one than the test's, of the same group."""
        self.user = User("asterisk", 64321, (os.getegid(),))
        self.without_service()

    def write(self) -> None:
        """Write sms.conf, unless a test has."""
        if not self.conf.exists():
            self.conf.write_text(f"[general]\n{self.general}\n[101]\n{self.sender}")
            self.conf.chmod(0o640)

    def run(self, command: Sequence[str], timeout: float, _: User | None) -> Ran:
        if command[0] == "systemctl":
            return Ran(0 if self.unit else 1, self.unit)
        return process.run(command, timeout)

    def check(self) -> list[Finding]:
        self.write()
        with (
            mock.patch("shutil.disk_usage", return_value=mock.Mock(free=self.free)),
            mock.patch.object(outbox, "MOUNTS", self.folder / "mountinfo"),
        ):
            proc = self.folder / "proc"
            return inspect(self.conf, self.user, self.environ, self.run, proc, 1.0)[0]

    def finds(self, name: str, cure: str, state: CheckState = CheckState.WRONG) -> None:
        """That is the one line that says what is wrong and what to do, and nobody got an SMS."""
        began = time.monotonic()
        findings = self.check()
        took = time.monotonic() - began
        lines = [(each.name, each.state, each.says, each.do) for each in bad(findings)]
        assert [(line[0], line[1]) for line in lines] == [(name, state)], lines
        assert cure in lines[0][3], lines
        assert exit_status(findings) == (2 if state is CheckState.WRONG else 1)
        assert self.sandbox.messages == []
        # Nobody could have got one.
        pairs = [pair for body in self.bodies for pair in parse_qsl(body.decode())]
        pairs += [pair for request in self.sandbox.requests for pair in request.form.items()]
        assert [value for key, value in pairs if key == "number" and value.strip()] == []
        assert took < 15


def config(**fields: Any) -> Config:
    """One sender, and *fields*."""
    sender = Sender("101", "https://pbx.example.com/api/v1/originate/sms", "sms101api")
    return Config(Path("/etc/sms.conf"), {"101": sender}, "101", **fields)


def bad(findings: Iterable[Finding]) -> list[Finding]:
    """Those that are not well."""
    return [each for each in findings if each.state in (CheckState.WRONG, CheckState.WARNING)]


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that other users may pass, as pytest's own is not."""
    path = Path(os.path.realpath(tempfile.mkdtemp(prefix="check-")))
    path.chmod(0o755)
    before = os.umask(0o022)
    try:
        yield path
    finally:
        os.umask(before)
        shutil.rmtree(path)


def certificate(
    names: Sequence[str] = ("localhost",), start: float = -1, end: float = 365, signer: str = ""
) -> tuple[bytes, bytes]:
    """A certificate and its key, PEM, valid for these days from now; without *signer* its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    signs = ec.generate_private_key(ec.SECP256R1()) if signer else key
    name, issuer = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)])
        for each in ("PBX of a test", signer or "PBX of a test")
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=start))
        .not_valid_after(now + timedelta(days=end))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), False)
        .add_extension(x509.BasicConstraints(not signer, None if signer else 0), True)
        .sign(signs, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@contextmanager
def pbx(
    bed: Bed, made: tuple[bytes, bytes] | None, clock: Callable[[], float] = time.time
) -> Iterator[int]:
    """A PBX with that certificate, whose clock is *clock*; the port. What it is sent is in *bed*."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            bed.bodies.append(body)
            reply = api.error(api.EMPTY_NUMBER if self.path == api.PATH else "elsewhere")
            data = json.dumps(reply).encode()
            self.send_response_only(200)
            self.send_header("Date", formatdate(clock(), usegmt=True))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = _Quiet(("127.0.0.1", 0), Handler)
    if made is not None:
        pem = bed.folder / "opt/pbx.pem"
        pem.write_bytes(made[0] + made[1])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        (bed.folder / "opt/ca.pem").write_bytes(made[0])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with _serving(server) as port:
        yield port


class _Quiet(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def _serving(server: _Quiet) -> Iterator[int]:
    """Its port, while a thread of its own serves."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(5)


@contextmanager
def stranger(answer: bytes = b"220 mail.example.com ESMTP\r\n") -> Iterator[int]:
    """Another program that listens on a port and says *answer* to whoever comes."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(answer)

    with _serving(_Quiet(("127.0.0.1", 0), Handler)) as port:
        yield port


@contextmanager
def firewalled() -> Iterator[int]:
    """A port whose SYNs are dropped: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(address)
            waiting.append(one)
        time.sleep(0.05)
        try:
            yield address[1]
        finally:
            for one in waiting:
                one.close()
