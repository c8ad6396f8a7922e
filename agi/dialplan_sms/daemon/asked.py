"""The door at which a service is asked how it is: /metrics, /healthz and /status."""

import io
import json
import socket
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from prometheus_client import generate_latest

from dialplan_sms.agi.capacity import Capacity
from dialplan_sms.agi.peer import Peer, PeerWithHead
from dialplan_sms.daemon.metrics import Monitor
from dialplan_sms.host.hostname import is_loopback

_LONGEST_HEAD = 16 * 1024
_PATIENCE = 5.0
"""Seconds that an asker has to take its answer."""
_TEXT = "text/plain"


class Asked:
    """Lets in everybody, and answers *most* at once; figures only to who asks this host by name."""

    most = 8

    def __init__(self, monitor: Monitor, healthy: Callable[[], bool]) -> None:
        self._monitor = monitor
        self._healthy = healthy
        self._capacity = Capacity(self.most)

    def __call__(self, connection: socket.socket, address: Any) -> Peer:
        """A request, once its head is there."""
        return PeerWithHead(connection, address[0], self._serve, self._capacity.call, _LONGEST_HEAD)

    def _serve(self, peer: PeerWithHead, objection: str) -> None:
        stream = peer.answer(time.monotonic() + _PATIENCE)
        request = _Request(stream.paragraph(_LONGEST_HEAD))
        if request.is_right:
            request.answer(*self._answer(request, objection))
        stream.write(request.answered)

    def _answer(self, request: "_Request", objection: str) -> tuple[int, str, bytes]:
        if objection:
            return 503, _TEXT, b"busy\n"
        if request.path == "/healthz":
            return (200, _TEXT, b"ok\n") if self._healthy() else (503, _TEXT, b"stuck\n")
        if request.path not in ("/metrics", "/status"):
            return 404, _TEXT, b"/metrics, /healthz, /status\n"
        if not is_loopback(request.headers.get("Host", "")):
            return 421, _TEXT, b"This is for this host alone: ask it by the name localhost\n"
        if request.path == "/metrics":
            return 200, "text/plain; version=0.0.4", generate_latest(self._monitor.registry)
        return 200, "application/json", json.dumps(self._monitor.figures()).encode()


class _Request(BaseHTTPRequestHandler):
    """The standard library's reading of a head and writing of an answer, without its server."""

    def __init__(self, head: bytes) -> None:
        self.rfile = io.BytesIO(head)
        self.wfile = self._written = io.BytesIO()
        self.raw_requestline = self.rfile.readline()
        self.is_right = self.parse_request()  # which else has answered

    @property
    def answered(self) -> bytes:
        return self._written.getvalue()

    def answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self._written.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: what a peer asks is not for our log."""
