"""Stand-ins for HTTP gateways, by their public documentation, and the curl line to paste for each.

A gateway keeps what it took as it reads it itself; what is not exactly as documented it refuses.
"""

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.pages import blocks

PASSWORD = "s3cr&t%41+ü"


@dataclass
class Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def query(self) -> list[tuple[str, str]]:
        return pairs(urlsplit(self.target).query)

    @property
    def login(self) -> str:
        scheme, _, text = dict(self.headers).get("Authorization", "").partition(" ")
        return base64.b64decode(text).decode() if scheme == "Basic" else text


def pairs(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True, strict_parsing=True)


Taken = tuple[str, str]
"""Number and text."""
Answer = tuple[int, str]


@dataclass
class Gateway:
    """One that listens on *port*; *answer*, if it is set, is what it says whatever is asked."""

    shape: "Shape"
    port: int
    requests: list[Request] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    answer: Callable[[Request], Answer] | Answer | None = None

    @property
    def sms_conf(self) -> str:
        """The keys of a sender that sends by it."""
        return self.shape.sms_conf.format(host=f"127.0.0.1:{self.port}")


@dataclass(frozen=True)
class Shape:
    """What a kind of gateway reads of a request, None if it is none of its own, and says then."""

    name: str
    sms_conf: str
    read: Callable[[Request], Taken | None]
    says: Answer
    refuses: Answer = (400, "bad request")


def _exactly(text: str, names: list[str], fixed: dict[str, str]) -> Taken | None:
    """Number and text of parameters that are these alone, each once, the *fixed* ones as they are."""
    found = pairs(text)
    if [name for name, _ in found] != names or not fixed.items() <= dict(found).items():
        return None
    number, message = (value for name, value in found if name not in fixed)
    return number, message


def _smseagle(request: Request) -> Taken | None:
    path, _, query = request.target.partition("?")
    is_it = (request.method, path, request.body) == ("GET", "/http_api/send_sms", b"")
    login = {"login": "john", "pass": PASSWORD}
    return _exactly(query, [*login, "to", "message"], login) if is_it else None


def _android(request: Request) -> Taken | None:
    is_it = (request.method, request.target) == ("POST", "/message")
    if not is_it or request.login != f"sms:{PASSWORD}":
        return None
    given = json.loads(request.body, object_pairs_hook=_once)
    if list(given) != ["textMessage", "phoneNumbers"] or list(given["textMessage"]) != ["text"]:
        return None
    (number,) = given["phoneNumbers"]
    return number, given["textMessage"]["text"]


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(members)) == len(members)
    return dict(members)


def _twilio(request: Request) -> Taken | None:
    asked = request.method, request.target, request.login
    path = "/2010-04-01/Accounts/AC0123456789/Messages.json"
    if asked != ("POST", path, f"AC0123456789:{PASSWORD}"):
        return None
    fixed = {"From": "+15005550006"}
    return _exactly(request.body.decode("ascii"), ["To", "From", "Body"], fixed)


def _to_paste(section: str) -> str:
    """The keys that docs/gateways.md has for such a gateway, with a place for its host."""
    found = {block.text.partition("]\n")[0]: block.text for block in LINES}[f"[{section}"]
    keys = found.partition("\n")[2].replace("{", "{{").replace("}", "}}")
    return re.sub(r'https?://[^/"]+', "http://{host}", keys) + "\n"


LINES = blocks("ini sms.conf", ["docs/gateways.md"])
SMSEAGLE = Shape(
    "GET, user and password in the query",
    _to_paste("smseagle").replace("secret", PASSWORD),
    _smseagle,
    (200, "OK; ID=297\n"),
    (200, "Wrong parameters"),
)
ANDROID = Shape(
    "JSON and basic authorization",
    _to_paste("android").replace("secret", PASSWORD),
    _android,
    (202, '{"id":"PyDmBQZZXYmyxMwED8Fzy","state":"Pending","isHashed":false}'),
)
TWILIO = Shape(
    "form, basic authorization and 201",
    _to_paste("twilio").replace("secret", PASSWORD),
    _twilio,
    (201, '{"sid": "SM304417148af644198a0efaceebc965a5", "status": "queued"}'),
)
KANNEL = Shape(
    "Kannel's sendsms",
    _to_paste("kannel"),
    lambda request: ((found := dict(request.query))["to"], found["text"]),
    (202, "0: Accepted for delivery"),
)
SHAPES = (SMSEAGLE, ANDROID, TWILIO, KANNEL)


@contextmanager
def running(shape: Shape) -> Iterator[Gateway]:
    """A gateway of that shape on a free port of this host."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(self.command, self.path, self.headers.items(), body)
            gateway.requests.append(request)
            said = gateway.answer(request) if callable(gateway.answer) else gateway.answer
            if said is None:
                found = shape.read(request)
                gateway.taken += [found] if found else []
                said = shape.says if found else shape.refuses
            status, text = said
            if not status:
                self.close_connection = True
                return
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _serve

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        gateway = Gateway(shape, server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield gateway
        finally:
            server.shutdown()
            thread.join()
