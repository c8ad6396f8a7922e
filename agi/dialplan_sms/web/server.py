"""An ASGI application as a running server: uvicorn in a thread, started and stopped at once."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from dialplan_sms.web.listener import BACKLOG, Door, Listener, everybody
from dialplan_sms.web.protocol import Protocol

MAX_HEADERS = 1 << 16
"""Bytes of a request's first line and headers: a GET carries its message there."""
HANDSHAKE = 5.0
"""Seconds for a TLS handshake, and for the goodbye of one."""
_START = _STOP = 10.0
"""Seconds."""
_LINGER = 1.0
"""Seconds that a stop waits for clients who do not read."""


class WebServer:
    """Serves *app* on *listeners*, whose addresses are taken already.

    *certificate* and *key* are PEM files, None for plain HTTP; *keep_alive* is how many seconds an
    idle connection stays open. *admits* tells of a peer's address whether it may connect; who may
    not is dropped without a word. It is asked in the event loop, so it must not block. Raises
    OSError and ssl.SSLError where the files are none.
    """

    def __init__(
        self,
        app: Any,
        listeners: Sequence[Listener],
        certificate: Path | None = None,
        key: Path | None = None,
        keep_alive: int = 5,
        name: str = "web",
        admits: Callable[[str], bool] = everybody,
    ) -> None:
        self.listeners = listeners
        door = Door(admits)
        for listener in listeners:
            listener.door = door
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            # Its lines would name paths and, in tracebacks, perhaps texts.
            log_config=None,
            log_level=logging.CRITICAL,
            access_log=False,
            timeout_keep_alive=keep_alive,
            h11_max_incomplete_event_size=MAX_HEADERS,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        config.load()
        self._server = _Server(config, listeners)
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._serve(),), name=name, daemon=True
        )

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()
        if not self._server.ready.wait(_START):
            raise RuntimeError("the web server did not start")

    def stop(self, patience: float = 0.0) -> None:
        """Listen no more, let requests under way end within *patience* seconds, drop the rest."""
        self._server.patience = patience
        if self._thread.is_alive():
            self._stop()
        self._thread.join(patience + _STOP)

    @property
    def opened(self) -> int:
        """How many TCP connections were opened so far, failed TLS handshakes included."""
        return sum(listener.opened for listener in self.listeners)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(self._server.stopping.set)
        await self._server.serve(sockets=list(self.listeners))


class _Server(uvicorn.Server):
    """uvicorn's server without its signals, and with a patience of ours when it stops."""

    def __init__(self, config: uvicorn.Config, listeners: Sequence[Listener]) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()
        self.ready = threading.Event()
        self.patience = 0.0
        self._listeners = listeners

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As the base class, which would wait a minute for a TLS handshake."""
        loop, config = asyncio.get_running_loop(), self.config
        limits: dict[str, Any] = {}
        if config.ssl is not None:
            limits = {"ssl_handshake_timeout": HANDSHAKE, "ssl_shutdown_timeout": HANDSHAKE}
        self.servers = [
            await loop.create_server(
                lambda: Protocol(config=config, server_state=self.server_state, app_state={}),
                sock=listener, ssl=config.ssl, backlog=BACKLOG, **limits,
            )
            for listener in self._listeners
        ]  # fmt: skip
        self.started = True

    async def main_loop(self) -> None:
        self.ready.set()
        await self.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        began = time.monotonic()
        while self._under_way(time.monotonic() - began):
            await asyncio.sleep(0.02)
        for listener in self._listeners:
            listener.drop()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        # Broken connections reach the transports and the waiting requests within a few turns of
        # the loop; what still sleeps then is cancelled.
        for turn in range(100):
            await asyncio.sleep(0 if turn < 5 else 0.005)
            if turn == 5:
                for task in list(self.server_state.tasks):
                    task.cancel()
            if turn >= 5 and not self.server_state.connections and not self.server_state.tasks:
                break
        for listener in self._listeners:
            listener.close()

    def _under_way(self, stopping: float) -> bool:
        """Whether to wait for a request; *stopping* is for how long we do."""
        if stopping >= self.patience:
            return False
        connections = [each for each in self.server_state.connections if isinstance(each, Protocol)]
        for each in connections:
            if each.cycle is not None:
                each.cycle.keep_alive = False  # none after this one
        if stopping < _LINGER:
            return bool(self.server_state.tasks) or any(each.unread for each in connections)
        return bool(self.server_state.tasks - {each.telling for each in connections})
