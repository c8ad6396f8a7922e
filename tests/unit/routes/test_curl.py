"""The curl line of a gateway: what is understood, what goes out by it, what its answers mean."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dialplan_sms.config.config import Sender, load
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.outbox.retry import ended
from dialplan_sms.routes.curl import build
from dialplan_sms.routes.pbx import SmsApi, secrets_of
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, Status
from dialplan_sms.sms.sms import Draft, Sms, compose
from tests import gateways
from tests.asterisk.test_texts import TEXTS
from tests.gateways import Answer, Gateway

NUMBERS = ("+39333123456", "+39333123457", "+39333123458")
SMS = Sms(NUMBERS[:1], "hello")
NASTY = [
    *TEXTS.values(), "@/etc/passwd", "a&to=+39666&pass=x", '","to":"+39666","x":"', "\r\nX-Evil: 1\r\n\r\n",
    "{TO_NUMBER}{ID}{MESSAGE}", "%00%0d%0a", "\\u0022", "../../admin", "#?;/", "\x00\x1f\x7f\u2028",
    "\U0001f600" * 100,
]  # fmt: skip
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


@pytest.fixture
def kannel() -> Iterator[Gateway]:
    with gateways.running(gateways.KANNEL) as gateway:
        yield gateway


def sender(sms_conf: Write, keys: str) -> Sender:
    return load(sms_conf(f"[gateway]\n{keys}\n")).senders["gateway"]


def send(who: Sender, sms: Sms = SMS, **more: Any) -> Outcome:
    route = SmsApi(who)
    with closing(route.pool):
        return route.send(sms, **more)


PUT = (
    "curl = curl -X PUT http://192.0.2.1/a/{MESSAGE}/{TO_DIGITS}?t={MESSAGE}&g={GSM}"
    ' -H "X-Text: {MESSAGE}" -H "X-Id: {ID}"'
)
FORM = f'{PUT} -d "n={{TO_NUMBER}}&m={{MESSAGE}}" --data-urlencode "x=&{{MESSAGE}}=" --data-raw @x\nsuccess = OK'
JSON = (
    f"""{PUT} --json '{{"n": ["{{TO_NUMBER}}"], "m": {{"t": "@{{MESSAGE}}\\\\"}}}}'\nsuccess = OK"""
)


@pytest.fixture(params=[FORM, JSON], ids=["form", "JSON"])
def who(request: pytest.FixtureRequest, sms_conf: Write) -> Sender:
    return sender(sms_conf, request.param)


NAMES = ["Host", "User-Agent", "Accept", "Content-Type", "X-Text", "X-Id", "Content-Length"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    text=st.text(st.characters(), max_size=60),
    number=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
@example(text="..", number="1")
@example(text="a", number="..")
@example(text="../../reboot", number="1")
@example(text="x\\..", number="1")
def test_nothing_breaks_out_of_its_place(who: Sender, text: str, number: str) -> None:
    dots = {".", ".."}
    try:
        request = build(Sms((number,), text, "9c7514330001"), who, "key")
    except Refused:
        assert dots & {*re.split(r"[/\\]", text), *re.split(r"[/\\]", number.replace("+", ""))}
        return
    assert not dots & {*re.split(r"[/\\]", text)}
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    assert [line.partition(":")[0] for line in lines] == NAMES
    assert f"Content-Length: {len(body)}" in lines
    method, target, version = first.split(" ")
    assert (method, version) == ("PUT", "HTTP/1.1")
    path, query = target.split("?")
    assert path.count("/") == 3
    shown = text.encode("utf-8", "replace").decode()
    assert dict(gateways.pairs(query)) == {"t": shown, "g": "9c7514330001"}
    if body.startswith(b"{"):
        assert list(json.loads(body)["m"].values()) == [f"@{shown}\\"]
        assert list(json.loads(body)) == ["n", "m"]
    else:
        *form, raw = body.decode("ascii").split("&")
        assert raw == "@x"
        found = gateways.pairs("&".join(form))
        assert [name for name, _ in found] == ["n", "m", "x"]
        assert found[1:] == [("m", shown), ("x", f"&{shown}=")]


ANSWERS: list[tuple[Answer, Cause]] = [
    ((202, "0: Accepted for delivery"), Cause.NONE),
    ((202, "3: Queued for later delivery"), Cause.NONE),
    ((202, "\ufeff0: Accepted for delivery"), Cause.NONE),
    ((500, "0: Accepted for delivery"), Cause.BAD_ANSWER),
    ((302, "0: Accepted for delivery"), Cause.BAD_ANSWER),
    ((400, "2: Bad number"), Cause.REJECTED),
    ((403, "Authorization failed for sendsms"), Cause.UNAUTHORIZED),
    ((401, ""), Cause.UNAUTHORIZED),
    ((503, "Temporal failure, try again later."), Cause.UNREACHABLE),
    ((429, ""), Cause.UNREACHABLE),
    ((200, "what?"), Cause.BAD_ANSWER),
    ((200, ""), Cause.BAD_ANSWER),
    ((404, "not here"), Cause.BAD_ANSWER),
    ((200, "0: Accepted" + "x" * 70_000), Cause.BAD_ANSWER),
    ((0, ""), Cause.NO_ANSWER),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "cause"), ANSWERS, ids=lambda value: str(value)[:40])
def test_every_answer_has_its_cause(
    kannel: Gateway, sms_conf: Write, answer: Answer, cause: Cause
) -> None:
    kannel.answer = answer
    outcome = send(sender(sms_conf, kannel.sms_conf))
    assert outcome.cause is cause
    assert outcome.status is (Status.ERROR if cause else Status.SUCCESS)
    assert bool(outcome.reason) is bool(cause)
    assert "PBX" not in outcome.reason
    assert len(kannel.requests) == 1  # sent once, no redirect followed


def test_where_nobody_listens_nothing_was_sent(sms_conf: Write) -> None:
    keys = "curl = curl http://127.0.0.1:9/sms?to={TO_NUMBER}&text={MESSAGE}\nsuccess = OK"
    outcome = send(sender(sms_conf, keys))
    assert outcome.cause is Cause.UNREACHABLE
    assert "check the URL, firewall and gateway" in outcome.reason


def test_another_pbx_answers_as_the_api_does(kannel: Gateway, sms_conf: Write) -> None:
    line = f'curl = curl -u 101:sms101api http://127.0.0.1:{kannel.port}{api.PATH} -d "number={{TO_NUMBER}}"'
    who = sender(sms_conf, f'{line} --data-urlencode "message={{MESSAGE}}"')
    for reply, cause in (
        (api.result(), Cause.NONE),
        (api.error("no route"), Cause.REJECTED),
        (api.error(api.UNAUTHORIZED), Cause.UNAUTHORIZED),
        (api.warning(["111"]), Cause.NOT_QUEUED),
        ({}, Cause.BAD_ANSWER),
    ):
        kannel.answer = 200, json.dumps(reply)
        outcome = send(who)
        assert outcome.cause is cause
    kannel.answer = 200, json.dumps(api.warning(["111"]))
    assert send(who, Sms(NUMBERS, "hello")).failed == NUMBERS
    assert kannel.requests[0].login == "101:sms101api"
    assert kannel.requests[0].body == b"number=%2B39333123456&message=hello"


GOOD, BAD, NONE, DOWN = (202, "0: Accepted"), (400, "2: Bad"), (0, ""), (503, "later")
_OF_LISTS: list[tuple[list[Answer], Status, Cause, list[int], list[int], int]] = [
    ([GOOD, GOOD, GOOD], Status.SUCCESS, Cause.NONE, [], [], 3),
    ([BAD, GOOD, GOOD], Status.WARNING, Cause.NOT_QUEUED, [0], [], 3),
    ([GOOD, BAD, BAD], Status.WARNING, Cause.NOT_QUEUED, [1, 2], [], 3),
    ([GOOD, NONE, GOOD], Status.WARNING, Cause.NO_ANSWER, [], [1], 3),
    ([GOOD, NONE, BAD], Status.WARNING, Cause.NO_ANSWER, [2], [1], 3),
    ([GOOD, DOWN, GOOD], Status.WARNING, Cause.NOT_QUEUED, [1, 2], [], 2),
    ([BAD, BAD, BAD], Status.ERROR, Cause.REJECTED, [], [], 3),
    ([DOWN, GOOD, GOOD], Status.ERROR, Cause.UNREACHABLE, [], [], 1),
    ([BAD, NONE, BAD], Status.ERROR, Cause.NO_ANSWER, [], [], 3),
    ([(200, "what"), GOOD, NONE], Status.WARNING, Cause.BAD_ANSWER, [], [0, 2], 3),
]  # fmt: skip


@pytest.mark.parametrize(("answers", "status", "cause", "failed", "unknown", "requests"), _OF_LISTS)
def test_of_each_number_it_is_known_what_became_of_it(
    kannel: Gateway, sms_conf: Write, answers: list[Answer], status: Status, cause: Cause,
    failed: list[int], unknown: list[int], requests: int,
) -> None:  # fmt: skip
    told: list[int] = []
    by_number = dict(zip(NUMBERS, answers, strict=True))
    kannel.answer = lambda request: by_number[dict(request.query)["to"]]
    who, sms = sender(sms_conf, kannel.sms_conf), Sms(NUMBERS, "hello")
    outcome = send(who, sms, going_out=lambda: told.append(len(kannel.requests)))
    assert (outcome.status, outcome.cause) == (status, cause)
    assert outcome.failed == tuple(NUMBERS[each] for each in failed)
    assert outcome.unknown == tuple(NUMBERS[each] for each in unknown)
    assert len(kannel.requests) == requests
    assert told == [0]
    if status is Status.WARNING:
        verdict = ended(outcome, NUMBERS)
        assert (verdict.failed, verdict.unknown) == (outcome.failed, outcome.unknown)
        assert set(verdict.sent) == {*NUMBERS} - {*outcome.failed, *outcome.unknown}


def test_a_list_goes_in_one_request(kannel: Gateway, sms_conf: Write) -> None:
    for key, between in ((",", ","), ("\\;", ";"), ("space", " ")):
        who = sender(sms_conf, f"{kannel.sms_conf}list = {key}")
        assert send(who, Sms(NUMBERS, "hello")).status is Status.SUCCESS
        assert kannel.taken.pop() == (between.join(NUMBERS), "hello")
    assert len(kannel.requests) == 3


def test_the_id_of_the_gateway_is_kept(kannel: Gateway, sms_conf: Write) -> None:
    keys = f"{kannel.sms_conf}id = ID: *(.*)"
    for said, reason in (
        ("ID: 42-a7", "id 42-a7 at the gateway"),
        ("ID: 39333123456", ""),
        ("ID: hello", ""),
        ("ID: secret", "id xxx at the gateway"),
        ("", ""),
    ):
        kannel.answer = 202, f"0: Accepted\n{said}"
        assert send(sender(sms_conf, keys)) == Outcome(Status.SUCCESS, reason=reason)


def test_a_pattern_does_not_keep_the_call(kannel: Gateway, sms_conf: Write) -> None:
    kannel.answer = 200, "0" * 60_000
    keys = kannel.sms_conf.replace("^(0: Accepted|3: Queued)", "(0+)+x")
    outcome = send(sender(sms_conf, keys))
    assert outcome.cause is Cause.BAD_ANSWER
    assert "takes too long" in outcome.reason


def test_no_secret_comes_back(kannel: Gateway, sms_conf: Write) -> None:
    keys = (
        f"curl = curl http://127.0.0.1:{kannel.port}/hook/k3yInPath9/sms?key=p%26q"
        ' -u bob:hunter2 -H "X-Key: h3aderk3y" -H "X-Token: Bearer wsk-v1"'
        """ --json '{"k": ["js0n\\"k3y"], "t": "{TO_NUMBER}{MESSAGE}"}'\nsuccess = ^OK\nfailed = ."""
    )
    who = sender(sms_conf, keys)
    secrets = [
        "k3yInPath9", "p%26q", "p&q", "hunter2", "h3aderk3y", "wsk-v1", "Ym9iOmh1bnRlcjI=",
        'js0n"k3y', 'js0n\\"k3y',
    ]  # fmt: skip
    shown = repr(who) + repr(who.curl)
    for secret in secrets:
        kannel.answer = 200, f"who is {secret} here"
        outcome = send(who)
        assert outcome.reason == "who is xxx here", secret
        assert secret in secrets_of(who) or secret == "hunter2"
        assert secret not in shown


@pytest.mark.parametrize(
    "echo", ["ab\\/cd\\u00e9&f g", "ab%2fcd%c3%a9%26f+g", "ab/cdé&amp;f g", "ab/cdé&f g"]
)
def test_nor_as_a_gateway_escapes_it(kannel: Gateway, sms_conf: Write, echo: str) -> None:
    keys = (
        f"curl = curl http://127.0.0.1:{kannel.port}/ -u 'me:ab/cdé&f g'"
        " -d 'n={TO_NUMBER}&t={MESSAGE}'\nsuccess = ^OK\nfailed = ."
    )
    kannel.answer = 200, f"wrong: {echo}"
    outcome = send(sender(sms_conf, keys))
    assert outcome.cause is Cause.REJECTED
    assert "ab" not in outcome.reason.replace("repeats a secret", "")
    assert outcome.reason in ("the answer repeats a secret of sms.conf", "wrong: xxx")


def test_one_that_is_to_go_later_needs_the_outbox(kannel: Gateway, sms_conf: Write) -> None:
    later = replace(SMS, postpone=datetime(2999, 1, 1))
    with pytest.raises(Refused, match="set outbox in the general section"):
        send(sender(sms_conf, kannel.sms_conf), later)
    assert not kannel.requests
    past = replace(SMS, postpone=datetime(2020, 1, 1))
    assert send(sender(sms_conf, kannel.sms_conf), past).status is Status.SUCCESS


def test_the_same_sms_has_the_same_id_at_every_try(who: Sender) -> None:
    made = [
        build(replace(SMS, numbers=(n,)), who, key) for n in NUMBERS[:2] for key in ("a", "a", "b")
    ]
    ids = [request.partition(b"X-Id: ")[2][:32] for request in made]
    assert len(set(ids)) == 4
    assert ids[0] == ids[1]


@pytest.mark.parametrize("shape", gateways.SHAPES, ids=lambda shape: shape.name)
def test_every_nasty_text_arrives_exactly_by_the_line_to_paste(
    sms_conf: Write, shape: gateways.Shape
) -> None:
    with gateways.running(shape) as gateway:
        who = sender(sms_conf, gateway.sms_conf)
        for text in NASTY:
            assert send(who, replace(SMS, text=text)).status is Status.SUCCESS
        assert gateway.taken == [(NUMBERS[0], text) for text in NASTY]


def test_the_other_line_to_paste_is_that_of_a_pbx(sms_conf: Write) -> None:
    line, *others = gateways.LINES
    assert load(sms_conf(line.text)).senders["other-pbx"].is_pbx
    assert len(others) == len(gateways.SHAPES)


def test_a_gateway_of_the_pbx_is_left_out_without_a_place_for_it(sms_conf: Write) -> None:
    draft = Draft(number=NUMBERS[0], message="it's", gsm="9c7514330002")
    for line, takes in ((FORM, True), (FORM.replace("&g={GSM}", ""), False)):
        who = sender(sms_conf, f"{line}\ngsm = 9c7514330001")
        sms = compose(draft, who, datetime.now())
        assert (who.gsm, sms.gsm) == (("9c7514330001", "9c7514330002") if takes else (None, None))
        assert sms.replaced == ""
