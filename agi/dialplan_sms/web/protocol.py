"""uvicorn's HTTP, made patient with the slow and impatient with the idle, and within reach.

uvicorn bounds how long a connection may idle between two requests, but not how long a request may
take to arrive: a client that sends a byte a minute would keep its connection for ever.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

ARRIVAL = 10.0
"""Seconds in which a request has to arrive whole, head and body, the TLS handshake apart."""
MOST = 1000
"""Connections at once; one more is dropped before it has said anything."""
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
        app = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})[TRANSPORT] = self.transport
            await app(scope, receive, send)

        self.app = with_transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()
            return
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_content()
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

    def _give_up(self) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # nothing was answered yet
            self.transport.write(_TOO_SLOW)
        self.transport.close()
        if self.cycle is not None:  # who reads its body is told that there is no more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
