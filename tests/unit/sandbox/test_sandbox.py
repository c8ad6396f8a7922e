"""The stand-in PBX over real sockets: its protocol, its faults, its life."""

import socket
import ssl
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
import requests

from dialplan_sms.sandbox import Sandbox
from dialplan_sms.sms import api

NUMBER = "+391234567890"
AUTH = ("101", "sms101api")
AUTHORIZATION = "Authorization: Basic MTAxOnNtczEwMWFwaQ=="
FORM = {"number": NUMBER, "message": "Hi"}


def verify(sandbox: Sandbox) -> str | bool:
    return str(sandbox.certificate) if sandbox.tls else True


def post(
    sandbox: Sandbox, data: object = FORM, path: str = api.PATH, **options: object
) -> requests.Response:
    arguments = {
        "auth": AUTH,
        "verify": verify(sandbox),
        "timeout": 3,
        "allow_redirects": False,
        "headers": {"Content-Type": "application/x-www-form-urlencoded"},
    }
    return requests.post(sandbox.url + path, data=data, **{**arguments, **options})  # type: ignore[arg-type]


def connect(sandbox: Sandbox) -> socket.socket:
    plain = socket.create_connection((sandbox.address.host, sandbox.address.port), timeout=3)
    if not sandbox.tls:
        return plain
    context = ssl.create_default_context(cafile=sandbox.certificate)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def raw_request(
    body: bytes = b"number=%2B391234567890&message=Hi", length: int | None = None
) -> bytes:
    lines = [
        f"POST {api.PATH} HTTP/1.1",
        "Host: pbx.example.com",
        AUTHORIZATION,
        f"Content-Length: {len(body) if length is None else length}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def answer_to(sandbox: Sandbox, data: bytes, patience: float = 20) -> bytes:
    """What is answered to *data* until the connection ends or *patience* seconds are silent."""
    with closing(connect(sandbox)) as connection:
        connection.sendall(data)
        connection.settimeout(patience)
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except TimeoutError:
            pass
        return answer


def test_post_and_get_and_the_old_path(sandbox: Sandbox) -> None:
    posted = post(sandbox)
    got = requests.get(
        sandbox.url + api.OLD_PATH,
        params=FORM,
        auth=AUTH,
        verify=verify(sandbox),
        timeout=3,
    )

    assert posted.json() == got.json() == {"type": "result", "result": "Success"}
    assert [(m.method, m.path) for m in sandbox.messages] == [
        ("POST", api.PATH),
        ("GET", api.OLD_PATH),
    ]
    assert {(m.numbers, m.text) for m in sandbox.messages} == {((NUMBER,), "Hi")}
    assert [r.user for r in sandbox.requests] == ["101", "101"]


@pytest.mark.slow  # needs curl
def test_the_vendors_curl_line() -> None:
    with Sandbox() as sandbox:
        line = ["curl", "-sk", "-X", "POST", "-u", "101:sms101api", "--url", sandbox.url + api.PATH]
        for pair in (f"number={NUMBER}", "message=This API is awesome", "gsm=9c7514330001"):
            line += ["--data-urlencode", pair]

        answer = subprocess.run(line, capture_output=True, check=True, timeout=10).stdout

        assert answer == b'{"type":"result","result":"Success"}'
        assert [(m.text, m.gsm) for m in sandbox.messages] == [
            ("This API is awesome", "9c7514330001")
        ]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (" message=the message body&number=%2B39333123456", "the message body"),
        (" message=a+b&number=%2B39333123456", "a b"),
        (" message=a&b&number=%2B39333123456", "a"),
        (" message=100%41&number=%2B39333123456", "100A"),
    ],
)
def test_the_old_recipes_bodies_fare_as_on_a_pbx(shared: Sandbox, body: str, text: str) -> None:
    shared.clear()

    reply = post(shared, body).json()

    assert reply == api.result()
    assert [(m.numbers, m.text) for m in shared.messages] == [(("+39333123456",), text)]


def test_the_old_recipe_loses_the_number_behind_a_parenthesis(shared: Sandbox) -> None:
    assert post(shared, " message=Hi :").json() == api.error(api.EMPTY_NUMBER)


