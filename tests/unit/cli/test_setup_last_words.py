"""What ``dialplan-sms setup`` ends with."""

import pytest

from dialplan_sms.agi.doors import Capacity
from dialplan_sms.cli.setup.last_words import TRIAL
from tests.pages import README
from tests.unit.doors import hearing, opened
from tests.unit.pbxhost import EXTENSIONS, PbxHost

SAVES = "takes about a tenth of the CPU time of sms.agi"


def test_it_ends_with_the_lines_to_paste_and_how_to_try_them(pbx: PbxHost) -> None:
    assert TRIAL in README
    said = pbx.install().output
    asterisk = f"{pbx.root}/bin/asterisk -C {pbx.conf} -rx"
    assert said.endswith(
        f"\n\n{TRIAL}\nand try it:\n  {asterisk} 'dialplan reload'\n"
        f"  {asterisk} 'channel originate Local/701@sms-test application Wait 5'\n"
    )
    assert f"at the end of {pbx.extensions} (" in said
    assert f"{pbx.prefix}/share/doc/dialplan-sms/docs/limits.md\n" in said


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ("", False),
        ("exten => 7,1,AGI(sms.agi,12,Hi)", True),
        ("exten => 7,1,Gosub(sub-sms,s,1(12,TEXT))", True),
        ("exten => 7,1,Gosub(sub-sms,s,1(12,TEXT))\n[globals]\nSMS_AGI = /srv/sms.agi", True),
        ("exten => 7,1,Gosub(sub-sms,s,1(12,TEXT))\n[globals]\nSMS_AGI = agi://x/sms", False),
        ("exten => 7,1,AGI(agi://127.0.0.1/sms,12,Hi)", False),
    ],
)
def test_what_fastagi_saves(pbx: PbxHost, own: str, says: bool) -> None:
    pbx.extensions.write_bytes(EXTENSIONS + f"{own}\n".encode())
    pbx.install()
    capacity = Capacity(9)
    with opened(hearing(lambda _, __: b"NOOP\n", capacity), capacity) as house:
        port = house.address[1]
        text = pbx.sms_conf.read_text()
        pbx.sms_conf.write_text(text.replace("[general]", f"[general]\nlisten = 127.0.0.1:{port}"))
        said = pbx.setup().output
    assert said.count(f"agi://127.0.0.1:{port}/sms {SAVES}") == int(says)
    assert SAVES not in pbx.setup().output  # nothing listens there any more
