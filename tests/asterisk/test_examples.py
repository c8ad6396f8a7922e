"""The worked examples of dialplan/ that keep something: codes, lists, dates. Real calls, as they stand."""

import random
import re
import string
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dialplan_sms.sandbox import Fault
from tests.asterisk.ami import AmiError
from tests.asterisk.call import Call
from tests.asterisk.site import NUMBER, PASSWORD, Site
from tests.asterisk.test_dialplan import DIALPLAN, example, type_in
from tests.waiting import until

OTHER, THIRD = "+39333123457", "+39333123458"
JO = f"Jo <{NUMBER}>"
REFUSED = "+99900000013"  # by the stand-in
HOSTILE = [
    '" = "x" & "', '" = "1', "${SHELL(touch PWNED)}", "x):1:2", "1]?done", "a,b", "", "anonymous",
]  # fmt: skip
STORED = "SELECT number, state FROM sms_number ORDER BY message_id"


@pytest.fixture
def site(site: Site) -> Site:
    """An Asterisk whose AstDB has nothing of an earlier test."""
    for family in ("sms-code", "sms-closed", "sms-on-call"):
        with suppress(AmiError):  # there is none
            site.asterisk.ami.action("DBDelTree", Family=family)
    return site


@pytest.fixture
def outbox(site: Site) -> None:
    """The site has an outbox: committed to by sms.agi, sent by nobody."""
    site.configure(
        f"[general]\nlog = sms.log\noutbox = sqlite:///{site.outbox}\n[101]\ncountry = IT\nallow = all\n"
        f"url = {site.sandbox.url}\npassword = {PASSWORD}\nverify = {site.sandbox.fingerprint}\n"
    )


with_outbox = pytest.mark.usefixtures("outbox")


def a_mark() -> Path:
    """A path that is not there; without a digit: enough of them, and a value is a number after all."""
    return Path("/tmp", "".join(random.choices(string.ascii_letters, k=20)))


def hostile_calls(site: Site, name: str, *more: str) -> list[dict[str, str]]:
    """What calls leave, each with one hostile value in *name*; none of them sends or runs anything."""
    mark = a_mark()
    values = [*more, *(value.replace("PWNED", str(mark)) for value in HOSTILE)]
    calls = [site.start({"REMINDER_NUMBER": NUMBER, name: value}) for value in values]
    left = [call.wait().variables for call in calls]
    assert site.texts == []
    assert not mark.exists()
    return left


def same_hour() -> None:
    """Wait where the hour is about to end: what counts by the hour is not to see two of them."""
    left = 3600 - time.time() % 3600
    if left < 20:
        time.sleep(left + 1)


class TestVoicemail:
    def load(self, site: Site, *voicemail: str) -> None:
        """The example with a stand-in for VoiceMail(): lines that set what that sets."""
        enter = f"Set(GLOBAL(VOICEMAIL_BOX)=200@default)\nSet(GLOBAL(VOICEMAIL_SMS)={NUMBER})"
        example(
            site, "voicemail.conf", f"{enter}\nGoto(sms-voicemail,s,1)",
            ("VoiceMail(${VOICEMAIL_BOX},u)", "\n same => n,".join(voicemail)),
        )  # fmt: skip

    def test_who_called_and_how_long_is_told(self, site: Site, tmp_path: Path) -> None:
        (tmp_path / "msg0000.txt").write_text('[message]\ncallerid="Jo" <1>\nduration=35\n')
        file = f"Set(VM_MESSAGEFILE={tmp_path}/msg0000)"
        self.load(site, file, "Set(VMSTATUS=SUCCESS)", "Wait(9)")
        callers = ["0412345678", *HOSTILE[:6]]
        calls = [site.start({"CALLERID(num)": caller}) for caller in callers]
        for call in calls:
            call.wait_for("Newexten", Application="Wait", Context="sms-voicemail")
            # as a caller does who has said it all
            assert call.end().variables["SMS_STATUS"] == "SUCCESS"
        assert {number for number, _ in site.texts} == {NUMBER}
        told = sorted(re.sub(r"\d\d:\d\d, 35 s$", "HH:MM", text) for _, text in site.texts)
        assert told == sorted(f"New voicemail for 200 from {each} at HH:MM" for each in callers)

    @pytest.mark.parametrize("last", ["", 'flag="]?x 99', "9"])
    def test_a_length_that_is_not_known_is_left_out(
        self, site: Site, tmp_path: Path, last: str
    ) -> None:
        if last:
            (tmp_path / "msg0000.txt").write_text(f"[message]\n{last}\n")
        self.load(site, f"Set(VM_MESSAGEFILE={tmp_path}/msg0000)", "Set(VMSTATUS=SUCCESS)")
        site.call()
        ((_, text),) = site.texts
        told = r"New voicemail for 200 from a caller without a number at \d\d:\d\d"
        assert re.fullmatch(told, text)

    @pytest.mark.parametrize("voicemail", ["Set(VMSTATUS=FAILED)", "Hangup()"])
    def test_no_message_no_sms(self, site: Site, voicemail: str) -> None:
        self.load(site, voicemail)
        site.call({"VMSTATUS": "SUCCESS"}, caller_id="Jo <0412345678>")  # an earlier mailbox's
        assert site.texts == []


