"""What ``dialplan-sms migrate`` does not understand wholly stays, and is named with the reason."""

import re

import pytest

from tests.unit.cli.test_migrate import NEW, ONE, OWN, TEST, URL, USER, Site, curl, site, steps

__all__ = ["site"]

N = "number=%2B39333123456"
HI = f"{N}&message=hi"
NUMBER, HELLO, CALL = NEW
READS = "line {} of extensions.conf reads the answer in ${{res}}{}"
RES_AT_6 = "5: " + READS.format(6, ": change it to ${SMS_STATUS}")
TWO = steps(USER, ONE, f"ExecIf($[1 > 2]?{ONE})", TEST)
LATER = (
    ", after another SMS may have been sent: SMS_STATUS is the latest one's. Put that test right"
)
ELSEWHERE = ", and a call may come there from elsewhere: put that test right below this line"


def lines(*apps: str, exten: str = "1") -> str:
    return steps(*apps, exten=exten).removeprefix("[a]\n")


def shell(rest: str, login: str = "101:x") -> str:
    return f"System(curl -u {login} {URL} {rest})"


STAYS = {
    # The request.
    "a URL that is not known": (steps(USER, curl("message=a&number=1", "${PBX}/x")), "5: the URL ${PBX}/x cannot be resolved"),
    "a URL that changes": (
        steps(USER, curl("message=a&number=1", URL.replace("127.0.0.1", "${EXTEN}"))),
        "5: the URL http://${EXTEN}/api/v1/originate/sms cannot be resolved",
    ),
    "a URL that is perhaps another": (
        "[globals]\nPBX=http://127.0.0.1\n" + steps(USER, "ExecIf($[${X}]?Set(PBX=http://127.0.0.2))", curl("message=a&number=+391", "${PBX}/api/v1/originate/sms")),
        "8: the URL ${PBX}/api/v1/originate/sms cannot be resolved",
    ),
    "an address that is none": (steps(USER, curl("message=a&number=1", URL.replace("127", "127%"))), "5: is no address"),
    "no number": (steps(USER, curl("message=a")), "5: has no number"),
    "no message": (steps(USER, curl("number=1")), "5: has no message"),
    "an empty message": (steps(USER, curl("message=&number=1")), "5: has no message"),
    "no form": (steps(USER, curl("")), "5: has no number"),
    "another parameter": (steps(USER, curl("message=a&number=1&user=5")), "5: user is no parameter"),
    "a number twice": (steps(USER, curl("message=a&number=+391&number=+392")), "5: has number twice"),
    "two in a line": (steps(USER, f"NoOp(${{CURL({URL},message=a&number=1)}}${{CURL({URL},message=a&number=1)}})"), "5: several CURL()"),
    "MSet": (steps(USER, curl("message=a&number=1").replace("Set", "MSet(a=b,", 1).replace(",(", ",")), "5: no certain replacement"),
    "SHARED": (steps(USER, curl("message=a&number=1", name="SHARED(e)")), "5: write Set(name=${CURL(…)}) on a line of its own"),
    "a command with a pipe": (steps(USER, f'System(curl -u 101:sms101api {URL} -d "message=a&number=1" | logger)'), "5: other commands"),
    "a command with a file": (steps(USER, f"System(curl -u 101:sms101api {URL} -d @/tmp/x)"), "5: with -d"),
    "SHELL": (steps(USER, f"Set(x=${{SHELL(curl -u 101:sms101api {URL} -d message=a)}})"), "5: has no number"),
    "by hand": (steps(USER, curl("message=${REPLACE(T,%20, )}&number=1")), "5: nothing in these files sets ${T}"),
    "no end": (steps(USER, f"Set(x=${{CURL({URL},message=a&number=1"), "5: is missing"),
    "a line that is none": (f"[a]\nexten > 1,1,{ONE}\n", "4: not a line that can be read\n    Set(SMS_NUMBER=<number>)\n"),
    # Who reads the answer.
    "a part of a word": (steps(USER, ONE, 'GotoIf($["${res}" =~ "unsuccess"]?ok)'), RES_AT_6),
    "other words": (steps(USER, ONE, 'GotoIf($["${res}" =~ "no success"]?ok)'), RES_AT_6),
    "a part of a word in REGEX": (steps(USER, ONE, 'GotoIf(${REGEX("Unsuccess" ${res})}?ok)'), RES_AT_6),
    "any answer": (steps(USER, ONE, 'GotoIf($["${res}" =~ ""]?ok)'), RES_AT_6),
    "an answer that is none": (steps(USER, ONE, 'GotoIf($["${res}" = "Successful"]?ok)'), RES_AT_6),
    "CUT": (steps(USER, ONE, "Set(X=${CUT(res,:,2)})", "NoOp(${res})"), RES_AT_6),
    "System": (steps(USER, ONE, "System(echo '${res}' | grep Success)", "NoOp(${res})"), RES_AT_6),
    "its first letters": (steps(USER, ONE, "Set(X=${res:0:5})", "NoOp(${res})"), RES_AT_6),
    "AGI": (steps(USER, ONE, "AGI(mine.agi,${res})", "NoOp(${res})"), RES_AT_6),
    "JSON_DECODE": (steps(USER, ONE, "Set(X=${JSON_DECODE(res,type)})", "NoOp(${res})"), RES_AT_6),
    "in another context": (steps(USER, ONE, "Goto(b,1,1)") + f"[b]\nexten => 1,1,{TEST}\n", "5: " + READS.format(8, ELSEWHERE)),
    "after a subroutine": (steps(USER, "Gosub(tell,s,1)", TEST) + f"[tell]\nexten => s,1,{ONE}\n", "8: " + READS.format(6, LATER)),
    "also without a request": (steps(USER, "GotoIf(${X}?x)", ONE) + f" same => n(x),{TEST}\n", "6: " + READS.format(7, ELSEWHERE)),
    "before it": (steps(USER, TEST, ONE), "6: " + READS.format(5, ELSEWHERE)),
    "after a hangup": (steps(USER, ONE) + f"exten => h,1,{TEST}\n", "5: " + READS.format(6, ELSEWHERE)),
    "of one of two": (TWO, "5: " + READS.format(7, LATER)),
    "of the other of two": (TWO, "6: " + READS.format(7, LATER)),
    # Who sends.
    "nobody": (steps(ONE), "4: no CURLOPT(userpwd) says who sends"),
    "two": (steps(USER, OWN), "5: both its URL and CURLOPT(userpwd) say who sends: leave one"),
    "perhaps two": (steps(f"ExecIf($[1]?{USER})", OWN), "5: both its URL and CURLOPT(userpwd) say who sends: leave one"),
    **{f"as {login}": (steps(f"Set(CURLOPT(userpwd)={login})", ONE), "5: ")
       for login in ("101:", "101", ":x", "general:x", "a]b:x", "101: x", "${NOBODY}")},
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), STAYS.values(), ids=STAYS)
def test_what_cannot_be_converted_stays_and_is_named(site: Site, text: str, reason: str) -> None:
    number, _, words = reason.partition(": ")
    site.keeps(text, words)
    assert re.search(rf"extensions.conf:{number}: .*{re.escape(words)}", site.stderr), site.stderr
    assert not site.conf.exists()


