"""What is asked how a service is: a Monitor, and what another program says in its place."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from dialplan_sms.agi.acceptors import Acceptors
from dialplan_sms.daemon.monitor import MOST_ASKERS, Metrics, monitor
from dialplan_sms.sms.log import Repeated


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

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(figures).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