class TestOneTimeCode:
    def load(self, site: Site, replace: tuple[str, str] | None = None) -> None:
        example(site, "one-time-code.conf", "Gosub(sms-one-time-code,s,1)", replace)

    def code(self, site: Site, which: int = -1) -> str:
        """The code that the caller got."""
        (found,) = re.findall(r"\b[0-9]{6}\b", site.messages[which].original)
        return str(found)

    def asked(self, site: Site, caller: str = NUMBER) -> Call:
        call = site.start(caller_id=f"Jo <{caller}>")
        call.wait_for("Newexten", Application="Read")
        return call

    def answer(self, site: Site, call: Call) -> str:
        """What comes of the last code."""
        type_in(site, call, self.code(site))
        return call.wait().variables["GOSUB_RETVAL"]

    def wrong(self, site: Site, call: Call, code: str, left: int) -> None:
        """Type a wrong code, after which so many tries are left."""
        type_in(site, call, code)
        call.wait_for("VarSet", Variable="CODE_LEFT", Value=str(left))

    def test_the_right_code_is_right_once(self, site: Site) -> None:
        self.load(site)
        call = self.asked(site)
        ((number, text),) = site.texts
        assert number == NUMBER
        assert re.fullmatch(
            r"Your code is [1-9]\d{5}\. We never ask you for it: type it on the phone only\.", text
        )
        type_in(site, call, self.code(site))
        result = call.wait()
        assert result.variables["GOSUB_RETVAL"] == "RIGHT"
        told = [line for line in result.applications() if line.startswith(("NoOp", "Log", "Verb"))]
        assert self.code(site) not in "".join(told)

        call = self.asked(site)  # it is used up: there is another one
        assert len(site.messages) == 2
        assert self.code(site, 0) != self.code(site, 1)
        self.wrong(site, call, self.code(site, 0), 2)
        assert call.end().variables["GOSUB_RETVAL"] != "RIGHT"

    def test_three_tries_are_all_that_there_are(self, site: Site) -> None:
        self.load(site)
        call = self.asked(site)
        other = str((int(self.code(site)) + 1 - 100000) % 900000 + 100000)
        for left in (2, 1, 0):
            self.wrong(site, call, other, left)
        assert call.wait().variables["GOSUB_RETVAL"] == "WRONG"
        again = site.call(caller_id=JO)  # no new code, and no question
        assert again.variables["GOSUB_RETVAL"] == "WRONG"
        assert not [line for line in again.applications() if line.startswith("Read")]
        assert len(site.messages) == 1

    def test_after_a_hang_up_the_code_still_counts_but_only_for_its_number(
        self, site: Site
    ) -> None:
        self.load(site)
        self.asked(site).end()
        other = self.asked(site, OTHER)
        assert [message.numbers for message in site.messages] == [(NUMBER,), (OTHER,)]
        self.wrong(site, other, self.code(site, 0), 2)  # NUMBER's
        other.end()
        call = self.asked(site)
        assert len(site.messages) == 2
        type_in(site, call, self.code(site, 0))
        assert call.wait().variables["GOSUB_RETVAL"] == "RIGHT"

    def test_an_old_code_is_wrong(self, site: Site) -> None:
        self.load(site, ("CODE_LIFE=300", "CODE_LIFE=2"))
        call = self.asked(site)
        time.sleep(3)
        assert self.answer(site, call) == "WRONG"
        self.asked(site).end()
        assert len(site.messages) == 2

    def test_without_a_number_there_is_no_code(self, site: Site) -> None:
        self.load(site)
        for left in hostile_calls(site, "CALLERID(num)"):
            assert left["GOSUB_RETVAL"] == "NONE"
        assert "0 results" in site.asterisk.cli("database show sms-code")

    def test_a_code_that_was_not_sent_is_none(self, site: Site) -> None:
        self.load(site)
        site.sandbox.stop()
        assert site.call(caller_id=JO).variables["GOSUB_RETVAL"] == "NONE"
        site.sandbox.start()
        assert self.answer(site, self.asked(site)) == "RIGHT"  # the next call gets one


