"""No password shows in what ``dialplan-sms migrate`` prints."""

import time

import pytest

from dialplan_sms.cli.migrate.report import MASK, Mask, basic
from tests.unit.cli.test_migrate import ONE, URL, USER, Site, site, steps

__all__ = ["site"]

LINES = r"""
Set(CURLOPT(userpwd)=101:SEC)RET)
Set(CURLOPT(proxyuserpwd)=p:SECRET)
Set(CURLOPT(cookie)=sid=SECRET)
; Set(CURLOPT(userpwd)=101:SECRET) ; visible
; Authorization: Bearer SECRETTOKEN99
; authorization :	Basic SECRET
Set(CURLOPT(httpheader)=Authorization: Basic SECRETNtczEwMWFwaQ==)
System(curl -u '101:SECRET SECRET' http://x/visible)
System(curl -u "101:SECRET SECRET" http://x/visible)
System(curl -u \"101:SECRET SECRET\" http://x/visible)
System(curl -u '101':'SECRET SECRET' http://x/visible)
System(curl -u '101:SECRET SECRET
System(curl -u101:SECRET http://x/visible)
System(curl -sSu101:SECRET http://x/visible)
System(curl -k -u	101:SECRET\;SECRET http://x/visible)
System(curl --user=101:SECRET http://x/visible)
System(curl --user "101:SECRET SECRET" http://x/visible)
System(curl --proxy-user 101:SECRET http://x/visible)
System(curl -u SECRETKEY: http://x/visible)
CURL(https://101:SECRET@x/visible)
CURL(https://101:SEC@RET@x/visible)
CURL(https://101:SEC/RET@x/visible)
CURL(https://101:SEC RET@x/visible)
Dial(IAX2/101:SECRET@peer/visible)
System(curl -H "Authorization: Bearer SECRET" http://x/visible)
System(curl -H 'Authorization:Bearer SECRET' http://x/visible)
System(curl -H "AUTHORIZATION:	Token SECRET" http://x/visible)
System(curl -H \"Authorization: Bearer SECRET\" http://x/visible)
System(curl -H Authorization:\ Bearer\ SECRET http://x)
System(curl -H Authorization:%20Bearer%20SECRET http://x)
System(curl -H "Proxy-Authorization: Basic SECRET" http://x)
Set(HASH(h,Authorization)=Bearer SECRET)
SIPAddHeader(Authorization: Digest username="x", response="SECRET")
{"Authorization": "Bearer SECRET"}
Set(H=Bearer SECRET)
System(curl -H "X-Api-Key: SECRET" http://x/visible)
System(curl -H 'X-Auth-Token: SECRET' http://x/visible)
System(curl -H 'Cookie: sid=SECRET' http://x/visible)
System(curl --oauth2-bearer SECRET http://x/visible)
System(curl --oauth2-bearer "SECRET" http://x/visible)
System(curl --pass SECRET http://x/visible)
System(wget --user=101 --password=SECRET http://x/visible)
System(wget --http-password "SECRET SECRET" http://x/visible)
Set(x=${CURL(http://x/visible?token=SECRET&number=1)})
Set(x=${CURL(http://x/a?a=1&password=SECRET,visible)})
Set(x=${CURL(http://x/visible?access_token=SECRET)})
Set(x=${CURL(http://x/visible?api_key=SECRET)})
System(curl -d 'token=SECRET' http://x/visible)
System(curl -d '{"token":"SECRET"}' http://x/visible)
System(curl -d "{\"password\": \"SECRET\"}" http://x/visible)
System(echo machine h login visible password SECRET > /root/.netrc)
machine h login u password SECRET
password = SECRET SECRET
token => SECRET
SMS_PASSWORD = SECRET SECRET
  ;password=SECRET
Set(GLOBAL(SMS_PASSWORD)=SEC)RET)
Set(API_TOKEN=SECRET)
System(MYSQL_PWD=SECRET mysql visible)
System(PGPASSWORD='SECRET SECRET' psql visible)
System(mysql -u root -pSECRET visible)
System(sshpass -p SECRET ssh visible)
Authenticate(SECRET)
""".strip().splitlines()
HARMLESS = r"""
 same => n,Set(SMS_MESSAGE=Hello, at 10:30 we're here)
 same => n,Set(SMS_MESSAGE=Authorization granted, basic things: a@b.it)
 same => n,Set(m=${CURL(http://127.0.0.1:8080/api/v1/originate/sms,message=Hi a@b.it&number=%2B39333)})
 same => n,Set(TOKEN=${CURL(http://h/x)})
 same => n,Dial(SIP/101,20,tT)
 same => n,System(date -u)
verify = sha256:CBB89
""".strip("\n").splitlines()


