"""What callers, hang-ups and PBXs do to a call: the right status, one SMS, and the call goes on."""

import json
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

import pytest

from dialplan_sms.sandbox import Fault, Reply
from tests.asterisk.ami import Message
from tests.asterisk.call import OUTPUTS
from tests.asterisk.pbx import processes
from tests.asterisk.site import NUMBER, PASSWORD, SMS, Site
from tests.waiting import until

HOSTILE = {
    "quotes": 'a"b\\"c\\',
    "commands": 'x\nSET VARIABLE PWNED "yes"\n" PWNED "yes',
    "expressions": "${SHELL(touch /tmp/x)}`id`$[1+1]${PWNED}",
    "9000 characters": "\u20ac" * 9000,
    "a reply": "200 result=1 (x)\n200 result=1\nhangup",
}


class TestHostileAnswers:
    @pytest.mark.parametrize("reason", HOSTILE.values(), ids=HOSTILE)
    def test_a_reason_is_cut_and_harmless(self, site: Site, reason: str) -> None:
        reply = {"type": "error", "reason": reason, "result": None}
        site.sandbox.fault = Reply(200, json.dumps(reply).encode())
        site.dialplan("AGI(sms.agi)\nSet(AFTER=${SMS_STATUS} ${SMS_CAUSE})")
        call = site.call(SMS, ask=["PWNED", "AFTER"])
        assert call.variables["AFTER"] == "ERROR REJECTED"
        assert call.variables["PWNED"] == ""
        shown = call.variables["SMS_REASON"]
        assert not set(shown) & set('"\\${}[];|&`\n\r')
        assert 0 < len(shown.encode()) < 2046
        self.check_variables(call.events)

    def test_2000_failed_numbers_are_cut_after_a_whole_one(self, site: Site) -> None:
        failed = [f"+39333{n:06}" for n in range(2000)]
        site.sandbox.fault = Reply(
            200, json.dumps({"type": "warning", "reason": "no", "result": failed}).encode()
        )
        site.dialplan("AGI(sms.agi)\nSet(AFTER=${SMS_STATUS})")
        call = site.call(SMS, ask=["AFTER"])
        assert call.variables["AFTER"] == "WARNING"
        shown = call.variables["SMS_FAILED"].split(",")
        assert len(shown) > 100
        assert shown == failed[: len(shown)]
        self.check_variables(call.events)

    def check_variables(self, events: Sequence[Message]) -> None:
        """Nothing is set but the contract's outputs, in the context of the test."""
        names = {event["Variable"] for event in events if event.event == "VarSet"}
        ours = {name for name in names if name.startswith("SMS_")}
        assert ours <= {*OUTPUTS, *SMS}
        assert "PWNED" not in names


CAUSES = {
    Fault.UNAUTHORIZED: "UNAUTHORIZED", Fault.REDIRECT: "BAD_ANSWER",
    Fault.SERVER_ERROR: "BAD_ANSWER", Fault.HTML: "BAD_ANSWER", Fault.GARBAGE: "BAD_ANSWER",
    Fault.RESET: "NO_ANSWER", Fault.CLOSE: "NO_ANSWER", Fault.HANG: "NO_ANSWER",
    Fault.TRICKLE: "NO_ANSWER", Fault.TRICKLE_BODY: "NO_ANSWER", Fault.REJECT: "REJECTED",
    Fault.PARTIAL: "NOT_QUEUED",
}  # fmt: skip