class TestClosed:
    XMAS = "2026/12/25 10:00:00"  # a Friday

    def load(self, site: Site, when: str, replace: tuple[str, str] | None = None) -> None:
        enter = f"Set(TESTTIME()={when})\nGosub(sms-closed,s,1)\nSet(WENT=on)"
        example(site, "closed.conf", enter, replace=replace)

    def test_the_caller_is_told_once_a_day(self, site: Site) -> None:
        same_hour()
        self.load(site, self.XMAS)
        told = "We are closed now. We are here Monday to Friday, 8:30 to 12:30 and 14:00 to 18:00."
        for _ in range(3):
            assert site.call(caller_id=JO, ask=["WENT"]).variables["WENT"] == ""
        site.call(caller_id=f"Jo <{OTHER}>")
        assert site.texts == [(NUMBER, told), (OTHER, told)]
        yesterday = f"{datetime.now() - timedelta(days=1):%Y%m%d}"
        site.asterisk.ami.action("DBPut", Family="sms-closed", Key=NUMBER, Val=yesterday)
        site.call(caller_id=JO)
        assert len(site.messages) == 3

    def test_the_hours(self, site: Site) -> None:
        within = ["21 08:30", "21 12:29", "24 14:00", "24 17:59"]
        without = ["21 08:29", "21 12:30", "25 12:00", "24 18:00", "26 10:00", "27 10:00"]
        for when in within + without:
            self.load(site, f"2026/12/{when}:30")
            went = site.call(ask=["WENT"]).variables["WENT"]
            assert went == ("on" if when in within else ""), when

    def test_in_the_hours_nobody_gets_anything(self, site: Site) -> None:
        self.load(site, "2026/12/21 10:00:00")
        left = site.call({"CLOSED": "yes"}, caller_id=JO, ask=["WENT"]).variables
        assert (left["WENT"], site.texts) == ("on", [])

    def test_also_where_the_caller_hangs_up_at_once(self, site: Site) -> None:
        self.load(site, self.XMAS, ("Playback(custom/closed)", "Wait(9)"))
        call = site.start(caller_id=JO)
        call.wait_for("Newexten", Application="Wait", Context="sms-closed")
        assert call.end().variables["SMS_STATUS"] == "SUCCESS"
        assert len(site.messages) == 1

    def test_not_without_a_number(self, site: Site) -> None:
        self.load(site, self.XMAS)
        hostile_calls(site, "CALLERID(num)")
        assert "0 results" in site.asterisk.cli("database show sms-closed")

    def test_what_was_not_sent_is_sent_at_the_next_call(self, site: Site) -> None:
        same_hour()
        self.load(site, self.XMAS)
        site.sandbox.stop()
        assert site.call(caller_id=JO).variables["SMS_CAUSE"] == "UNREACHABLE"
        site.sandbox.start()
        site.call(caller_id=JO)
        assert len(site.messages) == 1

    def test_what_may_have_been_sent_is_not_sent_again(self, site: Site) -> None:
        same_hour()
        self.load(site, self.XMAS)
        site.sandbox.fail(Fault.CLOSE)
        for _ in range(2):
            site.call(caller_id=JO)
        assert len(site.sandbox.requests) == 1


