"""A request to our SMS API, as a value: which numbers go, what the client is told, and loops."""

import pytest

from dialplan_sms.config.config import Sender
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.transport.resolver import Resolver
from dialplan_sms.web.relay.loops import Loops, Rounds, is_here
from dialplan_sms.web.relay.relay import reply, sort

SENDER = Sender("101", "https://192.0.2.1", country="IT")


def test_numbers_are_sorted_into_those_that_can_be_sent_to() -> None:
    good, wrong, why = sort("+39333123456, 0039333123456 ,,nobody,+441632960961,nobody", SENDER)
    assert good == ["+39333123456"]
    assert wrong == ["nobody", "+441632960961"]
    assert why is not None
    assert why.cause is Cause.INVALID_NUMBER


def test_a_plus_that_a_form_has_lost_is_explained() -> None:
    _, wrong, why = sort(" 39333123456", Sender("101", "https://192.0.2.1"))
    assert wrong == ["39333123456"]
    assert why is not None
    assert "write %2B" in why.reason


@pytest.mark.parametrize(
    ("outcome", "refused", "json", "status"),
    [
        (Outcome(Status.QUEUED, id="1"), [], api.result(), 200),
        (Outcome(Status.SUCCESS), ["12"], api.warning(["12"]), 200),
        (Outcome(Status.WARNING, Cause.NOT_QUEUED, "x", ("3",)), ["12"], api.warning(["12", "3"]), 200),
        (error(Cause.DENIED, 'too "many"'), [], api.error("too many"), 200),
        (error(Cause.BUSY, "full"), [], api.error("full"), 503),
        (error(Cause.OUTBOX, ""), [], api.error("OUTBOX"), 503),
    ],
)  # fmt: skip
def test_an_outcome_is_told_in_the_api_s_terms(
    outcome: Outcome, refused: list[str], json: dict[str, object], status: int
) -> None:
    answer = reply(outcome, refused)
    assert (dict(answer.json), answer.status) == (json, status)


def test_what_nobody_knows_is_no_error_of_the_api() -> None:
    answer = reply(error(Cause.NO_ANSWER, "it may be sent"))
    assert answer.status == 504
    assert "type" not in answer.json


def test_an_sms_that_comes_again_and_again_is_taken_for_a_loop() -> None:
    time = [0.0]
    rounds = Rounds(lambda: time[0])
    assert [rounds.again("a") for _ in range(7)] == [False] * 5 + [True] * 2
    assert not rounds.again("b")
    time[0] = 61.0
    assert not rounds.again("a")


def resolver(*addresses: str) -> Resolver:
    def lookup(host: str, *_: object) -> list[tuple[object, ...]]:
        if not addresses:
            raise OSError("no name server")
        return [(0, 0, 0, "", (each, 0)) for each in addresses]

    return Resolver(lookup)


@pytest.mark.parametrize(
    ("client", "pbx", "loops"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8:0::1", "2001:db8::1", True),
        ("192.0.2.2", "192.0.2.1", False),
        ("127.0.0.1", "127.0.0.2", True),
        ("::1", "127.0.0.1", True),
        ("192.0.2.1", "127.0.0.1", False),
    ],
)
def test_a_client_that_is_the_pbx_is_known(client: str, pbx: str, loops: bool) -> None:
    assert Loops(resolver(pbx))(client, "https://pbx.example.com/api") is loops


def test_where_names_cannot_be_read_what_was_known_holds() -> None:
    time = [0.0]
    loops = Loops(resolver("192.0.2.1"), lambda: time[0])
    assert loops("192.0.2.1", "https://pbx.example.com")
    loops._resolver = resolver()
    time[0] = 1000.0
    assert loops("192.0.2.1", "https://pbx.example.com")
    assert not loops("192.0.2.1", "https://other.example.com")


def test_what_is_no_address_is_not_here() -> None:
    assert not is_here("pbx.example.com")
    assert not is_here("192.0.2.77")
    assert is_here("127.0.0.9")
