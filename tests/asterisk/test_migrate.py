"""Old dialplan lines, converted by ``dialplan-sms migrate``, send what their authors meant."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dialplan_sms.sandbox import Sandbox
from tests.asterisk.site import Site

ROOT = Path(__file__).parents[2]
SECOND_PASSWORD = 'p;w:"x, y)'
ONE, TWO = "+39333123456", "+33611121314"
A = "9c7514330001"
USER = "Set(CURLOPT(userpwd)=101:sms101api)"
OTHER = f"Set(CURLOPT(userpwd)=102:{SECOND_PASSWORD.replace(';', chr(92) + ';')})"
QUOTED = """say "hi" and 'bye' in C:\\x\\"""
API = "{https}/api/v1/originate/sms"


@dataclass(frozen=True)
class Old:
    """Old lines, and what their author meant.

    One line each is an application; lines that hold ``exten`` are taken as they are. ``@`` is the
    extension, and ``{https}``, ``{http}`` are the two PBXs.
    """

    lines: str
    text: str
    numbers: tuple[str, ...] = (ONE,)
    gsm: str = ""
    user: str = "101"
    postpone: str = ""
    dial: str = ""
    shows: str = ""  # what the variable RESULT holds after it
    status: str = "SUCCESS"

    def dialplan(self, extension: str) -> str:
        lines = [line.strip() for line in self.lines.strip().splitlines()]
        if not any(line.startswith("exten") for line in lines):
            lines = [f"exten => @,1,{lines[0]}", *(f" same => n,{line}" for line in lines[1:])]
        return "\n".join(lines).replace("@", extension) + "\n"


def asks(request: str) -> str:
    return f"Set(res=${{CURL({request})}})"


def says(
    message: str, text: str = "", rest: str = "&number=%2B39333123456", before: str = "",
    url: str = API, **meant: Any,
) -> Old:  # fmt: skip
    """The line of the vendor's page, with this message and the *rest* of the request."""
    line = f"Set(message=${{CURL({url}, message={message}{rest})}});"
    return Old(f"{before}\n{USER}\n{line}", text or message, **meant)


