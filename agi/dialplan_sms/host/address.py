"""IP addresses in one form: one that is mapped into IPv6 (``::ffff:192.0.2.1``) is the IPv4 one."""

import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


@lru_cache
def parse(text: str) -> IPv4Address | IPv6Address:
    """The address that *text* is, without its zone. Raises ValueError."""
    found = ip_address(text.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    with suppress(ValueError):
        return parse(text)
    return None


def is_loopback(text: str) -> bool:
    """Whether only this host can reach *text*: a loopback address, or localhost."""
    found = _parsed(text)
    return found.is_loopback if found else text == "localhost"


def is_in(text: str, networks: Iterable[Network]) -> bool:
    """Whether *text* is an address of one of the *networks*."""
    found = _parsed(text)
    return found is not None and any(found in network for network in networks)


def machine(text: str) -> str:
    """What one machine can call its own: an IPv4 address, or an IPv6 network of 64 bits."""
    found = _parsed(text)
    if found is None or found.version == 4:
        return str(found or text)
    return str(ip_network((found, 64), strict=False))


def bare(host: str) -> str:
    """The name or address of a header ``Host: host``, without port and brackets."""
    # A site whose name suddenly leads here (DNS rebinding) has its visitor's browser ask for that.
    name = re.sub(":[0-9]*$", "", host.strip().lower())
    return name[1:-1] if name.startswith("[") and name.endswith("]") else name
