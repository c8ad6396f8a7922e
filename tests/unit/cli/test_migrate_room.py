"""No priority gets another number where somebody jumps to one: the new lines take a detour."""

import pytest

from tests.unit.cli.test_migrate import ONE, USER, Site, site, steps

__all__ = ["site"]

DETOUR, IN_PLACE = True, False


def takes_a_detour(site: Site, jump: str, exten: str) -> bool:
    new = site.convert(
        f"[x]\nexten => 9,1,{jump}\n\n"
        f"[z]\nexten => {exten},1,{USER}\n same => n,{ONE}\n same => n,Hangup()\n"
    )
    assert site.status == 0, site.stderr
    lines = new.split("[z]\n")[1].splitlines()
    stays = lines[1:3] == [" same => n,Goto(1001)", " same => n,Hangup()"]
    assert stays or "1001" not in new
    return stays


@pytest.mark.parametrize(
    "jump",
    ["Set(CHANNEL(hangup_handler_push)=z,s,3)", "Set(CHANNEL(hangup_handler_push)=z,s,3(a,b))",
     "Set(CHANNEL(hangup_handler_push)=${IF($[${X}]?z,s,3:z,s,1)})",
     "ExecIf($[1]?Set(CHANNEL(hangup_handler_wipe)=z,s,3))", "Dial(SIP/1,,G(z^s^3))",
     "Dial(SIP/1,,tTG(z^s^3)F(a^b^1))", "Dial(SIP/1,,${IF($[${X}]?G(z^s^3):)})",
     "Dial(SIP/1,,b(z^s^3(x)))", "Dial(SIP/1,,U(a^b)G(z^s^3))", "Set(GOTO_ON_BLINDXFR=z^s^3)",
     "Gosub(z,s,3(${IF($[1=1]?a:b)}))", "Gosub(z,s,3(a:b))", "Gosub(z,s,3(${X},a?b))",
     'GotoIf($["${X}" =~ "a?b"]?z,s,3)', 'GotoIf($["${X}" =~ "[0-9?"]?z,s,3)',
     "GotoIf($[1]?${IF($[2]?a:b)}:z,s,3)", "GosubIf($[1]?z,s,1(a):z,s,3(b))",
     "GotoIfTime(9:00-17:00,mon-fri,*,*?z,s,3)",
     "ExecIfTime(9:00-17:00,mon-fri,*,*?Goto(z,s,3))",
     "ExecIf($[1]?Gosub(z,s,3(${Y}:x)):NoOp(a))", "TryExec(Goto(z,s,3))",
     "ChannelRedirect(${CHAN},z,s,3)", "ChannelRedirect(${CHAN},z,${E},3)",
     "Originate(SIP/1,exten,z,s,3,30)", "Originate(SIP/1,exten,z,${E},${P})",
     "Originate(SIP/1,app,Gosub,z\\,s\\,3)", "Park(,z,s,3)", "Set(BACK=z,s,3)",
     "Goto(z,s,${X})", "Goto(${X})", "Goto(${X},3)", "GotoIf($[1]?ok:${X})", 'Goto("z",s,3)',
     "goto(z,s,3)"],
)  # fmt: skip
def test_a_jump_to_a_number_from_elsewhere(site: Site, jump: str) -> None:
    assert takes_a_detour(site, jump, "s")


@pytest.mark.parametrize(
    "jump",
    ["Set(CHANNEL(hangup_handler_push)=z,s,1)", "Set(CHANNEL(hangup_handler_push)=z,s,1(3))",
     "Dial(SIP/1,30,tT)", "Dial(SIP/${X},${Y},U(sub^${X}^3))", "Dial(SIP/1,,G(z^s^1))",
     "Gosub(z,s,1(${IF($[1=1]?a:b)}))", "Gosub(z,s,1(s,3))", "GotoIf($[${X} > 3]?z,s,1)",
     "GotoIf($[${X} =~ ^3]?ok)", "Goto(z,s,menu)", "Goto(z,s,menu-${X})",
     "Originate(SIP/1,exten,z,${E},1)", "Read(KEY,beep,1,,3,5)", "Queue(s,3,,,60)", "Wait(3)",
     "NoOp(z,s,3)", "Set(X=3)", "MixMonitor(a,b,3)"],
)  # fmt: skip
def test_others_leave_room(site: Site, jump: str) -> None:
    assert not takes_a_detour(site, jump, "s")
    assert not takes_a_detour(site, jump, "_X.")


@pytest.mark.parametrize("jump", ["Goto(z,123,3)", "Dial(SIP/1,,G(z^123^3))", "Park(,z,123,3)"])
def test_a_pattern_may_be_what_is_reached_from_afar(site: Site, jump: str) -> None:
    assert takes_a_detour(site, jump, "_X.")
    assert not takes_a_detour(site, jump, "s")


def test_the_caller_of_an_extension_is_no_part_of_its_name(site: Site) -> None:
    assert takes_a_detour(site, "Goto(z,5,3)", "5/101")


@pytest.mark.parametrize("jump", ["Dial(SIP/1,,G(3))", "Queue(a,F(3))", "GotoIf($[1]?,,3)"])
def test_a_number_alone_is_one_of_the_own_extension(site: Site, jump: str) -> None:
    assert not takes_a_detour(site, jump, "s")
    new = site.convert(steps(jump, USER, ONE))
    assert "Goto(1001)" in new
