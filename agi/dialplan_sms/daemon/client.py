"""What the service that runs on this host says of itself, at ``/status`` and ``/healthz``."""

import json
import time
from typing import Any

from dialplan_sms.transport.connection import Peer, Pool, Reply, Resolver
from dialplan_sms.transport.exchange import Unanswered, Unreached, Watchdog


class NotOurs(Exception):
    """Another program answers there."""


def figures(address: tuple[str, int], patience: float) -> dict[str, Any]:
    """What ``Metrics.figures`` gives of the service whose monitor is at *address*.

    Raises NotOurs, and OSError if nobody answers, TimeoutError after *patience* seconds in all.
    """
    reply = _get(address, "/status", patience)
    try:
        found = json.loads(reply.body) if reply.status == 200 else None
    except (ValueError, RecursionError):
        raise NotOurs from None
    ours = ("in_flight", "max_calls")
    if not isinstance(found, dict) or not all(isinstance(found.get(name), int) for name in ours):
        raise NotOurs
    return found


def is_healthy(address: tuple[str, int], patience: float) -> bool:
    """Whether it says that all is well; errors as figures()."""
    return _get(address, "/healthz", patience).status == 200


def _get(address: tuple[str, int], path: str, patience: float) -> Reply:
    request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
    pool, until = Pool(Peer(*address, Resolver()), Watchdog()), time.monotonic() + patience
    try:
        reply = pool.send(request, 1 << 20, until, patience, until)
    except Unreached as failure:
        raise failure.why from None
    except Unanswered as failure:
        raise (TimeoutError if failure.late else NotOurs) from None
    if reply.cut:
        raise TimeoutError
    return reply
