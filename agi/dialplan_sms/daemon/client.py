"""What the service that runs on this host says of itself, at ``/status`` and ``/healthz``."""

import json
import socket
import time
from typing import Any

_LARGEST = 1 << 20  # bytes


class NotOurs(Exception):
    """Another program answers there."""


def figures(address: tuple[str, int], patience: float) -> dict[str, Any]:
    """The figures of the service whose monitor is at *address*, as ``Metrics.figures`` gives them.

    Waits *patience* seconds in all. Raises NotOurs, and OSError if nobody answers:
    ConnectionRefusedError, TimeoutError or another.
    """
    is_well, body = _get(address, "/status", patience)
    try:
        found = json.loads(body) if is_well else None
    except (ValueError, RecursionError):
        raise NotOurs from None
    if not isinstance(found, dict) or not all(
        isinstance(found.get(name), int) for name in ("in_flight", "max_calls")
    ):
        raise NotOurs
    return found


def is_healthy(address: tuple[str, int], patience: float) -> bool:
    """Whether it says that all is well; errors as figures()."""
    return _get(address, "/healthz", patience)[0]


def _get(address: tuple[str, int], path: str, patience: float) -> tuple[bool, bytes]:
    """Whether the status is 200, and the body; http.client would wait anew for each byte of it."""
    until = time.monotonic() + patience
    heard = b""
    try:
        with socket.create_connection(address, patience) as peer:
            peer.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            while (left := until - time.monotonic()) > 0:
                peer.settimeout(left)
                piece = peer.recv(1 << 16)
                if not piece or len(heard) > _LARGEST:
                    break
                heard += piece
            else:
                raise TimeoutError
    except (ConnectionResetError, BrokenPipeError):
        raise NotOurs from None
    head, _, body = heard.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1."):
        raise NotOurs
    return head[9:12] == b"200", body
