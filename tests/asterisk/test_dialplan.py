"""[sub-sms], and each worked example of dialplan/ as it stands in its file."""

from pathlib import Path

import pytest

from tests.asterisk.call import Call
from tests.asterisk.site import NUMBER, Site

DIALPLAN = Path(__file__).parents[2] / "dialplan"


def example(site: Site, name: str, extension: str) -> None:
    """Load one example's file, entered from extension 1 by *extension*."""
    text = (DIALPLAN / name).read_text()
    site.asterisk.set_dialplan(f"[test]\nexten => 1,1,{extension}\n same => n,Wait(9)\n\n{text}")


def press(site: Site, call: Call, digit: str) -> None:
    call.wait_for("Newexten", Application="WaitExten")
    site.asterisk.ami.action("PlayDTMF", Channel=call.peer, Digit=digit)


def test_the_caller_presses_1_and_gets_directions(site: Site) -> None:
    example(site, "ivr-directions.conf", "Goto(sms-ivr-directions,s,1)")
    call = site.start(caller_id=f"Jo <{NUMBER}>")
    press(site, call, "1")
    assert call.wait().variables["SMS_STATUS"] == "SUCCESS"
    (message,) = site.messages
    assert message.numbers == (NUMBER,)
    assert message.text == (
        "Directions: motorway exit 7, then follow the signs to Harbour, entrance B :) open until"
        " 18:30; parking behind the house."
    )


def test_another_key_sends_nothing(site: Site) -> None:
    example(site, "ivr-directions.conf", "Goto(sms-ivr-directions,s,1)")
    call = site.start(caller_id=f"Jo <{NUMBER}>")
    press(site, call, "2")
    assert call.wait().variables["SMS_STATUS"] == ""
    assert site.messages == []


def test_a_caller_without_a_number_does_not_break_the_ivr(site: Site) -> None:
    example(site, "ivr-directions.conf", "Goto(sms-ivr-directions,s,1)")
    call = site.start(caller_id="anonymous")
    press(site, call, "1")
    assert call.wait().variables["SMS_CAUSE"] == "INVALID_NUMBER"


@pytest.mark.parametrize("gives_up", [False, True], ids=["nobody answers", "the caller gives up"])
def test_a_missed_call_is_told(site: Site, gives_up: bool) -> None:
    enter = "Set(GLOBAL(MISSED_CALL_RING)=Local/ring@test/n)\n"
    enter += f" same => n,Set(GLOBAL(MISSED_CALL_SMS)={NUMBER})\n"
    enter += " same => n,Goto(sms-missed-call,s,1)\n"
    enter += f"exten => ring,1,{'Ringing()' if gives_up else 'Hangup()'}\n"
    example(site, "missed-call.conf", enter)
    call = site.start(caller_id="Jo <0412345678>")
    if gives_up:
        call.wait_for("Newexten", Application="Ringing")
        call.hangup()
    assert call.wait().variables["SMS_STATUS"] == "SUCCESS"
    (message,) = site.messages
    assert message.numbers == (NUMBER,)
    assert message.original.startswith("Missed call from 0412345678 at ")


def test_an_answered_call_is_not_missed(site: Site) -> None:
    enter = "Set(GLOBAL(MISSED_CALL_RING)=Local/ring@test/n)\n"
    enter += (
        " same => n,Goto(sms-missed-call,s,1)\nexten => ring,1,Answer()\n same => n,Wait(0.2)\n"
    )
    enter += " same => n,Hangup()\n"
    example(site, "missed-call.conf", enter)
    assert site.call(caller_id="Jo <0412345678>").variables["SMS_STATUS"] == ""
    assert site.messages == []


@pytest.mark.parametrize("hung_up_by", ["caller", "dialplan"])
def test_a_hangup_handler_sends(site: Site, hung_up_by: str) -> None:
    enter = "Set(CHANNEL(hangup_handler_push)=sms-after-call,s,1)"
    if hung_up_by == "dialplan":
        enter += "\n same => n,Hangup()"
    example(site, "hangup-handler.conf", enter)
    call = site.start(caller_id=f"Jo <{NUMBER}>")
    if hung_up_by == "caller":
        call.wait_for("Newexten", Application="Wait", Context="test")
        call.hangup()
    call.wait()
    (message,) = site.messages
    assert message.original.startswith("Thank you for calling. Your reference is ")
    assert message.original.endswith("; questions? Just call again.")


