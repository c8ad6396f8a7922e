import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.outbox.retry import (
    AT_LEAST_ONCE,
    AT_MOST_ONCE,
    FIRST_WAIT,
    LONGEST_WAIT,
    Verdict,
    decide,
    turn,
    wait,
)
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error, matching

NUMBERS = ("+39333123456", "+39333123457")
SENT, AGAIN, FAILED = Verdict(sent=NUMBERS), Verdict(again=NUMBERS), Verdict(failed=NUMBERS)
UNKNOWN = Verdict(unknown=NUMBERS)
STOPS = (Cause.UNREACHABLE, Cause.UNAUTHORIZED, Cause.CONFIG, Cause.UNKNOWN_SENDER)
CAUSES = {
    cause: (Verdict(again=NUMBERS, stops=cause), Verdict(expired=NUMBERS, stops=cause)) * 2
    for cause in STOPS
}
CAUSES |= {
    # at-least-once, over its max_age; at-most-once, over its max_age
    Cause.NO_ANSWER: (AGAIN, UNKNOWN, UNKNOWN, UNKNOWN),
    Cause.BAD_ANSWER: (AGAIN, UNKNOWN, UNKNOWN, UNKNOWN),
    Cause.INTERNAL: (AGAIN, FAILED, AGAIN, FAILED),
}
ERRORS = sorted(set(Cause) - {Cause.NONE, Cause.NOT_QUEUED})
PARTLY = Verdict(NUMBERS[:1], again=NUMBERS[1:]), Verdict(NUMBERS[:1], failed=NUMBERS[1:])


def warning(*failed: str) -> Outcome:
    return Outcome(Status.WARNING, Cause.NOT_QUEUED, "x", failed)


@pytest.mark.parametrize(
    ("outcome", "verdicts"),
    [
        *((error(cause, "x"), CAUSES.get(cause, (FAILED,) * 4)) for cause in ERRORS),
        (Outcome(Status.SUCCESS), (SENT,) * 4),
        # one that names a number of ours, and none
        (warning(NUMBERS[1], "+39333999999"), PARTLY * 2),
        *((warning(*named), CAUSES[Cause.NO_ANSWER]) for named in ([], ["+39333999999"], ["*#"])),
    ],
)
def test_each_outcome_has_its_verdicts(outcome: Outcome, verdicts: tuple[Verdict, ...]) -> None:
    assert verdicts == tuple(
        decide(outcome, NUMBERS, delivery, over)
        for delivery in (AT_LEAST_ONCE, AT_MOST_ONCE)
        for over in (False, True)
    )


numbers = st.lists(
    st.from_regex(r"\+[1-9][0-9]{6,14}|[1-9][0-9]{2,5}", fullmatch=True), unique=True
)
outcomes = st.builds(
    Outcome,
    st.sampled_from(Status),
    st.sampled_from(Cause),
    failed=st.lists(st.from_regex(r"[0-9+*#]{0,16}", fullmatch=True)).map(tuple),
)


@given(
    outcomes, numbers, st.sets(st.integers(0, 20)), st.sampled_from(["", AT_LEAST_ONCE, AT_MOST_ONCE]),
    st.booleans(),
)  # fmt: skip
def test_every_number_ends_in_one_place(
    outcome: Outcome, sent_to: list[str], named: set[int], delivery: str, over: bool
) -> None:
    failed = (*outcome.failed, *(n for i, n in enumerate(sent_to) if i in named))
    outcome = Outcome(outcome.status, outcome.cause, failed=failed)
    verdict = decide(outcome, sent_to, delivery, over)
    places = (verdict.sent, verdict.again, verdict.failed, verdict.expired, verdict.unknown)
    assert sorted(number for place in places for number in place) == sorted(sent_to)
    assert not (over and verdict.again)


def test_the_wait_doubles_up_to_a_quarter_of_an_hour() -> None:
    waits = [wait(tries, 0.5) for tries in range(1, 8)]
    assert waits == [FIRST_WAIT * 2**n for n in range(7)]
    assert wait(0, 0.5) == wait(1, 0.5)
    assert wait(9, 0.5) == wait(10, 0.5) == wait(10**9, 0.5) < LONGEST_WAIT == 900


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_the_wait_is_spread_and_never_longer(tries: int, random: float) -> None:
    middle = wait(tries, 0.5)
    assert 0.75 * middle <= wait(tries, random) <= 1.25 * middle
    assert wait(tries, random) <= LONGEST_WAIT
    assert wait(tries, 0.0) < wait(tries, 1.0)


@pytest.mark.parametrize(
    "named", ["+39333123456", "0039333123456", "39333123456", "+0039333123456"]
)
def test_a_number_matches_in_whatever_form_it_is_named(named: str) -> None:
    assert matching([named], NUMBERS) == (NUMBERS[0],)


@pytest.mark.parametrize("named", ["", "+", "00", "333123456", "+3933312345", "+393331234567"])
def test_another_number_does_not_match(named: str) -> None:
    assert matching([named], NUMBERS) == ()


def test_what_matches_keeps_its_order_and_a_short_code_is_one() -> None:
    assert matching(["+39333123457", "+39333123456"], NUMBERS) == NUMBERS
    assert matching(["48000"], ("48000", *NUMBERS)) == ("48000",)


def test_numbers_go_in_their_order_and_one_that_fails_lets_the_others_go() -> None:
    assert turn(["a", "b", "c"], 0, 0) == (["a"], 0)
    assert turn(["b", "c"], 1, 1) == (["b"], 0)
    assert turn(["a", "b", "c"], 1, 0) == (["b"], 0)  # a was tried in vain
    assert turn(["a", "c"], 2, 1) == (["c"], 0)
    assert turn(["a"], 3, 2) == (["a"], 1)
    assert turn(["a"], 9, 2) == (["a"], 7)
    assert turn(["a", "b"], 0, 3) == (["a"], 0)  # an admin has it tried again
    assert turn([], 5, 3) == ([], 2)