class TestQueueCallback:
    def load(self, site: Site, replace: tuple[str, str] | None = None) -> None:
        queue = "[general]\n[support]\njoinempty = yes\ncontext = sms-queue-callback\n"
        site.asterisk.write("queues.conf", queue)
        site.asterisk.cli("queue reload all")
        enter = f"Set(GLOBAL(CALLBACK_QUEUE)=support)\nSet(GLOBAL(CALLBACK_SMS)={NUMBER})"
        enter += "\nGoto(sms-queue-callback,s,1)"
        example(site, "queue-callback.conf", enter, replace=replace)

    def waiting(self, site: Site, caller: str, key: str = "1") -> Call:
        """One who waits, and presses a key."""
        call = site.start({"CALLERID(num)": caller})
        call.wait_for("QueueCallerJoin")
        type_in(site, call, key)
        return call

    def asked(self, site: Site, caller: str, number: str) -> Call:
        """One who presses 1, and types a number when asked for it."""
        call = self.waiting(site, caller)
        call.wait_for("Newexten", Application="Read")
        type_in(site, call, number)
        return call

    def test_team_and_caller_are_told(self, site: Site) -> None:
        self.load(site)
        first = self.waiting(site, THIRD, key="")
        self.waiting(site, OTHER).wait()
        first.end()  # who just gives up is not called back
        (team, asked), (caller, confirmed) = site.texts
        assert (team, caller) == (NUMBER, OTHER)
        told = rf"Please call back \{OTHER}, who left queue support at place 2 at \d\d:\d\d\."
        assert re.fullmatch(told, asked)
        assert confirmed == (
            f"We call you back on {OTHER}. Your place is number 2; no need to wait on the line."
        )

    def test_also_who_hangs_up_after_pressing_1(self, site: Site) -> None:
        self.load(site, ("Playback(custom/we-call-you-back)", "Wait(9)"))
        call = self.waiting(site, OTHER)
        call.wait_for("Newexten", Application="Wait", Context="sms-queue-callback")
        call.end()
        assert [number for number, _ in site.texts] == [NUMBER, OTHER]

    @pytest.mark.parametrize("caller", ["", "anonymous", "1]?noted"])
    def test_who_has_no_number_types_one(self, site: Site, caller: str) -> None:
        self.load(site)
        self.asked(site, caller, "3331234567#").wait()
        assert [number for number, _ in site.texts] == [NUMBER, "+393331234567"]

    def test_who_types_nothing_waits_again(self, site: Site) -> None:
        self.load(site)
        call = self.asked(site, "anonymous", "#")
        call.wait_for("VarSet", Variable="QUEUEPOSITION")
        time.sleep(0.5)
        assert "1 calls" in site.asterisk.cli("queue show support")
        call.end()
        assert site.texts == []

    def test_nothing_is_confirmed_that_nobody_was_told_of(self, site: Site) -> None:
        self.load(site)
        site.sandbox.fail(Fault.REJECT)
        self.waiting(site, OTHER).wait()
        assert site.texts == []
        assert len(site.sandbox.requests) == 1


