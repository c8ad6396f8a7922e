"""What every other test here leans on: values travel exactly, calls keep apart, trouble is told."""

import time
from pathlib import Path

import pytest

from tests.asterisk.call import CallTimeout
from tests.asterisk.installation import Installation, installed
from tests.asterisk.pbx import Pbx, PbxError
from tests.asterisk.scripts import script

NASTY = {
    "newlines": "first\nsecond\r\nthird\n\nfifth\n",
    "quotes": """say "hi" and 'bye' `now`""",
    "backslashes": '\\ \\\\ \\n \\"',
    "smiley": "Hi :) meet at 10:30",
    "semicolons": "a;b;-- ;c",
    "expression": "${SHELL(id)} ${A} $[1+1] ${CURL(x)} %24%7B",
    "commas": ',a,,"b,c",(d,e),[f,g],',
    "forged reply": "x\n200 result=1 (x\n200 result=1 (forged)\n",
    "forged event": "x\r\n\r\nEvent: Hangup\r\nUniqueid: call1-2\r\n\r\n",
    "equals": "a=b=c",
    "unicode": "😀 Привет ﷺ é",
    "670 CJK": "漢" * 670,
    "spaces": "  both ends  ",
    "tabs": "\t a \t",
    "8000 bytes": "0123456789" * 800,
    "no UTF-8": b"\xff\xfe\x80".decode(errors="surrogateescape"),
    "empty": "",
}


def test_the_version_is_the_one_asked_for(asterisk: Pbx, request: pytest.FixtureRequest) -> None:
    assert asterisk.installation.version in asterisk.cli("core show version")
    assert request.node.callspec.id in (
        f"asterisk{asterisk.installation.major}",
        "asteriskinstalled",
    )


@pytest.mark.parametrize("kind", NASTY)
def test_values_travel_byte_exact(asterisk: Pbx, kind: str) -> None:
    asterisk.set_dialplan(
        "[test]\nexten => 1,1,AGI(${PROBE},start)\n same => n,Set(COPY=${TEXT})\n"
    )
    text = NASTY[kind]

    result = asterisk.call("1", variables={"TEXT": text, "NEXT": "x"}, ask=["TEXT", "COPY", "NEXT"])

    assert result.probes["start"]["TEXT"] == text
    assert result.variables["TEXT"] == text
    assert result.variables["NEXT"] == "x"
    if len(text.encode(errors="surrogateescape")) <= 4095:  # Set(COPY=${TEXT}) carries no more
        assert result.variables["COPY"] == text


def test_caller_ids_travel_byte_exact(asterisk: Pbx) -> None:
    asterisk.set_dialplan("[test]\nexten => 1,1,NoOp()\n")
    names = ["CALLERID(num)", "CALLERID(name)"]

    plain = asterisk.call("1", caller_id="+39055123456", ask=names)
    named = asterisk.call("1", caller_id='x\nagi_arg_1: "y" <z> <101>', ask=names)

    assert [plain.variables[name] for name in names] == ["+39055123456", ""]
    assert [named.variables[name] for name in names] == ["101", 'x\nagi_arg_1: "y" <z>']


def test_the_outcome_is_read_after_h(asterisk: Pbx) -> None:
    asterisk.set_dialplan(
        "[test]\n"
        "exten => 1,1,Set(SMS_STATUS=SUCCESS)\n"
        " same => n,Gosub(back,1,1)\n"
        " same => n,Hangup()\n"
        "exten => h,1,Set(SMS_ID=7)\n"
        '[back]\nexten => 1,1,Return(a "b")\n'
    )

    result = asterisk.call("1")

    assert result.variables["SMS_STATUS"] == "SUCCESS"
    assert result.variables["SMS_ID"] == "7"
    assert result.variables["GOSUB_RETVAL"] == 'a "b"'
    assert result.variables["SMS_CAUSE"] == ""
    assert result.applications()[0] == "Set(SMS_STATUS=SUCCESS)"
    assert result.applications()[-1] == "Set(SMS_ID=7)"


