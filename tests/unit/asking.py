"""A door at which a Monitor is asked, as a service has it."""

import socket
from collections.abc import Callable

from dialplan_sms.agi.acceptors import Acceptors, SilentPeers
from dialplan_sms.daemon.asked import Asked
from dialplan_sms.daemon.metrics import Monitor
from dialplan_sms.sms.counted import Counted


def serve(monitor: Monitor, healthy: Callable[[], bool] = lambda: True) -> int:
    """The port at which *monitor* is asked from now on."""
    listener = socket.create_server(("127.0.0.1", 0))
    counted = Counted(lambda _: None)
    Acceptors(listener, Asked(monitor, healthy), Asked.most, counted, SilentPeers(1, counted))
    port: int = listener.getsockname()[1]
    return port