def test_an_unencoded_plus_is_lost(shared: Sandbox) -> None:
    shared.clear()

    post(shared, "message=x&number=+39333123456")

    assert [m.numbers for m in shared.messages] == [("39333123456",)]


def test_credentials(shared: Sandbox) -> None:
    wrong = post(shared, auth=("101", "wrong"))
    missing = post(shared, auth=None)

    unauthorized = {"type": "error", "reason": "Unauthorized", "result": None}
    assert (wrong.status_code, wrong.json()) == (401, unauthorized)
    assert (missing.status_code, missing.json()) == (401, unauthorized)
    assert post(shared, {"number": ""}).json() == api.error("Number should not be empty")
    assert [r.user for r in shared.requests[-3:]] == [None, None, "101"]


def test_a_bearer_token() -> None:
    with Sandbox(tls=False, tokens=["wsk-v1-example"], users={}) as sandbox:
        headers = {"Authorization": "Bearer wsk-v1-example"}

        reply = requests.post(sandbox.url + api.PATH, FORM, headers=headers, timeout=3).json()

        assert reply == api.result()
        assert [m.user for m in sandbox.messages] == ["token"]


@pytest.mark.parametrize("path", ["/", "/api/v1/originate/sms/", "/api/v1/originate/sms%2F", "//"])
def test_other_paths_are_recorded_and_take_nothing(shared: Sandbox, path: str) -> None:
    shared.clear()

    response = post(shared, path=path)

    assert response.status_code == 404
    assert (len(shared.requests), shared.messages) == (1, [])


@pytest.mark.parametrize("method", ["PUT", "HEAD", "DELETE", "OPTIONS"])
def test_other_methods_take_nothing(shared: Sandbox, method: str) -> None:
    shared.clear()
    url = shared.url + api.PATH

    response = requests.request(method, url, params=FORM, auth=AUTH, timeout=3)

    assert response.status_code == 405
    assert {*response.headers["Allow"].split(", ")} >= {"GET", "POST"}
    assert (len(shared.requests), shared.messages) == (1, [])


def test_only_forms_are_read(shared: Sandbox) -> None:
    reply = post(shared, data='{"number":"1"}', headers={"Content-Type": "application/json"}).json()

    assert reply == api.error(api.EMPTY_NUMBER)


def test_connections_are_kept_and_counted(sandbox: Sandbox) -> None:
    with requests.Session() as session:
        session.auth, session.trust_env = AUTH, False
        for _ in range(3):
            session.post(sandbox.url + api.PATH, FORM, verify=verify(sandbox), timeout=3)
        kept = sandbox.connections
    post(sandbox)

    assert (kept, sandbox.connections, len(sandbox.messages)) == (1, 2, 4)
    sandbox.clear()
    assert (sandbox.connections, sandbox.messages, sandbox.requests) == (0, [], [])


def test_a_failed_handshake_is_a_connection_without_a_request() -> None:
    with Sandbox() as sandbox:
        with pytest.raises(requests.exceptions.SSLError):
            requests.post(sandbox.url + api.PATH, FORM, timeout=3)

        assert (sandbox.connections, sandbox.requests) == (1, [])


def test_the_fingerprint_is_the_certificates(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    with Sandbox(certificate_file=file) as sandbox:
        pem = ssl.get_server_certificate((sandbox.address.host, sandbox.address.port))

        from urllib3 import PoolManager

        with PoolManager(
            cert_reqs="CERT_NONE", assert_fingerprint=sandbox.fingerprint.removeprefix("sha256:")
        ) as pool:
            status = pool.request("GET", sandbox.url).status

        assert pem == file.read_text()
        assert status == 404
        assert sandbox.fingerprint.startswith("sha256:")
    assert file.exists()
    assert "PRIVATE" not in pem


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_the_certificate_is_good_for_every_loopback_name(name: str) -> None:
    with Sandbox() as sandbox:
        context = ssl.create_default_context(cafile=sandbox.certificate)
        address = (sandbox.address.host, sandbox.address.port)
        with (
            socket.create_connection(address, timeout=3) as plain,
            context.wrap_socket(plain, server_hostname=name) as connection,
        ):
            assert connection.version()
