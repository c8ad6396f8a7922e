"""The page on a loopback port, for a browser."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.applications import Starlette
from starlette.routing import Route

from dialplan_sms.outbox.store import Outbox
from dialplan_sms.web.board import Board
from dialplan_sms.web.server import Address, WebServer, listen


@contextmanager
def served(outbox: Outbox, routes: Callable[[Board], list[Route]]) -> Iterator[str]:
    """The URL of the page over *outbox* with such *routes*, while it is served."""
    board = Board(outbox)
    listener = listen(Address("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = WebServer(Starlette(routes=routes(board)), [listener])
    server.start()
    try:
        yield url
    finally:
        server.stop()
        board.close()
