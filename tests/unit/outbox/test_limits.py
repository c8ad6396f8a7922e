import dataclasses
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from dialplan_sms.config.config import Sender
from dialplan_sms.outbox.limits import Rate, refusal
from dialplan_sms.outbox.schema import message, number, prepare
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.sms.numbers import denial
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, Status, error, safe_line
from dialplan_sms.sms.sms import Draft, Sms, compose
from tests.unit.stored import Store, another, rows
from tests.waiting import until

PLAIN = Sender(name="101", url="https://192.0.2.1", password="x")
FIRST, SECOND, THIRD = "+39333123456", "+39333123457", "+39333123458"
HI = Sms((FIRST,), "Hi")
SUCCESS = Outcome(Status.SUCCESS)
ONE_OF_ALL: dict[str, Any] = {
    "per_number": (1, 60.0), "per_sender": (1, 60.0), "per_caller": (1, 60.0),
    "repeat_window": 60.0,
}  # fmt: skip


def limited(**limits: Any) -> Sender:
    return dataclasses.replace(PLAIN, **limits)


class Box(Store):
    """An outbox, and its database seen from outside."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__(outbox.writer)
        self.outbox = outbox

    def accept(
        self, sender: Sender, *numbers: str, text: str = "Hi", caller: str = "", key: str = ""
    ) -> Outcome:
        sms = Sms(numbers or (FIRST,), text, mode="queue", caller=caller, key=key)
        return self.outbox.accept(sms, sender)

    def reserve(self, sender: Sender) -> str:
        token = self.outbox.reserve(HI, sender)
        assert isinstance(token, str)
        return token

    def pass_time(self, seconds: float) -> None:
        """As if everything had been stored *seconds* earlier."""
        for table in (message, number):
            self.change(table, created=table.c.created - seconds)


@pytest.fixture
def box(outbox: Outbox) -> Box:
    return Box(outbox)


def is_denied(outcome: Outcome | str, *says: str) -> bool:
    assert isinstance(outcome, Outcome)
    if outcome.status is Status.QUEUED:
        return False
    assert (outcome.status, outcome.cause) == (Status.ERROR, Cause.DENIED), outcome
    assert outcome.reason == safe_line(outcome.reason)
    assert not re.search(r"[0-9]{5}", outcome.for_log or outcome.reason)
    assert not outcome.id
    for each in says:
        assert each in outcome.reason
    return True


def end_of(outcome: Outcome) -> float:
    """When the limit ends, in seconds since 1970."""
    found = re.search(r"until (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)$", outcome.reason)
    assert found is not None, outcome.reason
    assert outcome.for_log.endswith(found[0])
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").timestamp()


def refused_for(numbers: list[str], **limits: Any) -> Outcome:
    """Why an SMS to *numbers* is refused."""
    with pytest.raises(Refused) as refused:
        compose(Draft(",".join(numbers), "Hi"), limited(**limits), datetime.now())
    return refused.value.outcome


class TestPlaces:
    @pytest.mark.parametrize(
        ("limits", "numbers"),
        [
            ({}, ["+8821234567", "+39333123456"]),
            ({"country": "IT"}, ["+39333123456"]),
            ({"country": "IT", "allow": ("FR",)}, ["+33612345678"]),
            ({"country": "IT", "allow": ("+",)}, ["+33612345678", "+39333123456"]),
            ({"allow": ("IT", "FR", "+4179")}, ["+39333123456", "+33612345678", "+41791234567"]),
            ({"allow": ("IT",), "deny": ("+39899",)}, ["+39333123456"]),
            ({"deny": ("FR",)}, ["+39333123456"]),
            ({"country": "IT"}, ["48000", "+99900000012"]),  # a short code, the stand-in's
        ],
    )
    def test_these_may_be_sent_to(self, limits: dict[str, Any], numbers: list[str]) -> None:
        for each in numbers:
            assert denial(each, limited(**limits)) is None

    @pytest.mark.parametrize(
        ("limits", "number", "key"),
        [
            ({"country": "IT", "allow": ("FR",)}, "+39333123456", "allow"),
            ({"allow": ("IT", "+4179")}, "+41781234567", "allow"),
            ({"allow": ("IT",)}, "+979123456789", "allow"),
            ({"allow": ("US",)}, "+18765230123", "allow"),  # Jamaica
            ({"allow": ("US",)}, "+15550001111", "allow"),  # nobody's, perhaps a new island's
            ({"deny": ("US",)}, "+15550001111", "deny"),
            ({"allow": ("IT",), "deny": ("+39899",)}, "+39899123456", "deny"),
            ({"deny": ("+",)}, "+39333123456", "deny"),
        ],
    )
    def test_these_may_not(self, limits: dict[str, Any], number: str, key: str) -> None:
        outcome = refused_for(["+99900000012", number], **limits)
        assert is_denied(outcome, number, f"that {key}", "sms.conf")
        assert outcome.for_log
        assert number not in outcome.for_log

    def test_abroad_without_allow_names_the_key_to_set(self) -> None:
        outcome = refused_for(["+33612345678"], country="IT")
        says = "is not in IT, the country of this sender in sms.conf, and it has no allow: to send"
        assert is_denied(outcome, f"+33612345678 {says}", "as allow = IT, +4179 or allow = all")
        assert "+336" not in outcome.for_log


class TestRules:
    def test_per_number_counts_each_number_for_itself(self, box: Box, database: str) -> None:
        sender = limited(per_number=(2, 3600.0))
        assert not is_denied(box.accept(sender, FIRST))
        assert not is_denied(box.accept(sender, FIRST, SECOND))
        assert is_denied(box.accept(sender, FIRST), "per_number = 2/1h", f"for {FIRST}, until")
        assert is_denied(box.accept(sender, SECOND, FIRST, THIRD), f"for {FIRST}, until")
        assert not is_denied(box.accept(sender, SECOND))
        assert is_denied(box.accept(sender, SECOND), f"for {SECOND}, until")
        assert len(rows(database)) == 3

    def test_per_sender_counts_all_numbers(self, box: Box) -> None:
        sender = limited(per_sender=(3, 86400.0))
        assert not is_denied(box.accept(sender, FIRST, SECOND))
        assert is_denied(box.accept(sender, FIRST, THIRD), "per_sender = 3/1d", "for 101, until")
        assert not is_denied(box.accept(sender, THIRD))
        assert is_denied(box.accept(sender, "+39333123459"), "per_sender = 3/1d")

    def test_per_caller_counts_by_caller_id(self, box: Box) -> None:
        sender = limited(per_caller=(2, 600.0))
        for to in (FIRST, SECOND):
            assert not is_denied(box.accept(sender, to, caller="201"))
        assert is_denied(box.accept(sender, THIRD, caller="201"), "per_caller = 2/10m", "for 201,")
        assert not is_denied(box.accept(sender, FIRST, SECOND, caller="202"))
        assert is_denied(box.accept(sender, FIRST, caller="202"))
        for _ in range(3):  # without a caller ID they are no one caller
            assert not is_denied(box.accept(sender))

    def test_the_same_text_goes_to_the_same_number_once(self, box: Box) -> None:
        sender = limited(repeat_window=60.0)
        assert not is_denied(box.accept(sender, FIRST))
        assert is_denied(box.accept(sender, SECOND, FIRST), f"went to {FIRST} already", "repeat_w")
        assert not is_denied(box.accept(sender, SECOND))
        assert not is_denied(box.accept(sender, FIRST, text="Hi!"))
        box.pass_time(61)
        assert not is_denied(box.accept(sender, FIRST))

    def test_what_the_pbx_refused_may_be_repeated_and_still_counts(self, box: Box) -> None:
        sender = limited(repeat_window=60.0, per_number=(2, 60.0))
        for _ in range(2):
            box.outbox.settle(box.reserve(sender), HI, error(Cause.REJECTED, "no"))
        assert is_denied(box.outbox.reserve(HI, sender), "per_number = 2/1m")

    @pytest.mark.parametrize("outcome", [SUCCESS, error(Cause.NO_ANSWER, "x")])
    def test_what_was_or_may_have_been_sent_may_not_be_repeated(
        self, box: Box, outcome: Outcome
    ) -> None:
        sender = limited(repeat_window=60.0)
        token = box.reserve(sender)
        assert is_denied(box.outbox.reserve(HI, sender), "the same text")  # on its way
        box.outbox.settle(token, HI, outcome)
        assert is_denied(box.outbox.reserve(HI, sender), "the same text")

    def test_every_way_to_send_counts(self, box: Box, database: str) -> None:
        sender = limited(per_number=(3, 60.0))
        box.reserve(sender)
        box.outbox.record(HI, sender, SUCCESS)
        until(lambda: len(rows(database)) == 2)  # gathered with others
        assert not is_denied(box.accept(sender))
        assert is_denied(box.accept(sender))
        assert is_denied(box.outbox.reserve(HI, sender))

    def test_what_is_stored_after_all_counts_once(self, box: Box) -> None:
        sender = limited(per_number=(1, 60.0))
        assert not is_denied(box.outbox.accept(HI, sender, reserved=box.reserve(sender)))

    def test_cancelled_ones_do_not_count(self, box: Box) -> None:
        sender = limited(**ONE_OF_ALL)
        for _ in range(3):
            assert not is_denied(box.accept(sender, caller="201"))
            assert is_denied(box.accept(sender, caller="201"))
            for table in (message, number):
                box.change(table, state="cancelled")

    def test_two_senders_are_apart(self, box: Box) -> None:
        for name in ("101", "102"):
            sender = limited(name=name, **ONE_OF_ALL)
            assert not is_denied(box.accept(sender, caller="201"))
            assert is_denied(box.accept(sender, caller="201"))

    def test_the_same_key_is_no_second_sms(self, box: Box) -> None:
        sender = limited(per_number=(1, 60.0), repeat_window=60.0)
        first, second = (box.accept(sender, key="order-4711") for _ in range(2))
        assert not is_denied(second)
        assert first.id == second.id


class TestEnds:
    @pytest.mark.parametrize(
        ("rule", "limit"),
        [
            ("per_number", (2, 3600.0)),
            ("per_sender", (2, 3600.0)),
            ("per_caller", (2, 3600.0)),
            ("repeat_window", 3600.0),
        ],
    )
    def test_a_limit_ends_when_its_reason_says(self, box: Box, rule: str, limit: Any) -> None:
        sender = limited(**{rule: limit})

        def send() -> Outcome:
            return box.accept(sender, caller="201")

        send()
        box.pass_time(600)
        send()  # refused by repeat_window already
        box.pass_time(600)
        refused = send()
        assert is_denied(refused, rule)
        left = end_of(refused) - time.time()
        assert 2395 < left <= 2401  # the first one's hour, of which 1200 s are over
        box.pass_time(left - 5)
        assert is_denied(send())
        box.pass_time(6)
        assert not is_denied(send())

    def test_a_list_waits_until_there_is_room_for_all_of_it(self, box: Box) -> None:
        sender = limited(per_sender=(3, 3600.0))
        for to in (FIRST, SECOND, THIRD):
            assert not is_denied(box.accept(sender, to))
            box.pass_time(600)
        refused = box.accept(sender, FIRST, SECOND)
        assert is_denied(refused)
        left = end_of(refused) - time.time()
        assert 2395 < left <= 2401  # the second one's hour, not the first one's
        box.pass_time(left - 5)
        assert not is_denied(box.accept(sender, FIRST))  # one has room, two would not
        assert is_denied(box.accept(sender, FIRST, SECOND))

    @pytest.mark.parametrize("rule", ["per_sender", "per_caller"])
    def test_a_list_that_alone_goes_over_never_has_an_end(self, box: Box, rule: str) -> None:
        sender = limited(**{rule: (2, 60.0)})
        for _ in range(2):
            refused = box.accept(sender, FIRST, SECOND, THIRD, caller="201")
            assert is_denied(refused, f"3 numbers are more than {rule} = 2/1m in sms.conf allows")
            assert "until" not in refused.reason
        assert not is_denied(box.accept(sender, FIRST, SECOND, caller="201"))

    def test_of_two_limits_the_one_that_ends_last_is_named(self, box: Box) -> None:
        sender = limited(per_number=(1, 60.0), per_sender=(1, 86400.0), per_caller=(1, 600.0))
        assert not is_denied(box.accept(sender, caller="201"))
        refused = box.accept(sender, caller="201")
        assert is_denied(refused, "per_sender = 1/1d")
        assert end_of(refused) > time.time() + 86000

    def test_a_limit_that_was_lowered_holds_at_once(self, box: Box) -> None:
        for _ in range(5):
            box.accept(PLAIN)
            box.pass_time(60)
        refused = box.accept(limited(per_number=(2, 3600.0)))
        assert is_denied(refused)
        assert 3600 - 125 < end_of(refused) - time.time() <= 3600 - 119  # the second newest

    def test_what_a_caller_controls_cannot_break_the_reason(self, box: Box) -> None:
        sender = limited(per_caller=(1, 60.0))
        caller = '1"); rm -rf ${X}\n`id`'
        assert not is_denied(box.accept(sender, caller=caller))
        assert is_denied(box.accept(sender, caller=caller), "for 1 rm -rf X id, until")


def test_of_many_calls_at_once_to_two_programs_exactly_as_many_pass_as_may(
    box: Box, database: str
) -> None:
    sender, other = limited(per_sender=(10, 3600.0)), Box(Outbox(database))
    for each in (box, other):  # both are connected, and neither waits for the other's first row
        each.accept(sender)
    with ThreadPoolExecutor(32) as threads:
        calls = [
            threads.submit((box, other)[n % 2].accept, sender, f"+393331234{n:02}")
            for n in range(32)
        ]
        outcomes = [call.result() for call in calls]
    other.outbox.close()
    assert sum(not is_denied(outcome) for outcome in outcomes) == 8
    assert len(rows(database)) == 10


@pytest.mark.parametrize(
    ("rate", "shown"),
    [
        ((5, 3600.0), "5/1h"),
        ((200, 86400.0), "200/1d"),
        ((3, 600.0), "3/10m"),
        ((1, 90.0), "1/90s"),
        ((1, 129600.0), "1/36h"),
    ],
)
def test_a_rate_shows_as_it_is_written(rate: tuple[int, float], shown: str) -> None:
    assert str(Rate(*rate)) == shown


def test_a_long_history_is_not_read_whole(sqlite: str) -> None:
    # A million seconds that end now, an SMS each 10 s; the limits count a day of them.
    begun = time.time() - 1e6
    messages = [
        {"created": begun + n * 10, "due": 0, "state": "sent", "mode": "wait", "sender": "101",
         "chars": 2, "caller": str(n % 1000), "token": str(n)}
        for n in range(100_000)
    ]  # fmt: skip
    numbers = [
        {"message_id": n + 1, "number": f"+39333{100000 + n % 5000}", "state": "sent",
         "created": begun + n * 10}
        for n in range(100_000)
    ]  # fmt: skip
    day = 86400.0
    sender = limited(
        per_number=(5, day), per_sender=(9000, day), per_caller=(20, day), repeat_window=day
    )
    new = {"sender": "101", "caller": "1", "fingerprint": "f"}
    seen: list[tuple[str, Any]] = []
    with another(sqlite) as connection, connection.begin():
        prepare(connection)
        connection.execute(message.insert(), messages)
        connection.execute(number.insert(), numbers)
        sa.event.listen(
            connection, "before_cursor_execute", lambda *args: seen.append((args[2], args[3]))
        )
        assert refusal(connection, sender, new, ["+39333100000", "+39333100001"]) is None
        (counted,) = [each for each in seen if "sms_number" in each[0]]
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {counted[0]}", counted[1]).all()
    steps = [row[3] for row in plan]
    read = [step for step in steps if re.search(r"\bsms_(message|number)\b", step)]
    assert len(read) == 8
    assert all(step.startswith("SEARCH") for step in read), steps
    indexes = " ".join(read)
    for search in ("sms_number_number (number=? AND created>?)", "sms_message_sender (sender=? AND"
                  " created>?)", "sms_message_caller (caller=? AND created>?)"):  # fmt: skip
        assert search in indexes, steps
