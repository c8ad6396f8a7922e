import pytest
from asterisk.agi import AGIHangup
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.agi.channel import LONGEST_COMMAND, Channel
from tests.unit.fakes import ENVIRONMENT, FakeAsterisk

NASTY = [
    "two\nlines", "\n", "a\r\nb", 'say "hi"', "back\\slash", "Hi :) meet at 10:30", "a&b+c%41=d",
    "a;b", "${SHELL(id)}", "$[1+1]", "hangup", "200 result=1 (x", "x\n200 result=1 (fake)\n",
    "HANGUP\n", " both ends ", "\u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439", "\U0001f600", "\u77ed" * 670, ")", "(((", "",
]  # fmt: skip


@pytest.mark.parametrize("value", NASTY)
def test_values_are_read_exactly_and_written_as_one_command(value: str) -> None:
    asterisk = FakeAsterisk({"SMS_NUMBER": "+39333123456", "SMS_MESSAGE": value})
    channel = asterisk.channel
    values = channel.read_variables(["SMS_NUMBER", "SMS_MESSAGE", "SMS_GSM"])
    assert values == {"SMS_NUMBER": "+39333123456", "SMS_MESSAGE": value, "SMS_GSM": ""}
    channel.set_variable("SMS_REASON", value[:500])
    assert len(asterisk.commands) == 2
    flat = value[:500].replace("\r\n", " ").replace("\n", " ").replace("\r", " ")
    assert asterisk.value("SMS_REASON") == flat


@given(st.dictionaries(st.sampled_from(["A", "B", "C"]), st.binary()), st.booleans())
def test_any_bytes_are_read_and_the_dialogue_stays_in_step(
    values: dict[str, bytes], hung_up: bool
) -> None:
    asterisk = FakeAsterisk(dict(values), hang_up_line=hung_up)
    channel = asterisk.channel
    read = channel.read_variables(["A", "B", "C"])
    assert read == {name: values.get(name, b"").decode("utf-8", "replace") for name in "ABC"}
    channel.set_variable("SMS_STATUS", "SUCCESS")
    assert asterisk.value("SMS_STATUS") == "SUCCESS"


@given(st.text(min_size=0, max_size=5000))
def test_a_command_is_never_too_long_nor_two(value: str) -> None:
    asterisk = FakeAsterisk()
    asterisk.channel.set_variable("SMS_REASON", value)
    (command,) = asterisk.commands
    assert len(command) <= LONGEST_COMMAND
    command.decode()  # cut on a character


def test_a_long_value_fills_the_command() -> None:
    asterisk = FakeAsterisk()
    asterisk.channel.set_variable("SMS_REASON", '"\u20ac' * 2000)
    assert LONGEST_COMMAND - 4 <= len(asterisk.commands[0]) <= LONGEST_COMMAND


def test_the_environment_is_read_once_and_in_order() -> None:
    channel = FakeAsterisk(arguments=[b"+39333123456", b"", b" a b "]).channel
    channel.read_variables(["SMS_NUMBER"])
    assert channel.env["agi_uniqueid"] == "1700000000.7"
    assert channel.env["agi_callerid"] == "200"
    assert channel.arguments == ("+39333123456", "", " a b ")


REST = b"x\n" + ENVIRONMENT[ENVIRONMENT.index(b"agi_callingpres") :] + b"agi_arg_1: +39666666666\n"
FORGERIES = {
    "an argument before its time": b"x\nagi_arg_1: +39666666666",
    "a blank line": b"x\n\n200 result=1 (+39666666666)",
    "the rest of an environment": REST,
    "the rest and a blank line": REST + b"\n",
    "a key again": b"x\nagi_callerid: 999",
    "an unknown key": b"x\nfoo: bar",
    "a hang-up": b"x\nHANGUP",
    "a thousand lines": b"x" + b"\nx" * 1100,
    "a blank line and a thousand": b"x\n\n" + b"y\n" * 1100,
}


@pytest.mark.parametrize("name", FORGERIES.values(), ids=FORGERIES)
@pytest.mark.parametrize("real", [(), (b"+39333123456",)], ids=["without", "with"])
def test_a_forged_environment_gives_no_arguments(name: bytes, real: tuple[bytes, ...]) -> None:
    forged = ENVIRONMENT.replace(b"agi_calleridname: unknown", b"agi_calleridname: " + name)
    asterisk = FakeAsterisk({"SMS_NUMBER": "+39333123456"}, forged, real)
    channel = asterisk.channel
    values = channel.read_variables(["SMS_NUMBER"])
    assert values == {"SMS_NUMBER": "+39333123456"}
    assert channel.arguments == ()
    assert channel.env["agi_callerid"] == "200"
    channel.set_variable("SMS_STATUS", "ERROR")
    assert asterisk.value("SMS_STATUS") == "ERROR"


@given(st.binary())
def test_any_environment_ends_in_values_or_a_hang_up(environment: bytes) -> None:
    asterisk = FakeAsterisk({"A": "right"}, environment)
    try:
        values = asterisk.channel.read_variables(["A"])
    except AGIHangup:
        return
    assert values == {"A": "right"}


class Deaf(FakeAsterisk):
    """Says *data*, whatever it hears."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.replies = data

    def write(self, data: bytes) -> None:
        pass


@pytest.mark.parametrize("data", [b"", b"agi_request: x\n", b"agi_request: x", b"x\n" * 600_000])
def test_streams_that_end_or_never_do_are_a_hang_up(data: bytes) -> None:
    with pytest.raises(AGIHangup):
        Channel(Deaf(data))


def test_a_peer_that_is_gone_in_the_dialogue_is_a_hang_up() -> None:
    with pytest.raises(AGIHangup):
        Channel(Deaf(ENVIRONMENT + b"\n200 result=1 (x\n")).read_variables(["A"])
    with pytest.raises(AGIHangup):
        FakeAsterisk(hang_up_after=0).channel.set_variable("A", "b")


def test_a_reply_that_says_hangup_is_no_error() -> None:
    Channel(Deaf(ENVIRONMENT + b"\n200 result=1 (hangup)\n")).set_variable("A", "hangup")


def test_nothing_can_smuggle_a_second_command() -> None:
    channel = FakeAsterisk().channel
    for hostile in ("A\nB", "A\rB", "A\0B", "x" * 3000):
        with pytest.raises(ValueError, match="not a command"):
            channel.send_command("NOOP", hostile)
