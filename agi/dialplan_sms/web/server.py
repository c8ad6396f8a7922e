"""An ASGI application as a running server: its sockets, whom it lets in, an event loop in a thread.

Who is not let in is dropped before a TLS handshake takes memory and time. It accepts by itself:
without a file descriptor left, asyncio's own servers log thousands of tracebacks in a second.
"""

import asyncio
import errno
import os
import re
import resource
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

from dialplan_sms.host import shortage
from dialplan_sms.host.address import is_loopback, machine
from dialplan_sms.web.connection import LINGER, Connection

MOST = 1000  # connections at once of all the listeners of a server; one more is dropped
MOST_EACH = 250  # from one other machine, or from one /64 of IPv6
HANDSHAKE = 5.0  # seconds for a TLS handshake, and for its end
_ANOTHER = "give another address with --listen, such as 127.0.0.1:0 (0: any free port)"
_ADDRESS = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]:|(?P<name>[^:\[\]\s]*):)?(?P<port>[0-9]{1,5})"
)


class Address(NamedTuple):
    """Where to listen: a host name or address, and a port, 0 for any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> "Address":
        """Where a client can connect: the loopback address in place of "any address"."""
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound to here
        return Address(anywhere.get(self.host, self.host), self.port)


def parse_address(text: str) -> Address:
    """Read ``[HOST:]PORT``, the host else 127.0.0.1. Raises ValueError, its text for people."""
    match = _ADDRESS.fullmatch(text.strip())
    if not match or int(match["port"]) > 65535:
        raise ValueError(f"{text!r} is not an address such as 127.0.0.1:8443 or [::1]:8443")
    return Address(match["six"] or match["name"] or "127.0.0.1", int(match["port"]))


class ListenError(OSError):
    """An address cannot be listened on; the text says why and what to do."""


def listen(address: Address, elsewhere: str = _ANOTHER) -> socket.socket:
    """Listen on *address*; raises ListenError, which ends in how to listen *elsewhere*."""
    try:
        family, _, _, _, where = socket.getaddrinfo(
            *address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ListenError(f"{address.host!r} is not the name of a host: {elsewhere}") from error
    try:
        return socket.create_server(where, family=family, backlog=1024)
    except OSError as error:
        # Not strerror, in which create_server() repeats the address in Python's words.
        reason = {
            errno.EADDRINUSE: "is in use: stop what listens there, or",
            errno.EACCES: "needs root:",
            errno.EADDRNOTAVAIL: "is not an address of this machine:",
        }.get(error.errno or 0, f"cannot be listened on ({os.strerror(error.errno or 0)}):")
        raise ListenError(f"{address} {reason} {elsewhere}") from error


class WebServer:
    """Serves *app* on *listeners*, over *tls* if that is given.

    *keep_alive* is how many seconds an idle connection stays open. *admits* says, without blocking,
    whether an address may connect. *note* logs what may be so thousands of times: Repeated.
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
        self._admits = admits
        self._of: Counter[str] = Counter()  # connections that are open, by machine
        # Calls and the outbox need descriptors, too.
        self._most = min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
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
            self._thread.join(patience + 10.0)
        for listener in self._listeners:  # of a server that was never started
            listener.close()

    @contextmanager
    def room(self, host: str) -> Iterator[bool]:
        """Whether one more connection from *host* may come in; it is counted while it lasts."""
        source = machine(host)
        each = MOST if is_loopback(host) else MOST_EACH
        if self._of.total() >= self._most or self._of[source] >= each or not self._admits(host):
            yield False
            return
        self._of[source] += 1
        try:
            yield True
        finally:
            self._of -= Counter([source])  # and those that have none left

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
            loop.call_later(0.1, self._listen, loop, listener)
            return
        task = loop.create_task(self._connect(client, address))
        self._tasks[task] = None
        task.add_done_callback(lambda _: self._ended(task, client))

    async def _connect(self, client: socket.socket, address: Any) -> None:
        with self.room(str(address[0])) as fits:
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
