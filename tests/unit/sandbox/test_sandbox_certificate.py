"""The certificate of the stand-in: who trusts it, that it signs nothing, and where it stays."""

import os
import resource
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dialplan_sms.sandbox import Sandbox, certificate
from dialplan_sms.sandbox.certificate import LOOPBACK, SelfSigned, kept, self_signed
from dialplan_sms.transport import tls
from dialplan_sms.transport.connection import Resolver
from dialplan_sms.transport.tls import look

NOBODY = 65534
EVERYWHERE = pytest.mark.parametrize(
    ("strict", "client"), [(flag, at) for flag in (0, ssl.VERIFY_X509_STRICT) for at in (0, 1)]
)
"""Python 3.13 is strict by itself; the clients are ours and Python's own."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the certificate is kept; it is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dialplan-sms/sandbox/certificate.pem"


def keep(hosts: tuple[str, ...] = LOOPBACK) -> SelfSigned:
    """The certificate that is kept, and nothing to be said of it."""
    notes: list[str] = []
    found = kept(hosts, notes.append)
    assert notes == []
    return found


def refused() -> str:
    """What is said where nothing can be kept, and a fresh one is used."""
    notes: list[str] = []
    assert kept(LOOPBACK, notes.append) != kept(LOOPBACK, notes.append)
    assert notes[0] == notes[1]
    assert "\n" not in notes[0]
    return notes[0]


@contextmanager
def serving(chain: bytes, folder: Path) -> Iterator[tuple[str, int]]:
    """A TLS server with *chain*, a key and certificates: its address."""
    (folder / "chain.pem").write_bytes(chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError), listener.accept()[0] as plain:
                context.wrap_socket(plain, server_side=True).close()

        thread = Thread(target=answer)
        thread.start()
        yield listener.getsockname()
        thread.join(10)


def contexts(file: Path) -> list[ssl.SSLContext]:
    """Ours with verify = FILE, and Python's own."""
    ours = tls.peer("https", "localhost", None, Resolver(), str(file)).context
    assert isinstance(ours, ssl.SSLContext)
    return [ours, ssl.create_default_context(cafile=file)]


@EVERYWHERE
def test_it_is_trusted_as_a_ca_file_by_every_loopback_name(strict: int, client: int) -> None:
    with Sandbox() as sandbox:
        context = contexts(sandbox.certificate)[client]
        context.verify_flags |= strict
        for name in ("localhost", "127.0.0.1", "::1"):
            with (
                socket.create_connection(sandbox.address, timeout=5) as plain,
                context.wrap_socket(plain, server_hostname=name) as connection,
            ):
                assert connection.version()


def test_it_is_trusted_by_its_fingerprint_and_no_other() -> None:
    with Sandbox() as sandbox:
        for verify, good in ((sandbox.fingerprint, True), (self_signed().fingerprint, False)):
            found = look("https", *sandbox.address, Resolver(), 5, verify)
            assert (found.failure is None) is good


