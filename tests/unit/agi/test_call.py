"""One call: the bytes of its stream, the dialogue with Asterisk, and what is sent and answered."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from asterisk.agi import AGIHangup
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dialplan_sms.agi.call import call
from dialplan_sms.agi.channel import LONGEST_COMMAND, Channel
from dialplan_sms.agi.doors import listen_tcp
from dialplan_sms.agi.stream import LINE, PARAGRAPH, SocketStream, Stream
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
    before = b'EXEC MSet "SMS_CAUSE=NO_ANSWER,SMS_STATUS=ERROR"'
    assert asterisk.commands[-2:] == [before, b'EXEC MSet "%b"' % last]
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


def connected() -> tuple[socket.socket, socket.socket]:
    """The two ends of a connection, as the service and as Asterisk have it."""
    listener = listen_tcp(("127.0.0.1", 0))
    assert listener is not None
    with listener:
        peer = socket.create_connection(listener.getsockname())
        return listener.accept()[0], peer


class Ends(NamedTuple):
    """What opens the stream, with its *until* and *patience*, and the peer's descriptors."""

    open: Callable[..., Stream]
    says: int
    hears: int
    end: Callable[[], None]


@pytest.fixture(params=["pipes", "socket"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    with ExitStack() as closing:
        if request.param == "socket":
            ours, peer = map(closing.enter_context, connected())
            file, end = peer.fileno(), partial(peer.shutdown, socket.SHUT_WR)
            yield Ends(lambda *times: SocketStream(ours, *times), file, file, end)
            return
        (reader, says), (hears, writer) = os.pipe(), os.pipe()
        for file in (reader, hears, writer):
            closing.callback(os.close, file)
        closes = closing.enter_context(os.fdopen(says, "wb")).close
        yield Ends(lambda *times: Stream(reader, writer, *times), says, hears, closes)


def in_seconds(seconds: float) -> float:
    return time.monotonic() + seconds


def test_lines_and_paragraphs_come_out_as_they_went_in(ends: Ends) -> None:
    stream = ends.open(in_seconds(5))
    os.write(ends.says, b"one\ntwo\n\nth")
    assert [stream.up_to(LINE, 99) for _ in range(3)] == [b"one\n", b"two\n", b"\n"]
    os.write(ends.says, b"ree\na: 1\nb:")
    assert stream.up_to(LINE, 99) == b"three\n"
    threading.Timer(0.1, os.write, (ends.says, b" 2\n\nrest\r\n\r\n200 re")).start()
    assert stream.up_to(PARAGRAPH, 999) == b"a: 1\nb: 2\n\n"
    assert stream.up_to(PARAGRAPH, 999) == b"rest\r\n\r\n"
    os.write(ends.says, b"sult=1\n" + b"x" * 20)
    assert stream.up_to(LINE, 999) == b"200 result=1\n"
    assert [stream.up_to(LINE, 4), stream.up_to(PARAGRAPH, 10)] == [b"x" * 4, b"x" * 10]
    ends.end()
    assert [stream.up_to(LINE, 99), stream.up_to(LINE, 99)] == [b"x" * 6, b""]


@pytest.mark.parametrize(("until", "patience"), [(0.2, 5), (5, 0.2), (-1, 5)])
def test_a_peer_that_stalls_is_given_up(ends: Ends, until: float, patience: float) -> None:
    os.write(ends.says, b"half a li")
    started = time.monotonic()
    stream = ends.open(started + until, patience)
    with pytest.raises(TimeoutError):
        stream.up_to(LINE, 99)
    with pytest.raises(TimeoutError):
        stream.write(b"x" * 10_000_000)
    assert time.monotonic() - started < 3


def test_a_peer_that_trickles_gets_no_more_time_than_there_is(ends: Ends) -> None:
    started, over = time.monotonic(), threading.Event()

    def trickle() -> None:
        while not over.wait(0.05):
            os.write(ends.says, b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    with pytest.raises(TimeoutError):
        ends.open(started + 0.5, 5).up_to(LINE, 99)
    assert time.monotonic() - started < 3
    over.set()
    thread.join()


def test_what_is_written_arrives_whole(ends: Ends) -> None:
    def read() -> bytes:
        found = b""
        while len(found) < 300_000:
            found += os.read(ends.hears, 4096)
        return found

    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(read)
        ends.open(in_seconds(5)).write(b"ab" * 150_000)
        assert found.result(5) == b"ab" * 150_000


def test_lines_that_are_sent_one_by_one_come_together_and_at_once() -> None:
    """As Asterisk sends its environment; a kernel that waited with its ACK would take 40 ms."""
    rounds, together, began = 100, 0, time.monotonic()
    for _ in range(rounds):
        ours, peer = connected()
        with ours, peer:
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            stream = SocketStream(ours, in_seconds(5))
            for number in range(24):
                peer.send(b"agi_line_%d: value\n" % number)
            peer.send(b"\n")
            assert stream.up_to(PARAGRAPH, 9999).count(b"\n") == 25
            together += stream._reads == 2  # the first line, and the others
    assert together > rounds / 2  # but for those where this host was busy for 40 ms
    assert time.monotonic() - began < rounds * 0.04
