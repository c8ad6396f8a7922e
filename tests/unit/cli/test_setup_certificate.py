"""The certificate that ``dialplan-sms setup`` looks at, shows and pins."""

import socket
import ssl
from pathlib import Path

import pytest

from dialplan_sms.cli.setup import certificate
from dialplan_sms.config import config
from dialplan_sms.sandbox import Sandbox
from tests.unit.pbxhost import PASSWORD, PbxHost


def verify(pbx: PbxHost) -> str:
    return config.load(pbx.sms_conf).senders["101"].verify


def normal(fingerprint: str) -> str:
    return f"sha256:{fingerprint.lower().removeprefix('sha256:').replace(':', '')}"


def test_what_a_person_compares_is_shown(pbx: PbxHost, sandbox: Sandbox) -> None:
    pbx.interactive = True
    result = pbx.setup("--url", sandbox.url, "--sender", "101", said="y\n")
    assert result.exit_code == 0, result.output
    for word in ("issued to", "issued by", "valid", f"fingerprint {sandbox.fingerprint}"):
        assert word in result.output
    assert verify(pbx) == normal(sandbox.fingerprint)


def test_a_no_changes_nothing(pbx: PbxHost, sandbox: Sandbox) -> None:
    pbx.interactive = True
    result = pbx.setup("--url", sandbox.url, "--sender", "101", said="n\n")
    assert (result.exit_code, pbx.sms_conf.exists()) == (1, False)


def test_unattended_it_stops_with_the_fingerprint(pbx: PbxHost, sandbox: Sandbox) -> None:
    result = pbx.setup("--url", sandbox.url, "--sender", "101")
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert f"--fingerprint {sandbox.fingerprint}" in result.output
    assert not pbx.sms_conf.exists()


def test_a_fingerprint_that_was_given_is_compared(pbx: PbxHost, sandbox: Sandbox) -> None:
    given = ["--url", sandbox.url, "--sender", "101", "--fingerprint"]
    other = pbx.setup(*given, "00" * 32)
    assert (other.exit_code, sandbox.fingerprint in other.output) == (1, True)
    assert pbx.setup(*given, normal(sandbox.fingerprint)).exit_code == 0
    assert verify(pbx) == normal(sandbox.fingerprint)


def test_pin_takes_what_is_shown(pbx: PbxHost, sandbox: Sandbox) -> None:
    options = ["--url", sandbox.url, "--sender", "101", "--pin"]
    assert pbx.setup(*options).exit_code == 0
    assert verify(pbx) == normal(sandbox.fingerprint)
    before = pbx.tree()
    assert "all is there" in pbx.setup(*options).output
    assert pbx.tree() == before


def test_one_that_the_host_trusts_is_not_pinned(
    pbx: PbxHost, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host, _, port = sandbox.url.rpartition("/")[2].partition(":")
    (tmp_path / "ca.pem").write_text(ssl.get_server_certificate((host, int(port))))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert pbx.setup("--url", sandbox.url, "--sender", "101").exit_code == 0
    assert verify(pbx) == "yes"


def test_a_pbx_that_is_out_of_reach_is_a_warning(pbx: PbxHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    result = pbx.setup("--url", f"127.0.0.1:{port}", "--sender", "101")
    assert (result.exit_code, verify(pbx)) == (0, "yes")
    assert "cannot be reached now, Connection refused" in result.output
    assert PASSWORD not in result.output


def test_a_port_that_speaks_no_tls_is_a_warning(pbx: PbxHost) -> None:
    import threading

    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        found, why = certificate.look_at(f"https://127.0.0.1:{plain.getsockname()[1]}")
        assert (found, "version" in why) == (None, True)
        thread.join()