OLD = {
    # As the vendor's page has them.
    "the page's": says("the message body"),
    "the page's, with a gateway": says(
        "the messagebody", rest="&number=%2B33611121314&gsm=9c7514330001", numbers=(TWO,), gsm=A
    ),
    "the oldest page's path": says("old path", url="{https}/api/v1/orginate/sms"),
    "from the shell": Old(
        "System(curl -k -X POST -u 101:sms101api --url \"{https}/api/v1/originate/sms\""
        " --data-urlencode \"number=+39333123456\" --data-urlencode \"message=This API is awesome\""
        " --data-urlencode \"gsm=9c7514330001\")",
        "This API is awesome", gsm=A,
    ),
    # As admins write them.
    "no space, no semicolon": Old(f"{USER}\n{asks(f'{API},number=%2B39333123456&message=Number first')}", "Number first"),
    "a plus in the number": says("plus", rest="&number=+39333123456"),
    "two numbers": says("both", rest="&number=%2B39333123456%2C%2B33611121314", numbers=(ONE, TWO)),
    "two numbers, commas": says("both, at once", rest="&number=%2B39333123456,%2B33611121314", numbers=(ONE, TWO)),
    "encoded by hand": says("Back%20at%2015%3A00%2C+not%20before%21", "Back at 15:00, not before!"),
    "encoded accents and a newline": says("Perch%C3%A9+no%3F%0AS%C3%AC%3B+certo", "Perché no?\nSì; certo"),
    "CURL lost the number": says("Hi :) meet at 10:30"),
    "CURL made spaces": says("1+1 is 2, C++ too"),
    "CURL cut at &": says("Bed & breakfast at Tom&Jo"),
    "CURL read 100%41": says("100%41 and 20%de and 50% off"),
    "an escaped semicolon": says("Closed\\; back at 9", "Closed; back at 9"),
    "quotes and backslashes": says(QUOTED),
    "an address with a query": says("See http://example.com/?a=1&b=2#c"),
    "a variable": says(
        "${TEXT}", 'Table 4, "Harbour" :) at 8:30', "&number=${TO}", 'Set(TEXT=Table 4, "Harbour" :) at 8:30)'
    ),
    "URIENCODE": says(
        "${URIENCODE(${TEXT})}", "Hi :) a&b at 10:30", "&number=${URIENCODE(${TO})}", "Set(TEXT=Hi :) a&b at 10:30)"
    ),
    "nested functions": says(
        "Call from ${CALLERID(name)} on ${EXTEN:0:1}${IF($[1 > 0]?x:y)}",
        'Call from Jo, "the boss" on 1x', "&number=%2B39${CUT(NUMBERS,-,2)}",
    ),
    "digits of the caller": says("cut out", rest="&number=${CUT(LIST,-,2)}", before="Set(LIST=x-${TO}-y)"),
    "the whole request in a variable": Old(
        f"{USER}\nSet(REQUEST={API}?message=all%20in one&number=%2B39333123456)\n{asks('${REQUEST}')}", "all in one"
    ),
    "the address in a global": Old(f"{USER}\n{asks('${SMS_URL}?message=by%20global&number=%2B39333123456')}", "by global"),
    "set on both ways": says(
        "${TEXT}", "Hi you", before="GotoIf($[1 > 2]?4)\nSet(TEXT=Hi%20you)\nGoto(5)\nSet(TEXT=Hi%20all)"
    ),
    "an encoded number in a variable": says("coded", rest="&number=${CODED}", before="Set(CODED=%2B39333123456)"),
    "encoded in globals": says("${GLOBAL(WORDS):0:12}", "Hi from, all", "&number=${GLOBAL(ALERT)}"),
    "encoded by MSet": says("${MANY:0:200}", "Hi you, there", before="MSet(A=1,MANY=Hi%20you%2C there)"),
    "the body in a variable": Old(
        f"Set(BODY=message=in a variable&number=%2B39333123456)\n{USER}\n{asks(f'{API},${{BODY}}')}", "in a variable"
    ),
    "the PBX in a global": says("by global", url="${PBX}/api/v1/originate/sms"),
    "as a GET": Old(f"{USER}\n{asks(f'{API}?message=Hello%20you,+there&number=%2B39333123456')}", "Hello you, there"),
    "user in the URL": Old(
        asks("{http102}/api/v1/originate/sms,message=by 102&number=%2B39333123456"), "by 102", user="102"
    ),
    "another PBX by http": Old(
        f"{OTHER}\n{asks('{http}/api/v1/originate/sms,message=http&number=%2B39333123456')}", "http", user="102"
    ),
    "later": says(
        "later", rest="&number=%2B39333123456&postpone=14/07/2999+15:35", postpone="14/07/2999 15:35"
    ),
    "timeouts": says("in time", before="Set(CURLOPT(httptimeout)=10)\nSet(CURLOPT(conntimeout)=5)"),
    "numbers for priorities": Old(
        f"""exten => @,1,NoOp(x)
        exten => @,2,{USER}
        exten => @,3(send),Set(res=${{CURL({API},message=by number ${{EXTEN:0:1}}&number=%2B39333123456)}})
        exten => @,4,GotoIf($["${{res}}" = ""]?7)
        exten => @,5,Set(RESULT=good)
        exten => @,6,Hangup()
        exten => @,7,Set(RESULT=bad)""",
        "by number 1", shows="good",
    ),
    "a label that is jumped to": Old(
        f"""exten => @,1,Goto(send)
        exten => @,n,Hangup()
        exten => @,n(send),{USER}
        exten => @,n,Set(res=${{CURL({API},message=by label&number=%2B39333123456)}})
        exten => @,n,Set(RESULT=good)""",
        "by label", shows="good",
    ),
    "a pattern": Old(
        f"""exten => _@X!,1,{USER}
        exten => _@X!,n,Set(res=${{CURL({API},message=to ${{EXTEN}}&number=%2B39333123456)}})
        exten => _@X!,n,Set(RESULT=${{EXTEN}})""",
        "to @77", dial="@77", shows="@77",
    ),
    "not if": Old(
        f"""{USER}
        Set(a=${{CURL({API},message=first&number=%2B39333123456)}})
        GotoIf($["${{a}}" = ""]?6)
        ExecIf($[1 > 2]?Set(b=${{CURL({API},message=second&number=%2B39333123456)}}))
        Set(RESULT=${{IF($["${{b}}" = ""]?good:bad)}}${{SMS_STATUS}})
        NoOp(end)""",
        "first", shows="good", status="",
    ),
    "tested at once": Old(
        f"""{USER}
        GotoIf($["${{CURL({API},message=at once&number=%2B39333123456)}}" =~ "Success"]?4)
        Hangup()
        Set(RESULT=good)""",
        "at once", shows="good",
    ),
    "from the shell, shorter": Old(
        f"""TrySystem(curl -sk -u 101:sms101api {API} -d "message=Hi%20${{EXTEN}}" -d number=%2B39333123456 > /dev/null 2>&1)
        GotoIf($["${{SYSTEMSTATUS}}" = "SUCCESS"]?4)
        Hangup()
        Set(RESULT=good)""",
        "Hi @", shows="good",
    ),
    "an apostrophe from the shell": Old(
        f"""System(curl -G --user "101:sms101api" '{API}' --data-urlencode number=+39333123456 --data-urlencode "message=It's 100%25\\; a+b")""",
        "It's 100%25; a+b",
    ),
    "shown at once": Old(f"{USER}\nNoOp(${{CURL({API},message=shown&number=%2B39333123456)}})", "shown"),
}  # fmt: skip


