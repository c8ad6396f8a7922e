"""The curl line of a gateway as sms.conf has it: what is understood, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dialplan_sms.config.config import load
from dialplan_sms.config.keys import Sender
from dialplan_sms.config.parser import ConfigError

Write = Callable[[str], Path]
DATA = '--data-urlencode "to={TO_NUMBER}" --data-urlencode "text={MESSAGE}"'
LINE = f"curl http://192.0.2.1/sms {DATA}"


def read(sms_conf: Write, line: str, more: str = "success = ^OK", general: str = "") -> Sender:
    text = f"[general]\n{general}\n[gateway]\ncurl = {line}\n{more}\n"
    return load(sms_conf(text)).senders["gateway"]


@pytest.mark.parametrize(
    ("line", "method", "target", "body"),
    [
        (LINE, "POST", "/sms", "to={TO_NUMBER}&text={MESSAGE}"),
        (f"/usr/bin/curl -sSkG {DATA} 192.0.2.1", "GET", "/?to={TO_NUMBER}&text={MESSAGE}", None),
        ("curl -XPUT 'http://192.0.2.1/{TO_DIGITS}?x=a b#&y={MESSAGE}'".replace("#", "%23"),
         "PUT", "/{TO_DIGITS}?x=a%20b%23&y={MESSAGE}", None),
        (f"curl --get http://192.0.2.1/?a=1 -d 'b=é#' {DATA}", "GET",
         "/?a=1&b=%C3%A9%23&to={TO_NUMBER}&text={MESSAGE}", None),
        (f"curl --url=http://192.0.2.1/a {DATA} --data-raw @x -d y=1 -m 5 --connect-timeout 3",
         "POST", "/a", "to={TO_NUMBER}&text={MESSAGE}&@x&y=1"),
        (f"curl http://192.0.2.1/a {DATA} --data-urlencode 'p=a&b\\;=é'", "POST", "/a",
         "to={TO_NUMBER}&text={MESSAGE}&p=a%26b%3B%3D%C3%A9"),
        ("curl http://192.0.2.1/a --json '[\"{TO_NUMBER}\",' --json '\"{MESSAGE}\"]'", "POST", "/a",
         '["{TO_NUMBER}","{MESSAGE}"]'),
    ],
)  # fmt: skip
def test_a_line_is_read_as_curl_does(
    sms_conf: Write, line: str, method: str, target: str, body: str | None
) -> None:
    found = read(sms_conf, line).curl
    assert found is not None
    assert found.head.split("\r\n")[0] == f"{method} {target} HTTP/1.1"
    assert found.body == body


def test_what_is_known_of_the_gateway(sms_conf: Write, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    plain = read(sms_conf, LINE)
    assert (plain.url, plain.verify, plain.batch) == ("http://192.0.2.1", "yes", 1)
    assert plain.password == ""
    assert read(sms_conf, LINE, "success = x\nlist = ,\nbatch = 9").batch == 9
    tls = LINE.replace("http:", "https:")
    assert read(sms_conf, f"{tls} -k").verify == "no"
    assert read(sms_conf, f"{tls} --cacert ca.pem").verify == str(tmp_path / "ca.pem")
    pin = f"sha256:{'0f' * 32}"
    assert read(sms_conf, f"{tls} -k", general=f"verify = {pin}").verify == "no"
    assert read(sms_conf, f"{tls} -k", f"success = x\nverify = {pin}").verify == pin
    before = read(sms_conf, f"{tls} --cacert ca.pem")
    (tmp_path / "ca.pem").write_text("another")
    assert read(sms_conf, f"{tls} --cacert ca.pem") != before
    assert len({plain, read(sms_conf, LINE)}) == 1


def test_the_ways_of_general_are_left_to_who_has_none(sms_conf: Write) -> None:
    pbx, gateway = "url = http://192.0.2.1\n", f"curl = {LINE}\nsuccess = x\n"
    senders = load(sms_conf(f"[general]\n{pbx}password = x\n[101]\n[gateway]\n{gateway}")).senders
    assert senders["101"].url == "http://192.0.2.1/api/v1/originate/sms"
    assert (senders["101"].curl, senders["gateway"].password) == (None, "")
    senders = load(sms_conf(f"[general]\n{gateway}password = x\n[gateway]\n[101]\n{pbx}")).senders
    assert (senders["101"].curl, senders["101"].success, senders["101"].password) == (None, "", "x")
    assert (senders["gateway"].password, senders["gateway"].success) == ("", "x")


OPTION = "is not known here: "
REFUSED = [
    (f"{LINE} -d @file", "-d @file: write out what is in the file"),
    (f"{LINE} --data-urlencode text@file", "--data-urlencode @file: write out"),
    (f"{LINE} --data-urlencode @file", "--data-urlencode @file: write out"),
    (f"{LINE} --data-binary @-", "--data-binary @file: write out"),
    (f"{LINE} --json @file", "--json @file: write out"),
    (f"{LINE} -H @file", "-H @file: write out"),
    (f"{LINE} -K hunter2", f"-K {OPTION}write what is in that file into the line"),
    (f"{LINE} -F text=hunter2", f"-F {OPTION}write --data-urlencode"),
    (f"{LINE} -x hunter2", f"-x {OPTION}the gateway must be in reach"),
    (f"{LINE} -sLhunter2", f"-L {OPTION}write the URL to which"),
    (f"{LINE} --netrc", f"--netrc {OPTION}write -u user:password"),
    (f"{LINE} --pinnedpubkey sha256//hunter2", f"--pinnedpubkey {OPTION}use verify = sha256:"),
    (f"{LINE} --oauth2-bearer=hunter2", f"--oauth2-bearer {OPTION}leave it out"),
    (f"{LINE} -k -u", "-u has no value"),
    (f"{LINE} | jq .", "one URL, and nothing else"),
    (f"{LINE} http://192.0.2.2", "one URL, and nothing else"),
    (f"curl {DATA}", "one URL, and nothing else"),
    (f"wget http://192.0.2.1/ {DATA}", "it does not begin with curl"),
    (f'{LINE} -u "x:hunter2', "a quote does not close - a semicolon in it is written \\;"),
    (f'{LINE} -u "x:hunter2;3"', "a quote does not close - a semicolon in it is written \\;"),
    (f"{LINE} -u hunter2", "-u needs user:password"),
    (f"curl http://x:hunter2@192.0.2.1/ {DATA}", "write -u user:password in place of"),
    (f"{LINE} -u x:{{MESSAGE}}", "no placeholder in scheme, host, port, user, password"),
    (f"curl http://{{MESSAGE}}/ {DATA}", "no placeholder in scheme, host, port"),
    (f"curl '{{MESSAGE}}://192.0.2.1/' {DATA}", "allowed: a curl line"),
    (f"curl http://192.0.2.1:0/ {DATA}", "allowed: a curl line"),
    (f"curl ftp://192.0.2.1/ {DATA}", "allowed: a curl line"),
    (f"curl 'http://192.0.2.1/#{{MESSAGE}}' {DATA}", "its URL has a #"),
    ("curl http://192.0.2.1/ -d to={TO_NUMBER}", "it needs {MESSAGE}, and {TO_NUMBER}"),
    ("curl http://192.0.2.1/ -d to={MESSAGE}", "it needs {MESSAGE}, and {TO_NUMBER}"),
    (f"{LINE} -d from={{FROM}}", "no such placeholder: there are {TO_NUMBER}"),
    (f"{LINE} -d {{MESSAGE}}=1", "a placeholder stands as a name"),
    (f"{LINE} -d {{MESSAGE}}", "a placeholder stands as a name"),
    ("curl 'http://192.0.2.1/?{MESSAGE}&to={TO_NUMBER}'", "a placeholder stands as a name"),
    ("curl http://192.0.2.1/ --json '{\"{MESSAGE}\": \"{TO_NUMBER}\"}'", "stands as a name"),
    ("curl http://192.0.2.1/ --json '{\"t\": {MESSAGE}, \"n\": \"{TO_NUMBER}\"}'", "its JSON cannot be read"),
    ("curl http://192.0.2.1/ -d '{\"t\": \"{MESSAGE}\", \"n\": \"{TO_NUMBER}\"}'", 'add -H "Content-Type: application/json"'),
    ("curl http://192.0.2.1/ --data-urlencode 'p={\"n\": \"{TO_NUMBER}\", \"t\": \"{MESSAGE}\"}'", "JSON or XML within a value"),
    ("curl http://192.0.2.1/ --data-urlencode 'p=<n>{TO_NUMBER}</n><t>{MESSAGE}</t>'", "JSON or XML within a value"),
    ("curl http://192.0.2.1/ --json '{\"p\": \"{\\\"n\\\": \\\"{TO_NUMBER}{MESSAGE}\\\"}\"}'", "JSON or XML within a value"),
    (f"{LINE} --json '{{}}'", "--json goes with no other data"),
    (f"{LINE} -H 'Content-Type: text/xml'", "stand in a form or in JSON"),
    (f"{LINE} -H Host:hunter2", '-H needs "Name: value", and none of host'),
    (f"{LINE} -H 'hunter2'", '-H needs "Name: value"'),
    (f"{LINE} -X 'GET /hunter2'", "-X needs a method"),
    (f"{LINE} --cacert hunter2.pem", "there is no file"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "says"), REFUSED)
def test_what_is_refused_says_what_to_do_and_no_secret(
    sms_conf: Write, line: str, says: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read(sms_conf, line)
    message = str(refused.value)
    assert says in message
    assert "sms.conf:4: curl" in message
    assert "\n" not in message
    assert "hunter2" not in message or "--cacert" in line


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (f"curl = {LINE}", "[101] needs success: what is found in an answer"),
        (f"curl = {LINE}\nsuccess = x\npassword = y", "[101] has password beside curl"),
        (f"curl = {LINE}\nsuccess = x\nurl = http://192.0.2.1", "[101] has url beside curl"),
        ("url = http://192.0.2.1\npassword = x\nsuccess = x", "[101] has success beside url"),
        (f"curl = {LINE}\nsuccess = x\npostpone = pbx", "postpone = pbx needs url"),
        (f"curl = {LINE}\nsuccess = (", "success = (, missing )"),
        (f"curl = {LINE}\nsuccess = x\nlist = :", "list = : - allowed: , or \\; or space"),
    ],
)
def test_what_does_not_go_together(sms_conf: Write, keys: str, says: str) -> None:
    with pytest.raises(ConfigError, match="sms.conf:") as refused:
        load(sms_conf(f"[101]\n{keys}\n"))
    assert says in str(refused.value)