@with_outbox
class TestAlarm:
    TEXT = "The pump in hall 2 has stopped."

    def load(self, site: Site, first: str, second: str = "") -> None:
        same_hour()
        enter = f"Set(GLOBAL(ALARM_FIRST)={first})\nSet(GLOBAL(ALARM_SECOND)={second})"
        example(site, "alarm.conf", f"{enter}\nGosub(sms-alarm,s,1)")

    def alarm(self, **more: str) -> dict[str, str | bytes]:
        return {"ALARM": "pump2", "ALARM_TEXT": self.TEXT, **more}

    def test_everybody_is_told_once_an_hour(self, site: Site) -> None:
        self.load(site, f"{NUMBER}, abc,{REFUSED},,{OTHER}", THIRD)
        for _ in range(3):
            call = site.call(self.alarm())
            assert call.variables["GOSUB_RETVAL"] == "2"
            assert call.applications().count("AGI(sms.agi)") == 3  # not again at the hang-up
        assert site.texts == [(NUMBER, self.TEXT), (OTHER, self.TEXT)]
        assert site.call(self.alarm(ALARM="pump3")).variables["GOSUB_RETVAL"] == "2"
        assert len(site.messages) == 4

    @pytest.mark.parametrize(
        ("first", "second", "told"),
        [(f"{REFUSED},+39", f"{OTHER},{THIRD}", [OTHER, THIRD]), ("", "", []), (REFUSED, "", []),
         (REFUSED, REFUSED, [])],
    )  # fmt: skip
    def test_the_second_list_is_for_where_nothing_was_accepted(
        self, site: Site, first: str, second: str, told: list[str]
    ) -> None:
        begin = len(site.asterisk.log)
        self.load(site, first, second)
        assert site.call(self.alarm()).variables["GOSUB_RETVAL"] == str(len(told))
        assert site.texts == [(number, self.TEXT) for number in told]
        if told:
            until(lambda: "reaches nobody of the first list" in site.asterisk.log[begin:])

    def test_a_pbx_that_is_away_stores_it_and_does_not_escalate(self, site: Site) -> None:
        self.load(site, f"{NUMBER},{OTHER}", THIRD)
        site.sandbox.stop()
        for _ in range(2):
            assert site.call(self.alarm()).variables["GOSUB_RETVAL"] == "2"
        assert site.rows(STORED) == [(NUMBER, "pending"), (OTHER, "pending")]

    def test_another_text_within_the_hour_is_not_sent(self, site: Site) -> None:
        self.load(site, NUMBER, OTHER)
        site.call(self.alarm())
        changed = self.alarm(ALARM_TEXT='3.2 bar, "low" :) ${UNIQUEID}')
        assert site.call(changed).variables["GOSUB_RETVAL"] == "1"
        assert site.texts == [(NUMBER, self.TEXT)]

    @pytest.mark.parametrize("text", ['3.2 bar, "low" :) 10:30', "${SHELL(id)}", '" = "1"]?x'])
    def test_the_text_arrives_as_it_is(self, site: Site, text: str) -> None:
        self.load(site, NUMBER)
        site.call(self.alarm(ALARM_TEXT=text))
        assert site.texts == [(NUMBER, text)]

    def test_a_hang_up_stops_nothing_and_doubles_nothing(self, site: Site) -> None:
        self.load(site, f"{NUMBER},{OTHER},{THIRD}")
        site.sandbox.fail(Fault.SLOW)
        call = site.start(self.alarm())
        call.wait_for("Newexten", Application="AGI", Context="sub-sms")
        call.end()
        assert [number for number, _ in site.texts] == [NUMBER, OTHER, THIRD]


