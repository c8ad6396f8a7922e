"""What the service that runs on this host says of itself, at ``/status`` and ``/healthz``."""

import http.client
import json
from typing import Any

_LARGEST = 1 << 20


class NotOurs(Exception):
    """Another program answers there."""


def figures(address: tuple[str, int], patience: float) -> dict[str, Any]:
    """The figures of the service whose monitor is at *address*, as ``monitor.figures`` gives them.

    Waits *patience* seconds for each step. Raises NotOurs, and OSError where nobody answers:
    ConnectionRefusedError, TimeoutError or another.
    """
    status, body = _get(address, "/status", patience)
    try:
        found = json.loads(body)
    except ValueError:
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
    connection = http.client.HTTPConnection(*address, timeout=patience)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_LARGEST)
    except (http.client.HTTPException, ConnectionResetError, BrokenPipeError):
        raise NotOurs from None
    finally:
        connection.close()