@pytest.fixture(scope="module")
def second() -> Iterator[Sandbox]:
    with Sandbox(tls=False, users={"102": SECOND_PASSWORD}) as sandbox:
        yield sandbox


def filled(text: str, first: Sandbox, second: Sandbox) -> str:
    login = second.url.replace("//", f"//102:{quote(SECOND_PASSWORD, safe='')}@")
    for name, url in (("https", first.url), ("http102", login), ("http", second.url)):
        text = text.replace(f"{{{name}}}", url)
    return text


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.prefix) / "bin/dialplan-sms", "migrate", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip


def test_old_lines_send_what_was_meant(site: Site, second: Sandbox, tmp_path: Path) -> None:
    cases = {str(100 + number): old for number, old in enumerate(OLD.values())}
    head = (
        "[globals]\nPBX = {https}\nSMS_URL = {https}/api/v1/originate/sms\nTO = +39333123456\nNUMBERS = a-333123456-b\nALERT=%2B39333123456\nWORDS=Hi%20from%2C%20all%20globals\n#include extensions-sms.conf\n[test]\n"
        "exten => insecure,1,Set(CURLOPT(ssl_verifypeer)=0)\n"
    )
    written = head + "".join(old.dialplan(extension) for extension, old in cases.items())
    shutil.copy(ROOT / "dialplan/extensions-sms.conf", tmp_path)
    file = tmp_path / "extensions.conf"
    file.write_text(filled(written, site.sandbox, second))
    done = run(file, "--config", tmp_path / "sms.conf", "--write")
    assert done.returncode == 0, done.stdout + done.stderr
    new = file.read_text()
    assert "CURL" not in new
    assert "sms101api" not in new + done.stdout + done.stderr
    site.configure((tmp_path / "sms.conf").read_text())
    site.asterisk.set_dialplan(new.replace("#include extensions-sms.conf\n", ""))
    for extension, old in cases.items():
        site.sandbox.clear()
        second.clear()
        call = site.asterisk.call(
            old.dial.replace("@", extension) or extension,
            variables={"message": "not this"},
            caller_id='Jo, "the boss" <5>',
            ask=["RESULT"],
        )
        assert call.variables["SMS_STATUS"] == old.status, (old, call.variables)
        taken = site.messages + second.messages
        assert [(m.numbers, m.original, m.user) for m in taken] == [
            (old.numbers, old.text.replace("@", extension), old.user)
        ]
        (request,) = site.sandbox.requests + second.requests
        sent = dict(request.pairs)
        assert (sent.get("gsm", ""), sent.get("postpone", "")) == (old.gsm, old.postpone)
        assert call.variables["RESULT"] == old.shows.replace("@", extension), old


def test_pasted_fields_send_what_was_meant(site: Site, tmp_path: Path) -> None:
    conf = tmp_path / "sms.conf"
    old = OLD["quotes and backslashes"]
    lines = ["Set(CURLOPT(ssl_verifypeer)=0)", *old.lines.strip().splitlines()]
    pasted = (f"--text={filled(line, site.sandbox, site.sandbox)}" for line in lines)
    done = run(*pasted, "--config", conf, "--write")
    fields = [line for line in done.stdout.splitlines() if line[:3] in ("Set", "AGI")]
    assert done.returncode == 0, done.stderr
    site.configure(conf.read_text())
    site.dialplan("\n".join(fields))
    assert site.call().variables["SMS_STATUS"] == "SUCCESS"
    assert [message.original for message in site.messages] == [old.text]
