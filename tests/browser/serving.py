"""The page on a loopback port, for a browser."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.applications import Starlette

from dialplan_sms.outbox.store import Outbox
from dialplan_sms.web.http.listener import Address, listen
from dialplan_sms.web.http.server import WebServer
from dialplan_sms.web.page.board import Board
from tests.unit.paged import Playground


@contextmanager
def served(outbox: Outbox, playground: Playground) -> Iterator[str]:
    """The URL of the page over *outbox*, while it is served."""
    board = Board(outbox)
    listener = listen(Address("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = WebServer(Starlette(routes=playground.routes(board)), [listener])
    server.start()
    try:
        yield url
    finally:
        server.stop()
        board.close()
