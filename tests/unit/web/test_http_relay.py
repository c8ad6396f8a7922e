"""A request to our SMS API, as a value: which numbers go, what the client is told, and loops."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.outbox.schema import State
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.service import Service
from dialplan_sms.sms.sms import Sms
from dialplan_sms.transport.connection import Resolver
from dialplan_sms.web.page import COOKIE
from dialplan_sms.web.relay import Loops, Relay, is_here, reply
from dialplan_sms.web.smsserver import describe
from tests.unit.fakes import FakeRoute


class Stored:
    """An outbox that takes everything, and remembers it."""

    def __init__(self) -> None:
        self.sms: list[Sms] = []

    async def accepted(self, sms: Sms, sender: Sender) -> Outcome:
        self.sms.append(sms)
        return Outcome(Status.QUEUED, id="1")


def resolver(*addresses: str) -> Resolver:
    def lookup(host: str, *_: object) -> list[tuple[object, ...]]:
        if not addresses:
            raise OSError("no name server")
        return [(0, 0, 0, "", (each, 0)) for each in addresses]

    return Resolver(lookup)


def told(answer: Response) -> dict[str, Any]:
    """The API's reply in an answer."""
    found: dict[str, Any] = json.loads(bytes(answer.body))
    return found


def ask(
    number: str, loops: bool = False, log: Path = Path("/nonexistent"), **fields: Any
) -> tuple[dict[str, Any], Stored]:
    """What a relay answers to a request with *number*, and what it stores."""
    values: dict[str, Any] = {"url": "https://192.0.2.1", "country": "IT"}
    sender = Sender("101", **(values | fields))
    config = Config(Path("/x"), {"101": sender}, "101", str(log), outbox="sqlite:////x")
    stored = Stored()
    service = Service(lambda: config, lambda _: FakeRoute())
    loops_ = Loops(resolver("192.0.2.7" if loops else "192.0.2.1"))
    relay = Relay(service, stored, loops_)  # type: ignore[arg-type]
    form = {"number": number, "message": "Hello"}
    answer = asyncio.run(relay.send(form, "wms", "192.0.2.7"))
    assert answer.status_code == 200
    return told(answer), stored


def comes_from(loops: Loops, client: str, pbx: str = "pbx.example.com") -> bool:
    return asyncio.run(loops.is_pbx(client, f"https://{pbx}/api"))


def test_numbers_that_cannot_be_sent_to_are_named_and_the_others_are_sent(tmp_path: Path) -> None:
    log = tmp_path / "log"
    written = "+39333123456, 0039333123456 ,,nobody,+441632960961,nobody"
    answer, stored = ask(written, log=log)
    assert answer == api.warning(["nobody", "+441632960961"])
    assert [sms.numbers for sms in stored.sms] == [("+39333123456",)]
    (line,) = log.read_text().splitlines()
    for words in ("call=http:wms@192.0.2.7 ", "status=QUEUED", " failed=2 ", "cannot be dialled"):
        assert words in line
    assert "1632960961" not in line


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("nobody", "nobody is no phone number"),
        ("+441632960961", "is not in IT"),
        ('"', "the number is empty"),
    ],
)
def test_a_request_whose_numbers_are_all_wrong_is_refused(written: str, says: str) -> None:
    answer, stored = ask(written)
    assert (answer["type"], stored.sms) == ("error", [])
    assert says in answer["reason"]
    assert "SMS_NUMBER" not in answer["reason"]


def test_what_comes_from_the_pbx_does_not_go_back_without_a_gateway() -> None:
    answer, stored = ask("+39333123456", loops=True)
    assert ("give gsm" in answer["reason"], stored.sms) == (True, [])
    answer, stored = ask("+39333123456", loops=True, gsm="9c7514330001")
    assert (answer, len(stored.sms)) == (api.result(), 1)


@pytest.mark.parametrize("written", [" 39333123456", "12, 39333123456"])
def test_a_plus_that_a_form_has_lost_is_explained(written: str) -> None:
    answer, _ = ask(written, country=None)
    assert "write %2B" in answer["reason"]
    assert "write %2B" not in ask("39333123456", country=None)[0]["reason"]


@pytest.mark.parametrize(
    ("outcome", "says", "status"),
    [
        (Outcome(Status.QUEUED, id="1"), api.result(), 200),
        (Outcome(Status.SUCCESS, failed=("12",)), api.warning(["12"]), 200),
        (Outcome(Status.WARNING, Cause.NOT_QUEUED, "x", ("12", "3")), api.warning(["12", "3"]), 200),
        (error(Cause.DENIED, 'too "many"'), api.error("too many"), 200),
        (error(Cause.BUSY, "full"), api.error("full"), 503),
        (error(Cause.OUTBOX, ""), api.error("OUTBOX"), 503),
    ],
)  # fmt: skip
def test_an_outcome_is_told_in_the_api_s_terms(
    outcome: Outcome, says: dict[str, object], status: int
) -> None:
    answer = reply(outcome)
    assert (told(answer), answer.status_code) == (says, status)


def test_what_nobody_knows_is_no_error_of_the_api() -> None:
    answer = reply(error(Cause.NO_ANSWER, "it may be sent"))
    assert (answer.status_code, answer.media_type) == (504, "text/plain")


def test_an_sms_that_comes_again_and_again_is_taken_for_a_loop() -> None:
    time = [0.0]
    rounds = Loops(clock=lambda: time[0])
    assert [rounds.again("a") for _ in range(7)] == [False] * 5 + [True] * 2
    assert not rounds.again("b")
    time[0] = 61.0
    assert not rounds.again("a")


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
    assert comes_from(Loops(resolver(pbx)), client) is loops


def test_where_names_cannot_be_read_what_was_known_holds() -> None:
    time = [0.0]
    loops = Loops(resolver("192.0.2.1"), lambda: time[0])
    assert comes_from(loops, "192.0.2.1")
    loops._resolver = resolver()
    time[0] = 1000.0
    assert comes_from(loops, "192.0.2.1")
    assert not comes_from(loops, "192.0.2.1", "other.example.com")


def test_what_is_no_address_is_not_here() -> None:
    assert not is_here("pbx.example.com")
    assert not is_here("192.0.2.77")
    assert is_here("127.0.0.9")


def test_the_description_has_the_program_s_words() -> None:
    described = describe(page=True)
    (states,) = [
        each["schema"]["enum"]
        for each in described["paths"]["/"]["get"]["parameters"]
        if each["name"] == "state"
    ]
    assert states == ["", *State]
    components = described["components"]
    assert components["securitySchemes"]["session"]["name"] == COOKIE
    kinds = [
        components["schemas"][name]["properties"]["type"]["const"]
        for name in ("Result", "Warning", "Error")
    ]
    assert kinds == [api.RESULT, api.WARNING, api.ERROR]
    assert set(describe(page=False)["paths"]) == {api.PATH, api.OLD_PATH, "/openapi.json"}
