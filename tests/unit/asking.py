"""A door at which a Monitor is asked, as a service has it."""

import socket
from collections.abc import Callable

from dialplan_sms.agi.acceptors import Acceptors, SilentPeers
from dialplan_sms.daemon.metrics import Metrics
from dialplan_sms.daemon.monitor import Monitor
from dialplan_sms.sms.log import Repeated


def serve(monitor: Metrics, healthy: Callable[[], bool] = lambda: True) -> int:
    """The port at which *monitor* is asked from now on."""
    listener = socket.create_server(("127.0.0.1", 0))
    counted = Repeated(lambda _: None)
    Acceptors(listener, Monitor(monitor, healthy), Monitor.most, counted, SilentPeers(1, counted))
    port: int = listener.getsockname()[1]
    return port
