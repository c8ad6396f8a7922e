from pathlib import Path

import pytest
from asterisk.agi import AGIHangup
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dialplan_sms.agi.call import call
from dialplan_sms.sms.outcome import Cause, Outcome, Status
from tests.unit.fakes import ENVIRONMENT, FakeAsterisk, FakeRoute, service

NUMBER = {"SMS_NUMBER": "+39333123456"}
BOTH = NUMBER | {"SMS_MESSAGE": "Hello, world"}
OUTPUTS = {"SMS_STATUS", "SMS_CAUSE", "SMS_REASON", "SMS_FAILED", "SMS_ID", "SMS_VIA"}


def outputs(asterisk: FakeAsterisk) -> dict[str, str]:
    """Those that are not empty."""
    return {name: asterisk.value(name) for name in sorted(OUTPUTS) if asterisk.value(name)}


def test_a_call_sends_and_what_an_earlier_sms_left_is_gone_when_it_goes_out() -> None:
    asterisk, seen = FakeAsterisk(BOTH | dict.fromkeys(OUTPUTS, "OLD")), list[dict[str, str]]()
    route = FakeRoute(on_send=lambda: seen.append(outputs(asterisk)))
    call(asterisk.channel, service(route))
    assert [(sms.numbers, sms.text) for sms in route.sent] == [(("+39333123456",), "Hello, world")]
    assert seen == [{"SMS_STATUS": "ERROR", "SMS_CAUSE": "NO_ANSWER"}]  # true if it dies now
    assert outputs(asterisk) == {"SMS_STATUS": "SUCCESS"}


def test_arguments_come_before_variables_and_long_names_before_short_ones() -> None:
    route = FakeRoute()
    short = {"number": "+39111111111", "message": "old"}
    call(FakeAsterisk(BOTH | short | {"gsm": "9c7514330002"}).channel, service(route))
    call(FakeAsterisk(short).channel, service(route))
    call(FakeAsterisk(dict(BOTH)).channel, service(route), ["+39222222222", "new", "9c7514330003"])
    arguments = [b"+39222222222", b"new", b"", b"2999-01-01 00:00"]
    call(FakeAsterisk(dict(BOTH), arguments=arguments).channel, service(route))
    call(FakeAsterisk(dict(BOTH)).channel, service(route), [" ", "a blank one is none", " "])
    assert [(sms.numbers[0], sms.text, sms.gsm) for sms in route.sent] == [
        ("+39333123456", "Hello, world", "9c7514330002"),
        ("+39111111111", "old", None),
        ("+39222222222", "new", "9c7514330003"),
        ("+39222222222", "new", None),
        ("+39333123456", "a blank one is none", None),
    ]
    assert route.sent[3].postpone is not None


def test_an_unquoted_comma_in_a_text_is_told() -> None:
    asterisk, route = FakeAsterisk(), FakeRoute()
    call(asterisk.channel, service(route), ["+39333123456", "Hello", " world"])
    assert asterisk.value("SMS_CAUSE") == "INVALID_GSM"
    assert "SMS_MESSAGE" in asterisk.value("SMS_REASON")
    asterisk = FakeAsterisk()
    call(asterisk.channel, service(route), ["+39333123456", "a", "b", "c", "d"])
    assert asterisk.value("SMS_CAUSE") == "INVALID_MESSAGE"
    assert not route.sent


