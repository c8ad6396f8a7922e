"""The address ``monitor``: answers how the service is, at /metrics, /healthz and /status."""

import io
import json
import socket
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from prometheus_client import generate_latest

from dialplan_sms.agi.acceptors import Peer
from dialplan_sms.agi.capacity import Capacity
from dialplan_sms.daemon.metrics import Metrics
from dialplan_sms.host.address import is_loopback_name

_LONGEST_HEAD = 16 * 1024
_PATIENCE = 5.0  # seconds that an asker has to take its answer
_TEXT = "text/plain"


class Monitor:
    """Lets everybody in, and answers *most* at once; figures only to who asks this host by name."""

    most = 8

    def __init__(self, metrics: Metrics, healthy: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._healthy = healthy
        self._capacity = Capacity(self.most)

    def __call__(self, connection: socket.socket, address: Any) -> Peer:
        """A request, once its head is there."""
        return Peer(connection, self._serve, self._capacity.call, address[0], _LONGEST_HEAD)

    def _serve(self, peer: Peer, objection: str) -> None:
        stream, written = peer.answer(time.monotonic() + _PATIENCE), io.BytesIO()
        request = _Request(stream.paragraph(_LONGEST_HEAD), written)
        if request.parse_request():  # which else has answered
            request.answer(*self._answer(request, objection))
        stream.write(written.getvalue())

    def _answer(self, request: "_Request", objection: str) -> tuple[int, str, bytes]:
        if objection:
            return 503, _TEXT, b"busy\n"
        if request.path == "/healthz":
            return (200, _TEXT, b"ok\n") if self._healthy() else (503, _TEXT, b"stuck\n")
        if request.path not in ("/metrics", "/status"):
            return 404, _TEXT, b"/metrics, /healthz, /status\n"
        if not is_loopback_name(request.headers.get("Host", "")):
            return 421, _TEXT, b"This is for this host alone: ask it by the name localhost\n"
        if request.path == "/metrics":
            return 200, "text/plain; version=0.0.4", generate_latest(self._metrics.registry)
        return 200, "application/json", json.dumps(self._metrics.figures()).encode()


class _Request(BaseHTTPRequestHandler):
    """The standard library's reading of a head and writing of an answer, without its server."""

    def __init__(self, head: bytes, written: io.BytesIO) -> None:
        self.rfile, self.wfile = io.BytesIO(head), written
        self.raw_requestline = self.rfile.readline()

    def answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: what a peer asks is not for our log."""
