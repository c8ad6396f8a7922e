"""What ``dialplan-sms migrate`` makes of old lines, and who sends them."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from dialplan_sms.cli.main import main
from dialplan_sms.cli.migrate.dialplan import Unclear
from dialplan_sms.cli.migrate.encoding import written
from dialplan_sms.config import config

URL = "http://127.0.0.1/api/v1/originate/sms"
USER = "Set(CURLOPT(userpwd)=101:sms101api)"
OTHER = USER.replace("101:", "102:")


def curl(body: str, url: str = URL, name: str = "res") -> str:
    return f"Set({name}=${{CURL({url},{body})}})"


def steps(*apps: str, exten: str = "1") -> str:
    """[a] with an extension of these applications."""
    return f"[a]\nexten => {exten},1," + "\n same => n,".join(apps) + "\n"


ONE = curl("message=Hello&number=%2B39333123456")
OWN = curl("message=a&number=+391", URL.replace("//", "//102:pass@"))
"""A request with a login of its own."""
NEW = "Set(SMS_NUMBER=+39333123456)", "Set(SMS_MESSAGE=Hello)", "Gosub(sub-sms,s,1)"
NUMBERED = steps(USER) + f"exten => 1,2,{ONE}\nexten => 1,3,Hangup()\n"
CONF = "[101]\nurl = http://127.0.0.1\npassword = sms101api\n"
THERE = "[200]\nurl = https://pbx\npassword = x\n"
TEST = 'GotoIf($["${res}" =~ "Success"]?x)'
INCLUDED = "[sub-sms]\nexten => s,1,Return()\n"


@dataclass
class Site:
    """A folder with extensions.conf and sms.conf."""

    folder: Path
    stdout: str = ""
    stderr: str = ""
    status: int = 0

    def run(self, *arguments: object, given: str | None = None) -> None:
        result = CliRunner().invoke(
            main, ["migrate", "--config", str(self.conf), *map(str, arguments)], input=given
        )
        assert result.exception is None or isinstance(result.exception, SystemExit)
        self.stdout, self.stderr, self.status = result.stdout, result.stderr, result.exit_code

    def write(self, text: str, name: str = "extensions.conf") -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        return path

    def convert(self, text: str, *options: str) -> str:
        """The text that --write makes of extensions.conf with [sub-sms]."""
        path = self.write(INCLUDED + text)
        self.run(path, "--write", *options)
        return path.read_bytes().decode("utf-8", "surrogateescape").removeprefix(INCLUDED)

    def keeps(self, text: str, reason: str, *options: str) -> None:
        """*text* stays as it is, and *reason* is told, without a password."""
        assert self.convert(text, *options) == text
        assert reason in self.stderr
        assert self.status == 1
        assert "sms101api" not in self.stdout + self.stderr

    @property
    def conf(self) -> Path:
        return self.folder / "sms.conf"

    def configure(self, text: str) -> None:
        self.conf.touch(0o600)
        self.conf.write_text(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.delenv("AST_CONFIG_DIR", raising=False)
    return Site(tmp_path)


class TestLines:
    def test_n_makes_room_where_the_line_stood(self, site: Site) -> None:
        new = site.convert(steps("Answer()", USER) + f" same => n(x),{ONE}; hi\n")
        last = f" same => n(x),{NEW[0]} ; hi\n same => n,{NEW[1]}\n same => n,{NEW[2]}\n"
        assert (new, site.status) == (steps("Answer()") + last, 0)

    def test_exten_stays_exten(self, site: Site) -> None:
        new = site.convert(f"[a]\nexten=>_X.,1,{USER}\nexten=>_X.,n,{ONE}\nexten=>_X.,n,Hangup()\n")
        assert new.splitlines()[1:] == [
            "exten=>_X.,1,NoOp()", *(f"exten=>_X.,n,{app}" for app in (*NEW, "Hangup()"))
        ]  # fmt: skip

    def test_numbers_of_priorities_never_change(self, site: Site) -> None:
        old = steps(USER) + f"exten => 1,2(x),{ONE}\nexten => 1,3,Hangup()\n"
        new = site.convert(f"{old}include => b\n\n[b]\nexten => 1,1,NoOp()\n").splitlines()
        assert new[1:] == [
            "exten => 1,1,NoOp()", "exten => 1,2(x),Goto(1001)", "exten => 1,3,Hangup()", "include => b",
            *(f"exten => 1,{1001 + n},{app}" for n, app in enumerate((*NEW, "Goto(3)"))),
            "", "[b]", "exten => 1,1,NoOp()",
        ]  # fmt: skip

    def test_each_extension_has_room_of_its_own(self, site: Site) -> None:
        block = "exten => {0},1,{1}\nexten => {0},2,{2}\nexten => {0},3,Hangup()\n"
        new = site.convert(f"[a]\n{block.format('_X.', USER, ONE)}{block.format('_1X', USER, ONE)}")
        assert "_X.,1001," in new
        assert "_1X,1101," in new

    def test_the_end_of_a_context_may_be_in_another_file(self, site: Site) -> None:
        more = site.write("exten => 2,1,NoOp()\n", "more.conf")
        new = site.convert(f"{NUMBERED}#include more.conf\n")
        assert "1001" not in new.replace("Goto(1001)", "")
        assert more.read_text().count("exten => 1,10") == 4
        # but not in one that begins other contexts
        more.write_text("[c]\nexten => 2,1,NoOp()\n")
        new = site.convert(f"{NUMBERED}#include more.conf\n")
        assert new.index("1001,Set") < new.index("#include")

    def test_comments_and_blocks_stay(self, site: Site) -> None:
        text = f"[a]\n;exten => 1,1,{USER}\n;--\nexten => 1,2,{ONE}\n--;\nexten => 1,1,NoOp()\n"
        assert (site.convert(text), site.status) == (text, 0)
        assert ":4: a comment still has a password" in site.stderr


class TestRoom:
    """Where somebody jumps to a number, no line gets another: the new ones take a detour."""

    @pytest.mark.parametrize(
        "jump", ["Goto(4)", "GotoIf($[${X} > 1]?4:5)", "Goto(+2)", "Goto(1,4)", "Goto(a,1,4)", "Goto(a,${X},4)",
                 "ExecIf(${X}?Goto(4))", "GosubIf(${X}?a,1,4(b))", "Goto(${X})",
                 "Dial(SIP/1,,G(3))", "Queue(a,F(3))", "GotoIf($[1]?,,3)"],
    )  # fmt: skip
    def test_a_jump_to_a_number_of_its_own_extension(self, site: Site, jump: str) -> None:
        new = site.convert(steps(jump, USER, ONE, "Hangup()")).splitlines()
        assert [line.split(",", 1)[1] for line in new[2:5]] == ["NoOp()", "Goto(1001)", "Hangup()"]
        assert new[-1] == "exten => 1,1004,Goto(4)"

    @pytest.mark.parametrize(
        "jump", ["Goto(b,1)", "GotoIf($[${X}]?ok:b,1)", "Gosub(a,1,1(4))", "Goto(b,2,4)"]
    )
    def test_other_jumps_of_it_leave_room(self, site: Site, jump: str) -> None:
        assert "1001" not in site.convert(steps(jump, USER, ONE))

    def takes_a_detour(self, site: Site, jump: str, exten: str) -> bool:
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
    def test_a_jump_to_a_number_from_elsewhere(self, site: Site, jump: str) -> None:
        assert self.takes_a_detour(site, jump, "s")

    @pytest.mark.parametrize(
        "jump",
        ["Set(CHANNEL(hangup_handler_push)=z,s,1)", "Set(CHANNEL(hangup_handler_push)=z,s,1(3))",
         "Dial(SIP/1,30,tT)", "Dial(SIP/${X},${Y},U(sub^${X}^3))", "Dial(SIP/1,,G(z^s^1))",
         "Gosub(z,s,1(${IF($[1=1]?a:b)}))", "Gosub(z,s,1(s,3))", "GotoIf($[${X} > 3]?z,s,1)",
         "GotoIf($[${X} =~ ^3]?ok)", "Goto(z,s,menu)", "Goto(z,s,menu-${X})",
         "Originate(SIP/1,exten,z,${E},1)", "Read(KEY,beep,1,,3,5)", "Queue(s,3,,,60)", "Wait(3)",
         "NoOp(z,s,3)", "Set(X=3)", "MixMonitor(a,b,3)", "Dial(SIP/1,,G(3))", "Queue(a,F(3))"],
    )  # fmt: skip
    def test_others_leave_room(self, site: Site, jump: str) -> None:
        assert not self.takes_a_detour(site, jump, "s")
        assert not self.takes_a_detour(site, jump, "_X.")

    @pytest.mark.parametrize("jump", ["Goto(z,123,3)", "Dial(SIP/1,,G(z^123^3))", "Park(,z,123,3)"])
    def test_a_pattern_may_be_what_is_reached_from_afar(self, site: Site, jump: str) -> None:
        assert self.takes_a_detour(site, jump, "_X.")
        assert not self.takes_a_detour(site, jump, "s")

    def test_a_number_alone_is_one_of_the_own_extension(self, site: Site) -> None:
        assert not self.takes_a_detour(site, "GotoIf($[1]?,,3)", "s")

    def test_the_caller_of_an_extension_is_no_part_of_its_name(self, site: Site) -> None:
        assert self.takes_a_detour(site, "Goto(z,5,3)", "5/101")


class TestReply:
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ('$["${res}" =~ "Success"]', '$["${SMS_STATUS}" = "SUCCESS"]'),
            ("$[${res} =~ .*Success.*]", '$["${SMS_STATUS}" = "SUCCESS"]'),
            ('$[ "${res}" : ".*Success.*" ]', '$[ "${SMS_STATUS}" = "SUCCESS" ]'),
            ('$["${res}" != "Success"]', '$["${SMS_STATUS}" != "SUCCESS"]'),
            ('$["${res}" =~ "error"]', '$["${SMS_STATUS}" = "ERROR"]'),
            ('$["${res}" =~ "warning" | ${X}]', '$["${SMS_STATUS}" = "WARNING" | ${X}]'),
            ('${REGEX("Success" ${res})}', '$["${SMS_STATUS}" = "SUCCESS"]'),
            ('$["${res}" =~ ".*type.*Success.*"]', '$["${SMS_STATUS}" = "SUCCESS"]'),
            ('$["${res}" = ""]', '$[("${SMS_STATUS}" = "" | "${SMS_CAUSE}" = "UNREACHABLE")]'),
            ('$["${res}" = "" & ${X}]', '$[("${SMS_STATUS}" = "" | "${SMS_CAUSE}" = "UNREACHABLE") & ${X}]'),
            ("$[${LEN(${res})} = 0]", '$[("${SMS_STATUS}" = "" | "${SMS_CAUSE}" = "UNREACHABLE")]'),
            ("$[${LEN(${res})} != 0]", '$[("${SMS_STATUS}" != "" & "${SMS_CAUSE}" != "UNREACHABLE")]'),
        ],
    )  # fmt: skip
    def test_the_tests_that_are_known(self, site: Site, old: str, new: str) -> None:
        text = site.convert(steps(USER, ONE, f"GotoIf({old}?ok)"))
        assert text.endswith(f" same => n,GotoIf({new}?ok)\n"), site.stderr
        assert (":8: converted: an empty answer" in site.stderr) == ("UNREACHABLE" in new)

    @pytest.mark.parametrize(
        "between",
        [curl("message=b&number=+391", name="b"), f"NoOp(${{CURL({URL},message=b&number=+391)}})",
         "Gosub(sub-sms,s,1(+391,T))", "AGI(sms.agi)", "Gosub(tell,s,1)"],
    )  # fmt: skip
    def test_an_answer_that_is_read_after_another_sms_stays(self, site: Site, between: str) -> None:
        read = 'GotoIf($["${a}" =~ "Success"]?x)'
        first = curl("message=a&number=+391", name="a")
        tell = f"[tell]\nexten => s,1,{curl('message=c&number=+391', name='c')}\n"
        new = site.convert(steps(USER, first, between, read) + tell)
        assert f" same => n,{first}\n" in new
        assert f" same => n,{read}\n" in new
        assert new.count("Set(SMS_NUMBER=") == 1 + ("CURL" in between)
        told = r":5: line \d+ of extensions.conf reads the answer in \$\{a\}, after another"
        assert re.search(told, site.stderr)

    def test_an_answer_in_the_condition_of_the_next_stays(self, site: Site) -> None:
        second = f'ExecIf($["${{res}}" = ""]?{curl("message=b&number=+391", name="b")})'
        text = steps(USER, ONE, second)
        new = site.convert(text)
        assert f" same => n,{ONE}\n" in new
        assert 'GosubIf($["${res}" = ""]?sub-sms,s,1)' in new
        assert "reads the answer in ${res} in its condition: step over it with a Go" in site.stderr
        site.convert(text.replace("{res}", "{SMS_STATUS}"))
        assert ": its condition reads SMS_STATUS, which the new lines clear first" in site.stderr

    @pytest.mark.parametrize(
        ("included", "call"),
        [(INCLUDED, "GosubIf({}?sub-sms,s,1)"), ("", "ExecIf({}?AGI(sms.agi))")],
    )
    def test_a_condition_clears_the_status(self, site: Site, included: str, call: str) -> None:
        condition = '$["${X}" = "1"]'
        path = site.write(included + steps(USER, f"ExecIf({condition}?{ONE})"))
        site.run(path, "--write")
        last = f" same => n,Set(SMS_STATUS=)\n same => n,{call.format(condition)}\n"
        assert path.read_text().endswith(last)
        assert ": converted, and now sends only if the condition is true" in site.stderr
        assert site.status == 0


GIVEN = {
    "CODED": ["plain", "%2B39"],
    "ENC": ["${URIENCODE(${TEXT})}"],
    "VIA": ["${ENC}", "${VIA}"],
    "PLUS": ["Hi+you"],
    "STRAY": ["100% de%20x"],
    "OTHER": ["%2B39", "100%41"],
    "PERCENT": ["100% de", "100%41"],
    "BY_HAND": ["${REPLACE(TEXT, ,+)}"],
    "SPACED": ["1+1 is 2"],
    "SUM": ["$[${SUM}+1]", "${MATH(1+2)}"],
    "TO": ["+39333123456"],
}
"""The values that variables are given."""
MESSAGES = {
    "a+b c": "a+b c", "Hello+you": "Hello you", "+39333+is%20it": "+39333 is it", "a;b": "a\\;b",
    "%48%65%6C": "Hel", "100%41": "100%41", "20%de": "20%de", "50% off": "50% off", "%": "%", "%E8": "%E8",
    "a\\b \"c\"": "a\\b \"c\"", "line%0Atwo": "line${URIDECODE(%0A)}two",
    "%24%7BX%7D": "${URIDECODE(%24)}{X}", "costs ${5": "costs ${URIDECODE(%24)}{5",
    "${URIENCODE(${CALLERID(name)})}!": "${CALLERID(name)}!", "${REPLACE(TEXT, ,+)}": "${TEXT}",
    "${CODED}": "${URIDECODE(${CODED})}", "${GLOBAL(CODED)}": "${URIDECODE(${GLOBAL(CODED)})}",
    "${CODED:0:100}": "${URIDECODE(${CODED}):0:100}", "${REPLACE(CODED, ,+)}": "${URIDECODE(${CODED})}",
    "${ENC}": "${URIDECODE(${ENC})}", "${VIA}": "${URIDECODE(${VIA})}", "${URIENCODE(${CODED})}": "${CODED}",
    " both ends ": " both ends ", "perch\udce8": "perchè",
}  # fmt: skip
SAME = [
    "${TEXT:0:100}", "${SUM}", "${TO}", "now at ${PLUS}", "${SPACED}", "${PERCENT}", "$[${A}+1]",
    "${IF($[${A}+1 > 2]?x:${URIDECODE(%0A)})}", "${CALLERID(CODED)}", "${URIDECODE(${CODED})}",
]  # fmt: skip


class TestValues:
    @pytest.mark.parametrize(
        ("name", "coded", "dialplan"),
        [
            *(("message", coded, dialplan) for coded, dialplan in MESSAGES.items()),
            *(("message", same, same) for same in SAME),
            ("number", "${PLUS}", "${PLUS}"),
            ("number", " +39 ", "+39"),
            ("number", "%2B39${EXTEN:1}", "+39${EXTEN:1}"),
            ("postpone", "14/07/2014+15%3A35", "14/07/2014 15:35"),
        ],
    )
    def test_values(self, name: str, coded: str, dialplan: str) -> None:
        assert written(name, coded, lambda v, _: GIVEN.get(v, []), True) == dialplan

    @pytest.mark.parametrize(
        ("name", "coded"),
        [
            ("message", "${IF($[1]?Back%20soon:No)}"), ("message", "${IF($[1]?Back:No+way)}"),
            ("message", "${IF($[1]?${CODED}:x)}"), ("message", "${IF($[1]?${URIENCODE(${TEXT})}:x)}"),
            ("message", "${CUT(CODED,-,2)}"), ("message", "${URIDECODE(Hi+you%20x)}"),
            ("message", "${CODED:3}"), ("message", "${CODED:-4:2}"), ("number", "${CODED:0:13}"),
            ("message", "${PLUS}"), ("message", "${PLUS:0:9}"), ("message", "${STRAY}"), ("message", "${OTHER}"), ("message", "${BY_HAND}"),
            ("postpone", "${PLUS}"),
        ],
    )  # fmt: skip
    def test_what_may_be_encoded_is_unclear(self, name: str, coded: str) -> None:
        with pytest.raises(Unclear, match="give (?:it )?the text itself"):
            written(name, coded, lambda v, _: GIVEN.get(v, []), True)
        assert written(name, coded, lambda v, _: GIVEN.get(v, []), False) == coded


HI = "number=%2B39333123456&message=hi"
SAYS_HI = f"{NEW[0]}\n same => n,Set(SMS_MESSAGE=hi)\n same => n,{NEW[2]}\n"
SAME_NAME = curl("message=${message}&number=+391", name="message")
CONVERTED = {
    # Old lines, what the new ones have, and what is told.
    "a match of the caller": (NUMBERED.replace("=> 1,", "=> 1/5,"), "exten => 1/5,1001,Set", ""),
    "an empty answer at once": (
        steps(USER, f'GotoIf($["{ONE[8:-1]}" = ""]?1)'), 'GotoIf($[("${SMS_STATUS}" = "" | "${SMS_CAUSE}" = "UNREACHABLE")]?1)',
        ": converted: an empty answer is now SMS_STATUS empty or UNREACHABLE"),
    "what shows the answer": (
        steps(USER, ONE, "Verbose(1,error? ${res})"), "Verbose(1,error? ${SMS_STATUS} ${SMS_CAUSE} ${SMS_REASON})\n", ""),
    "its variable, set again": (steps(USER, ONE, "Set(res=done)", TEST), f"{NEW[2]}\n same => n,Set(res=done)\n same => n,{TEST}\n", ""),
    "its variable, set again among others": (steps(USER, ONE, "MSet(x=1,res=done)", TEST), f"res=done)\n same => n,{TEST}\n", ""),
    "its variable, which was the text": (
        steps("Set(message=Hi)", "NoOp(${message})", USER, SAME_NAME), "NoOp(${message})\n same => n,Set(SMS_NUMBER=+391)\n same => n,Set(SMS_MESSAGE=${message})\n", ""),
    "and in the condition": (
        steps("Set(message=Hi)", USER, f'ExecIf($["${{message}}" != ""]?{SAME_NAME})'), 'GosubIf($["${message}" != ""]?sub-sms,s,1)', ""),
    **{f"perhaps {line}": (steps(USER, line, curl("message=${CODED}&number=+391")), "Set(SMS_MESSAGE=${URIDECODE(${CODED})})", "")
       for line in ("ExecIf($[${X}]?Set(CODED=%2B391))", "ExecIf($[${X}]?Set(CODED=%2B391):NoOp(a+b))",
                    "ExecIf($[${X}]?NoOp(a):Set(CODED=%2B391))", "ExecIf($[${X}]?Set(A=a+b):Set(CODED=%2B391))",
                    "TryExec(Set(CODED=%2B391))", "MSet(A=1,CODED=%2B391)", 'MSet(A=1,CODED="%2B391")')},
    "what is set beside an option": (
        steps("MSet(A=1,CURLOPT(httptimeout)=5)", USER, ONE), "MSet(A=1,CURLOPT(httptimeout)=5)", "it may set more than CURLOPT(httptimeout)"),
    "a login of another CURL()": (steps(USER, ONE, "Set(X=${CURL(http://crm.example.com/)})"), USER, "extensions.conf:4: left with its password"),
    "an address in a variable": (f"[globals]\nAPI={URL}\n" + steps(USER, f"Set(r=${{CURL(${{API}}?{HI})}})"), SAYS_HI, ""),
    "a part of it": (
        "[globals]\nB=http://127.0.0.1/api/v1\n" + steps(USER, f"Set(r=${{CURL(${{B}}/originate/sms,{HI})}})"), SAYS_HI, ""),
    "with the request": (steps(USER, f"Set(URL={URL}?{HI})", "Set(r=${CURL(${URL})})"), SAYS_HI, ""),
    "variables that are ours already": (steps(USER, "Set(gsm=9c7514330001)", curl(f"{HI}&gsm=${{gsm}}")), NEW[2], ""),
    "our status, read before": (steps(USER, "NoOp(${SMS_STATUS})", ONE), NEW[2], ""),
    "our lines elsewhere": (
        f"{steps(USER, ONE)}exten => 2,1,Set(SMS_MODE=queue)\n same => n,{NEW[0]}\n same => n,{NEW[2]}\n", NEW[1], ""),
    **{f"SHELL{end}": (
        steps("NoOp()", f'Set(res=${{SHELL(curl -s -u 101:sms101api {URL} -d "{HI}"{end})}})', TEST),
        f'{SAYS_HI} same => n,GotoIf($["${{SMS_STATUS}}" = "SUCCESS"]?x)\n', "") for end in ("", " 2>/dev/null")},
    "a national number": (steps(USER, curl("message=a&number=333123456")), NEW[2], "333123456 has no country code: set country in [101]"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "told"), CONVERTED.values(), ids=CONVERTED)
def test_what_is_converted(site: Site, old: str, new: str, told: str) -> None:
    text = site.convert(old)
    assert f"{URL},message" not in text, site.stderr
    assert new in text
    assert told in site.stderr
    assert site.status == 0


@pytest.mark.parametrize(
    "text",
    [steps(USER) + f" same => n(again),{ONE}\n same => n,{TEST}\n same => n,Goto(again)\n same => n(x),NoOp(${{res}})\n",
     steps(USER, "GotoIf(${X}?y)", ONE, "Goto(t)") + f" same => n(y),{ONE}\n same => n(t),{TEST}\n",
     steps("Gosub(login,s,1)", ONE) + f"[login]\nexten => s,1,{USER}\n"],
    ids=["again and again", "on every way", "after a subroutine that logs in"],
)  # fmt: skip
def test_nothing_old_is_left(site: Site, text: str) -> None:
    new = site.convert(text)
    assert "res}" not in new, site.stderr
    assert "CURL" not in new


class TestSenders:
    def test_credentials_move(self, site: Site) -> None:
        send = curl("message=a&number=+39333123456", URL.replace("http:", "HTTPS:"))
        login, insecure = "Set(CURLOPT(userpwd)=101:a:b\\;c)", "Set(CURLOPT(ssl_verifypeer)=0)"
        text = site.convert(steps(login, insecure, send))
        assert "a:b" not in text + site.stdout + site.stderr
        assert "+password = ********" in site.stdout
        (sender,) = config.load(site.conf).senders.values()
        assert (sender.name, sender.password, sender.verify) == ("101", "a:b;c", "no")
        assert sender.url == "https://127.0.0.1/api/v1/originate/sms"
        assert site.conf.stat().st_mode & 0o777 == 0o640

    def test_sections_are_added_and_the_default_stays(self, site: Site) -> None:
        there = f"; mine\n[general]\nlog = syslog\n\n{THERE.strip()}"
        site.configure(there)
        assert " same => n,Set(SMS_SENDER=101)\n" in site.convert(steps(USER, ONE))
        general = "[general]\ndefault_sender = 200\n"
        assert site.conf.read_text() == there.replace("[general]\n", general) + f"\n\n{CONF}"
        assert config.load(site.conf).default_sender == "200"
        assert (site.folder / "sms.conf.before-dialplan-sms").read_text() == there

    @pytest.mark.parametrize(
        ("url", "password", "options", "reason"),
        [
            ("http://127.0.0.1", "other", [], "password than this line: see which holds"),
            ("https://pbx.example.com", "other", ["--same-pbx"], "password than this line: see which holds"),
            ("http://127.0.0.2", "sms101api", [], "url than this line (http://127.0.0.1):"
                                                  " if both are the same PBX, add --same-pbx\n"),
        ],
    )  # fmt: skip
    def test_a_conflict_is_named_and_left(
        self, site: Site, url: str, password: str, options: list[str], reason: str
    ) -> None:
        section = f"[101]\nurl = {url}\npassword = {password}\n"
        site.configure(section)
        told = f"extensions.conf:5: [101] in {site.conf} has another {reason}"
        site.keeps(steps(USER, ONE), told, *options)
        assert site.conf.read_text() == section
        assert "other" not in site.stderr.replace("another", "")

    @pytest.mark.parametrize(
        ("url", "options"),
        [("http://127.0.0.1/", []), ("https://pbx.example.com", ["--same-pbx"]),
         ("http://127.0.0.1:8080", ["--same-pbx"])],
    )  # fmt: skip
    def test_the_same_is_no_conflict(self, site: Site, url: str, options: list[str]) -> None:
        section = f"[101]\nurl = {url}\npassword = sms101api\n"
        site.configure(section)
        text = site.convert(steps(USER, ONE), *options)
        assert NEW[2] in text
        assert "CURL" not in text
        assert (site.status, site.conf.read_text()) == (0, section)

    @pytest.mark.parametrize(
        ("lines", "left"),
        [
            *((f"{steps(USER, ONE)}exten => 2,1,{login}\n same => n,Hangup()\n", 1)
              for login in ("Set(CURLOPT(userpwd)=102:pa;ss)", "Set(CURLOPT(userpwd)=102:pa\\;ss)",
                            "MSet(A=1,CURLOPT(userpwd)=102:pass)")),
            (f"{steps(OWN)}exten => 2,1,{USER}\n", 1),
            (f"{steps(USER, NEW[2])}exten => 2,1,{OTHER}\n", 2),
        ],
    )  # fmt: skip
    def test_a_login_that_no_request_uses_is_left(self, site: Site, lines: str, left: int) -> None:
        text = site.convert(lines)
        assert "${CURL(" not in text
        assert text.endswith(lines.partition("exten => 2")[2])
        told = ": a login of CURLOPT that no CURL() of the SMS API uses: it is left, with its pass"
        assert site.stderr.count(told) == left
        assert f" converted, {left} to see to by hand.\n" in site.stderr
        assert "pa" not in site.stderr.replace("password", "").replace(str(site.folder), "")
        assert site.status == 1

    @pytest.mark.parametrize(
        ("lines", "status"),
        [
            # It moved, it is another API's, or it may be that of a request that is left.
            (f"{steps(USER, ONE)}exten => 2,1,{USER}\n same => n,Hangup()\n", 0),
            (f"{steps(USER, ONE)}exten => 2,1,Set(CURLOPT(userpwd)=crm:pass)\n"
             " same => n,Set(X=${CURL(http://crm.example.com/)})\n", 0),
            (f"{steps('Gosub(login,s,1)', curl('message=a'))}[login]\nexten => s,1,{USER}\n", 1),
            (f"{steps(USER, curl('message=a'))}exten => 2,1,{OTHER}\n", 1),
        ],
    )  # fmt: skip
    def test_others_are_not_called_unused(self, site: Site, lines: str, status: int) -> None:
        text = site.convert(lines)
        assert "a login of CURLOPT" not in site.stderr
        assert (site.status, URL in text) == (status, bool(status))

    @pytest.mark.parametrize("login", ["Set(CURLOPT(userpwd)=102:pa;ss)", f"ExecIf($[1]?{OTHER})"])
    def test_a_login_that_cannot_be_read_is_not_another_s(self, site: Site, login: str) -> None:
        text = steps(USER, login, ONE) + f"exten => 2,1,{USER}\n same => n,{ONE}\n"
        assert f" same => n,{login}\n same => n,{ONE}\n" in site.convert(text)
        assert ":6: the CURLOPT(userpwd) that says who sends cannot be read: write" in site.stderr
        assert site.status == 1

    def test_who_sends_is_what_stands_above(self, site: Site) -> None:
        text = site.convert(steps(USER, ONE) + f"exten => 2,1,{OTHER}\n same => n,{ONE}\n")
        assert re.findall(r"SMS_SENDER=(\d+)", text) == ["101", "102"]

    def test_variables_of_globals(self, site: Site) -> None:
        text = site.convert(
            "[globals]\nPBX=127.0.0.1\nPW => sms101api\n[a]\nexten => 1,1,Set(CURLOPT(userpwd)=101:${PW})\n"
            f" same => n,{ONE.replace('127.0.0.1', '${PBX}')}\n"
        )
        assert NEW[1] in text
        assert config.load(site.conf).senders["101"].password == "sms101api"
        assert ":5: PW may still hold a password" in site.stderr
        assert "sms101api" not in site.stdout + site.stderr

    @pytest.mark.parametrize(
        ("pairs", "password"),
        [("PW=sms101api,B=2", "sms101api"), ('PW=z,A="x,PW=y"', "z"),
         ('A="x",PW=a\\\\b', "a\\b"), ("PW=z,A=(1,PW=2)", "z")],
    )  # fmt: skip
    def test_a_password_among_others(self, site: Site, pairs: str, password: str) -> None:
        new = site.convert(steps(f"MSet({pairs})", "Set(CURLOPT(userpwd)=101:${PW})", ONE))
        assert NEW[2] in new, site.stderr
        assert config.load(site.conf).senders["101"].password == password

    @pytest.mark.parametrize(
        "password", ["a:b", "p;w", "a\\;b", ";--x--;", "=>x", '"q"', "#x", "p w", "[x]", "é"]
    )
    def test_any_password_arrives_in_sms_conf(self, site: Site, password: str) -> None:
        escaped = password.replace(";", "\\;")
        site.convert(steps(f"Set(CURLOPT(userpwd)=101:{escaped})", ONE))
        assert site.status == 0, site.stderr
        assert config.load(site.conf).senders["101"].password == password

    @pytest.mark.parametrize(
        ("number", "noted"),
        [
            ("${CALLERID(num)}", "${CALLERID(num)}"), ("${HOME}", "${HOME}"),
            ("+391,${EXTEN}", "${EXTEN}"), ("${CELL}", ""), ("${CODED}", ""), ("+39${EXTEN:1}", ""),
            ("${ENC}", ""), ("${URIENCODE(${ARG1})}", "${ARG1}"), ("${GLOBAL(CELL)}", ""), ("${GLOBAL(CODED)}", ""), ("${GLOBAL(HOME)}", "${GLOBAL(HOME)}"),
        ],
    )  # fmt: skip
    def test_a_number_from_a_variable_is_named(self, site: Site, number: str, noted: str) -> None:
        send = f" same => n,{curl(f'message=a&number={number}')}\n"
        text = f"[globals]\nCELL=+39333123456\nCODED=%2B39333123456\nENC=${{URIENCODE(+391)}}\nHOME=0456\n[a]\nexten => 1,1,{USER}\n"
        site.convert(text + send + send)
        assert site.stderr.count("may come without + and country code") == bool(noted)
        assert not noted or (
            f":10: converted, but {noted} may come without + and country code: set country in [101]"
            " of sms.conf" in site.stderr
        )
        assert site.status == 0

    def test_a_country_that_is_set_needs_no_note(self, site: Site) -> None:
        site.configure(f"{CONF}country = IT\n")
        site.convert(steps(USER, curl("message=a&number=${EXTEN}")))
        assert "set country" not in site.stderr


@pytest.mark.parametrize(
    ("name", "language", "by_hand"),
    [("extensions.ael", "AEL", "AGI(sms.agi);"), ("extensions.lua", "Lua", 'app.AGI("sms.agi")')],
)
def test_other_languages_are_named(site: Site, name: str, language: str, by_hand: str) -> None:
    path = site.write(f"context a {{\n 1 => {ONE};\n}}\n", name)
    site.run(path)
    assert f"{path}:2: {language} is not converted" in site.stderr
    assert f"    {by_hand}\n" in site.stderr
    assert site.status == 1


class TestPasted:
    def test_a_field_becomes_three(self, site: Site) -> None:
        site.run("--text", f"{curl(' message=Hi, all; bye&number=%2B39333123456')};")
        assert site.stdout == f"{NEW[0]}\nSet(SMS_MESSAGE=Hi, all\\; bye)\nAGI(sms.agi)\n"
        assert site.status == 0
        assert "in place of the old Custom application put 3, one below the other" in site.stderr
        assert "sms.conf has no sender yet: for its section give the line with" in site.stderr

    def test_the_default_is_named_where_there_is_one(self, site: Site) -> None:
        site.configure(f"[general]\ndefault_sender = 200\n{THERE}{THERE.replace('200', '201')}")
        site.run("--text", ONE)
        assert site.stdout.splitlines() == [NEW[0], NEW[1], "AGI(sms.agi)"]
        assert "in place of the old Custom application put 3," in site.stderr
        assert f"these SMS go as [200] of {site.conf}" in site.stderr

    def test_with_the_login(self, site: Site) -> None:
        site.run("-", given=f"CURLOPT(userpwd)=101:sms101api\nexten => s,5,{ONE}\n")
        assert f"--write: it writes [101] to {site.conf}" in site.stderr
        assert "AGI(sms.agi)" in site.stdout
        assert "+[101]" in site.stdout
        assert "sms101api" not in site.stdout

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            (f"\n\n{curl('message=a')}\n", "pasted:3: the request has no number"),
            (f"{USER}\n{ONE}\nSet(X=${{CUT(res,:,2)}})\n",
             "pasted:2: line 3 of pasted reads the answer in ${res}: change"),
        ],
    )  # fmt: skip
    def test_the_line_is_named(self, site: Site, given: str, told: str) -> None:
        site.run("-", given=given)
        assert told in site.stderr
        assert site.status == 1

    def test_what_to_do_after_writing_sms_conf(self, site: Site) -> None:
        site.configure(THERE)
        site.run("--text", USER, "--text", ONE, "--write")
        assert f"{site.conf}: written, the old one is {site.conf}.before-" in site.stderr
        steps = re.findall(r"  (\d)\. (.*)", site.stderr)
        assert "systemctl reload dialplan-sms" in steps[0][1]
        assert steps[-1][1].endswith(f"passwords: {site.conf}.before-dialplan-sms")

    def test_all_is_read_or_nothing_and_no_files(self, site: Site) -> None:
        site.run("-", given="")
        assert (site.status, site.stdout) == (0, "")
        site.run("-", "extensions.conf", given="")
        assert site.status == 2
        large = "NoOp(x)\n" * (1 << 17)
        site.run("-", given=large + ONE)
        told = "Error: standard input is larger than 1 MiB: give it in parts, or name the file\n"
        assert (site.stderr, site.stdout, site.status) == (told, "", 2)
        site.run("-", given=f"{large[: -len(ONE) - 1]}\n{ONE}")
        assert "Set(SMS_MESSAGE=Hello)" in site.stdout


MORE = f"{OTHER}\n same => n,{curl('gsm=9c7514330001&message=Hi&number=%2B39')}"


@pytest.mark.parametrize(
    ("before", "again", "named"),
    [("", MORE, True), ("", f"{USER}\n same => n,{ONE}", False),
     (" same => n,Set(SMS_SENDER=101)\n same => n,Set(SMS_GSM=)\n", MORE, False)],
    ids=["it sets less", "it sets the same", "it sets them itself"],
)  # fmt: skip
def test_what_was_converted_before(site: Site, before: str, again: str, named: bool) -> None:
    """A variable stays for the rest of a call: a line that sets none keeps another line's."""
    site.configure(CONF)
    old = f"[old]\nexten => 1,1,{NEW[0]}\n{before} same => n,{NEW[2]}\n"
    site.convert(f"{old}[new]\nexten => 2,1,{again}\n")
    assert site.status == 0
    told = (
        "extensions.conf:5: sends, too: if a call comes here after a converted line, it goes by"
        " that line's SMS_SENDER and SMS_GSM; then put Set(SMS_SENDER=101) and Set(SMS_GSM=)"
    )
    assert (told in site.stderr, "sends, too" in site.stderr) == (named, named)
