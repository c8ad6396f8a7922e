"""uvicorn's HTTP, made patient with the slow and impatient with the idle, and within reach.

uvicorn bounds how long a connection may idle between two requests, but neither how long a request
may take to arrive nor how long its answer may take to be read: a client that sends a byte a minute,
or reads none, would keep its connection for ever.
"""

import asyncio
import contextlib
import socket
import struct
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

ARRIVAL = 10.0
"""Seconds in which a request has to arrive whole, head and body, the TLS handshake apart."""
TAKING = 10.0
"""Seconds in which a client has to read what was written to it, as far as the kernel holds none."""
PIPELINED = 1 << 16
"""Bytes of requests that may wait for the answer to one; with more of them it is the last."""
IN_A_ROW = 16
"""Requests that a client may send without waiting for answers; the next one is the last."""
TRANSPORT = "dialplan_sms.transport"
"""Where an application finds the connection's transport: in the scope's ``extensions``."""

_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 33\r\n\r\nThe request took too long to come"
)


class Protocol(H11Protocol):
    """One connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._in_a_row = 0
        self.telling: asyncio.Task[Any] | None = None
        """The task that cannot go on until the client reads, if any."""
        app = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            async def tell(message: Any) -> None:
                self.telling = asyncio.current_task()
                try:
                    await send(message)
                finally:
                    self.telling = None

            scope.setdefault("extensions", {})[TRANSPORT] = self.transport
            await app(scope, receive, tell)

        self.app = with_transport

    @property
    def unread(self) -> bool:
        """Whether the client has yet to read of what was written."""
        return self._unread is not None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # To be told, by pause_writing(), of every byte that the kernel does not take.
        transport.set_write_buffer_limits(high=1 if self.scheme == "https" else 0, low=0)
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect()
        if self.flow.read_paused and len(self.conn.trailing_data[0]) > PIPELINED:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """The next request may be here already, or its beginning."""
        super().on_response_complete()
        if self.cycle is None or self.cycle.response_complete:
            self._in_a_row = 0
        else:
            self._unset_keepalive_if_required()
            self._in_a_row += 1
            if self._in_a_row >= IN_A_ROW:
                self.cycle.keep_alive = False
        more = self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]
        if more and not self.transport.is_closing():
            self._expect()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for long; h11 would have it that a request is under way."""
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """As far as it can still be said."""
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # there was an answer already
            self.transport.close()

    def pause_writing(self) -> None:
        """Something is left that the kernel did not take."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(TAKING, self._reset)

    def resume_writing(self) -> None:
        """Nothing is left."""
        super().resume_writing()
        self._be_read()

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_content()
        self._be_read()
        super().connection_lost(exc)

    def _expect(self) -> None:
        """Have the deadline run while a request is on its way here, and only then."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._be_content()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(ARRIVAL, self._give_up)

    def _be_content(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _be_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _reset(self) -> None:
        """Drop the connection and what the kernel still has to send on it."""
        with contextlib.suppress(OSError, AttributeError):
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self.transport.abort()

    def _give_up(self) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # nothing was answered yet
            self.transport.write(_TOO_SLOW)
        self.transport.close()
        if self.cycle is not None:  # who reads its body is told that there is no more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
