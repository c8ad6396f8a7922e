from ipaddress import ip_network

import pytest

from dialplan_sms.host.address import is_in, is_loopback, machine, parse


def test_a_mapped_address_is_the_ipv4_one() -> None:
    assert str(parse("::ffff:192.0.2.1")) == "192.0.2.1"
    assert is_in("::ffff:192.0.2.1", [ip_network("192.0.2.0/24")])
    assert not is_in("::ffff:192.0.3.1", [ip_network("192.0.2.0/24")])
    assert not is_in("no address", [ip_network("0.0.0.0/0")])


@pytest.mark.parametrize("here", ["127.0.0.9", "::1", "::ffff:127.0.0.1", "localhost"])
def test_who_is_this_host(here: str) -> None:
    assert is_loopback(here)
    assert not is_loopback("192.0.2.1")
    assert not is_loopback("pbx.example.com")


def test_what_counts_as_one_machine() -> None:
    assert machine("::ffff:192.0.2.1") == machine("192.0.2.1") == "192.0.2.1"
    assert machine("2001:db8::1") == machine("2001:db8::ffff:1") != machine("2001:db8:0:1::1")
    assert machine("fe80::1%eth0") == machine("fe80::2%eth0")
