"""What the service that runs on this host says of itself, at ``/status`` and ``/healthz``."""

import http.client
import io
import json
import socket
import time
from typing import Any

_LARGEST = 1 << 20


class NotOurs(Exception):
    """Another program answers there."""


def figures(address: tuple[str, int], patience: float) -> dict[str, Any]:
    """The figures of the service whose monitor is at *address*, as ``Metrics.figures`` gives them.

    Waits *patience* seconds in all. Raises NotOurs, and OSError if nobody answers:
    ConnectionRefusedError, TimeoutError or another.
    """
    status, body = _get(address, "/status", patience)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise NotOurs from None
    if status != 200 or not isinstance(found, dict):
        raise NotOurs
    if not all(isinstance(found.get(name), int) for name in ("in_flight", "max_calls")):
        raise NotOurs
    return found


def is_healthy(address: tuple[str, int], patience: float) -> bool:
    """Whether it says that all is well; errors as figures()."""
    return _get(address, "/healthz", patience)[0] == 200


def _get(address: tuple[str, int], path: str, patience: float) -> tuple[int, bytes]:
    try:
        answer = http.client.HTTPResponse(_Heard(_ask(address, path, patience)))  # type: ignore[arg-type]
        answer.begin()
        return answer.status, answer.read()
    except (http.client.HTTPException, ConnectionResetError, BrokenPipeError):
        raise NotOurs from None


def _ask(address: tuple[str, int], path: str, patience: float) -> bytes:
    """The whole answer: read here, since http.client waits anew for each byte of it."""
    until = time.monotonic() + patience
    heard = bytearray()
    with socket.create_connection(address, patience) as peer:
        peer.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        while len(heard) <= _LARGEST:
            peer.settimeout(max(until - time.monotonic(), 0.001))
            piece = peer.recv(1 << 16)
            if not piece:
                return bytes(heard)
            heard += piece
            if time.monotonic() > until:
                raise TimeoutError
    raise NotOurs


class _Heard:
    """What was received, as the socket that http.client reads."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._content)