@pytest.mark.parametrize("line", LINES)
def test_each_way_to_write_a_password_is_known(line: str) -> None:
    shown = Mask()(line)
    assert MASK in shown
    assert "SEC" not in shown
    assert "RET" not in shown
    assert ("visible" in shown) == ("visible" in line)


@pytest.mark.parametrize("line", HARMLESS)
def test_what_is_no_password_shows(line: str) -> None:
    assert Mask()(line) == line


def test_a_known_one_is_hidden_in_each_of_its_forms() -> None:
    mask = Mask(["p;ss word", basic("101", "p;ss word")])
    for form in ("p;ss word", "p\\;ss word", "p%3Bss%20word", "MTAxOnA7c3Mgd29yZA=="):
        assert mask(f"NoOp(a {form} b)") == f"NoOp(a {MASK} b)"


@pytest.mark.parametrize(
    "piece", ["a", "a:", "//a:", "/", "'", '\\"', "Set(", "password=", "login a ", "-u", "mysql ",
              "authorization: ", " ", ")", "x-key", "Basic ", "CURLOPT(userpwd)=", "@"],
)  # fmt: skip
def test_a_long_line_takes_no_time(piece: str) -> None:
    began = time.process_time()
    Mask()((piece * 9000)[:9000])
    assert time.process_time() - began < 1


def test_what_stands_beside_a_change_hides_its_passwords(site: Site) -> None:
    path = site.write(
        "[globals]\nLOGIN=102:sesame99\n[a]\nexten => 1,1,NoOp(sesame99)\n"
        "; Authorization: Bearer SECRETTOKEN99\n"
        f" same => n,{USER}\n same => n,{ONE}\n"
        " same => n,Set(CURLOPT(httpheader)=Authorization: Basic MTAxOnNtczEwMWFwaQ==)\n"
        " same => n,System(curl -u '101:two words' http://x/visible)\n"
        "[b]\nexten => 2,1,Set(CURLOPT(userpwd)=${LOGIN})\n"
    )
    site.run(path)
    shown = site.stdout + site.stderr
    assert "visible" in shown
    secrets = ("SECRETTOKEN99", "MTAx", "two", "words", "sms101api", "sesame99")
    assert not [word for word in secrets if word in shown]
    # nor does what is told of a line
    site.configure("[sesame99]\nurl = http://x\npassword = sesame99\n")
    body = "message=x&number=%2B39333&sesame99=1"
    site.run(site.write(steps(USER, f"Set(r=${{CURL({URL},{body})}})")))
    assert site.status == 1
    assert "sesame99" not in site.stderr


@pytest.mark.parametrize(
    ("option", "named"),
    [("-E101:sms101api", "-E"), ("-skE101:sms101api", "-E"),
     ("--oauth2-bearer=sms101api", "--oauth2-bearer"), ("--anyauth:sms101api", "--anyauth")],
)  # fmt: skip
def test_an_unknown_option_hides_its_value(site: Site, option: str, named: str) -> None:
    body = "-d 'message=x&number=%2B39333'"
    site.run(site.write(steps(f"System(curl {option} {URL} {body})")))
    assert f":2: a curl command is not converted with {named}\n" in site.stderr
    assert "sms101api" not in site.stdout + site.stderr