@pytest.mark.parametrize(
    ("variables", "cause", "reason"),
    [
        ({"SMS_MESSAGE": "x"}, "INVALID_NUMBER", "the number is empty: set SMS_NUMBER"),
        (NUMBER, "INVALID_MESSAGE",
         "the message is empty: set SMS_MESSAGE, or give sub-sms the name of a variable with it"),
        (BOTH | {"SMS_GSM": "x"}, "INVALID_GSM",
         "gsm x is no MAC address of a gateway, 12 hex digits as 9c7514330001, in AGI perhaps the"
         " rest of a text with commas: use SMS_MESSAGE"),
        (BOTH | {"SMS_POSTPONE": "x"}, "INVALID_POSTPONE",
         "postpone x is no date as 14/07/2014 15:35 or 2014-07-14 15:35, in AGI perhaps the rest of"
         " a text with commas: use SMS_MESSAGE"),
        (NUMBER | {"SMS_MESSAGE": '{"type":"error"}'}, "INVALID_MESSAGE",
         "the message is a reply of the SMS API, as the CURL recipe leaves it in message: set"
         " SMS_MESSAGE to the text"),
        (BOTH | {"SMS_POSTPONE": "14/07/2014 15:35"}, "INVALID_POSTPONE", None),
        (BOTH | {"SMS_SENDER": "999"}, "UNKNOWN_SENDER", None),
        (BOTH | {"SMS_MODE": "later"}, "CONFIG", None),
        (BOTH | {"SMS_MODE": "queue"}, "OUTBOX", None),
    ],
)  # fmt: skip
def test_what_is_refused_is_not_sent_and_the_dialplan_and_the_log_are_told_what_to_set(
    tmp_path: Path, variables: dict[str, str | bytes], cause: str, reason: str | None
) -> None:
    asterisk, route = FakeAsterisk(variables), FakeRoute()
    call(asterisk.channel, service(route, log=str(tmp_path / "log")))
    assert not route.sent
    assert (asterisk.value("SMS_STATUS"), asterisk.value("SMS_CAUSE")) == ("ERROR", cause)
    assert asterisk.value("SMS_REASON") == (reason or asterisk.value("SMS_REASON")) != ""
    if reason:
        assert (tmp_path / "log").read_text().endswith(f"{reason.rpartition(' is ')[2]}\n")


def test_the_backup_that_carried_it_is_told() -> None:
    asterisk = FakeAsterisk(BOTH | {"SMS_VIA": "old"})
    call(asterisk.channel, service(FakeRoute(Outcome(Status.SUCCESS, via='1"02'))))
    assert (asterisk.value("SMS_STATUS"), asterisk.value("SMS_VIA")) == ("SUCCESS", "1 02")
    asterisk = FakeAsterisk(dict(BOTH))
    call(asterisk.channel, service(FakeRoute()))  # who has no backup pays no command for it
    assert not [line for line in asterisk.commands[1:] if b"SMS_VIA" in line]


def test_an_earlier_status_never_passes_for_this_ones() -> None:
    asterisk = FakeAsterisk(BOTH | {"SMS_STATUS": "SUCCESS", "SMS_ID": "7"}, hang_up_after=2)
    route = FakeRoute()
    call(asterisk.channel, service(route))
    assert len(route.sent) == 1  # the variables were read: no hang-up stops it
    assert asterisk.value("SMS_STATUS") == ""


@pytest.mark.parametrize("after", range(1, 9))
def test_a_hang_up_after_the_variables_are_read_does_not_stop_the_sms(after: int) -> None:
    route = FakeRoute()
    call(FakeAsterisk(dict(BOTH), hang_up_after=after).channel, service(route))
    assert len(route.sent) == 1


def test_a_hang_up_before_sends_nothing() -> None:
    route = FakeRoute()
    with pytest.raises(AGIHangup):
        call(FakeAsterisk(dict(BOTH), hang_up_after=0).channel, service(route))
    assert not route.sent


def test_hostile_answers_set_the_outputs_and_nothing_else() -> None:
    reason = 'a"b\\c\nSET VARIABLE PWNED "yes"\n${SHELL(id)}`id`;|&$[1]' + "\u20ac" * 9000
    outcome = Outcome(
        Status.WARNING, Cause.NOT_QUEUED, reason, tuple(f"+3933312{n:04}" for n in range(2000))
    )
    asterisk = FakeAsterisk(dict(BOTH))
    call(asterisk.channel, service(FakeRoute(outcome)))
    assert set(asterisk.variables) == (OUTPUTS | set(BOTH)) - {"SMS_ID", "SMS_VIA"}
    assert not set(asterisk.value("SMS_REASON")) & set('"\\${}[];|&`\n\r')
    failed = asterisk.value("SMS_FAILED").split(",")
    assert len(failed) > 100
    assert {len(number) for number in failed} == {12}
    assert max(map(len, asterisk.commands)) <= 2046


def test_a_bug_in_the_route_is_a_status_and_a_line_that_shows_no_text(tmp_path: Path) -> None:
    asterisk, log = FakeAsterisk(dict(BOTH)), tmp_path / "log"
    call(asterisk.channel, service(FakeRoute(RuntimeError("Hello, world")), str(log)))
    assert (asterisk.value("SMS_STATUS"), asterisk.value("SMS_CAUSE")) == ("ERROR", "INTERNAL")
    assert "RuntimeError in fakes.py" in asterisk.value("SMS_REASON")
    assert "Hello" not in asterisk.value("SMS_REASON") + log.read_text()