class TestFailures:
    @pytest.mark.parametrize(("fault", "cause"), CAUSES.items())
    def test_every_failure_has_its_cause(self, site: Site, fault: Fault, cause: str) -> None:
        site.configure(call_timeout="2")
        site.sandbox.fault = fault
        assert self.call(site) == ("WARNING" if fault is Fault.PARTIAL else "ERROR", cause)
        assert len(site.sandbox.requests) == 1

    def test_a_refused_connection(self, site: Site) -> None:
        site.sandbox.stop()
        assert self.call(site) == ("ERROR", "UNREACHABLE")

    @pytest.mark.parametrize(
        ("key", "value", "cause"),
        [("url", "https://pbx.invalid", "UNREACHABLE"), ("verify", "yes", "UNREACHABLE"),
         ("verify", f"sha256:{'0' * 64}", "UNREACHABLE"), ("password", "wrong", "UNAUTHORIZED")],
    )  # fmt: skip
    def test_a_wrong_setting(self, site: Site, key: str, value: str, cause: str) -> None:
        site.configure(**{key: value})
        assert self.call(site) == ("ERROR", cause)
        assert len(site.sandbox.requests) == (cause == "UNAUTHORIZED")

    def test_a_peer_that_never_says_a_word(self, site: Site) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            site.configure(url=f"https://127.0.0.1:{silent.getsockname()[1]}")
            assert self.call(site) == ("ERROR", "UNREACHABLE")

    def test_a_broken_sms_conf_names_file_line_and_key(self, site: Site) -> None:
        site.configure("[101]\nurl = https://192.0.2.1\npassword = x\nmax_lenght = 5\n")
        site.dialplan("AGI(sms.agi)")
        call = site.call(SMS)
        assert call.variables["SMS_CAUSE"] == "CONFIG"
        reason = "sms.conf:4: max_lenght: unknown in 101 - perhaps max_length"
        assert reason in call.variables["SMS_REASON"]
        (site.asterisk.etc / "sms.conf").unlink()
        assert "there is no" in site.call(SMS).variables["SMS_REASON"]

    def call(self, site: Site) -> tuple[str, str]:
        """Place a call; it must go on, and within the deadlines (3 s and 2 s, and the rest)."""
        site.dialplan("AGI(sms.agi)\nSet(AFTER=went on)")
        started = time.monotonic()
        call = site.call(SMS, ask=["AFTER"])
        assert time.monotonic() - started < 12
        assert call.variables["AFTER"] == "went on"
        assert call.variables["SMS_REASON"]
        return call.variables["SMS_STATUS"], call.variables["SMS_CAUSE"]


ways = pytest.mark.parametrize(
    "way",
    [{}, {"AGISIGHUP": "no"}, {"AGIEXITONHANGUP": "yes"},
     {"AGISIGHUP": "no", "AGIEXITONHANGUP": "yes"}, {"AGISIGHUP": "no", "AGIEXITONHANGUP": "no"}],
    ids=lambda way: ",".join(way.values()) + "." + ",".join(way),
)  # fmt: skip


class TestHangUp:
    DIALPLAN = """[test]
exten => 1,1,AGI(sms.agi)
 same => n,AGI(${PROBE},on)
 same => n,Wait(9)
exten => 2,1,Gosub(sub-sms,s,1)
 same => n,Wait(9)
exten => h,1,AGI(${PROBE},h)
"""

    @pytest.fixture(autouse=True)
    def dialplan(self, site: Site) -> None:
        site.asterisk.set_dialplan(self.DIALPLAN)

    @ways
    def test_during_the_request_the_sms_goes_out_once(
        self, site: Site, way: dict[str, str]
    ) -> None:
        result = site.under_way(Fault.SLOW, **way).end()
        site.sandbox.wait(messages=1)
        time.sleep(0.3)  # a second one would come now
        assert len(site.sandbox.requests) == len(site.messages) == 1
        # h waits for the script, and sees the outcome; or Asterisk left at once: then what was
        # announced before the request is the truth.
        left = way.get("AGIEXITONHANGUP") == "yes"
        seen = result.probes["h"]["SMS_STATUS"], result.probes["h"]["SMS_CAUSE"]
        assert seen == (("ERROR", "NO_ANSWER") if left else ("SUCCESS", ""))

    @ways
    def test_after_the_request_the_status_stays(self, site: Site, way: dict[str, str]) -> None:
        call = site.start(SMS | way)
        call.wait_for("Newexten", Application="Wait", Context="test")
        result = call.end()
        assert result.probes["on"]["SMS_STATUS"] == result.probes["h"]["SMS_STATUS"] == "SUCCESS"
        assert len(site.sandbox.requests) == 1

    @ways
    def test_before_the_variables_are_read_never_twice(
        self, site: Site, way: dict[str, str]
    ) -> None:
        for delay in (0.0, 0.01, 0.03, 0.06):
            site.sandbox.clear()
            call = site.start(SMS | way)
            call.wait_for("Newexten", Application="AGI", Context="test")
            time.sleep(delay)
            result = call.end()
            time.sleep(0.2 if way.get("AGIEXITONHANGUP") == "yes" else 0.05)
            assert len(site.sandbox.requests) <= 1
            # Without a status, nothing was sent, or Asterisk did not wait to hear of it.
            assert result.variables["SMS_STATUS"] != "SUCCESS" or len(site.messages) == 1

    def test_with_sub_sms_still_once(self, site: Site) -> None:
        for delay in (0.0, 0.005, 0.01, 0.02, 0.03, 0.06, 0.1, 0.2):
            site.sandbox.clear()
            call = site.asterisk.start_call("2", variables=SMS)
            call.wait_for("Newexten", Application="AGI", Context="sub-sms")
            time.sleep(delay)
            result = call.end()
            assert result.variables["SMS_STATUS"] == "SUCCESS"
            assert len(site.sandbox.requests) == len(site.messages) == 1


