"""A look at a peer's certificate: what nobody trusts is read, too, and a verify is tried as it is."""

import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dialplan_sms.sandbox import Sandbox
from dialplan_sms.transport.connection import Resolver
from dialplan_sms.transport.exchange import Stage
from dialplan_sms.transport.tls import Look, look
from tests.asterisk.serving import free_port
from tests.unit import checked

DAY = 86400


def seen(port: int, verify: str = "no", scheme: str = "https") -> Look:
    return look(scheme, "localhost", port, Resolver(), 5.0, verify)


@contextmanager
def server(folder: Path, made: tuple[bytes, bytes]) -> Iterator[int]:
    """A port that shows this certificate to whoever comes."""
    (folder / "server.pem").write_bytes(b"".join(made))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")

    def serve() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection, context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


@pytest.mark.parametrize("signer", ["", "CA of a test"])
@pytest.mark.parametrize(("start", "end"), [(-1, 9), (-9, -2), (1, 9)])
def test_what_nobody_trusts_is_read(tmp_path: Path, start: int, end: int, signer: str) -> None:
    made = checked.certificate(["pbx.example.com", "192.0.2.1"], start, end, signer)
    with server(tmp_path, made) as port:
        found = seen(port).certificate
    assert found is not None
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(made[0].decode())).digest()
    assert found.fingerprint == f"sha256:{digest.hex(':').upper()}"
    assert found.names == ("pbx.example.com", "192.0.2.1")
    assert found.issuer == {"commonName": signer or "PBX of a test"}
    assert found.self_signed is not bool(signer)
    days = [round((when - time.time()) / DAY) for when in (found.start, found.end)]
    assert days == [start, end]


def test_a_verify_is_tried_as_a_send_does() -> None:
    with Sandbox() as sandbox:
        port = sandbox.address.port
        for verify in ("no", sandbox.fingerprint, str(sandbox.certificate)):
            assert seen(port, verify).failure is None
        failed = seen(port, "yes")
        assert isinstance(failed.failure, ssl.SSLCertVerificationError)
        assert seen(port, f"sha256:{'ab' * 32}").failure is not None
        assert seen(port).version.startswith("TLSv1.")


def test_a_connection_that_fails_has_its_stage() -> None:
    closed = seen(free_port())
    assert (closed.stage, type(closed.failure)) == (Stage.CONNECTING, ConnectionRefusedError)
    with checked.stranger() as port:
        assert seen(port).stage is Stage.SECURING
        plain = seen(port, scheme="http")
    assert (plain.failure, plain.certificate) == (None, None)