@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["SMS_NUMBER", "SMS_MESSAGE", "SMS_GSM", "SMS_POSTPONE", "SMS_SENDER",
                         "SMS_MODE", "SMS_STATUS", "number", "message", "gsm"]),
        st.binary() | st.sampled_from([b"+39333123456", b"101", b"wait"]),
    ),
    st.binary(),
)  # fmt: skip
@example({}, b"\n ")
def test_any_bytes_in_one_of_four_statuses_out(variables: dict[str, bytes], name: bytes) -> None:
    environment = ENVIRONMENT.replace(b"agi_calleridname: unknown", b"agi_calleridname: " + name)
    asterisk = FakeAsterisk(dict(variables), environment)
    call(asterisk.channel, service(FakeRoute()))
    assert asterisk.value("SMS_STATUS") in {"SUCCESS", "WARNING", "QUEUED", "ERROR"}
    assert (asterisk.value("SMS_CAUSE") == "") == (asterisk.value("SMS_STATUS") == "SUCCESS")
    assert set(asterisk.variables) <= OUTPUTS | set(variables)


@pytest.mark.parametrize(
    ("outcome", "last"),
    [(Outcome(Status.SUCCESS), b"SMS_STATUS=SUCCESS,SMS_CAUSE="),
     (Outcome(Status.QUEUED, id="4573"), b"SMS_ID=4573,SMS_STATUS=QUEUED,SMS_CAUSE=")],
)  # fmt: skip
def test_several_tokens_are_set_at_once_where_asterisk_can(outcome: Outcome, last: bytes) -> None:
    asterisk = FakeAsterisk(dict(BOTH))
    channel = asterisk.channel
    assert channel.learn_to_set_together()
    call(channel, service(FakeRoute(outcome)))
    assert asterisk.commands[-2:] == [
        b'EXEC MSet "SMS_CAUSE=NO_ANSWER,SMS_STATUS=ERROR"', b'EXEC MSet "%b"' % last
    ]  # fmt: skip
    told = {"SMS_ID": outcome.id} if outcome.id else {}
    assert outputs(asterisk) == told | {"SMS_STATUS": outcome.status}


class Picky(FakeAsterisk):
    """Refuses the commands that begin as ``refused``."""

    refused = b"EXEC"  # no MSet at all

    def _execute(self, line: bytes) -> None:
        super()._execute(b"NOTHING" if line.startswith(self.refused) else line)


class OldStyle(FakeAsterisk):
    """``[compat] res_agi = 1.4``: commas in what EXEC is given are escaped."""

    def _execute(self, line: bytes) -> None:
        if line.startswith(b"EXEC MSet"):
            self.commands.append(line)
            name, _, value = line[11:-1].partition(b"=")
            self.variables[name.decode()] = value
            self.replies += b"200 result=0\n"
        else:
            super()._execute(line)


@pytest.mark.parametrize("refused", ["SMS_ID", "SMS_STATUS", "SMS_CAUSE"])
def test_one_that_asterisk_refuses_takes_no_other_along(refused: str) -> None:
    asterisk = Picky(dict(BOTH))
    asterisk.refused = b'SET VARIABLE "' + refused.encode()
    call(asterisk.channel, service(FakeRoute(Outcome(Status.QUEUED, id="4573"))))
    told = {"SMS_ID": "4573", "SMS_STATUS": "QUEUED", "SMS_CAUSE": ""} | {refused: ""}
    assert {name: asterisk.value(name) for name in told} == told


@pytest.mark.parametrize(("kind", "learns"), [(OldStyle, True), (Picky, True), (Picky, False)])
def test_and_one_by_one_where_it_cannot(kind: type[FakeAsterisk], learns: bool) -> None:
    asterisk = kind(dict(BOTH))
    channel = asterisk.channel
    channel.sets_together = not learns  # another Asterisk at the same address could
    assert not (learns and channel.learn_to_set_together())
    call(channel, service(FakeRoute()))
    assert outputs(asterisk) == {"SMS_STATUS": "SUCCESS"}
    assert set(asterisk.variables) <= OUTPUTS | set(BOTH)
    assert asterisk.set_names()[-4:] == ["SMS_CAUSE", "SMS_STATUS", "SMS_STATUS", "SMS_CAUSE"]
    assert not channel.sets_together