FORGED = {
    "arguments": "x\nagi_arg_1: +39666666666\nagi_arg_2: forged",
    "a reply": "x\n\n200 result=1 (+39666666666)\n200 result=1 (+39666666666)",
    "the whole rest": "x\nagi_callingpres: 0\nagi_threadid: 1\nagi_arg_1: +39666666666\n"
    "agi_arg_2: forged\n\n",
}
"""Names of callers."""


@pytest.mark.parametrize("name", FORGED.values(), ids=FORGED)
def test_a_forged_caller_id_sends_nothing_to_the_forged_number(site: Site, name: str) -> None:
    site.dialplan("AGI(sms.agi)\nSet(SMS_NUMBER=)\nAGI(sms.agi)")
    call = site.call(SMS | {"CALLERID(name)": name})
    assert [message.numbers for message in site.messages] == [(NUMBER,)]
    assert call.variables["SMS_CAUSE"] == "INVALID_NUMBER"
    site.dialplan(f"AGI(sms.agi,{NUMBER},from arguments)")
    assert site.call({"CALLERID(name)": name}).variables["SMS_STATUS"] == "SUCCESS"
    assert site.messages[-1].numbers == (NUMBER,)


class TestSecrecy:
    def test_neither_credentials_nor_text_show_anywhere(self, site: Site) -> None:
        begin = len(site.asterisk.log)  # other tests paste the old recipe, password and all
        site.configure(password=PASSWORD, call_timeout="3")
        site.dialplan("AGI(sms.agi)")
        call = site.under_way(Fault.SLOW)
        # Asterisk and what it started: other tests give the same password in their own ways.
        shown = b""
        for process in processes(f"HOME={site.asterisk.etc.parent}"):
            with suppress(OSError):
                shown += (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        assert b"sms.agi" in shown
        assert call.wait().variables["SMS_STATUS"] == "SUCCESS"
        site.sandbox.fault = Reply(200, b'{"type":"error","reason":"A private text: sms101api"}')
        site.call(SMS)
        site.sandbox.fault = Fault.GARBAGE
        site.call(SMS)
        asterisk = site.asterisk
        told = asterisk.cli("dialplan show test") + site.log + asterisk.console
        for secret in (PASSWORD, "private"):
            assert secret not in told + shown.decode(errors="replace")
        until(  # Asterisk writes its log a moment late
            lambda: asterisk.log[begin:].count("AGI Script sms.agi completed") >= 3,
            lambda: asterisk.log[begin:],
        )
        written = asterisk.log[begin:]
        assert PASSWORD not in written
        assert len(site.log.splitlines()) == 3
        assert NUMBER not in site.log
        assert "to=\u2026456" in site.log
        # Only the dialplan's own Set shows the text; here the test bed's.
        lines = [line for line in written.splitlines() if "private" in line]
        assert all("@bed:" in line or "FILE(" in line or "[bed" in line for line in lines), lines
