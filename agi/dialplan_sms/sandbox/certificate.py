"""A self-signed certificate for a stand-in, made when it starts."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dialplan_sms.transport.look import fingerprint

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """A certificate and its private key, both PEM; *fingerprint* is ``sha256:AA:BB:…`` (DER)."""

    pem: bytes
    fingerprint: str
    key: bytes = field(repr=False)


def self_signed(hosts: Iterable[str] = LOOPBACK, *, rsa_bits: int = 0) -> SelfSigned:
    """A fresh certificate for *hosts*, names and addresses, good for a year.

    Its key is ECDSA P-256, or RSA of *rsa_bits*. It can be trusted as a CA file even by clients
    that follow RFC 5280 to the letter.
    """
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = (
        rsa.generate_private_key(65537, rsa_bits)
        if rsa_bits
        else ec.generate_private_key(ec.SECP256R1())
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dialplan-sms sandbox")])
    now = datetime.now(UTC)
    other_uses = (
        "content_commitment key_encipherment data_encipherment key_agreement crl_sign"
        " encipher_only decipher_only"
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
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False)
        .sign(key, hashes.SHA256())
    )
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
