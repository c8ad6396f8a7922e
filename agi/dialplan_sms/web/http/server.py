"""An ASGI application as a running server: an event loop in a thread.

The loop accepts connections by itself: once no file descriptor is left, asyncio's own servers log a
traceback for each connection, thousands in a second.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, cast

from dialplan_sms.host import shortage
from dialplan_sms.web.http.connection import LINGER, Connection
from dialplan_sms.web.http.listener import Admission

HANDSHAKE = 5.0  # seconds for a TLS handshake, and for its end
_STOP = 10.0  # seconds
_SHORT = 0.1  # seconds until the next try after a connection could not be accepted


class WebServer:
    """Serves *app* on *listeners*, over *tls* if that is given.

    *keep_alive* is how many seconds an idle connection stays open. *admits* says whether a peer's
    address may connect; who may not is dropped without a word. It is called in the event loop, so
    it must not block. *note* logs a condition that may hold thousands of times, a constant with
    ``{}`` for what differs.
    """

    def __init__(
        self,
        app: Any,
        listeners: Sequence[socket.socket],
        tls: ssl.SSLContext | None = None,
        keep_alive: float = 5,
        admits: Callable[[str], bool] = lambda _: True,
        note: Callable[[str, object], None] = lambda *_: None,
    ) -> None:
        self.opened = 0  # TCP connections so far, failed TLS handshakes included
        self.admission = Admission(admits)
        self._app = app
        self._listeners = listeners
        self._keep_alive = keep_alive
        self._note = note
        self._tls = tls
        self._tasks: dict[asyncio.Task[None], Connection | None] = {}
        self._stopping: Future[float] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="http", daemon=True
        )

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self, patience: float = 0.0) -> None:
        """Listen no more, let requests under way end within *patience* seconds, drop the rest."""
        if self._thread.is_alive():
            self._stopping.set_result(patience)
            self._thread.join(patience + _STOP)
        for listener in self._listeners:  # of a server that was never started
            listener.close()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            listener.setblocking(False)
            self._listen(loop, listener)
        patience = await asyncio.wrap_future(self._stopping)
        for listener in self._listeners:
            loop.remove_reader(listener)
            listener.close()
        for task, connection in self._tasks.items():
            if connection is not None and connection.under_way:
                connection.finish()
            else:
                task.cancel()
        for seconds in (patience, LINGER):
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=seconds)
            for task in self._tasks:
                task.cancel()

    def _listen(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        if listener.fileno() >= 0:  # not closed meanwhile
            loop.add_reader(listener, self._accept, loop, listener)

    def _accept(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it is gone already
            return
        except OSError as error:
            self._note("connections wait: {}", shortage(error) or error.strerror)
            loop.remove_reader(listener)
            loop.call_later(_SHORT, self._listen, loop, listener)
            return
        task = loop.create_task(self._connect(client, address))
        self._tasks[task] = None
        task.add_done_callback(lambda _: self._ended(task, client))

    async def _connect(self, client: socket.socket, address: Any) -> None:
        with self.admission.room(str(address[0])) as fits:
            if not fits:
                return
            self.opened += 1
            loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            patience = HANDSHAKE if self._tls else None
            try:
                transport, _ = await loop.connect_accepted_socket(
                    lambda: protocol, client, ssl=self._tls,
                    ssl_handshake_timeout=patience, ssl_shutdown_timeout=patience,
                )  # fmt: skip
            except OSError:  # a handshake that fails
                return
            try:
                writer = asyncio.StreamWriter(transport, protocol, reader, loop)
                connection = Connection(self._app, reader, writer, address[:2], self._keep_alive)
                self._tasks[cast("asyncio.Task[None]", asyncio.current_task())] = connection
                await connection.serve()
            finally:
                transport.abort()

    def _ended(self, task: asyncio.Task[None], client: socket.socket) -> None:
        client.close()
        del self._tasks[task]
        if not task.cancelled() and (failure := task.exception()) is not None:
            name = type(failure).__name__
            self._note("HTTP: dialplan-sms broke, {}: please report this line", name)
