"""What ``dialplan-sms migrate`` does not understand wholly is named with what to put there."""

import pytest

from tests.unit.cli.test_migrate import ONE, TEST, URL, USER, Site, curl, site

__all__ = ["site"]

N = "number=%2B39333123456"
HI = f"{N}&message=hi"
CALL = "Gosub(sub-sms,s,1)"
NUMBER = "Set(SMS_NUMBER=+39333123456)"


def lines(*apps: str, exten: str = "1") -> str:
    first, *rest = apps
    return "".join([f"exten => {exten},1,{first}\n", *(f" same => n,{app}\n" for app in rest)])


def shell(rest: str, login: str = "101:x") -> str:
    return f"System(curl -u {login} {URL} {rest})"


def context(name: str, *apps: str) -> str:
    return f"[{name}]\n{lines(*apps, exten='s')}"


BY_ARGUMENTS = curl("number=${ARG1}&message=${ARG2}")
BY_HAND = {
    # Values of which nobody can say how they come.
    "arguments of a Gosub": (
        f"{lines(USER, 'Gosub(sms,s,1(%2B39333123456,Please%20call))')}{context('sms', BY_ARGUMENTS)}",
        "${ARG2} comes with a Gosub() or Macro(), perhaps encoded",
        ("Set(SMS_NUMBER=${ARG1})", "Set(SMS_MESSAGE=${ARG2})", CALL),
    ),
    "arguments of a Macro": (
        f"{lines(USER, 'Macro(sms,0039333123456,Call+back+102)')}{context('macro-sms', BY_ARGUMENTS)}",
        "comes with a Gosub() or Macro()", ("Set(SMS_NUMBER=${ARG1})", "Set(SMS_MESSAGE=${ARG2})", CALL)),
    "ARRAY": (
        lines(USER, r"Set(ARRAY(nr,txt)=%2B39333123456\,Hi%20you)", curl("number=${nr}&message=${txt}")),
        "what ${txt} holds cannot be seen: line 5 of extensions.conf may set it, too",
        ("Set(SMS_NUMBER=${nr})", "Set(SMS_MESSAGE=${txt})", CALL),
    ),
    "DB": (
        lines(USER, "Set(DB(sms/text)=Hello%20World)", curl(f"{N}&message=${{DB(sms/text)}}")),
        "whether ${DB(sms/text)} comes encoded cannot be seen",
        (NUMBER, "Set(SMS_MESSAGE=${DB(sms/text)})", CALL),
    ),
    "HASH": (
        lines(USER, "Set(HASH(sms,text)=Hi%20you)", curl(f"{N}&message=${{HASH(sms,text)}}")),
        "whether ${HASH(sms,text)} comes encoded cannot be seen",
        (NUMBER, "Set(SMS_MESSAGE=${HASH(sms,text)})", CALL),
    ),
    "a database": (
        lines(USER, "Set(T=${ODBC_TEXT(1)})", curl(f"{N}&message=${{T}}")),
        "whether ${ODBC_TEXT(1)} comes encoded cannot be seen", (NUMBER, "Set(SMS_MESSAGE=${T})", CALL)),
    "another server": (
        lines(USER, "Set(T=${CURL(http://intranet/text)})", curl(f"{N}&message=${{T}}")),
        "whether ${CURL(http://intranet/text)} comes encoded cannot be seen",
        (NUMBER, "Set(SMS_MESSAGE=${T})", CALL),
    ),
    "a file": (
        lines(USER, "ReadFile(T=/etc/text,300)", curl(f"{N}&message=${{T}}")),
        "what ${T} holds cannot be seen: line 5 of extensions.conf may set it, too",
        (NUMBER, "Set(SMS_MESSAGE=${T})", CALL),
    ),
    "an AGI program that is given the name": (
        lines(USER, "Set(T=x)", "AGI(text.agi,T)", curl(f"{N}&message=${{T}}")),
        "what ${T} holds cannot be seen: line 6 of extensions.conf may set it, too",
        (NUMBER, "Set(SMS_MESSAGE=${T})", CALL),
    ),
    "set by nobody here": (
        lines(USER, curl(f"{N}&message=${{T}}")),
        "nothing in these files sets ${T}, and it may come encoded", (NUMBER, "Set(SMS_MESSAGE=${T})", CALL)),
    "encoded on one way, a caller's on another": (
        lines(USER, "Set(T=a%20b)", "ExecIf(${X}?Set(T=${CALLERID(name)}))", curl(f"{N}&message=${{T}}")),
        "${T} holds an encoded text", (NUMBER, "Set(SMS_MESSAGE=${T})", CALL)),
    "encoded, with a bracket": (
        lines(USER, "Set(T=a%20:)%20b)", curl(f"{N}&message=${{T}}")),
        "${T} holds an encoded text", (NUMBER, "Set(SMS_MESSAGE=${T})", CALL)),
    "changed since another was made of it": (
        lines(USER, "Set(T=a%20b)", "Set(V=${T})", "Set(T=100% c)", curl(f"{N}&message=${{V}}")),
        "${V} holds an encoded text", (NUMBER, "Set(SMS_MESSAGE=${V})", CALL)),
    "made of many others": (
        lines(USER, *(f"Set(V{n}=${{V{n + 1}}}x)" for n in range(999)), curl(f"{N}&message=${{V0}}")),
        "its values stand in each other too deep to be followed", (NUMBER, "Set(SMS_MESSAGE=${V0})", CALL)),
    "a name that is made": (
        lines(USER, "Set(T1=a%20b)", "Set(n=1)", curl(f"{N}&message=${{T${{n}}}}")),
        "whether ${T${n}} comes encoded cannot be seen", (NUMBER, "Set(SMS_MESSAGE=${T${n}})", CALL)),
    # What a shell reads first.
    "commands in a command": (
        lines(shell('--data-urlencode "number=$(cat /etc/oncall)" --data-urlencode "message=on $HOSTNAME"')),
        "the shell reads", ("Set(SMS_NUMBER=<number>)", "Set(SMS_MESSAGE=<text>)", CALL)),
    "backquotes": (lines(shell(f'-d "{N}&message=`date`"')), "the shell reads", (CALL,)),
    "a password out of a file": (lines(shell(f"-d '{HI}'", '"101:$(cat f)"')), "the shell reads", (CALL,)),
    "a pattern": (lines(shell(f"-d {N} -d message=*")), "the shell reads", (CALL,)),
    "in a variable": (
        lines("Set(T=on $(hostname))", shell('--data-urlencode "number=+391" --data-urlencode "message=${T}"')),
        "${T} holds what the shell reads first", ("Set(SMS_NUMBER=+391)", "Set(SMS_MESSAGE=${T})", CALL)),
    "an answer in a file": (
        lines("Set(F=/tmp/x)", shell(f'-o ${{F}} -d "{HI}"'), 'GotoIf($["${FILE(${F})}" =~ "Success"]?x)'),
        "a curl command is not converted with -o", (CALL,)),
    "a status": (lines(shell(f'-w "%{{http_code}}" -d "{HI}"')), "is not converted with -w", (CALL,)),
    "tried again": (lines(shell(f'--retry 3 -d "{HI}"')), "is not converted with --retry", (CALL,)),
    "an empty word": (lines(shell(f"'' -d '{HI}'")), "is not converted with another word", (CALL,)),
    "in the background": (
        lines(shell(f'-d "{HI}" >/dev/null 2>&1 &')),
        "it did not wait for the answer (&)", (NUMBER, "Set(SMS_MESSAGE=hi)", "Set(SMS_MODE=queue)", CALL)),
    "within another command": (lines(f"System(nohup curl -u 101:x {URL} -d '{HI}')"), "not known", (CALL,)),
    "in another application": (lines(f"ExecIf($[1]?System(curl -u 101:x {URL} -d '{HI}'))"), "not known", (CALL,)),
    "by another channel": (
        lines(f"Originate(Local/s@x,app,System,curl -u 101:x {URL} -d '{HI}')"), "not known", (CALL,)
    ),
    "wget": (
        lines(f'Set(r=${{SHELL(wget -qO- --user=101 --password=sms101api "{URL}?{HI}")}})'), "not known", (CALL,)
    ),
    "an answer that nobody sees": (
        lines(f"Set(r=${{SHELL(curl -u 101:x {URL} -d '{HI}' >/dev/null)}})"), "goes to /dev/null", (CALL,)
    ),
    "an answer that is thrown away": (
        lines(f"Set(r=${{SHELL(curl -o /dev/null -u 101:x {URL} -d '{HI}')}})"), "goes to /dev/null", (CALL,)
    ),
    # Who sends, and what is sent, on one way of several.
    "a login on each way": (
        f"{lines('GotoIf(${X}?b)', USER, 'Goto(s)')} same => n(b),{USER.replace('101:', '102:')}\n"
        f" same => n(s),{ONE}\n",
        "several CURLOPT(userpwd) may say who sends", (NUMBER, "Set(SMS_MESSAGE=Hello)", CALL)),
    "a login that means another on each way": (
        f"{lines('Set(U=102:y)', 'Set(CURLOPT(userpwd)=${U})', 'Goto(2,1)')}"
        f"{lines('Set(U=103:z)', 'Set(CURLOPT(userpwd)=${U})', 'Goto(1)', exten='3')}{lines(ONE, exten='2')}",
        "several CURLOPT(userpwd) may say who sends", (NUMBER, "Set(SMS_MESSAGE=Hello)", CALL)),
    "a request on each way": (
        f"{lines(USER, 'GotoIf(${X}?b)', f'Set(B={N}&message=a)', 'Goto(s)')} same => n(b),Set(B={N}&message=b)\n"
        f" same => n(s),Set(r=${{CURL({URL},${{B}})}})\n",
        "the request stands in ${B}: write it into CURL()", (CALL,)),
    "another way to log in": (
        f"{lines('Set(CURLOPT(httpheader)=Authorization: Basic MTAyOmI=)', ONE)}{lines(USER, 'Hangup()', exten='2')}",
        "CURLOPT(httpheader) above it has no counterpart in sms.conf",
        (NUMBER, "Set(SMS_MESSAGE=Hello)", CALL),
    ),
    "an answer that looks different": (
        lines(USER, "Set(CURLOPT(hashcompat)=yes)", ONE), "CURLOPT(hashcompat) above it", (NUMBER, "Set(SMS_MESSAGE=Hello)", CALL)
    ),
    "an address that nobody knows": (
        lines(USER, f"Set(r=${{CURL(${{PBX}}/${{PATH}},{HI})}})"),
        "the URL ${PBX}/${PATH} cannot be resolved", (CALL,)),
    "evaluated later": (
        lines(USER, f"Set(T=\\${{CURL({URL},{HI})}})", "Set(r=${EVAL(${T})})"), "no certain replacement", (CALL,)
    ),
    "on a condition": (
        lines(USER, f"ExecIf(${{X}}?{curl(f'{N}&message=${{T}}')})"),
        "nothing in these files sets ${T}",
        (NUMBER, "Set(SMS_MESSAGE=${T})", "Set(SMS_STATUS=)", "GosubIf(${X}?sub-sms,s,1)"),
    ),
    "run by Exec": (lines(USER, f"Exec(Set(r=${{CURL({URL},{HI})}}))"), "no certain replacement", (CALL,)),
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason", "by_hand"), BY_HAND.values(), ids=BY_HAND)
def test_it_is_named_with_the_lines_to_put_there(
    site: Site, text: str, reason: str, by_hand: tuple[str, ...]
) -> None:
    old = f"[a]\n{text}"
    site.keeps(old, reason)
    (number,) = [n for n, line in enumerate(old.splitlines(), 3) if _sends(line)]
    told = site.stderr.partition(f"extensions.conf:{number}: ")[2].splitlines()
    assert reason in told[0], site.stderr
    given = [line.strip() for line in told[1:] if line.startswith("    ")]
    assert given[-len(by_hand) :] == list(by_hand)
    assert "sms101api" not in site.stdout + site.stderr
    assert site.status == 1


def _sends(line: str) -> bool:
    runs = any(word in line for word in ("CURL(", "curl ", "wget "))
    return runs and ("number=" in line or "${B}" in line)


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


@pytest.mark.parametrize("name", ["GOSUB_RETVAL", "AGISTATUS"])
def test_what_another_subroutine_has_left_is_not_overwritten(site: Site, name: str) -> None:
    call = "Gosub(x,s,1)" if name[0] == "G" else "AGI(x.agi)"
    text = f"[a]\n{lines(USER, call, ONE, f'NoOp(${{{name}}})')}"
    site.keeps(text, f":6: line 7 of extensions.conf reads {name}, which the new lines set")
    text = f"[a]\n{lines(USER, call, f'NoOp(${{{name}}})', ONE)}"
    assert CALL in site.convert(text)


@pytest.mark.parametrize(
    "rest",
    [lines(USER, "Set(gsm=9c7514330001)", curl(f"{HI}&gsm=${{gsm}}")),
     lines(USER, "NoOp(${SMS_STATUS})", ONE),
     f"{lines(USER, ONE)}{lines('Set(SMS_MODE=queue)', 'Set(SMS_NUMBER=+391)', CALL, exten='2')}"],
)  # fmt: skip
def test_what_is_ours_already_or_does_no_harm(site: Site, rest: str) -> None:
    assert CALL in site.convert(f"[a]\n{rest}")
    assert site.status == 0, site.stderr


@pytest.mark.parametrize(
    ("before", "asks"),
    [
        (f"[globals]\nAPI={URL}\n", f"Set(r=${{CURL(${{API}}?{HI})}})"),
        ("[globals]\nBASE=http://127.0.0.1/api/v1\n", f"Set(r=${{CURL(${{BASE}}/originate/sms,{HI})}})"),
        ("", f"Set(URL={URL}?{HI})\n same => n,Set(r=${{CURL(${{URL}})}})"),
    ],
)  # fmt: skip
def test_an_address_in_a_variable_is_found(site: Site, before: str, asks: str) -> None:
    new = site.convert(f"{before}[a]\n{lines(USER, asks)}")
    assert f"{NUMBER}\n same => n,Set(SMS_MESSAGE=hi)\n same => n,{CALL}\n" in new
    assert site.status == 0, site.stderr


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


def test_a_line_that_is_none_is_named(site: Site) -> None:
    told = "extensions.conf:4: not a line that can be read\n    Set(SMS_NUMBER=<number>)\n"
    site.keeps(f"[a]\nexten > 1,1,{ONE}\n", told)


@pytest.mark.parametrize("end", ["", " 2>/dev/null"])
def test_shell_is_converted_as_system_is(site: Site, end: str) -> None:
    asks = f'Set(res=${{SHELL(curl -s -u 101:sms101api {URL} -d "{HI}"{end})}})'
    new = site.convert(f"[a]\n{lines(asks, TEST)}")
    assert new.endswith(f'{CALL}\n same => n,GotoIf($["${{SMS_STATUS}}" = "SUCCESS"]?x)\n')
    assert site.status == 0, site.stderr
