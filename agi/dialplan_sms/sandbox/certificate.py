"""A self-signed certificate for a stand-in, fresh or kept in the user's cache folder."""

import fcntl
import os
import stat
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dialplan_sms.host.identity import HostError, changers
from dialplan_sms.transport.tls import fingerprint

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DAY = timedelta(days=1)
_FILE = "certificate.pem"  # the key is in it, too
_LARGEST = 65536
_ELSEWHERE = "set XDG_CACHE_HOME to a folder of your own"


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """A certificate and its private key, both PEM; *fingerprint* is ``sha256:AA:BB:…`` (DER)."""

    pem: bytes
    fingerprint: str
    key: bytes = field(repr=False)


def self_signed(hosts: Iterable[str] = LOOPBACK, *, rsa_bits: int = 0) -> SelfSigned:
    """A fresh certificate for *hosts*, names and addresses, good for a year.

    Its key is ECDSA P-256, or RSA of *rsa_bits*. It can be trusted as a CA file even by clients
    that follow RFC 5280 to the letter, and is no CA: its key signs for no other host.
    """
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = (
        rsa.generate_private_key(65537, rsa_bits)
        if rsa_bits
        else ec.generate_private_key(ec.SECP256R1())
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dialplan-sms sandbox")])
    now = datetime.now(UTC)
    other_uses = (
        "content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
        " crl_sign encipher_only decipher_only"
    )
    usage = dict.fromkeys(other_uses.split(), False)
    public = key.public_key()
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
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def kept(hosts: Collection[str], note: Callable[[str], None]) -> SelfSigned:
    """The certificate for *hosts* in the user's cache folder; one that is fresh is put there.

    That is if there is none for them, or it ends within 30 days. *note* is told if it cannot stay.
    """
    names = [_general(host) for host in hosts]
    try:
        folder = _folder()
        if os.geteuid() == 0 and (others := changers(folder)):
            where = next(iter(others.values()))
            raise HostError(f"others than root can change {where}: {_ELSEWHERE}")
        folder.mkdir(0o700, parents=True, exist_ok=True)
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(place).st_mode & 0o077:
                os.fchmod(place, 0o700)  # which fails if it is not ours
            fcntl.flock(place, fcntl.LOCK_EX)
            return _read(place, names) or _write(place, self_signed(hosts))
        finally:
            os.close(place)
    except OSError as error:
        why = f"{folder} cannot be written, {error.strerror}: {_ELSEWHERE}"
    except HostError as error:
        why = str(error)
    note(f"the next start has another certificate, because {why}")
    return self_signed(hosts)


def _folder() -> Path:
    for home in (os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")):
        if os.path.isabs(home):
            return Path(home, "dialplan-sms/sandbox")
    raise HostError(f"this user has no home: {_ELSEWHERE}")


def _read(folder: int, names: list[x509.GeneralName]) -> SelfSigned | None:
    """What the folder keeps, if it is for *names* and holds on, and was ours alone to read."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(_FILE, flags, dir_fd=folder)
    except OSError:
        return None
    with open(file, "rb") as stream:
        found = os.fstat(file)
        ours = found.st_uid == os.geteuid() and not found.st_mode & 0o077
        content = stream.read(_LARGEST) if ours and stat.S_ISREG(found.st_mode) else b""
    try:
        key = serialization.load_pem_private_key(content, None)
        certificate = x509.load_pem_x509_certificate(content)
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        hosts = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        good = (
            start <= datetime.now(UTC) <= end - 30 * _DAY
            and [*hosts] == names
            and certificate.public_key() == key.public_key()
        )
    except Exception:  # noqa: BLE001 - whatever it is, it is no certificate of ours
        return None
    return _pair(certificate, key) if good else None


def _write(folder: int, fresh: SelfSigned) -> SelfSigned:
    with suppress(FileNotFoundError):
        os.unlink(_FILE, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(_FILE, flags, 0o600, dir_fd=folder), "wb") as file:
        file.write(fresh.key + fresh.pem)
    return fresh


def _pair(certificate: x509.Certificate, key: PrivateKeyTypes) -> SelfSigned:
    return SelfSigned(
        pem=certificate.public_bytes(serialization.Encoding.PEM),
        fingerprint=fingerprint(certificate.public_bytes(serialization.Encoding.DER)),
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
