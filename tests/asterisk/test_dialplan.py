"""[sub-sms], and the short examples of dialplan/ as they stand in their files."""

from pathlib import Path

import pytest

from tests.asterisk.call import Call
from tests.asterisk.site import NUMBER, SMS, Site

DIALPLAN = Path(__file__).parents[2] / "dialplan"


def example(site: Site, name: str, enter: str, replace: tuple[str, str] | None = None) -> None:
    """Load an example's file, with one place replaced, entered by the lines *enter*.

    Other extensions of its context begin with ``exten``.
    """
    text = (DIALPLAN / name).read_text()
    if replace:
        assert replace[0] in text
        text = text.replace(*replace)
    lines = enter.replace("\n", "\n same => n,").replace(" same => n,exten", "exten")
    site.asterisk.set_dialplan(f"[test]\nexten => 1,1,{lines}\n\n{text}")


def type_in(site: Site, call: Call, digits: str) -> None:
    for digit in digits:
        site.asterisk.ami.action("PlayDTMF", Channel=call.peer, Digit=digit)


@pytest.mark.parametrize(
    ("caller", "key", "cause"),
    [(f"Jo <{NUMBER}>", "1", ""), (f"Jo <{NUMBER}>", "2", None), ("anonymous", "1", "INVALID_NUMBER")],
)  # fmt: skip
def test_the_caller_presses_1_and_gets_directions(
    site: Site, caller: str, key: str, cause: str | None
) -> None:
    example(site, "ivr-directions.conf", "Goto(sms-ivr-directions,s,1)")
    call = site.start(caller_id=caller)
    call.wait_for("Newexten", Application="WaitExten")
    type_in(site, call, key)
    left = call.wait().variables
    status = {"": "SUCCESS", None: ""}.get(cause, "ERROR")
    assert (left["SMS_STATUS"], left["SMS_CAUSE"]) == (status, cause or "")
    directions = (
        "Directions: motorway exit 7, then follow the signs to Harbour, entrance B :) open until"
        " 18:30; parking behind the house."
    )
    assert site.texts == ([(NUMBER, directions)] if cause == "" else [])


@pytest.mark.parametrize(
    ("phone", "told"),
    [("Hangup()", True), ("Ringing()", True), ("Answer()\nWait(0.2)\nHangup()", False)],
    ids=["nobody answers", "the caller gives up", "answered"],
)
def test_a_missed_call_is_told(site: Site, phone: str, told: bool) -> None:
    ring = f"Set(GLOBAL(MISSED_CALL_RING)=Local/ring@test/n)\nSet(GLOBAL(MISSED_CALL_SMS)={NUMBER})"
    enter = f"{ring}\nGoto(sms-missed-call,s,1)\nexten => ring,1,{phone}"
    example(site, "missed-call.conf", enter)
    call = site.start(caller_id="Jo <0412345678>")
    if phone == "Ringing()":
        call.wait_for("Newexten", Application="Ringing")
        call.hangup()
    assert call.wait().variables["SMS_STATUS"] == ("SUCCESS" if told else "")
    assert [message.numbers for message in site.messages] == [(NUMBER,)] * told
    assert all(text.startswith("Missed call from 0412345678 at ") for _, text in site.texts)


@pytest.mark.parametrize("hung_up_by", ["caller", "dialplan"])
def test_a_hangup_handler_sends(site: Site, hung_up_by: str) -> None:
    end = "Wait(9)" if hung_up_by == "caller" else "Hangup()"
    enter = f"Set(CHANNEL(hangup_handler_push)=sms-after-call,s,1)\n{end}"
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
        site.dialplan(f"Set(SMS_ID=7)\nSet(SMS_FAILED=1)\nGosub(sub-sms,s,1({NUMBER},TEXT))")
        left = site.call({"TEXT": "Hi"}).variables
        assert left["SMS_STATUS"] == left["GOSUB_RETVAL"] == "SUCCESS"
        assert (left["SMS_ID"], left["SMS_FAILED"]) == ("", "")

    def test_it_takes_what_was_set_before(self, site: Site) -> None:
        site.dialplan(
            "Gosub(sub-sms,s,1)\nGosub(sub-sms,s,1(+39333123457))\nGosub(sub-sms,s,1(,OTHER))"
        )
        site.call({"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "Hi", "OTHER": "Ho"})
        assert site.texts == [(NUMBER, "Hi"), ("+39333123457", "Hi"), (NUMBER, "Ho")]

    def test_arguments_of_a_macro_are_not_its_own(self, site: Site) -> None:
        """Migrated lines call it bare, and may stand in a Macro, whose ARG1 is a channel variable."""
        macro = "Macro(m,Hello there,42)\n same => n,Wait(9)\n[macro-m]\nexten => s,1,NoOp()"
        if site.asterisk.installation.major < 21:
            site.asterisk.ami.action("ModuleLoad", Module="app_macro.so", LoadType="load")
        else:  # which have none
            macro = "Set(ARG1=Hello there)\n same => n,Set(ARG2=42)"
        site.asterisk.set_dialplan(f"""
[test]
exten => 1,1,{macro}
 same => n,Gosub(sub-sms,s,1)
 same => n,Gosub(sub-sms,s,1(+39333123457))
 same => n,Wait(9)
""")
        site.call({"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "Hi"})
        assert site.texts == [(NUMBER, "Hi"), ("+39333123457", "Hi")]

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
        left = site.call({"TEXT": "Hi"}).variables
        assert (left["GOSUB_RETVAL"], left["SMS_CAUSE"]) == ("ERROR", "INVALID_NUMBER")
        assert "put a text with commas into a variable" in left["SMS_REASON"]
        assert site.messages == []

    def test_a_reason_can_be_pasted_into_system(self, site: Site) -> None:
        mark = site.asterisk.etc / "said"
        echo = f"System(echo ${{SMS_REASON}} > {mark})"
        site.dialplan(f"Gosub(sub-sms,s,1)\n{echo}\nSet(HOW=${{SYSTEMSTATUS}})")
        for number in ("12", "$(id) `id` 'x", "+39abc"):
            call = site.call({"SMS_NUMBER": number, "SMS_MESSAGE": "x"}, ask=["HOW"])
            assert call.variables["HOW"] == "SUCCESS"
            assert mark.read_text().strip() == " ".join(call.variables["SMS_REASON"].split())

    def test_a_service_that_is_down_is_replaced_by_the_script(self, site: Site) -> None:
        site.dialplan("Set(GLOBAL(SMS_AGI)=agi://127.0.0.1:9/sms)\nGosub(sub-sms,s,1)")
        assert site.call(SMS).variables["GOSUB_RETVAL"] == "SUCCESS"
        assert len(site.messages) == 1

    def test_a_script_that_is_not_there_is_explained(self, site: Site) -> None:
        site.dialplan("Set(GLOBAL(SMS_AGI)=absent.agi)\nGosub(sub-sms,s,1)")
        left = site.call(SMS).variables
        assert left["GOSUB_RETVAL"] == ""
        assert "did not run" in left["SMS_REASON"]
        assert "agi-bin" in left["SMS_REASON"]
        assert site.messages == []
