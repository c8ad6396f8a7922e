"""What is asked how a service is: a Monitor, and what another program says in its place."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dialplan_sms.agi.acceptors import Acceptors
from dialplan_sms.daemon.monitor import MOST_ASKERS, Metrics, monitor
from dialplan_sms.sms.log import Repeated
from tests import gateways


def serve(metrics: Metrics, healthy: Callable[[], bool] = lambda: True) -> int:
    """The port at which *metrics* are asked from now on."""
    listener = socket.create_server(("127.0.0.1", 0))
    acceptors = Acceptors(1, Repeated(lambda _: None))
    acceptors.open(listener, monitor(metrics, healthy), MOST_ASKERS)
    port: int = listener.getsockname()[1]
    return port


@contextmanager
def answering(figures: object) -> Iterator[int]:
    """The port of another program or version, which says *figures*."""
    with gateways.running(gateways.KANNEL) as gateway:
        gateway.answer = (200, json.dumps(figures))
        yield gateway.port
