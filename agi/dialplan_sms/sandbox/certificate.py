"""A self-signed certificate for a stand-in, fresh or kept in the user's cache folder."""

import fcntl
import os
import stat
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dialplan_sms.host.identity import HostError, changers
from dialplan_sms.transport.tls import fingerprint

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DAY = timedelta(days=1)
_FILE = "certificate.pem"  # the key is in it, too


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """A certificate and its private key, both PEM; *fingerprint* is ``sha256:AA:BB:…`` (DER)."""

    pem: bytes
    fingerprint: str
    key: bytes = field(repr=False)


def self_signed(hosts: Iterable[str] = LOOPBACK, key: Key | None = None) -> SelfSigned:
    """A fresh certificate for *hosts*, names and addresses, good for a year.

    It can be trusted as a CA file even by clients that follow RFC 5280 to the letter, and is no CA.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dialplan-sms sandbox")])
    now, public = datetime.now(UTC), key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 365 * _DAY)
        .add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(x509.KeyUsage(True, *[False] * 8), True)  # signs digitally, no more
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def kept(hosts: Collection[str], note: Callable[[str], None]) -> SelfSigned:
    """The one that the user's cache folder keeps; *note* is told why if the next is another."""
    homes = os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")
    folder = Path(next(filter(os.path.isabs, homes), ""), "dialplan-sms/sandbox")
    try:
        if not folder.is_absolute():
            raise HostError("this user has no home")
        if os.geteuid() == 0 and (others := changers(folder)):
            raise HostError(f"others than root can change {next(iter(others.values()))}")
        folder.mkdir(0o700, parents=True, exist_ok=True)
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(place, 0o700)  # which fails if it is not ours
            fcntl.flock(place, fcntl.LOCK_EX)
            return _read(place, [_general(host) for host in hosts]) or _write(place, hosts)
        finally:
            os.close(place)
    except OSError as error:
        why = f"{folder} cannot be written, {error.strerror}"
    except HostError as error:
        why = str(error)
    cure = "set XDG_CACHE_HOME to a folder of your own"
    note(f"the next start has another certificate, because {why}: {cure}")
    return self_signed(hosts)


def _read(folder: int, names: list[x509.GeneralName]) -> SelfSigned | None:
    """What the folder keeps, if it is for *names* and holds on, and was ours alone to read."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(_FILE, "rb", opener=lambda name, _: os.open(name, flags, dir_fd=folder)) as file:
            found = os.fstat(file.fileno())
            ours = found.st_uid == os.geteuid() and not found.st_mode & 0o077
            content = file.read(65536) if ours and stat.S_ISREG(found.st_mode) else b""
        key = serialization.load_pem_private_key(content, None)
        certificate = x509.load_pem_x509_certificate(content)
        hosts = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        good = begins <= datetime.now(UTC) <= ends - 30 * _DAY and [*hosts] == names
        good = good and certificate.public_key() == key.public_key()
    except Exception:  # noqa: BLE001 - whatever it is, it is no certificate of ours
        return None
    return _pair(certificate, key) if good else None


def _write(folder: int, hosts: Collection[str]) -> SelfSigned:
    fresh = self_signed(hosts)
    with suppress(FileNotFoundError):
        os.unlink(_FILE, dir_fd=folder)
    create = partial(os.open, mode=0o600, dir_fd=folder)  # O_EXCL: follows no link
    with open(_FILE, "xb", opener=create) as file:
        file.write(fresh.key + fresh.pem)
    return fresh


def _pair(certificate: x509.Certificate, key: PrivateKeyTypes) -> SelfSigned:
    return SelfSigned(
        pem=certificate.public_bytes(Encoding.PEM),
        fingerprint=fingerprint(certificate.public_bytes(Encoding.DER)),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