def test_scripts_get_the_configuration_folder_and_a_bare_environment(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIALPLAN_SMS_CONF", "/host/sms.conf")
    name = script(tmp_path, 'env > "$AST_CONFIG_DIR/seen"; echo oops >&2').name
    dialplan = f"[test]\nexten => 1,1,AGI({name})\n"
    files = {"sms.conf": "[general]\n"}
    with Pbx(
        installation, dialplan, agi_bin=tmp_path, files=files, environment={"MINE": "1"}
    ) as pbx:
        assert pbx.call("1").variables["AGISTATUS"] == "SUCCESS"
        seen = (pbx.etc / "seen").read_text()
        assert (pbx.etc / "sms.conf").stat().st_mode & 0o777 == 0o600
        assert "oops" in pbx.console
    assert "MINE=1" in seen.splitlines()
    assert "DIALPLAN_SMS_CONF" not in seen


def test_a_command_that_fails_still_answers(asterisk: Pbx) -> None:
    assert "no existence of 'nowhere' context" in asterisk.cli("dialplan show nowhere")


def test_a_broken_dialplan_is_told(asterisk: Pbx) -> None:
    with pytest.raises(PbxError, match="does not take the dialplan"):
        asterisk.set_dialplan('#include "/nonexistent/sms.conf"\n')
    asterisk.set_dialplan("[test]\nexten => 2,1,NoOp()\n")
    assert asterisk.call("2").applications() == ["NoOp()"]


def test_a_dialplan_that_is_broken_at_the_start_is_told(installation: Installation) -> None:
    with (
        pytest.raises(PbxError, match="/nonexistent/sms.conf"),
        Pbx(installation, includes=[Path("/nonexistent/sms.conf")]),
    ):
        pass


def test_a_hangup_in_mid_call(asterisk: Pbx) -> None:
    asterisk.set_dialplan("[test]\nexten => 1,1,Wait(60)\nexten => h,1,Set(SMS_CAUSE=h ran)\n")
    call = asterisk.start_call("1")
    call.wait_for("Newexten", Application="Wait")

    call.hangup()
    result = call.wait()

    assert result.duration < 10
    assert result.variables["SMS_CAUSE"] == "h ran"


def test_a_script_that_outlives_the_hangup_is_waited_for(asterisk: Pbx, tmp_path: Path) -> None:
    path = script(
        tmp_path,
        "trap '' HUP\necho 'SET VARIABLE BEGUN 1'\nread r\nsleep 1\necho 'SET VARIABLE SMS_STATUS \"late\"'\nread r",
    )
    asterisk.set_dialplan(f"[test]\nexten => 1,1,AGI({path})\n")
    call = asterisk.start_call("1")
    call.wait_for("VarSet", Variable="BEGUN")

    call.hangup()
    result = call.wait()

    assert result.variables["SMS_STATUS"] == "late"
    assert result.variables["AGISTATUS"] == "HANGUP"


def test_a_call_without_end_is_told_and_hung_up(asterisk: Pbx) -> None:
    asterisk.set_dialplan("[test]\nexten => 1,1,Wait(60)\n")
    call = asterisk.start_call("1", timeout=1)

    with pytest.raises(CallTimeout, match="60"):
        call.wait()

    call.wait_for("Hangup", timeout=5, Uniqueid=call.ids[1])


def test_eight_calls_at_once_keep_apart(asterisk: Pbx) -> None:
    asterisk.set_dialplan(
        "[test]\n"
        "exten => _X,1,Wait(1)\n same => n,Set(SMS_ID=${TEXT})\n same => n,AGI(${PROBE},mid)\n"
    )
    started = time.monotonic()

    calls = [asterisk.start_call(str(n), variables={"TEXT": f"text {n}"}) for n in range(8)]
    results = [call.wait() for call in calls]

    assert time.monotonic() - started < 6
    for n, result in enumerate(results):
        assert result.variables["SMS_ID"] == result.probes["mid"]["SMS_ID"] == f"text {n}"
        texts = [e["Value"] for e in result.events if e["Variable"] == "SMS_ID"]
        assert texts == [f"text {n}"]


def test_an_installed_asterisk_can_be_used(installation: Installation, tmp_path: Path) -> None:
    binary = tmp_path / "sbin/asterisk"
    for link, target in {
        "lib/asterisk/modules": installation.modules,
        "share/asterisk": installation.data,
    }.items():
        (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / link).symlink_to(target)
    binary.parent.mkdir()
    binary.write_text(f'#!/bin/sh\nexec {" ".join(installation.command)} "$@"\n')
    binary.chmod(0o755)

    found = installed(binary)

    assert found.version == installation.version
    with Pbx(found, "[test]\nexten => 1,1,Set(SMS_STATUS=SUCCESS)\n") as pbx:
        assert pbx.call("1").variables["SMS_STATUS"] == "SUCCESS"
