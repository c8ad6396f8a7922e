"""What ``dialplan-sms migrate`` makes of old lines."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from dialplan_sms.cli.main import main
from dialplan_sms.cli.migrate.dialplan import Unclear
from dialplan_sms.cli.migrate.encoding import decoded, written
from dialplan_sms.cli.migrate.request import fields
from dialplan_sms.config import config

URL = "http://127.0.0.1/api/v1/originate/sms"
USER = "Set(CURLOPT(userpwd)=101:sms101api)"


def curl(body: str, url: str = URL, name: str = "res") -> str:
    return f"Set({name}=${{CURL({url},{body})}})"


def steps(*apps: str, exten: str = "1") -> str:
    """[a] with an extension of these applications."""
    return f"[a]\nexten => {exten},1," + "\n same => n,".join(apps) + "\n"


ONE = curl("message=Hello&number=%2B39333123456")
NUMBERED = steps(USER) + f"exten => 1,2,{ONE}\nexten => 1,3,Hangup()\n"
CONF = "[101]\nurl = http://127.0.0.1\npassword = sms101api\n"
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
        """*text* stays as it is, and *reason* is told."""
        assert self.convert(text, *options) == text
        assert reason in self.stderr

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


NEW = "Set(SMS_NUMBER=+39333123456)", "Set(SMS_MESSAGE=Hello)", "Gosub(sub-sms,s,1)"


class TestLines:
    def test_n_makes_room_where_the_line_stood(self, site: Site) -> None:
        new = site.convert(steps("Answer()", USER) + f" same => n(x),{ONE}; hi\n")
        assert new == (
            steps("Answer()")
            + f" same => n(x),{NEW[0]} ; hi\n same => n,{NEW[1]}\n same => n,{NEW[2]}\n"
        )
        assert site.status == 0

    def test_exten_stays_exten(self, site: Site) -> None:
        new = site.convert(f"[a]\nexten=>_X.,1,{USER}\nexten=>_X.,n,{ONE}\nexten=>_X.,n,Hangup()\n")
        assert new.splitlines()[1:] == [
            "exten=>_X.,1,NoOp()", *(f"exten=>_X.,n,{app}" for app in (*NEW, "Hangup()"))
        ]  # fmt: skip

    def test_numbers_of_priorities_never_change(self, site: Site) -> None:
        old = steps(USER) + f"exten => 1,2(x),{ONE}\nexten => 1,3,Hangup()\n"
        new = site.convert(f"{old}include => b\n\n[b]\nexten => 1,1,NoOp()\n").splitlines()
        assert new[1:4] == [
            "exten => 1,1,NoOp()", "exten => 1,2(x),Goto(1001)", "exten => 1,3,Hangup()"
        ]  # fmt: skip
        assert new[4] == "include => b"
        assert new[5:9] == [
            f"exten => 1,{1001 + n},{app}" for n, app in enumerate((*NEW, "Goto(3)"))
        ]
        assert new[9:] == ["", "[b]", "exten => 1,1,NoOp()"]

    @pytest.mark.parametrize(
        "jump", ["Goto(4)", "GotoIf($[${X} > 1]?4:5)", "Goto(+2)", "Goto(1,4)", "Goto(a,1,4)", "Goto(a,${X},4)",
                 "ExecIf(${X}?Goto(4))", "GosubIf(${X}?a,1,4(b))", "Goto(${X})"],
    )  # fmt: skip
    def test_a_jump_to_a_number_keeps_the_numbers(self, site: Site, jump: str) -> None:
        new = site.convert(steps(jump, USER, ONE, "Hangup()"))
        apps = [line.split(",", 1)[1] for line in new.splitlines()[2:5]]
        assert apps == ["NoOp()", "Goto(1001)", "Hangup()"]
        assert new.splitlines()[-1] == "exten => 1,1004,Goto(4)"

    @pytest.mark.parametrize(
        "jump", ["Goto(b,1)", "GotoIf($[${X}]?ok:b,1)", "Gosub(a,1,1(4))", "Goto(b,2,4)"]
    )
    def test_other_jumps_do_not(self, site: Site, jump: str) -> None:
        assert "1001" not in site.convert(steps(jump, USER, ONE))

    def test_each_extension_has_room_of_its_own(self, site: Site) -> None:
        block = "exten => {0},1,{1}\nexten => {0},2,{2}\nexten => {0},3,Hangup()\n"
        new = site.convert(f"[a]\n{block.format('_X.', USER, ONE)}{block.format('_1X', USER, ONE)}")
        assert "_X.,1001," in new
        assert "_1X,1101," in new

    def test_the_end_of_a_context_may_be_in_another_file(self, site: Site) -> None:
        site.write("exten => 2,1,NoOp()\n", "more.conf")
        new = site.convert(f"{NUMBERED}#include more.conf\n")
        assert "1001" not in new.replace("Goto(1001)", "")
        assert (site.folder / "more.conf").read_text().count("exten => 1,10") == 4

    def test_a_file_that_begins_other_contexts_does_not_take_them(self, site: Site) -> None:
        site.write("[c]\nexten => 2,1,NoOp()\n", "more.conf")
        new = site.convert(f"{NUMBERED}#include more.conf\n")
        assert new.index("1001,Set") < new.index("#include")

    def test_comments_and_blocks_stay(self, site: Site) -> None:
        text = f"[a]\n;exten => 1,1,{USER}\n;--\nexten => 1,2,{ONE}\n--;\nexten => 1,1,NoOp()\n"
        site.keeps(text, ":4: a comment still has a password")
        assert site.status == 0

    def test_a_cid_match_is_kept(self, site: Site) -> None:
        assert "exten => 1/5,1001,Set" in site.convert(NUMBERED.replace("=> 1,", "=> 1/5,"))


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
        "test",
        ['$["${res}" =~ "unsuccess"]', '$["${res}" =~ "no success"]', '${REGEX("Unsuccess" ${res})}',
         '$["${res}" =~ ""]', '$["${res}" = "Successful"]'],
    )  # fmt: skip
    def test_a_test_that_means_something_else_is_left(self, site: Site, test: str) -> None:
        text = steps(USER, ONE, f"GotoIf({test}?ok)")
        site.keeps(text, ":5: line 6 of extensions.conf reads the answer in ${res}")

    def test_an_empty_answer_at_once_is_noted(self, site: Site) -> None:
        at_once = ONE.removeprefix("Set(res=").removesuffix(")")
        new = site.convert(steps(USER, f'GotoIf($["{at_once}" = ""]?1)'))
        assert 'GotoIf($[("${SMS_STATUS}" = "" | "${SMS_CAUSE}" = "UNREACHABLE")]?1)' in new
        assert ": converted: an empty answer is now SMS_STATUS empty or UNREACHABLE" in site.stderr

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

    @pytest.mark.parametrize(
        "rest",
        [f" same => n,{ONE}\n same => n,Goto(b,1,1)\n[b]\nexten => 1,1,{TEST}\n",
         f" same => n,Gosub(tell,s,1)\n same => n,{TEST}\n[tell]\nexten => s,1,{ONE}\n",
         f" same => n,GotoIf(${{X}}?x)\n same => n,{ONE}\n same => n(x),{TEST}\n",
         f" same => n,{TEST}\n same => n,{ONE}\n", f" same => n,{ONE}\nexten => h,1,{TEST}\n"],
    )  # fmt: skip
    def test_an_answer_that_a_call_may_not_have_got_stays(self, site: Site, rest: str) -> None:
        site.keeps(steps(USER) + rest, "reads the answer in ${res}")
        assert "put that test right below" in site.stderr.lower()

    @pytest.mark.parametrize(
        "rest",
        [
            f" same => n(again),{ONE}\n same => n,{TEST}\n same => n,Goto(again)\n"
            " same => n(x),NoOp(${res})\n",
            f" same => n,GotoIf(${{X}}?y)\n same => n,{ONE}\n same => n,Goto(t)\n"
            f" same => n(y),{ONE}\n same => n(t),{TEST}\n",
        ],
    )
    def test_an_answer_on_every_way_is_converted(self, site: Site, rest: str) -> None:
        new = site.convert(steps(USER) + rest)
        assert "res}" not in new, site.stderr

    def test_an_answer_of_one_of_two_lines_stays(self, site: Site) -> None:
        second = f"ExecIf($[1 > 2]?{ONE})"
        site.keeps(steps(USER, ONE, second, TEST), "after another SMS may have been sent")
        assert site.stderr.count("after another SMS may have been sent") == 2

    def test_a_variable_that_is_set_again_is_no_answer(self, site: Site) -> None:
        for again in ("Set(res=done)", "MSet(x=1,res=done)"):
            rest = f' same => n,{again}\n same => n,GotoIf($["${{res}}" =~ "Success"]?x)\n'
            new = site.convert(steps(USER, ONE) + rest)
            assert new.endswith(f"{NEW[2]}\n{rest}"), site.stderr

    def test_an_answer_in_the_condition_of_the_next_stays(self, site: Site) -> None:
        second = f'ExecIf($["${{res}}" = ""]?{curl("message=b&number=+391", name="b")})'
        text = steps(USER, ONE, second)
        new = site.convert(text)
        assert f" same => n,{ONE}\n" in new
        assert 'GosubIf($["${res}" = ""]?sub-sms,s,1)' in new
        assert "reads the answer in ${res} in its condition: step over it with a Go" in site.stderr
        site.convert(text.replace("{res}", "{SMS_STATUS}"))
        assert ": its condition reads SMS_STATUS, which the new lines clear first" in site.stderr

    def test_a_condition_may_ask_for_the_text(self, site: Site) -> None:
        send = curl("message=${message}&number=+391", name="message")
        text = steps(USER, "Set(message=Hi)", f'ExecIf($["${{message}}" != ""]?{send})')
        assert 'GosubIf($["${message}" != ""]?sub-sms,s,1)' in site.convert(text)

    def test_what_shows_it_shows_the_outcome(self, site: Site) -> None:
        text = site.convert(steps(USER, ONE, "Verbose(1,error? ${res})"))
        assert text.endswith("Verbose(1,error? ${SMS_STATUS} ${SMS_CAUSE} ${SMS_REASON})\n")

    @pytest.mark.parametrize(
        "use", ["Set(X=${CUT(res,:,2)})", "System(echo '${res}' | grep Success)", "Set(X=${res:0:5})",
                "AGI(mine.agi,${res})", "Set(X=${JSON_DECODE(res,type)})"],
    )  # fmt: skip
    def test_another_use_keeps_all_as_it_is(self, site: Site, use: str) -> None:
        told = "extensions.conf:5: line 6 of extensions.conf reads the answer in ${res}"
        site.keeps(steps(USER, ONE, use, "NoOp(${res})"), told)
        assert site.status == 1
        assert not site.conf.exists()

    def test_the_variable_before_is_the_text(self, site: Site) -> None:
        send = curl("message=${message}&number=+39333123456", name="message")
        text = site.convert(steps("Set(message=Hi)", "NoOp(${message})", USER, send))
        assert "NoOp(${message})" in text
        assert "Set(SMS_MESSAGE=${message})" in text

    @pytest.mark.parametrize("call", ["GosubIf({}?sub-sms,s,1)", "ExecIf({}?AGI(sms.agi))"])
    def test_a_condition_clears_the_status_and_is_noted(self, site: Site, call: str) -> None:
        condition = '$["${X}" = "1"]'
        text = steps(USER, f"ExecIf({condition}?{ONE})")
        if "sub-sms" in call:
            new = site.convert(text)
        else:
            path = site.write(text)
            site.run(path, "--write")
            new = path.read_text()
        assert new.endswith(f" same => n,Set(SMS_STATUS=)\n same => n,{call.format(condition)}\n")
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


class TestValues:
    @pytest.mark.parametrize(
        ("coded", "plain"),
        [
            ("%2B39", "+39"), ("a%20b", "a b"), ("100%41", "100%41"), ("20%de", "20%de"),
            ("%C3%A8", "è"), ("50% off", "50% off"), ("%48%65%6C", "Hel"), ("%", "%"), ("%E8", "%E8"),
        ],
    )  # fmt: skip
    def test_percent(self, coded: str, plain: str) -> None:
        assert decoded(coded) == plain

    @pytest.mark.parametrize(
        ("name", "coded", "dialplan"),
        [
            ("message", "a+b c", "a+b c"),
            ("message", "Hello+you", "Hello you"),
            ("message", "+39333+is%20it", "+39333 is it"),
            ("message", "a;b", "a\\;b"),
            ("message", "a\\b \"c\"", "a\\b \"c\""),
            ("message", "line%0Atwo", "line${URIDECODE(%0A)}two"),
            ("message", "%24%7BX%7D", "${URIDECODE(%24)}{X}"),
            ("message", "costs ${5", "costs ${URIDECODE(%24)}{5"),
            ("message", "${URIENCODE(${CALLERID(name)})}!", "${CALLERID(name)}!"),
            ("message", "${REPLACE(TEXT, ,+)}", "${TEXT}"),
            ("message", "${CODED}", "${URIDECODE(${CODED})}"),
            ("message", "${GLOBAL(CODED)}", "${URIDECODE(${GLOBAL(CODED)})}"),
            ("message", "${CODED:0:100}", "${URIDECODE(${CODED}):0:100}"),
            ("message", "${ENC}", "${URIDECODE(${ENC})}"),
            ("message", "${VIA}", "${URIDECODE(${VIA})}"),
            ("message", "${REPLACE(CODED, ,+)}", "${URIDECODE(${CODED})}"),
            ("message", "${URIENCODE(${CODED})}", "${CODED}"),
            ("message", "${TEXT:0:100}", "${TEXT:0:100}"),
            ("message", "${SUM}", "${SUM}"),
            ("message", "${TO}", "${TO}"),
            ("message", "now at ${PLUS}", "now at ${PLUS}"),
            ("message", "${SPACED}", "${SPACED}"),
            ("message", "${PERCENT}", "${PERCENT}"),
            ("message", "$[${A}+1]", "$[${A}+1]"),
            ("message", "${IF($[${A}+1 > 2]?x:${URIDECODE(%0A)})}", "${IF($[${A}+1 > 2]?x:${URIDECODE(%0A)})}"),
            ("message", "${CALLERID(CODED)}", "${CALLERID(CODED)}"),
            ("message", "${URIDECODE(${CODED})}", "${URIDECODE(${CODED})}"),
            ("number", "${PLUS}", "${PLUS}"),
            ("message", " both ends ", " both ends "),
            ("message", "perch\udce8", "perchè"),
            ("number", " +39 ", "+39"),
            ("number", "%2B39${EXTEN:1}", "+39${EXTEN:1}"),
            ("postpone", "14/07/2014+15%3A35", "14/07/2014 15:35"),
        ],
    )  # fmt: skip
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

    def test_an_ampersand_of_the_text_is_the_text_s(self) -> None:
        assert fields(" message=a & b&c=d&number=1") == {"message": "a & b&c=d", "number": "1"}

    @pytest.mark.parametrize(
        "body",
        ["message=a&number=1&number=2", "message=a&number=1&user=5"],
    )  # fmt: skip
    def test_what_is_no_request(self, body: str) -> None:
        with pytest.raises(Unclear):
            fields(body)


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

    def test_what_is_set_beside_an_option_stays(self, site: Site) -> None:
        beside = "MSet(A=1,CURLOPT(httptimeout)=5)"
        text = site.convert(steps(beside, USER, ONE))
        assert beside in text
        assert "it may set more than CURLOPT(httptimeout)" in site.stderr

    def test_sections_are_added_and_the_default_stays(self, site: Site) -> None:
        there = "; mine\n[general]\nlog = syslog\n\n[200]\nurl = https://pbx\npassword = x"
        site.configure(there)
        text = site.convert(steps(USER, ONE))
        assert " same => n,Set(SMS_SENDER=101)\n" in text
        assert site.conf.read_text() == (
            "; mine\n[general]\ndefault_sender = 200\nlog = syslog\n\n[200]\nurl = https://pbx\npassword = x\n"
            "\n[101]\nurl = http://127.0.0.1\npassword = sms101api\n"
        )
        assert config.load(site.conf).default_sender == "200"
        assert (site.folder / "sms.conf.before-dialplan-sms").read_text() == there

    @pytest.mark.parametrize(
        "section",
        ["url = http://127.0.0.1\npassword = other",
         "url = http://127.0.0.2\npassword = sms101api"],
    )  # fmt: skip
    def test_a_conflict_is_named_and_left(self, site: Site, section: str) -> None:
        site.configure(f"[101]\n{section}\n")
        site.keeps(steps(USER, ONE), f"extensions.conf:5: [101] in {site.conf} has another")
        assert site.status == 1
        assert site.conf.read_text() == f"[101]\n{section}\n"
        assert "other" not in site.stderr.replace("another", "")

    def test_the_same_is_no_conflict(self, site: Site) -> None:
        site.configure("[101]\nurl = http://127.0.0.1/\npassword = sms101api\n")
        before = site.conf.read_bytes()
        assert "Gosub(sub-sms" in site.convert(steps(USER, ONE))
        assert site.conf.read_bytes() == before

    def test_an_empty_general_at_the_end_is_used(self, site: Site) -> None:
        site.configure("[200]\nurl = https://pbx\npassword = x\n[general]")
        site.convert(steps(USER, ONE))
        assert config.load(site.conf).default_sender == "200"
        assert config.load(site.conf).senders.keys() == {"200", "101"}

    def test_another_address_is_named_with_the_option(self, site: Site) -> None:
        site.configure(CONF.replace("http://127.0.0.1", "https://pbx.example.com"))
        site.convert(steps(USER, ONE))
        assert (
            f":5: [101] in {site.conf} has another url than this line (http://127.0.0.1):"
            " if both are the same PBX, add --same-pbx\n" in site.stderr
        )

    @pytest.mark.parametrize("url", ["https://pbx.example.com", "http://127.0.0.1:8080"])
    def test_the_same_pbx_may_have_another_address(self, site: Site, url: str) -> None:
        site.configure(f"[101]\nurl = {url}\npassword = sms101api\n")
        before = site.conf.read_bytes()
        text = site.convert(steps(USER, ONE), "--same-pbx")
        assert NEW[2] in text
        assert "CURL" not in text
        assert (site.status, site.conf.read_bytes()) == (0, before)

    def test_the_same_pbx_has_the_same_password(self, site: Site) -> None:
        site.configure("[101]\nurl = https://pbx.example.com\npassword = other\n")
        site.keeps(
            steps(USER, ONE), "another password than this line: see which holds", "--same-pbx"
        )
        assert site.status == 1

    @pytest.mark.parametrize(
        "login",
        ["Set(CURLOPT(userpwd)=102:pa;ss)", "Set(CURLOPT(userpwd)=102:pa\\;ss)",
         "MSet(A=1,CURLOPT(userpwd)=102:pass)"],
    )  # fmt: skip
    def test_a_login_that_no_request_uses_is_named_and_left(self, site: Site, login: str) -> None:
        text = site.convert(steps(USER, ONE) + f"exten => 2,1,{login}\n same => n,Hangup()\n")
        assert text.endswith(f"exten => 2,1,{login}\n same => n,Hangup()\n")
        assert (
            ": a login of CURLOPT that no CURL() of the SMS API uses: it is left, with its password"
            "\n1 converted, 1 to see to by hand.\n" in site.stderr
        )
        assert "pa" not in site.stderr.replace("password", "").replace(str(site.folder), "")
        assert site.status == 1

    @pytest.mark.parametrize("login", [USER, f"ExecIf($[1]?{USER})"])
    def test_a_request_with_two_logins_stays(self, site: Site, login: str) -> None:
        """Which one counts depends on the version of libcurl."""
        own = curl("message=a&number=+391", URL.replace("//", "//102:pass@"))
        text = steps(login, own)
        site.keeps(text, ":5: both its URL and CURLOPT(userpwd) say who sends: leave one")

    def test_a_request_with_its_own_login_leaves_others(self, site: Site) -> None:
        own = curl("message=a&number=+391", URL.replace("//", "//102:pass@"))
        text = site.convert(steps(own) + f"exten => 2,1,{USER}\n")
        assert text.startswith("[a]\nexten => 1,1,Set(SMS_")
        assert text.endswith(f"exten => 2,1,{USER}\n")
        assert "a login of CURLOPT that no CURL() of the SMS API uses" in site.stderr

    def test_a_login_that_moved_is_not_left(self, site: Site) -> None:
        text = site.convert(steps(USER, ONE) + f"exten => 2,1,{USER}\n same => n,Hangup()\n")
        assert "CURL" not in text
        assert site.status == 0

    def test_a_login_of_another_curl_is_not_the_sms_api_s(self, site: Site) -> None:
        crm = "Set(CURLOPT(userpwd)=crm:pass)\n same => n,Set(X=${CURL(http://crm.example.com/)})\n"
        site.convert(f"{steps(USER, ONE)}exten => 2,1,{crm}")
        assert "a login of CURLOPT" not in site.stderr
        assert site.status == 0

    def test_a_login_that_may_be_a_request_s_is_not_called_unused(self, site: Site) -> None:
        call = steps("Gosub(login,s,1)", curl("message=a"))
        site.convert(f"{call}[login]\nexten => s,1,{USER}\n")
        assert "has no number" in site.stderr
        assert "a login of CURLOPT" not in site.stderr

    def test_a_login_is_called_unused_once_no_request_is_left(self, site: Site) -> None:
        bad, other = curl("message=a"), USER.replace("101:", "102:")
        text = steps(USER, bad) + f"exten => 2,1,{other}\n"
        site.keeps(text, "0 converted, 1 to see to by hand.")
        assert "a login of CURLOPT" not in site.stderr
        site.keeps(text.replace(bad, NEW[2]), "a login of CURLOPT")
        assert site.stderr.count("a login of CURLOPT that no CURL() of the SMS API uses") == 2

    @pytest.mark.parametrize(
        "login", ["Set(CURLOPT(userpwd)=102:pa;ss)", f"ExecIf($[1]?{USER.replace('101:', '102:')})"]
    )
    def test_a_login_that_cannot_be_read_is_not_another_s(self, site: Site, login: str) -> None:
        text = steps(USER, login, ONE) + f"exten => 2,1,{USER}\n same => n,{ONE}\n"
        assert f" same => n,{login}\n same => n,{ONE}\n" in site.convert(text)
        assert ":6: the CURLOPT(userpwd) that says who sends cannot be read: write" in site.stderr
        assert site.status == 1

    def test_who_sends_is_what_stands_above(self, site: Site) -> None:
        other = f"exten => 2,1,{USER.replace('101:', '102:')}\n same => n,{ONE}\n"
        text = site.convert(steps(USER, ONE) + other)
        assert re.findall(r"SMS_SENDER=(\d+)", text) == ["101", "102"]

    def test_a_subroutine_may_log_in(self, site: Site) -> None:
        text = site.convert(steps("Gosub(login,s,1)", ONE) + f"[login]\nexten => s,1,{USER}\n")
        assert "CURL" not in text

    def test_another_curl_keeps_its_login(self, site: Site) -> None:
        text = site.convert(steps(USER, ONE, "Set(X=${CURL(http://crm.example.com/)})"))
        assert USER in text
        assert NEW[2] in text
        assert "extensions.conf:4: left with its password" in site.stderr
        assert site.status == 0

    def test_variables_of_globals(self, site: Site) -> None:
        text = site.convert(
            "[globals]\nPBX=127.0.0.1\nPW => sms101api\n[a]\nexten => 1,1,Set(CURLOPT(userpwd)=101:${PW})\n"
            f" same => n,{ONE.replace('127.0.0.1', '${PBX}')}\n"
        )
        assert NEW[1] in text
        assert config.load(site.conf).senders["101"].password == "sms101api"
        assert ":5: PW may still hold a password" in site.stderr
        assert "sms101api" not in site.stdout + site.stderr

    def test_a_national_number_is_named(self, site: Site) -> None:
        site.convert(steps(USER, curl("message=a&number=333123456")))
        assert "333123456 has no country code: set country in [101]" in site.stderr

    @pytest.mark.parametrize(
        ("number", "noted"),
        [
            ("${CALLERID(num)}", "${CALLERID(num)}"), ("${HOME}", "${HOME}"),
            ("+391,${EXTEN}", "${EXTEN}"), ("${CELL}", ""), ("${CODED}", ""), ("+39${EXTEN:1}", ""),
            ("${ENC}", ""), ("${URIENCODE(${ARG1})}", "${ARG1}"), ("${GLOBAL(CELL)}", ""), ("${GLOBAL(CODED)}", ""), ("${GLOBAL(HOME)}", "${GLOBAL(HOME)}"),
        ],
    )  # fmt: skip
    def test_a_number_from_a_variable_is_named_once(
        self, site: Site, number: str, noted: str
    ) -> None:
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


NAMED = {
    "a URL that is not known": (curl("message=a&number=1", "${PBX}/x"), "cannot be resolved"),
    "a URL that changes": (curl("message=a&number=1", "http://${EXTEN}/api/v1/originate/sms"), "cannot be resolved"),
    "an address that is none": (
        curl("message=a&number=1", "http://127%.0.0.1/api/v1/originate/sms"),
        "is no address",
    ),
    "no number": (curl("message=a"), "has no number"),
    "no message": (curl("number=1"), "has no message"),
    "an empty message": (curl("message=&number=1"), "has no message"),
    "no form": (curl(""), "has no number"),
    "another parameter": (curl("message=a&number=1&user=5"), "user is no parameter"),
    "two in a line": (f"NoOp(${{CURL({URL},message=a&number=1)}}${{CURL({URL},message=a&number=1)}})", "several CURL()"),
    "MSet": (curl("message=a&number=1").replace("Set", "MSet(a=b,", 1).replace(",(", ","), "no certain replacement"),
    "SHARED": (curl("message=a&number=1", name="SHARED(e)"), "write Set(name=${CURL(…)}) on a line of its own"),
    "a number twice": (curl("message=a&number=+391&number=+392"), "has number twice"),
    "a command with a pipe": (f'System(curl -u 101:sms101api {URL} -d "message=a&number=1" | logger)', "other commands"),
    "a command with a file": (f'System(curl -u 101:sms101api {URL} -d @/tmp/x)', "with -d"),
    "SHELL": (f"Set(x=${{SHELL(curl -u 101:sms101api {URL} -d message=a)}})", "has no number"),
    "by hand": (curl("message=${REPLACE(T,%20, )}&number=1"), "nothing in these files sets ${T}"),
    "no end": (f"Set(x=${{CURL({URL},message=a&number=1", "is missing"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "reason"), NAMED.values(), ids=NAMED)
def test_what_cannot_be_converted_is_named(site: Site, line: str, reason: str) -> None:
    site.keeps(steps(USER, line), reason)
    assert re.search(rf"extensions.conf:5: .*{re.escape(reason)}", site.stderr), site.stderr
    assert site.status == 1
    assert "sms101api" not in site.stdout + site.stderr


@pytest.mark.parametrize(
    "password", ["a:b", "p;w", "a\\;b", ";--x--;", "=>x", '"q"', "#x", "p w", "[x]", "é"]
)
def test_any_password_arrives_in_sms_conf(site: Site, password: str) -> None:
    escaped = password.replace(";", "\\;")
    site.convert(steps(f"Set(CURLOPT(userpwd)=101:{escaped})", ONE))
    assert site.status == 0, site.stderr
    assert config.load(site.conf).senders["101"].password == password


@pytest.mark.parametrize(
    "login", ["101:", "101", ":x", "general:x", "a]b:x", "101: x", "${NOBODY}"]
)
def test_a_login_that_sms_conf_cannot_hold_is_named(site: Site, login: str) -> None:
    site.keeps(steps(f"Set(CURLOPT(userpwd)={login})", ONE), "extensions.conf:5: ")
    assert site.status == 1


@pytest.mark.parametrize(
    "line",
    ["ExecIf($[${X}]?Set(CODED=%2B391))", "ExecIf($[${X}]?Set(CODED=%2B391):NoOp(a+b))", "ExecIf($[${X}]?NoOp(a):Set(CODED=%2B391))",
     "ExecIf($[${X}]?Set(A=a+b):Set(CODED=%2B391))", "TryExec(Set(CODED=%2B391))"],
)  # fmt: skip
def test_a_value_that_is_perhaps_set(site: Site, line: str) -> None:
    send = curl("message=${CODED}&number=+391")
    new = site.convert(steps(USER, line, send))
    assert "Set(SMS_MESSAGE=${URIDECODE(${CODED})})" in new, site.stderr


def test_an_address_that_is_perhaps_another_cannot_be_resolved(site: Site) -> None:
    pbx = "ExecIf($[${X}]?Set(PBX=http://127.0.0.2))"
    send = curl("message=a&number=+391", "${PBX}/api/v1/originate/sms")
    text = f"[globals]\nPBX=http://127.0.0.1\n[a]\nexten => 1,1,{USER}\n same => n,{pbx}\n same => n,{send}\n"
    site.keeps(text, "cannot be resolved")


class TestMset:
    @pytest.mark.parametrize("value", ["%2B39333123456", '"%2B39333123456"'])
    def test_a_value(self, site: Site, value: str) -> None:
        send = curl("message=a&number=${CODED}")
        new = site.convert(steps(USER, f"MSet(A=1,CODED={value})", send))
        assert "Set(SMS_NUMBER=${URIDECODE(${CODED})})" in new

    @pytest.mark.parametrize(
        ("pairs", "password"),
        [("PW=sms101api,B=2", "sms101api"), ('PW=z,A="x,PW=y"', "z"),
         ('A="x",PW=a\\\\b', "a\\b"), ("PW=z,A=(1,PW=2)", "z")],
    )  # fmt: skip
    def test_a_password(self, site: Site, pairs: str, password: str) -> None:
        login = "Set(CURLOPT(userpwd)=101:${PW})"
        new = site.convert(steps(f"MSet({pairs})", login, ONE))
        assert NEW[2] in new, site.stderr
        assert config.load(site.conf).senders["101"].password == password


@pytest.mark.parametrize("header", ["[y](!)", "[y](x)", "[y]"])
def test_no_detour_in_a_template(site: Site, header: str) -> None:
    numbers = f"{header}\nexten => 1,1,{USER}\nexten => 1,2,{ONE}\nexten => 1,3,Hangup()\n"
    heir = "" if "(" in header else "[z](y)\nexten => 1,n,NoOp()\n"
    site.keeps(numbers + heir, ":5: its context is a template or made from one, and numbers of")
    assert site.status == 1
    assert NEW[2] in site.convert(numbers.replace(",2,", ",n,").replace(",3,", ",n,") + heir)


def test_without_a_user_it_is_named(site: Site) -> None:
    site.convert(steps(ONE))
    assert "no CURLOPT(userpwd) says who sends" in site.stderr


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
        site.configure("[200]\nurl = http://127.0.0.1\npassword = x\n")
        site.run("--text", ONE)
        assert f"these SMS go as [200] of {site.conf}" in site.stderr

    def test_with_the_login(self, site: Site) -> None:
        site.run("-", given=f"CURLOPT(userpwd)=101:sms101api\nexten => s,5,{ONE}\n")
        assert f"--write: it writes [101] to {site.conf}" in site.stderr
        assert "AGI(sms.agi)" in site.stdout
        assert "+[101]" in site.stdout
        assert "sms101api" not in site.stdout

    def test_the_line_is_named(self, site: Site) -> None:
        site.run("-", given=f"\n\n{curl('message=a')}\n")
        assert "pasted:3: the request has no number" in site.stderr
        assert site.status == 1

    def test_the_line_that_reads_the_answer_is_named(self, site: Site) -> None:
        site.run("-", given=f"{USER}\n{ONE}\nSet(X=${{CUT(res,:,2)}})\n")
        assert "pasted:2: line 3 of pasted reads the answer in ${res}: change" in site.stderr

    def test_what_to_do_after_writing_sms_conf(self, site: Site) -> None:
        site.configure("[200]\nurl = http://127.0.0.1\npassword = x\n")
        site.run("--text", USER, "--text", ONE, "--write")
        assert f"{site.conf}: written, the old one is {site.conf}.before-" in site.stderr
        steps = re.findall(r"  (\d)\. (.*)", site.stderr)
        assert "systemctl reload dialplan-sms" in steps[0][1]
        assert steps[-1][1].endswith(f"passwords: {site.conf}.before-dialplan-sms")

    def test_nothing(self, site: Site) -> None:
        site.run("-", given="")
        assert (site.status, site.stdout) == (0, "")

    def test_not_with_files(self, site: Site) -> None:
        site.run("-", "extensions.conf", given="")
        assert site.status == 2


class TestWhatWasConvertedBefore:
    """A variable stays for the rest of a call: a line that sets none keeps another line's."""

    OLD = "[old]\nexten => 1,1,Set(SMS_NUMBER=+39333123456)\n same => n,Gosub(sub-sms,s,1)\n"
    NEW = f"[new]\nexten => 2,1,{USER.replace('101:', '102:')}\n same => n,{curl('gsm=9c7514330001&message=Hi&number=%2B39')}\n"

    def test_it_is_named_where_the_new_lines_set_more(self, site: Site) -> None:
        site.configure(CONF)
        site.convert(self.OLD + self.NEW)
        assert site.status == 0
        assert (
            "extensions.conf:5: sends, too: if a call comes here after a converted line, it goes by"
            " that line's SMS_SENDER and SMS_GSM; then put Set(SMS_SENDER=101) and Set(SMS_GSM=)"
            in site.stderr
        )

    def test_but_not_where_it_sets_them_itself(self, site: Site) -> None:
        site.configure(CONF)
        own = self.OLD.replace(
            " same", " same => n,Set(SMS_SENDER=101)\n same => n,Set(SMS_GSM=)\n same", 1
        )
        site.convert(own + self.NEW)
        assert "sends, too" not in site.stderr
        site.conf.unlink()
        site.configure(CONF)
        site.convert(self.OLD + f"[new]\nexten => 2,1,{USER}\n same => n,{ONE}\n")
        assert "sends, too" not in site.stderr
