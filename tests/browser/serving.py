"""The page on a loopback port, for a browser."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from dialplan_sms.outbox import Outbox
from dialplan_sms.web.board import Board
from dialplan_sms.web.page import page
from dialplan_sms.web.playground import Playground


@contextmanager
def served(outbox: Outbox, playground: Playground | None) -> Iterator[str]:
    """The URL of the page over *outbox*, while it is served."""
    board = Board(outbox)
    config = uvicorn.Config(
        Starlette(routes=page(board, playground)), port=0, log_config=None, ws="none",
        lifespan="off", timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
        board.close()