class TestOnCall:
    TEXT = 'The pump, "hall 2" :) has stopped at 10:30; ${SHELL(id)}'
    SILENT, HANGS_UP, BUSY = "Ringing()", "Answer()\n same => n,Hangup()", "Busy(1)"
    PRESSES = "Answer()\n same => n,Wait(1)\n same => n,SendDTMF({})\n same => n,Wait(1)\n same => n,Hangup()"

    @pytest.fixture(autouse=True)
    def ended(self, site: Site) -> Iterator[None]:
        """What is called out ends with the test."""
        yield
        site.asterisk.cli("channel request hangup all")
        until(lambda: "0 active channels" in site.asterisk.cli("core show channels"))

    def load(self, site: Site, *phones: str) -> None:
        """With two rounds, and what each phone does once it is called, in this order."""
        numbers = [NUMBER, OTHER, THIRD][: len(phones)]
        text = (DIALPLAN / "on-call.conf").read_text()
        for old, new in (
            ("ROUNDS=3", "ROUNDS=2"), ("PAUSE=60", "PAUSE=1"), ("/n,25,", "/n,1,"),
        ):  # fmt: skip
            assert text.count(old) == 1
            text = text.replace(old, new)
        context = "".join(
            f"exten => {number},1,{does}\n same => n,Wait(30)\n"
            for number, does in zip(numbers, phones, strict=True)
        )
        listed = ", ,abc,".join(numbers)
        enter = f"Set(GLOBAL(ON_CALL)={listed})\n same => n,Set(GLOBAL(ON_CALL_CONTEXT)=phones)"
        site.asterisk.set_dialplan(
            f"[test]\nexten => 1,1,{enter}\n same => n,Gosub(sms-on-call,s,1)\n"
            f"[phones]\n{context}\n{text}"
        )

    def alarm(self, site: Site, name: str = "pump2") -> str:
        return site.call({"ALARM": name, "ALARM_TEXT": self.TEXT}).variables["GOSUB_RETVAL"]

    @pytest.mark.slow
    def test_it_calls_until_somebody_presses_1(self, site: Site) -> None:
        self.load(site, self.SILENT, self.PRESSES.format("2"), self.PRESSES.format("1"))
        assert self.alarm(site) == "STARTED"  # and hangs up
        until(lambda: "pump2" in site.asterisk.cli("group show channels"))
        assert self.alarm(site) == "RUNNING"
        until(lambda: len(site.messages) == 5, lambda: site.asterisk.log, 60)
        until(lambda: "pump2" not in site.asterisk.cli("group show channels"))
        told = site.texts
        assert told[:3] == [(number, self.TEXT) for number in (NUMBER, OTHER, THIRD)]
        assert [number for number, _ in told[3:]] == [NUMBER, OTHER]  # THIRD knows
        ((_, taken),) = {(0, text) for _, text in told[3:]}
        assert re.fullmatch(rf"\{THIRD} has taken the alarm pump2 at \d\d:\d\d\.", taken)
        kept = site.asterisk.cli("database show sms-on-call")
        (at,) = re.findall(rf"^/sms-on-call/pump2 +: \{THIRD}-(\d+)", kept, re.MULTILINE)
        assert abs(time.time() - int(at)) < 60
        assert f"not taken by {NUMBER}: NOANSWER" in site.asterisk.log
        assert f"not taken by {OTHER}: ANSWER" in site.asterisk.log
        assert f"alarm pump2 taken by {THIRD}" in site.asterisk.log
        until(lambda: self.alarm(site) == "TAKEN")
        hour_ago = f"{THIRD}-{int(time.time()) - 3601}"
        site.asterisk.ami.action("DBPut", Family="sms-on-call", Key="pump2", Val=hour_ago)
        assert self.alarm(site) == "STARTED"

    def test_nobody_takes_it(self, site: Site) -> None:
        self.load(site, self.BUSY, self.HANGS_UP)
        mark = a_mark()
        name = f'2"]?x ${{SHELL(touch {mark})}}'
        assert self.alarm(site, name) == "STARTED"
        said = f"alarm 2xSHELLtouchtmp{mark.name} taken by nobody in 2 rounds of calls"
        until(lambda: said in site.asterisk.log, lambda: site.asterisk.log, 60)
        assert not mark.exists()
        assert site.texts == [(NUMBER, self.TEXT), (OTHER, self.TEXT)]
        busy = rf"NOTICE\[.*{mark.name} not taken by .*: BUSY"
        assert len(re.findall(busy, site.asterisk.log)) == 2
        assert "0 results" in site.asterisk.cli("database show sms-on-call")

    def test_without_a_name_or_a_number_it_is_no_alarm(self, site: Site) -> None:
        self.load(site)
        for name in ("", '"]?', "-"):
            assert self.alarm(site, name) == "FAILED"
        assert 'alarm "" calls nobody' in site.asterisk.log
        assert self.alarm(site, "pump3") == "STARTED"
        until(lambda: "alarm pump3 taken by nobody" in site.asterisk.log)
        assert site.texts == []


class TestBulk:
    TEXT = "Our spring menu begins on Monday."
    LIST = f"; guests\n# of 2026\n{NUMBER}   ; Jo, 4 people\r\n\n+39 333 123 457 # Al\n12\nfoo\n{THIRD}"

    def load(self, site: Site, folder: Path, numbers: str = LIST) -> None:
        (folder / "list").write_text(numbers)
        example(site, "bulk.conf", "Gosub(sms-bulk,s,1)")

    def mailing(self, folder: Path) -> dict[str, str | bytes]:
        return {"BULK": "spring", "BULK_FILE": f"{folder}/list", "BULK_TEXT": self.TEXT}

    @with_outbox
    def test_each_number_gets_one_by_the_service(self, site: Site, tmp_path: Path) -> None:
        self.load(site, tmp_path)
        ask = ["BULK_STORED", "BULK_FAILED"]
        for _ in range(2):
            left = site.call(self.mailing(tmp_path), ask=ask).variables
            assert (left["BULK_STORED"], left["BULK_FAILED"]) == ("3", "2")
            assert site.texts == []  # the call only stores
        site.service.configure(f"outbox = sqlite:///{site.outbox}", "pace = 0")
        with site.service:
            until(lambda: {state for _, state in site.rows(STORED)} == {"sent"})
        assert sorted(site.texts) == [(n, self.TEXT) for n in (NUMBER, OTHER, THIRD)]
        assert all(len(message.numbers) == 1 for message in site.messages)
        assert re.search(r"bulk spring line 3 QUEUED: id \d+", site.asterisk.log)
        assert "bulk spring line 6 not sent: INVALID_NUMBER" in site.asterisk.log
        assert "bulk spring line 7 not sent: there is no number in it" in site.asterisk.log
        assert "bulk spring: 3 stored and 2 not" in site.asterisk.log

    @with_outbox
    def test_a_hang_up_stops_nothing(self, site: Site, tmp_path: Path) -> None:
        self.load(site, tmp_path)
        call = site.start(self.mailing(tmp_path))
        call.wait_for("Newexten", Application="AGI", Context="sub-sms")
        call.end()
        assert [number for number, _ in site.rows(STORED)] == [NUMBER, OTHER, THIRD]

    def test_without_an_outbox_or_a_list_nothing_is_sent(self, site: Site, tmp_path: Path) -> None:
        self.load(site, tmp_path, f"{NUMBER}\n")
        left = site.call(self.mailing(tmp_path), ask=["BULK_FAILED"]).variables
        assert (left["BULK_FAILED"], left["SMS_CAUSE"]) == ("1", "OUTBOX")
        (tmp_path / "list").unlink()
        left = site.call(self.mailing(tmp_path), ask=["BULK_STORED"]).variables
        assert left["BULK_STORED"] == "0"
        assert f"there is no file {tmp_path}/list" in site.asterisk.log
        assert site.texts == []


