"""TLS with the PBX: what ``verify`` in sms.conf trusts, a pinned fingerprint among it."""

import os
import ssl
from typing import Any

PIN = "sha256:"


def settings(verify: str) -> dict[str, Any]:
    """Arguments of urllib3's HTTPSConnection.

    *verify* is ``yes``, ``no``, a CA file or ``sha256:<hex>``. Raises OSError and ssl.SSLError for
    a file without a certificate.
    """
    if verify.startswith(PIN):
        return {"ssl_context": any_peer(), "assert_fingerprint": verify.removeprefix(PIN)}
    if verify == "no":
        return {"ssl_context": any_peer(), "assert_hostname": False}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if verify != "yes":
        # A certificate that an admin saved from the PBX is trusted, whoever signed it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(verify)
    else:
        _trust_the_host(context)
    return {"ssl_context": context}


def any_peer() -> ssl.SSLContext:
    """Trusts every certificate: what goes over such a connection must not be secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _trust_the_host(context: ssl.SSLContext) -> None:
    """The host's own CAs, where admins put theirs; certifi's if the host has none."""
    places = ssl.get_default_verify_paths()
    if places.capath and "SSL_CERT_FILE" not in os.environ and _is_hashed(places.capath):
        # OpenSSL looks into the folder when it needs a CA; a bundle would cost 40 ms now.
        context.load_verify_locations(capath=places.capath)
    elif places.cafile or places.capath:
        context.set_default_verify_paths()
    else:
        import certifi

        context.load_verify_locations(certifi.where())


def _is_hashed(folder: str) -> bool:
    try:
        return any(name.endswith(".0") for name in os.listdir(folder))
    except OSError:
        return False