BY_ARGUMENTS = "exten => s,1," + curl("number=${ARG1}&message=${ARG2}") + "\n"
ENCODED = "whether {} comes encoded cannot be seen"
MAY_SET = "what ${{T}} holds cannot be seen: line {} of extensions.conf may set it, too"
TEXTS: dict[str, tuple[str, ...]] = {
    # A text of which nobody can say how it comes, the reason, and the lines above.
    "DB": ("${DB(sms/text)}", ENCODED.format("${DB(sms/text)}"), "Set(DB(sms/text)=Hello%20World)"),
    "HASH": ("${HASH(sms,text)}", ENCODED.format("${HASH(sms,text)}"), "Set(HASH(sms,text)=Hi%20you)"),
    "a database": ("${T}", ENCODED.format("${ODBC_TEXT(1)}"), "Set(T=${ODBC_TEXT(1)})"),
    "another server": ("${T}", ENCODED.format("${CURL(http://intranet/text)}"), "Set(T=${CURL(http://intranet/text)})"),
    "a name that is made": ("${T${n}}", ENCODED.format("${T${n}}"), "Set(T1=a%20b)", "Set(n=1)"),
    "a file": ("${T}", MAY_SET.format(5), "ReadFile(T=/etc/text,300)"),
    "an AGI program that is given the name": ("${T}", MAY_SET.format(6), "Set(T=x)", "AGI(text.agi,T)"),
    "set by nobody here": ("${T}", "nothing in these files sets ${T}, and it may come encoded"),
    "encoded on one way, a caller's on another": (
        "${T}", "${T} holds an encoded text", "Set(T=a%20b)", "ExecIf(${X}?Set(T=${CALLERID(name)}))"),
    "encoded, with a bracket": ("${T}", "${T} holds an encoded text", "Set(T=a%20:)%20b)"),
    "changed since another was made of it": (
        "${V}", "${V} holds an encoded text", "Set(T=a%20b)", "Set(V=${T})", "Set(T=100% c)"),
    "made of many others": (
        "${V0}", "its values stand in each other too deep to be followed", *(f"Set(V{n}=${{V{n + 1}}}x)" for n in range(999))),
}  # fmt: skip
BY_HAND: dict[str, tuple[str, ...]] = {
    **{name: (lines(USER, *above, curl(f"{N}&message={text}")), reason, NUMBER, f"Set(SMS_MESSAGE={text})", CALL)
       for name, (text, reason, *above) in TEXTS.items()},
    "arguments of a Gosub": (
        f"{lines(USER, 'Gosub(sms,s,1(%2B39333123456,Please%20call))')}[sms]\n{BY_ARGUMENTS}",
        "${ARG2} comes with a Gosub() or Macro(), perhaps encoded", "Set(SMS_NUMBER=${ARG1})", "Set(SMS_MESSAGE=${ARG2})", CALL),
    "arguments of a Macro": (
        f"{lines(USER, 'Macro(sms,0039333123456,Call+back+102)')}[macro-sms]\n{BY_ARGUMENTS}",
        "comes with a Gosub() or Macro()", "Set(SMS_NUMBER=${ARG1})", "Set(SMS_MESSAGE=${ARG2})", CALL),
    "ARRAY": (
        lines(USER, r"Set(ARRAY(nr,txt)=%2B39333123456\,Hi%20you)", curl("number=${nr}&message=${txt}")),
        "what ${txt} holds cannot be seen: line 5 of extensions.conf may set it, too", "Set(SMS_NUMBER=${nr})", "Set(SMS_MESSAGE=${txt})", CALL),
    # What a shell reads first.
    "commands in a command": (
        lines(shell('--data-urlencode "number=$(cat /etc/oncall)" --data-urlencode "message=on $HOSTNAME"')),
        "the shell reads", "Set(SMS_NUMBER=<number>)", "Set(SMS_MESSAGE=<text>)", CALL),
    "backquotes": (lines(shell(f'-d "{N}&message=`date`"')), "the shell reads"),
    "a password out of a file": (lines(shell(f"-d '{HI}'", '"101:$(cat f)"')), "the shell reads"),
    "a pattern": (lines(shell(f"-d {N} -d message=*")), "the shell reads"),
    "in a variable": (
        lines("Set(T=on $(hostname))", shell('--data-urlencode "number=+391" --data-urlencode "message=${T}"')),
        "${T} holds what the shell reads first", "Set(SMS_NUMBER=+391)", "Set(SMS_MESSAGE=${T})", CALL),
    "an answer in a file": (
        lines("Set(F=/tmp/x)", shell(f'-o ${{F}} -d "{HI}"'), 'GotoIf($["${FILE(${F})}" =~ "Success"]?x)'),
        "a curl command is not converted with -o"),
    "a status": (lines(shell(f'-w "%{{http_code}}" -d "{HI}"')), "is not converted with -w"),
    "tried again": (lines(shell(f'--retry 3 -d "{HI}"')), "is not converted with --retry"),
    "an empty word": (lines(shell(f"'' -d '{HI}'")), "is not converted with another word"),
    "in the background": (
        lines(shell(f'-d "{HI}" >/dev/null 2>&1 &')),
        "it did not wait for the answer (&)", NUMBER, "Set(SMS_MESSAGE=hi)", "Set(SMS_MODE=queue)", CALL),
    "within another command": (lines(f"System(nohup curl -u 101:x {URL} -d '{HI}')"), "not known"),
    "in another application": (lines(f"ExecIf($[1]?System(curl -u 101:x {URL} -d '{HI}'))"), "not known"),
    "by another channel": (lines(f"Originate(Local/s@x,app,System,curl -u 101:x {URL} -d '{HI}')"), "not known"),
    "wget": (lines(f'Set(r=${{SHELL(wget -qO- --user=101 --password=sms101api "{URL}?{HI}")}})'), "not known"),
    "an answer that nobody sees": (lines(f"Set(r=${{SHELL(curl -u 101:x {URL} -d '{HI}' >/dev/null)}})"), "goes to /dev/null"),
    "an answer that is thrown away": (lines(f"Set(r=${{SHELL(curl -o /dev/null -u 101:x {URL} -d '{HI}')}})"), "goes to /dev/null"),
    # Who sends, and what is sent, on one way of several.
    "a login on each way": (
        f"{lines('GotoIf(${X}?b)', USER, 'Goto(s)')} same => n(b),{USER.replace('101:', '102:')}\n same => n(s),{ONE}\n",
        "several CURLOPT(userpwd) may say who sends", *NEW),
    "a login that means another on each way": (
        f"{lines('Set(U=102:y)', 'Set(CURLOPT(userpwd)=${U})', 'Goto(2,1)')}"
        f"{lines('Set(U=103:z)', 'Set(CURLOPT(userpwd)=${U})', 'Goto(1)', exten='3')}{lines(ONE, exten='2')}",
        "several CURLOPT(userpwd) may say who sends", *NEW),
    "a request on each way": (
        f"{lines(USER, 'GotoIf(${X}?b)', f'Set(B={N}&message=a)', 'Goto(s)')} same => n(b),Set(B={N}&message=b)\n"
        f" same => n(s),Set(r=${{CURL({URL},${{B}})}})\n",
        "the request stands in ${B}: write it into CURL()"),
    "another way to log in": (
        f"{lines('Set(CURLOPT(httpheader)=Authorization: Basic MTAyOmI=)', ONE)}{lines(USER, 'Hangup()', exten='2')}",
        "CURLOPT(httpheader) above it has no counterpart in sms.conf", *NEW),
    "an answer that looks different": (lines(USER, "Set(CURLOPT(hashcompat)=yes)", ONE), "CURLOPT(hashcompat) above it", *NEW),
    "an address that nobody knows": (lines(USER, f"Set(r=${{CURL(${{PBX}}/${{PATH}},{HI})}})"), "the URL ${PBX}/${PATH} cannot be resolved"),
    "evaluated later": (lines(USER, f"Set(T=\\${{CURL({URL},{HI})}})", "Set(r=${EVAL(${T})})"), "no certain replacement"),
    "on a condition": (
        lines(USER, f"ExecIf(${{X}}?{curl(f'{N}&message=${{T}}')})"), "nothing in these files sets ${T}",
        NUMBER, "Set(SMS_MESSAGE=${T})", "Set(SMS_STATUS=)", "GosubIf(${X}?sub-sms,s,1)"),
    "run by Exec": (lines(USER, f"Exec(Set(r=${{CURL({URL},{HI})}}))"), "no certain replacement"),
}  # fmt: skip