@EVERYWHERE
def test_what_its_key_signs_is_not_trusted(strict: int, client: int, tmp_path: Path) -> None:
    made = self_signed()
    issuer = x509.load_pem_x509_certificate(made.pem)
    signer = serialization.load_pem_private_key(made.key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    public = signer.public_key()
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("bank.example")]), True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False)
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    chain = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + forged.public_bytes(pem)
    (tmp_path / "trusted.pem").write_bytes(made.pem)
    context = contexts(tmp_path / "trusted.pem")[client]
    context.verify_flags |= strict

    with (
        serving(chain + made.pem, tmp_path) as address,
        socket.create_connection(address, timeout=5) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(plain, server_hostname="bank.example")


def test_it_is_no_ca_and_signs_digitally_only() -> None:
    found = x509.load_pem_x509_certificate(self_signed().pem).extensions
    basic = found.get_extension_for_class(x509.BasicConstraints)
    usage = found.get_extension_for_class(x509.KeyUsage)
    assert (basic.critical, basic.value.ca) == (True, False)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not usage.value.crl_sign


def test_it_stays_in_a_folder_that_is_closed_to_others(place: Path) -> None:
    first = keep()

    for _ in range(2):
        assert (place.stat().st_mode & 0o777, place.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert [*place.parent.iterdir()] == [place]
        place.parent.chmod(0o755)
        assert keep() == first


def test_that_of_the_tests_class_does_not(place: Path) -> None:
    assert Sandbox().fingerprint != Sandbox().fingerprint
    assert not place.parent.exists()


def test_another_host_has_another(place: Path) -> None:
    first = keep()
    second = keep((*LOOPBACK, "192.0.2.1"))

    assert second != first
    assert keep((*LOOPBACK, "192.0.2.1")) == second


@pytest.mark.parametrize(
    ("days", "stays"), [(0, True), (334, True), (336, False), (400, False), (-2, False)]
)
def test_it_is_renewed_before_it_ends(
    place: Path, monkeypatch: pytest.MonkeyPatch, days: int, stays: bool
) -> None:
    first = keep()

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            later = datetime.now(UTC) + timedelta(days=days)
            return cls.fromtimestamp(later.timestamp(), tz)

    monkeypatch.setattr(certificate, "datetime", Clock)
    second = keep()

    assert (second == first) is stays
    assert keep() == second


@pytest.mark.parametrize("content", [b"", b"x", b"half", b"two", b"\xff" * 100_000])
def test_what_is_broken_is_made_anew(place: Path, content: bytes) -> None:
    first = keep()
    broken = {
        b"half": place.read_bytes()[:300],
        b"two": self_signed().key + first.pem,  # the key of another one
    }
    place.write_bytes(broken.get(content, content))
    second = keep()

    assert second.fingerprint != first.fingerprint
    assert keep() == second


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_what_others_could_read_or_write_is_not_used(place: Path, mode: int) -> None:
    first = keep()
    place.chmod(mode)

    assert keep() != first
    assert place.stat().st_mode & 0o777 == 0o600


def test_no_link_is_followed_and_no_pipe_is_waited_for(place: Path, tmp_path: Path) -> None:
    keep()
    theirs = tmp_path / "theirs.pem"
    place.rename(theirs)
    content = theirs.read_bytes()
    for kind in ("link", "pipe"):
        place.unlink(missing_ok=True)
        if kind == "link":
            place.symlink_to(theirs)
        else:
            os.mkfifo(place, 0o600)
        found = keep()

        assert found.pem not in content
        assert not place.is_symlink()
        assert theirs.read_bytes() == content


def test_a_folder_that_is_a_link_keeps_nothing(place: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    place.parent.parent.mkdir()
    place.parent.symlink_to(tmp_path / "elsewhere")

    assert f"because {place.parent} cannot be written, Not a directory: set" in refused()
    assert not [*(tmp_path / "elsewhere").iterdir()]


def test_a_full_disk_is_one_line(place: Path) -> None:
    keep()
    place.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        said = refused()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert f"because {place.parent} cannot be written, File too large: set" in said
    assert keep() == keep()


@pytest.mark.parametrize(
    ("home", "said"),
    [("/dev/null", "/dev/null"), ("no/path", "because this user has no home: set XDG_CACHE_HOME")],
)
def test_without_a_home_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, home: str, said: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", home)

    assert said in refused()
    assert not Path("no").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("as_root")
def test_a_file_of_another_user_is_not_used(place: Path) -> None:
    first = keep()
    os.chown(place, NOBODY, NOBODY)

    assert keep() != first
    assert place.stat().st_uid == 0


@pytest.mark.slow
@pytest.mark.usefixtures("as_root")
def test_root_keeps_nothing_where_another_user_can_change(place: Path, tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)

    assert f"because others than root can change {tmp_path}: set XDG_CACHE_HOME" in refused()
    assert not place.parent.parent.exists()
