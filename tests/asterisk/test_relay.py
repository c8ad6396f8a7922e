"""The HTTP SMS server: everything that speaks the SMS API sends through it."""

import base64
import contextlib
import itertools
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import requests

from dialplan_sms.config.config import Sender
from dialplan_sms.config.http import make_hash
from dialplan_sms.routes.pbx import SmsApi
from dialplan_sms.sandbox import Fault, Sandbox
from dialplan_sms.sandbox.certificate import self_signed
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Status
from dialplan_sms.sms.sms import Sms
from dialplan_sms.web.page import COOKIE
from tests.asterisk import curl as curls
from tests.asterisk.installation import Installation
from tests.asterisk.pbx import Pbx
from tests.asterisk.serving import Service, free_port
from tests.asterisk.site import agi_bin
from tests.waiting import until

GATEWAY = "9c7514330001"
NUMBER = "+39333123456"
USER = ("wms", "s3 cret:ü")
ALONE = ("101", "sms101api")
_USERS = f"user = wms:{make_hash(USER[1])}\nuser = 101:{make_hash(ALONE[1])}"
SENT = {"type": "result", "result": "Success"}
FORM = {"number": NUMBER, "message": "x"}
Curl = Callable[..., dict[str, object]]


class Relay:
    """A service with an HTTP SMS server, and the stand-in PBX behind it."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.service = Service(folder, sandbox)
        self.sandbox = sandbox
        self.port = free_port()

    def restart(self, http: str = "", **options: str) -> None:
        """The service anew, with an empty outbox, and a stand-in that took nothing yet.

        Cleared last: the service before may have sent until it was killed.
        """
        service = self.service
        if service.process is not None and service.process.poll() is None:
            service.kill()
        for file in service.folder.glob("*outbox.sqlite*"):
            file.unlink()
        service.log_file.unlink(missing_ok=True)
        self.configure(http, **options)
        service.start()
        self.sandbox.clear()

    def configure(
        self, http: str = "", sender: str = f"gsm = {GATEWAY}", users: str = _USERS,
        outbox: str = "outbox.sqlite",
    ) -> None:  # fmt: skip
        self.service.configure(
            f"outbox = sqlite:///{self.service.folder}/{outbox}",
            f"pace = 0\n{sender}\n[http]\nlisten = 127.0.0.1:{self.port}\n{users}\n{http}\n",
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{api.PATH}"

    def post(
        self, auth: tuple[str, str] | None = USER, headers: dict[str, str] | None = None, /,
        number: str = NUMBER, message: str = "x", **form: str,
    ) -> requests.Response:  # fmt: skip
        sent = dict(headers or {})
        if auth is not None:
            pair = base64.b64encode(":".join(auth).encode()).decode()
            sent["Authorization"] = f"Basic {pair}"
        form |= {"number": number, "message": message}
        return requests.post(self.url, form, headers=sent, timeout=30)

    def arrived(self, count: int = 1) -> list[tuple[tuple[str, ...], str]]:
        """What the PBX took, once it is so many."""
        self.sandbox.wait(messages=count, timeout=15)
        return [(each.numbers, each.original) for each in self.sandbox.messages]


def log_in(
    relay: Relay, auth: tuple[str, str] = ALONE, verify: str = "", back: str = "/"
) -> requests.Session:
    """A browser's session on the page."""
    session = requests.Session()
    session.trust_env, session.verify = False, verify or True
    url = f"http{'s' if verify else ''}://127.0.0.1:{relay.port}"
    (token,) = re.findall('name="token" value="([0-9a-f]+)"', session.get(url, timeout=10).text)
    given = {"name": auth[0], "password": auth[1], "token": token, "back": back}
    session.post(f"{url}/login", given, timeout=10, allow_redirects=False)
    return session


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Sandbox]:
    with Sandbox(gateways=(GATEWAY, "9c7514330002")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def _relay(stand_in: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    relay = Relay(tmp_path_factory.mktemp("relay"), stand_in)
    yield relay
    relay.service.__exit__(None, None, None)


@pytest.fixture
def relay(_relay: Relay) -> Relay:
    """One that runs, as `restart` leaves it."""
    _relay.restart()
    return _relay


# What the vendor's page shows, but for address and user.


@pytest.fixture(params=["stand_in", pytest.param("real", marks=pytest.mark.slow)])
def curl(request: pytest.FixtureRequest) -> Curl:
    """The answer to a curl line, of which it gets the arguments."""
    run = getattr(curls, request.param)
    return lambda *arguments: json.loads(run("-s", *arguments))


def test_the_vendor_s_curl_line(relay: Relay, curl: Curl) -> None:
    answer = curl(
        "-k", "-X", "POST", "-u", "101:sms101api", "--url", relay.url,
        "--data-urlencode", "number=+39123456789", "--data-urlencode", "message=This API is awesome",
        "--data-urlencode", "gsm=9c7514330002",
    )  # fmt: skip
    assert answer == SENT
    assert relay.arrived() == [(("+39123456789",), "This API is awesome")]
    assert relay.sandbox.messages[0].gsm == "9c7514330002"


def test_the_template_of_a_wms(relay: Relay, curl: Curl) -> None:
    printed = subprocess.run(
        ["bin/dialplan-sms", "user", "101", "--config", relay.service.conf],
        cwd=sys.prefix,
        input="sms101api\n", capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert re.fullmatch(r"user = 101:\$scrypt\$\S+\n", printed.stdout)
    (template,) = re.findall(r"^curl .*$", printed.stderr, re.MULTILINE)
    text = 'Ciao, come "va"? 100% & più; 1+1 = 2 {x} è'
    line = template.replace("PASSWORD", "sms101api").replace("{TO_NUMBER}", "+39333123456")
    words = [word.replace("{MESSAGE}", text) for word in shlex.split(line)]
    assert curl(*words[1:]) == SENT
    assert relay.arrived() == [(("+39333123456",), text)]


def test_over_tls_and_as_a_query(relay: Relay, curl: Curl, tmp_path: Path) -> None:
    certificate = self_signed()
    (tmp_path / "c.pem").write_bytes(certificate.pem)
    (tmp_path / "k.pem").write_bytes(certificate.key)
    relay.restart(f"certificate = {tmp_path}/c.pem\nkey = {tmp_path}/k.pem")
    answer = curl(
        "--cacert", f"{tmp_path}/c.pem", "-u", "101:sms101api", "-G",
        f"https://127.0.0.1:{relay.port}{api.OLD_PATH}",
        "--data-urlencode", "number=+39123456789", "--data-urlencode", "message=È così",
    )  # fmt: skip
    assert answer == SENT
    assert relay.arrived() == [(("+39123456789",), "È così")]


OLD = """[test]
exten => plain,1,Set(CURLOPT(userpwd)=101:sms101api)
 same => n,Set(message=${CURL({url}, message=the message body&number=%2B39333123456)})
exten => gateway,1,Set(CURLOPT(userpwd)=101:sms101api)
 same => n,Set(message=${CURL({url}, message=the messagebody&number=%2B33611121314&gsm=9c7514330002)})
exten => encoded,1,Set(CURLOPT(userpwd)=101:sms101api)
 same => n,Set(message=${CURL({url},message=${URIENCODE(${TEXT})}&number=${URIENCODE(${TO})})})
exten => several,1,Set(CURLOPT(userpwd)=101:sms101api)
 same => n,Set(message=${CURL({url},message=on call&number=%2B39333123456%2C%2B39333123457%2Cnobody)})
exten => empty,1,Set(CURLOPT(userpwd)=101:sms101api)
 same => n,Set(message=${CURL({url},message=x&number=)})
exten => wrong,1,Set(CURLOPT(userpwd)=101:wrong)
 same => n,Set(message=${CURL({url},message=x&number=%2B39333123456)})
"""


def test_the_old_recipe_s_lines(
    installation: Installation, relay: Relay, tmp_path_factory: pytest.TempPathFactory
) -> None:
    relay.restart(sender=f"gsm = {GATEWAY}\nallow = IT, FR")
    bin_ = agi_bin(tmp_path_factory.mktemp("agi-bin"))
    with Pbx(installation, OLD.replace("{url}", relay.url), agi_bin=bin_) as asterisk:

        def call(extension: str, **variables: str) -> object:
            result = asterisk.call(extension, variables=variables, ask=["message"])
            return json.loads(result.variables["message"])

        assert call("plain") == SENT
        assert call("gateway") == SENT
        assert call("encoded", TEXT="Größe 5 & mehr", TO="+39333123458") == SENT
        assert call("several") == api.warning(["nobody"])
        assert call("empty") == api.error(api.EMPTY_NUMBER)
        assert call("wrong") == api.error(api.UNAUTHORIZED)
    assert sorted(relay.arrived(4)) == sorted([
        (("+39333123456",), "the message body"),
        (("+33611121314",), "the messagebody"),
        (("+39333123458",), "Größe 5 & mehr"),
        (("+39333123456", "+39333123457"), "on call"),
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("sms", "password", "status", "cause", "failed"),
    [
        (Sms((NUMBER,), "hello"), ALONE[1], Status.SUCCESS, Cause.NONE, ()),
        (Sms((NUMBER,), "x" * 671), ALONE[1], Status.ERROR, Cause.REJECTED, ()),
        (Sms((NUMBER, "12"), "hello"), ALONE[1], Status.WARNING, Cause.NOT_QUEUED, ("12",)),
        (Sms((NUMBER,), "hello", gsm="nonsense"), ALONE[1], Status.ERROR, Cause.REJECTED, ()),
        (Sms((NUMBER,), "hello"), "wrong", Status.ERROR, Cause.UNAUTHORIZED, ()),
    ],
)
def test_our_own_route_as_its_client(
    relay: Relay, sms: Sms, password: str, status: Status, cause: Cause, failed: tuple[str, ...]
) -> None:
    outcome = SmsApi(Sender("101", relay.url, password=password)).send(sms)
    assert (outcome.status, outcome.cause, outcome.failed) == (status, cause, failed)


# The same checks, limits and outbox as a call.


def test_success_means_committed(relay: Relay) -> None:
    relay.sandbox.fault = Fault.HANG
    assert relay.post(message="kept").json() == SENT
    relay.service.kill()
    relay.sandbox.fault = None
    relay.sandbox.clear()
    relay.service.start()
    assert ((NUMBER,), "kept") in relay.arrived()


def test_limits_hold(relay: Relay) -> None:
    relay.restart(sender=f"gsm = {GATEWAY}\nper_number = 2/1h\nallow = IT\n")
    assert [relay.post().json()["type"] for _ in range(3)] == ["result", "result", "error"]
    assert "per_number" in relay.post().json()["reason"]
    mixed = relay.post(number="+39333123457,+441632960961")
    assert mixed.json() == api.warning(["+441632960961"])


def test_what_a_pbx_sent_does_not_go_back_to_it(relay: Relay) -> None:
    relay.restart(sender="")
    refused = relay.post(message="round and round").json()
    assert refused["type"] == "error"
    assert "give gsm" in refused["reason"]
    assert relay.post(message="out", gsm=GATEWAY).json() == SENT
    assert relay.arrived() == [((NUMBER,), "out")]


def test_an_outbox_that_is_away_is_an_error_and_asked_again(relay: Relay) -> None:
    relay.service.kill()
    relay.configure(outbox="none/outbox.sqlite")
    relay.service.start()
    answer = relay.post()
    assert (answer.status_code, answer.json()["type"]) == (503, "error")
    sender = Sender("101", relay.url, password=ALONE[1])
    assert SmsApi(sender).send(Sms((NUMBER,), "x")).cause is Cause.UNREACHABLE


# Who may.


def test_wrong_passwords_are_slowed_down_and_logged_and_who_is_known_goes_on(relay: Relay) -> None:
    assert relay.post(message="first").json() == SENT
    began = time.monotonic()
    for _ in range(14):
        answer = relay.post((USER[0], "wrong"))
        assert (answer.status_code, answer.json()) == (401, api.error(api.UNAUTHORIZED))
    assert time.monotonic() - began > 3.5  # the last four: 0.25, 0.5, 1, 2 s
    assert relay.service.log.count("wrong password or token from 127.0.0.1") >= 10
    with ThreadPoolExecutor(60) as pool:
        tries = [pool.submit(relay.post, ("x", str(n))) for n in range(60)]
        time.sleep(0.5)
        began = time.monotonic()
        assert relay.post(message="second").json() == SENT
        assert time.monotonic() - began < 3
        relay.service.kill()
        statuses = []
        for each in tries:
            with contextlib.suppress(requests.ConnectionError):
                statuses.append(each.result().status_code)
    assert set(statuses) <= {401, 429}
    assert 429 in statuses


def test_a_reload_takes_a_user_away_and_then_everybody(relay: Relay) -> None:
    assert relay.post().status_code == 200
    relay.configure(users=f"user = 101:{make_hash(ALONE[1])}")
    relay.service.signal(signal.SIGHUP)
    until(lambda: relay.post().status_code == 401)
    assert relay.post(ALONE).status_code == 200
    conf = relay.service.conf
    conf.write_text(conf.read_text().partition("[http]")[0])
    relay.service.signal(signal.SIGHUP)
    until(lambda: relay.post(ALONE).status_code == 401)


def test_without_proxy_nobody_s_word_is_taken(relay: Relay) -> None:
    relay.restart("allow = 192.0.2.0/24")
    assert relay.post(ALONE, {"X-Forwarded-For": "203.0.113.9"}).status_code == 200


_UNNAMED = "does not say in X-Forwarded-For for whom it asks"


@pytest.mark.parametrize(
    ("forwarded", "says"),
    [
        ("192.0.2.7:5555", ""),
        ("[2001:db8::1]:443", "2001:db8::1 is not in allow"),
        ("203.0.113.9:5555", "203.0.113.9 is not in allow"),
        ("203.0.113.9, 192.0.2.7", ""),  # the last is the proxy's own word
        ("::ffff:192.0.2.7", ""),
        ("unknown", _UNNAMED),
        ("", _UNNAMED),
        ("192.0.2.7,", _UNNAMED),
        ("2001:db8::1%evil status=SUCCESS", _UNNAMED),
    ],
)
def test_a_proxy_must_say_who_asks(relay: Relay, forwarded: str, says: str) -> None:
    relay.restart("proxy = 127.0.0.0/8\nallow = 192.0.2.0/24")
    answer = relay.post(ALONE, {"X-Forwarded-For": forwarded})
    assert answer.status_code == (403 if says else 200)
    assert says in answer.text
    assert "evil" not in answer.text


_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"},
     {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://["},
     {"Upgrade-Insecure-Requests": "1"}, {"User-Agent": _FIREFOX, "Accept-Language": "it"}],
)  # fmt: skip
def test_a_browser_cannot_send(relay: Relay, headers: dict[str, str]) -> None:
    for method, auth in itertools.product(("POST", "GET"), (ALONE, None)):
        answer = requests.request(
            method, relay.url, params=FORM, auth=auth, headers=headers, timeout=10
        )
        assert (answer.status_code, answer.json()["type"]) == (403, "error")
        assert "browser" in answer.json()["reason"]
        assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [{"User-Agent": "asterisk-libcurl-agent/1.0"},
     {"User-Agent": "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.1"},
     {"User-Agent": "Java/17.0.2", "Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"},
     {"User-Agent": "node", "Accept-Language": "*", "Sec-Fetch-Mode": "cors"},
     {"User-Agent": "App/1 CFNetwork/1490", "Accept-Language": "it-IT"}],
)  # fmt: skip
def test_any_program_can_send(relay: Relay, headers: dict[str, str]) -> None:
    # Some log in only once they are asked to.
    asked = relay.post(None, headers)
    assert (asked.status_code, asked.headers["WWW-Authenticate"][:6]) == (401, "Basic ")
    assert relay.post(ALONE, headers).json() == SENT


_TWO = [NUMBER, "+39333123457"]
_BODIES: list[dict[str, Any]] = [
    {"json": {"number": _TWO, "message": 'È "così"', "gsm": GATEWAY, "priority": 1}},
    {"json": {"number": ",".join(_TWO), "message": 'È "così"', "gsm": None}},
    {"data": {"number": _TWO, "message": 'È "così"'}},
    {"params": {"number": _TWO, "message": 'È "così"'}},
    {"files": [("number", (None, _TWO[0])), ("number", (None, _TWO[1])), ("message", (None, 'È "così"'))]},
]  # fmt: skip


def test_each_body_that_clients_send(relay: Relay) -> None:
    for body in _BODIES:
        assert requests.post(relay.url, auth=ALONE, timeout=10, **body).json() == SENT, body
    assert relay.arrived(len(_BODIES)) == [(tuple(_TWO), 'È "così"')] * len(_BODIES)


# What curl sends for -H "Authorization: Bearer …" and --json '{"number": …}', -F number=… -F message=…
_CURL = {
    "application/json": b'{"number": "+39333123456", "message": "x"}',
    "multipart/form-data; boundary=------------------------d74496d66958873e":
    b'--------------------------d74496d66958873e\r\nContent-Disposition: form-data; name="number"'
    b"\r\n\r\n+39333123456\r\n--------------------------d74496d66958873e\r\nContent-Disposition:"
    b' form-data; name="message"\r\n\r\nx\r\n--------------------------d74496d66958873e--\r\n',
}  # fmt: skip


@pytest.mark.parametrize("kind", _CURL)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_token_in_place_of_a_password(relay: Relay, kind: str, chunked: bool) -> None:
    made = subprocess.run(
        ["bin/dialplan-sms", "user", "--token", "101", "--config", relay.service.conf],
        cwd=sys.prefix, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    (token,) = re.findall(r"^sms_\S+$", made.stderr, re.MULTILINE)
    assert token not in made.stdout
    relay.restart(users=f"{_USERS}\n{made.stdout}")

    def send(bearer: str) -> Any:
        connection = HTTPConnection("127.0.0.1", relay.port, timeout=10)
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": kind}
        body = iter([_CURL[kind][:9], _CURL[kind][9:]]) if chunked else _CURL[kind]
        connection.request("POST", api.PATH, body, headers, encode_chunked=chunked)
        with contextlib.closing(connection):
            return json.loads(connection.getresponse().read())

    assert send(token) == SENT
    assert relay.arrived() == [(("+39333123456",), "x")]
    assert "call=http:101@127.0.0.1 sender=101" in relay.service.log
    assert send(f"{token}x") == api.error(api.UNAUTHORIZED)
    # The password holds on, and the token no longer than its line.
    assert relay.post(ALONE).json() == SENT
    relay.configure()
    relay.service.signal(signal.SIGHUP)
    until(lambda: send(token) == api.error(api.UNAUTHORIZED))
    assert token not in relay.service.log


_PLAIN = {"Content-Type": "text/plain"}
_AS_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_AS_JSON = {"Content-Type": "application/json"}
_NOT_TAKEN: list[tuple[dict[str, Any], int, str]] = [
    ({"data": b"number=1&message=x", "headers": _PLAIN}, 415, "neither application/x-www-form"),
    ({"data": b'{"number": "1"}', "headers": _AS_FORM}, 415, "Content-Type says another type"),
    ({"data": b"number=%2B39333123456&message=%ff%fe", "headers": _AS_FORM}, 400, "not UTF-8"),
    ({"data": b"{", "headers": _AS_JSON}, 415, "application/json: it is broken, or not UTF-8"),
    ({"json": {"number": ["1"] * 5000, "message": "x"}}, 200, "At most 1000 numbers"),
    ({"data": {"number": ["1"] * 1001, "message": "x"}}, 200, "At most 1000 numbers"),
    ({"json": {"number": ["\ud800"], "message": "x"}}, 200, "is no phone number"),
    ({"json": {"message": "x"}}, 200, api.EMPTY_NUMBER),
    ({"data": b"", "headers": _AS_JSON}, 200, api.EMPTY_NUMBER),
]


def test_a_body_that_cannot_be_taken_is_named(relay: Relay) -> None:
    for body, status, says in _NOT_TAKEN:
        answer = requests.post(relay.url, auth=ALONE, timeout=10, **body)
        assert (answer.status_code, answer.json()["type"]) == (status, "error"), says
        assert says in answer.json()["reason"]
    assert not relay.sandbox.messages
    # Of a type that is not read, a query will do.
    for body, _, _ in _NOT_TAKEN[:2]:
        answer = requests.post(relay.url, auth=ALONE, timeout=10, params=FORM, **body)
        assert answer.json() == SENT
    too_many = relay.post(number=",".join(["333123456"] * 1001))
    assert too_many.json() == api.error("At most 1000 numbers in a request")


def test_a_burst_right_after_the_start_is_taken_whole(relay: Relay) -> None:
    with ThreadPoolExecutor(100) as pool:
        posts = [pool.submit(relay.post, message=f"{n}") for n in range(100)]
        assert all(each.result().json() == SENT for each in posts)


def test_a_loop_by_another_address_ends(relay: Relay) -> None:
    relay.restart("proxy = 127.0.0.0/8\nallow = 192.0.2.0/24", sender="")
    for turn in range(7):
        answer = relay.post(ALONE, {"X-Forwarded-For": "192.0.2.7"}).json()
        assert answer["type"] == ("result" if turn < 5 else "error")
    assert "give gsm" in answer["reason"]


# What strangers throw at it.


def send_raw(port: int, data: bytes, timeout: float = 30) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as peer:
        with contextlib.suppress(OSError):
            peer.sendall(data)
        answer = b""
        with contextlib.suppress(OSError):
            while chunk := peer.recv(65536):
                answer += chunk
        return answer


_BASIC = b"Authorization: Basic MTAxOnNtczEwMWFwaQ==\r\n"  # 101:sms101api
_HEAD = b"POST " + api.PATH.encode() + b" HTTP/1.1\r\nHost: x\r\n" + _BASIC


def test_a_body_of_100_mb_is_refused_early(relay: Relay) -> None:
    nobody_s = _HEAD.replace(_BASIC, b"") + b"Content-Length: 100000000\r\n\r\n"
    assert b" 401 " in send_raw(relay.port, nobody_s)
    sent = 0
    with socket.create_connection(("127.0.0.1", relay.port), timeout=30) as peer:
        peer.sendall(_HEAD + b"Content-Type: application/x-www-form-urlencoded\r\n"
                     b"Content-Length: 100000000\r\n\r\n")  # fmt: skip
        with contextlib.suppress(OSError):
            while sent < 100_000_000:
                sent += peer.send(b"x" * 65536)
        answer = b""
        with contextlib.suppress(OSError):
            answer = peer.recv(65536)
    assert sent < 20_000_000
    assert not answer or b" 413 " in answer
    assert relay.post().json() == SENT


@pytest.mark.parametrize("path", [api.PATH, "/", "/login", "/message/1/cancel", "/none"])
def test_half_a_body_is_no_fault_of_ours(relay: Relay, path: str) -> None:
    relay.restart("page = yes")
    for login, more in itertools.product((b"", _BASIC), (b"", b"5\r\nab", b"zz\r\n")):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n".encode()
        with socket.create_connection(("127.0.0.1", relay.port), timeout=30) as peer:
            peer.sendall(head + login + b"\r\n" + more)
    assert relay.post(ALONE, number="").status_code == 200
    relay.service.signal(signal.SIGTERM)
    assert relay.service.wait() == 0
    assert "broke" not in relay.service.log


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST " + api.PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST " + api.PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Length: 5\r\n\r\nzzz\r\n",
        _HEAD + b"X: a\r\n b\rc\0d\r\nContent-Length: 0\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_http_is_refused(relay: Relay, data: bytes) -> None:
    answer = send_raw(relay.port, data)
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer[:80]
    assert relay.post().json() == SENT
    assert "Traceback" not in relay.service.log


def test_lines_in_a_number_forge_nothing(relay: Relay) -> None:
    injected = relay.post(number=f"{NUMBER}\r\nX-Evil: 1")
    assert injected.json()["type"] == "error"
    assert "X-Evil" not in injected.headers
    assert "X-Evil" not in relay.service.log.split("\n")[-2].partition("reason")[0]


def test_slow_and_idle_connections_do_not_hinder_calls(
    relay: Relay, installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dialplan = f"[test]\nexten => agi,1,AGI({relay.service.url})\n"
    bin_ = agi_bin(tmp_path_factory.mktemp("agi-bin"))
    with Pbx(installation, dialplan, agi_bin=bin_) as asterisk, contextlib.ExitStack() as stack:
        peers = []
        for number in range(500):
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", relay.port)))
            if number % 2:
                peer.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            peers.append(peer)
        call = asterisk.call("agi", variables={"SMS_NUMBER": NUMBER, "SMS_MESSAGE": "a call"})
        assert call.variables["SMS_STATUS"] == "SUCCESS"
        assert relay.post(message="a request").json() == SENT
        # A byte now and then does not keep a connection for ever.
        deadline = time.monotonic() + 30
        slow = peers[1]
        slow.setblocking(False)
        ended = False
        while not ended:
            assert time.monotonic() < deadline
            time.sleep(0.5)
            try:
                slow.send(b"a")
                ended = b"408" in slow.recv(4096)
            except BlockingIOError:
                continue
            except OSError:
                ended = True


def test_sigterm_lets_requests_end(relay: Relay) -> None:
    with ThreadPoolExecutor(8) as pool:
        stop = time.monotonic() + 3

        def keep_sending(_: int) -> list[object]:
            answers: list[object] = []
            while time.monotonic() < stop:
                try:
                    answers.append(relay.post().json())
                except requests.ConnectionError:
                    break
            return answers

        senders = [pool.submit(keep_sending, n) for n in range(8)]
        time.sleep(1)
        relay.service.signal(signal.SIGTERM)
        assert relay.service.wait() == 0
        answers = [each for sender in senders for each in sender.result()]
    assert answers
    assert all(each == SENT for each in answers)


@pytest.mark.parametrize("page", ["no", "yes"])
def test_it_answers_as_its_description_says(relay: Relay, page: str) -> None:
    relay.restart(f"page = {page}")
    assert relay.post(ALONE, number="").status_code == 200  # known from here on
    session = log_in(relay).cookies.get(COOKIE) if page == "yes" else ""
    command: list[str | Path] = [
        Path(sys.prefix) / "bin/schemathesis", "run",
        f"http://127.0.0.1:{relay.port}/openapi.json", "--auth", ":".join(ALONE),
        "--header", f"Cookie: {COOKIE}={session}", "--max-examples", "50", "--no-color", "--seed", "1",
        # CPython 3.11's ast.parse() breaks if two threads are in it.
        "--workers", "1",
        # The API says what is wrong with status 200 and a JSON of type "error".
        "--exclude-checks", "negative_data_rejection",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=relay.service.folder, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert re.search(r"[0-9]{3} generated, [0-9]+ passed", done.stdout), done.stdout[-1000:]
    assert "Traceback" not in relay.service.log
    assert "broke" not in relay.service.log


def test_a_certificate_that_is_none_is_one_line(relay: Relay) -> None:
    relay.service.kill()
    for name in ("c.pem", "k.pem"):
        (relay.service.folder / name).write_text("no certificate\n")
    relay.configure("certificate = c.pem\nkey = k.pem")
    with pytest.raises(RuntimeError) as caught:
        relay.service.start()
    (line,) = str(caught.value).splitlines()
    assert "certificate and key of [http] cannot be used" in line
    subprocess.run(
        ["openssl", "genrsa", "-aes128", "-passout", "pass:x", "-out", relay.service.folder / "k.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (relay.service.folder / "c.pem").write_bytes(self_signed().pem)
    relay.configure("certificate = c.pem\nkey = k.pem")
    with pytest.raises(RuntimeError, match="the key of \\[http\\] is encrypted"):
        relay.service.start()