@pytest.mark.parametrize("case", BY_HAND.values(), ids=BY_HAND)
def test_it_is_named_with_the_lines_to_put_there(site: Site, case: tuple[str, ...]) -> None:
    text, reason, *by_hand = case
    old = f"[a]\n{text}"
    site.keeps(old, reason)
    (number,) = [n for n, line in enumerate(old.splitlines(), 3) if _sends(line)]
    told = site.stderr.partition(f"extensions.conf:{number}: ")[2].splitlines()
    assert reason in told[0], site.stderr
    given = [line.strip() for line in told[1:] if line.startswith("    ")]
    by_hand = by_hand or [CALL]
    assert given[-len(by_hand) :] == by_hand


def _sends(line: str) -> bool:
    runs = any(word in line for word in ("CURL(", "curl ", "wget "))
    return runs and ("number=" in line or "${B}" in line)


@pytest.mark.parametrize("header", ["[y](!)", "[y](x)", "[y]"])
def test_no_detour_in_a_template(site: Site, header: str) -> None:
    numbers = f"{header}\nexten => 1,1,{USER}\nexten => 1,2,{ONE}\nexten => 1,3,Hangup()\n"
    heir = "" if "(" in header else "[z](y)\nexten => 1,n,NoOp()\n"
    site.keeps(numbers + heir, ":5: its context is a template or made from one, and numbers of")
    assert CALL in site.convert(numbers.replace(",2,", ",n,").replace(",3,", ",n,") + heir)