class TestSubSms:
    def test_it_clears_what_an_earlier_sms_left(self, site: Site) -> None:
        site.dialplan(f"""
            Set(SMS_ID=7)
            Set(SMS_FAILED=1)
            Gosub(sub-sms,s,1({NUMBER},TEXT))
        """)
        left = site.call({"TEXT": "Hi"}).variables
        assert left["SMS_STATUS"] == left["GOSUB_RETVAL"] == "SUCCESS"
        assert (left["SMS_ID"], left["SMS_FAILED"]) == ("", "")

    def test_it_takes_what_was_set_before(self, site: Site) -> None:
        site.dialplan(
            "Gosub(sub-sms,s,1)\nGosub(sub-sms,s,1(+39333123457))\nGosub(sub-sms,s,1(,OTHER))"
        )
        site.call({"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "Hi", "OTHER": "Ho"})
        assert [(m.numbers, m.text) for m in site.messages] == [
            ((NUMBER,), "Hi"), (("+39333123457",), "Hi"), ((NUMBER,), "Ho"),
        ]  # fmt: skip

    def test_arguments_of_a_macro_are_not_its_own(self, site: Site) -> None:
        """Migrated lines call it bare, and may stand in a Macro, whose ARG1 is a channel variable."""
        macro = "Macro(m,Hello there,42)\n same => n,Wait(9)\n[macro-m]\nexten => s,1,NoOp()"
        if site.asterisk.installation.major < 21:
            site.asterisk.ami.action("ModuleLoad", Module="app_macro.so", LoadType="load")
        else:  # which have none
            macro = "Set(ARG1=Hello there)\n same => n,Set(ARG2=42)"
        site.asterisk.set_dialplan(f"""\
[test]
exten => 1,1,{macro}
 same => n,Gosub(sub-sms,s,1)
 same => n,Gosub(sub-sms,s,1(+39333123457))
 same => n,Wait(9)
""")
        site.call({"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "Hi"})
        assert [(m.numbers, m.text) for m in site.messages] == [
            ((NUMBER,), "Hi"), (("+39333123457",), "Hi"),
        ]  # fmt: skip

    def test_it_leaves_the_calls_own_variables_alone(self, site: Site) -> None:
        site.dialplan("Gosub(sub-sms,s,1(+39333123457,OTHER))\nAGI(${PROBE},after)")
        own = {"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "Hi", "OTHER": "Ho", "AGISIGHUP": "maybe"}
        call = site.call(own, ask=[*own, "SMS_MESSAGE_IN"])
        assert {name: call.probes["after"][name] for name in own} == own
        assert call.probes["after"]["SMS_MESSAGE_IN"] == ""
        assert [message.text for message in site.messages] == ["Ho"]

    @pytest.mark.parametrize(
        "hostile",
        ['" = "1"]?x', ":) 1:2:3", "SHELL(touch PWNED)", "a)b:1", "${SHELL(touch PWNED)}", "x\ny"],
    )
    def test_hostile_arguments_are_only_values(self, site: Site, hostile: str) -> None:
        mark = site.asterisk.etc / "PWNED"
        hostile = hostile.replace("PWNED", str(mark))
        site.dialplan("Gosub(sub-sms,s,1(${HOSTILE},${HOSTILE}))")
        call = site.call({"HOSTILE": hostile})
        assert call.variables["GOSUB_RETVAL"] == "ERROR"
        assert call.variables["SMS_CAUSE"] == "INVALID_NUMBER"
        site.dialplan(f"Gosub(sub-sms,s,1({NUMBER},${{HOSTILE}}))")
        call = site.call({"HOSTILE": hostile})
        assert call.variables["SMS_CAUSE"] == "INVALID_MESSAGE"
        assert not mark.exists()
        assert site.messages == []

    @pytest.mark.parametrize("arguments", ["(+39333123456,Hello)", "(+39333123456,EMPTY)"])
    def test_an_old_text_is_never_sent_in_place_of_an_empty_one(
        self, site: Site, arguments: str
    ) -> None:
        site.dialplan(f"Gosub(sub-sms,s,1{arguments})")
        call = site.call({"message": "OLD TEXT", "SMS_MESSAGE": "OLDER TEXT"})
        assert call.variables["SMS_CAUSE"] == "INVALID_MESSAGE"
        assert site.messages == []

    def test_bare_commas_are_told(self, site: Site) -> None:
        site.dialplan("Gosub(sub-sms,s,1(+39333123456,+39333123457,TEXT))")
        call = site.call({"TEXT": "Hi"})
        assert (call.variables["GOSUB_RETVAL"], call.variables["SMS_CAUSE"]) == (
            "ERROR",
            "INVALID_NUMBER",
        )
        assert "put a text with commas into a variable" in call.variables["SMS_REASON"]
        assert site.messages == []

    def test_a_reason_can_be_pasted_into_system(self, site: Site) -> None:
        mark = site.asterisk.etc / "said"
        site.dialplan(f"""
            Gosub(sub-sms,s,1)
            System(echo ${{SMS_REASON}} > {mark})
            Set(HOW=${{SYSTEMSTATUS}})
        """)
        for number in ("12", "$(id) `id` 'x", "+39abc"):
            call = site.call({"SMS_NUMBER": number, "SMS_MESSAGE": "x"}, ask=["HOW"])
            assert call.variables["HOW"] == "SUCCESS"
            assert mark.read_text().strip() == " ".join(call.variables["SMS_REASON"].split())

    def test_a_service_that_is_down_is_replaced_by_the_script(self, site: Site) -> None:
        site.dialplan(
            "Set(GLOBAL(SMS_AGI)=agi://127.0.0.1:9/sms)\nGosub(sub-sms,s,1)\nSet(GLOBAL(SMS_AGI)=)"
        )
        call = site.call({"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "Hi"})
        assert call.variables["GOSUB_RETVAL"] == "SUCCESS"
        assert len(site.messages) == 1

    def test_a_script_that_is_not_there_is_explained(self, site: Site) -> None:
        site.dialplan("Set(GLOBAL(SMS_AGI)=absent.agi)\nGosub(sub-sms,s,1)\nSet(GLOBAL(SMS_AGI)=)")
        call = site.call({"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "Hi"})
        assert call.variables["GOSUB_RETVAL"] == ""
        assert "did not run" in call.variables["SMS_REASON"]
        assert "agi-bin" in call.variables["SMS_REASON"]
        assert site.messages == []