class TestReminder:
    @pytest.fixture(autouse=True)
    def loaded(self, site: Site) -> None:
        example(site, "reminder.conf", "Gosub(sms-reminder,s,1)")

    def remind(self, site: Site, when: str) -> dict[str, str]:
        return site.call({"REMINDER_NUMBER": NUMBER, "APPOINTMENT": when}).variables

    @with_outbox
    def test_it_is_sent_the_day_before_at_ten(self, site: Site) -> None:
        left = self.remind(site, "2032-03-01 00:30")
        assert (left["GOSUB_RETVAL"], left["SMS_STATUS"]) == ("SET", "QUEUED")
        ((planned, text),) = site.rows("SELECT planned, text FROM sms_message")
        assert datetime.fromtimestamp(float(str(planned))) == datetime(2032, 2, 29, 10)
        assert text == (
            "Your appointment with us is tomorrow, 01/03/2032 at 00:30. To change it call"
            " +39 012 345678."
        )
        assert site.texts == []

    def test_without_an_outbox_the_pbx_keeps_it(self, site: Site) -> None:
        after = datetime.now() + timedelta(days=2)
        assert self.remind(site, f"{after:%Y-%m-%d} 15:30")["GOSUB_RETVAL"] == "SET"
        (message,) = site.messages
        tomorrow = datetime.now() + timedelta(days=1)
        assert message.postpone == datetime(tomorrow.year, tomorrow.month, tomorrow.day, 10)

    @pytest.mark.parametrize("days", [-400, -1, 0])
    def test_where_ten_the_day_before_is_over_none_is_sent(self, site: Site, days: int) -> None:
        when = datetime.now() + timedelta(days=days)
        assert self.remind(site, f"{when:%Y-%m-%d} 23:59")["GOSUB_RETVAL"] == "LATE"
        assert site.texts == []

    def test_what_is_no_date_is_wrong(self, site: Site) -> None:
        wrong = ("2033-02-29 10:00", "2032-01-01", "2032-01-01 25:00")
        for left in hostile_calls(site, "APPOINTMENT", *wrong):
            assert left["GOSUB_RETVAL"] == "WRONG"

    def test_a_pbx_that_is_away_is_told(self, site: Site) -> None:
        site.sandbox.stop()
        left = self.remind(site, "2032-03-01 00:30")
        assert (left["GOSUB_RETVAL"], left["SMS_CAUSE"]) == ("FAILED", "UNREACHABLE")


def test_in_a_gosub_the_h_of_the_callers_context_does_not_run(site: Site) -> None:
    site.asterisk.set_dialplan("""
[test]
exten => 1,1,Gosub(inner,s,1)
exten => h,1,NoOp(outer h)
[inner]
exten => s,1,Hangup()
exten => h,1,NoOp(inner h)
""")
    assert [line for line in site.call().applications() if "NoOp" in line] == ["NoOp(inner h)"]