@pytest.mark.parametrize(
    "own",
    ["Set(SMS_SENDER=Reception)", "Set(gsm=trunk1)", "Set(SMS_MODE=alarm)", "Set(__SMS_KEY=door)",
     "Set(GLOBAL(SMS_GSM)=x)", "Set(SMS_ID=${UNIQUEID})", "MSet(a=1,SMS_STATUS=new)",
     "Read(SMS_KEY,beep)", "ExecIf($[1]?Set(SMS_MODE=x))", "Set(ARRAY(SMS_KEY,b)=1)"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_variable_of_their_own_that_would_be_ours(site: Site, own: str, where: str) -> None:
    here = [own] if where == "here" else []
    there = lines(own, "Goto(a,1,1)", exten="2") if where == "elsewhere" else ""
    text = f"[a]\n{lines(USER, *here, ONE)}{there}"
    line = next(n for n, each in enumerate(text.splitlines(), 3) if own in each)
    site.keeps(text, f"line {line} of extensions.conf sets ")
    assert "which sms.agi takes for its own from now on: give yours another name" in site.stderr
    assert f"    {NUMBER}\n" in site.stderr


@pytest.mark.parametrize(
    ("name", "call"), [("GOSUB_RETVAL", "Gosub(x,s,1)"), ("AGISTATUS", "AGI(x.agi)")]
)
def test_what_another_has_left_is_not_overwritten(site: Site, name: str, call: str) -> None:
    reads = f"NoOp(${{{name}}})"
    told = f":6: line 7 of extensions.conf reads {name}, which the new lines set"
    site.keeps(steps(USER, call, ONE, reads), told)
    assert CALL in site.convert(steps(USER, call, reads, ONE))


@pytest.mark.parametrize(
    "use", ["Gosub(send,s,1(${API}))", "Set(HASH(a,b)=${API})", "AGI(x.agi,${API})"]
)
def test_what_hands_the_address_on_is_named(site: Site, use: str) -> None:
    site.convert(f"[globals]\nAPI={URL}\n[a]\n{lines(use, 'NoOp(${API})')}")
    assert site.stderr.count("extensions.conf:6: ") == 1
    assert "0 converted, 1 to see to by hand." in site.stderr


@pytest.mark.parametrize("address", ["http://127.0.0.1/send", "${OTHER}/send", "${OTHER}"])
def test_another_api_is_not_ours(site: Site, address: str) -> None:
    site.convert(f"[globals]\nOTHER=http://127.0.0.1\n[a]\n{lines(curl(HI, address))}")
    assert site.stderr == "No use of the SMS API is left.\n"
