"""What a sender certainly did not send goes by its backup, and nothing else does."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.outbox.retry import AT_LEAST_ONCE, decide
from dialplan_sms.sms.backup import send_rest
from dialplan_sms.sms.outcome import NOBODY_KNOWS, Cause, Outcome, Refused, Status, error
from dialplan_sms.sms.service import Service
from dialplan_sms.sms.sms import Draft, Handled, Sms
from tests.unit.fakes import FakeRoute

FIRST = Sender(name="101", url="https://192.0.2.1", password="x", gsm="9c7514330001", backup="102")
SECOND = Sender(name="102", url="https://192.0.2.2", password="x", gsm="9c7514330002")
ONE, TWO, THREE = "+39333123456", "+39333123457", "+39333123458"
SUCCESS = Outcome(Status.SUCCESS)
WARNING = Outcome(Status.WARNING, Cause.NOT_QUEUED, "full", (TWO.lstrip("+"),))
STRANGE = Outcome(Status.WARNING, Cause.NOT_QUEUED, "full", ("111",))
UNREACHABLE = error(Cause.UNREACHABLE, "no connection")
REJECTED = error(Cause.REJECTED, "no such gateway", from_pbx=True)
NO_ANSWER = error(Cause.NO_ANSWER, "no answer")
UNSENT = (UNREACHABLE, REJECTED, error(Cause.UNAUTHORIZED, "no"), error(Cause.CONFIG, "no PEM"))
PARTLY = Outcome(Status.WARNING, Cause.NO_ANSWER, "no answer", (TWO,), unknown=(ONE,))
BROKEN = error(Cause.INTERNAL, "broke")
DOUBTFUL = (PARTLY, NO_ANSWER, error(Cause.BAD_ANSWER, "500"), BROKEN, STRANGE)


def handle(
    first: Outcome | Exception, second: Outcome | Exception = SUCCESS, backup: Sender = SECOND,
    **draft: str,
) -> tuple[Handled, FakeRoute, FakeRoute]:  # fmt: skip
    """An SMS to three numbers in mode wait at second 100, with 30 s to go."""
    pbxs = {"101": FakeRoute(first), "102": FakeRoute(second)}
    config = Config(Path("/x"), {"101": FIRST, "102": backup}, "101")
    service = Service(lambda: config, lambda sender: pbxs[sender.name], clock=lambda: 100.0)
    fields = {"number": f"{ONE},{TWO},{THREE}", "message": "Hello"} | draft
    return service.handle(Draft(**fields)), pbxs["101"], pbxs["102"]  # type: ignore[arg-type]


@pytest.mark.parametrize("first", [*UNSENT, ConfigError("[101] verify: no certificate")])
def test_what_was_certainly_not_sent_goes_by_the_backup(first: Outcome | ConfigError) -> None:
    handled, asked, backup = handle(first)
    outcome = handled.outcome
    assert (outcome.status, outcome.cause, outcome.via) == (Status.SUCCESS, "", "102")
    assert outcome.reason == f"101: {first if isinstance(first, ConfigError) else first.reason}"
    assert handled.sender == "101"
    (sms,) = backup.sent
    assert (sms.numbers, sms.text, sms.gsm) == ((ONE, TWO, THREE), "Hello", "9c7514330002")
    # The first has half of the time, the backup what is left.
    assert (asked.until, backup.until) == (115.0, 130.0)


# A list's journal refuses what it cannot note, for one sender as for the other.
@pytest.mark.parametrize("first", [SUCCESS, *DOUBTFUL, Refused(Cause.INTERNAL, "no journal")])
def test_what_may_have_been_sent_or_nobody_let_out_never_goes_by_the_backup(
    first: Outcome | Refused,
) -> None:
    handled, _, backup = handle(first)
    assert backup.sent == []
    assert handled.outcome == (first.outcome if isinstance(first, Refused) else first)


@pytest.mark.parametrize(
    ("second", "status", "cause", "failed", "via"),
    [
        (SUCCESS, "SUCCESS", "", (), "102"),
        (UNREACHABLE, "WARNING", "NOT_QUEUED", WARNING.failed, ""),
        (WARNING, "WARNING", "NOT_QUEUED", WARNING.failed, "102"),
        (NO_ANSWER, "WARNING", "NO_ANSWER", WARNING.failed, "102"),
        (STRANGE, "WARNING", "BAD_ANSWER", WARNING.failed, "102"),
    ],
)
def test_of_a_warning_the_refused_numbers_go(
    second: Outcome, status: str, cause: str, failed: tuple[str, ...], via: str
) -> None:
    handled, _, backup = handle(WARNING, second)
    assert [sms.numbers for sms in backup.sent] == [(TWO,)]
    of = handled.outcome
    assert (of.status, of.cause, of.failed, of.via) == (status, cause, failed, via)
    verdict = decide(of, (ONE, TWO, THREE), AT_LEAST_ONCE, over=False)
    assert {ONE, THREE} <= set(verdict.sent)  # they are never sent again


def test_both_say_why_not() -> None:
    outcome = handle(REJECTED, UNREACHABLE)[0].outcome
    assert (outcome.status, outcome.cause, outcome.via) == (Status.ERROR, Cause.REJECTED, "")
    assert outcome.reason == "101: no such gateway - 102: no connection"
    assert outcome.from_pbx  # what a PBX says is masked in the log
    outcome = handle(UNREACHABLE, PARTLY)[0].outcome
    assert (outcome.status, outcome.cause, outcome.failed) == ("WARNING", "NO_ANSWER", (TWO,))
    assert (outcome.unknown, outcome.via) == ((ONE,), "102")
    outcome = handle(UNREACHABLE, NO_ANSWER)[0].outcome
    assert (outcome.status, outcome.cause, outcome.via) == (Status.ERROR, Cause.NO_ANSWER, "102")


def test_a_text_is_as_long_as_the_backup_takes_it() -> None:
    text = "x" * 400
    handled, _, backup = handle(UNREACHABLE, backup=replace(SECOND, max_length=300), message=text)
    assert (handled.outcome.cause, backup.sent) == (Cause.UNREACHABLE, [])
    assert "102: the message has 400 characters" in handled.outcome.reason
    cuts = replace(SECOND, max_length=300, long_message="truncate")
    handled, _, backup = handle(UNREACHABLE, backup=cuts, message=text)
    assert [len(sms.text) for sms in backup.sent] == [300]


def test_a_backups_backup_is_not_asked() -> None:
    pbxs = {name: FakeRoute(UNREACHABLE) for name in ("101", "102", "103")}
    second, third = replace(SECOND, backup="103"), replace(SECOND, name="103")
    senders = {"101": FIRST, "102": second, "103": third}
    config = Config(Path("/x"), senders, "101")
    service = Service(lambda: config, lambda sender: pbxs[sender.name])
    assert service.handle(Draft(ONE, "Hello")).outcome.cause is Cause.UNREACHABLE
    assert [len(pbx.sent) for pbx in pbxs.values()] == [1, 1, 0]
    assert service.handle(Draft(ONE, "Hello", sender="102")).outcome.cause is Cause.UNREACHABLE
    assert [len(pbx.sent) for pbx in pbxs.values()] == [1, 2, 1]


OUTCOMES = (SUCCESS, WARNING, *UNSENT, *DOUBTFUL)


@given(st.sampled_from(OUTCOMES), st.sampled_from(OUTCOMES))
def test_no_number_goes_by_both(first: Outcome, second: Outcome) -> None:
    """Nor is one that either may have sent ever certain not to be."""
    sms, asked = Sms((ONE, TWO, THREE), "Hello", postpone=datetime(2999, 1, 1)), list[Sms]()

    def send(its: Sms) -> Outcome:
        asked.append(its)
        return second

    outcome = send_rest(first, sms, FIRST, SECOND, send)
    given_on = asked[0].numbers if asked else ()
    assert set(given_on) == set(first.unsent(sms.numbers))
    left = set(outcome.unsent(sms.numbers))
    assert left <= set(given_on)
    assert not (left and second in (SUCCESS, *DOUBTFUL[1:3]) and outcome.cause not in NOBODY_KNOWS)
    assert outcome.via in ("", "102")
