import threading

import pytest

from dialplan_sms.transport.connection import Resolver
from tests.unit.fakes import no_threads


class Dns:
    """A name server that answers when it is told to."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.asked = 0

    def __call__(self, host: str, port: int, *rest: int) -> list[tuple[object, ...]]:
        if len(rest) > 3:
            raise OSError("not a number")
        self.asked += 1
        self.answer.wait(10)
        return [(2, 1, 6, "", ("192.0.2.1", port))]


def test_a_lookup_that_hangs_costs_one_thread_and_no_more_than_its_time() -> None:
    dns = Dns()
    resolver = Resolver(dns)
    before = threading.active_count()
    for _ in range(5):
        with pytest.raises(TimeoutError):
            resolver.resolve("pbx.example.com", 443, 0.05)
    assert threading.active_count() - before <= 1
    assert dns.asked == 1
    dns.answer.set()
    assert resolver.resolve("pbx.example.com", 443, 5)[0][4] == ("192.0.2.1", 443)


def test_a_host_without_threads_for_a_moment_recovers() -> None:
    resolver = Resolver()
    with no_threads(), pytest.raises(RuntimeError):
        resolver.resolve("localhost", 80, 1)
    assert resolver.resolve("localhost", 80, 5)


def test_a_numeric_address_needs_no_thread() -> None:
    before = {*threading.enumerate()}
    assert Resolver().resolve("127.0.0.1", 80, 0.001)[0][4] == ("127.0.0.1", 80)
    assert Resolver().resolve("::1", 80, 0.001)[0][4][:2] == ("::1", 80)
    assert {*threading.enumerate()} <= before


@pytest.mark.parametrize("name", ["pbx.invalid", "a..b", "x" * 300, "\u20ac.invalid"])
def test_a_name_that_is_none_is_an_error(name: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011
        Resolver().resolve(name, 80, 20)
