"""One connection of the web server: h11 reads and writes HTTP, an ASGI application answers it.

Who sends a byte a minute, or does not read the answer, loses the connection.
"""

import asyncio
import contextlib
import socket
import struct
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import h11
from starlette.requests import ClientDisconnect

MAX_HEADERS = 1 << 16  # bytes of the first line and headers: a GET carries its message there
ARRIVAL = 10.0  # seconds for a request to arrive whole, head and body, after the TLS handshake
TAKING = 10.0  # seconds in which a client has to read what the kernel's buffers do not hold
LINGER = 1.0  # the same once the server stops
PIPELINED = 1 << 15  # bytes that may wait for the answer to a request; with more, it is the last
IN_A_ROW = 16  # requests that may come without waiting for answers; the next one is the last
TRANSPORT = "dialplan_sms.transport"  # in the scope's "extensions": that of the connection
_READ = 1 << 16


class Connection:
    """Serves *app* to *client*; an idle connection stays open for *keep_alive* seconds."""

    def __init__(
        self,
        app: Any,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: tuple[str, int],
        keep_alive: float,
    ) -> None:
        self._app = app
        self._reader = reader
        self._writer = writer
        self._keep_alive = keep_alive
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADERS)
        self._unsent = b""
        self._head = False
        self._in_a_row = 0
        self._until = 0.0
        self._patience = TAKING
        self._writing: asyncio.Timeout | None = None
        self._last = False
        self.under_way = False  # whether a request is being answered
        # For drain() to wait until the kernel has taken every byte.
        self._tls = writer.get_extra_info("sslcontext") is not None
        writer.transport.set_write_buffer_limits(high=1 if self._tls else 0, low=0)
        self._of_all = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "server": writer.get_extra_info("sockname")[:2],
            "client": client,
            "scheme": "https" if self._tls else "http",
            "root_path": "",
            "extensions": {TRANSPORT: writer.transport},
        }

    async def serve(self) -> None:
        """Answer until there is nothing more to come."""
        patience = ARRIVAL
        while not self._last and await self._begins(patience):
            self._until = asyncio.get_running_loop().time() + ARRIVAL
            request = await self._event()
            if not isinstance(request, h11.Request):
                break
            self.under_way = True
            self._head = request.method == b"HEAD"
            # A client that left before its request was whole is no fault of the application.
            with contextlib.suppress(ClientDisconnect):
                await self._app(self._scope(request), self._receive, self._send)
            while self._http.our_state is h11.DONE and self._http.their_state is h11.SEND_BODY:
                if not isinstance(await self._event(), h11.Data):  # of a body that nobody read
                    break
            if {self._http.our_state, self._http.their_state} != {h11.DONE}:
                break
            self._http.start_next_cycle()
            self.under_way = False
            await asyncio.sleep(0)  # others have their turn
            patience = self._keep_alive
            self._in_a_row = self._in_a_row + 1 if self._http.trailing_data[0] else 0
        self._close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def finish(self) -> None:
        """Take no request after this one, and give the client less time to read the answer."""
        self._last = True
        self._patience = LINGER
        if self._writing is not None:
            self._writing.reschedule(asyncio.get_running_loop().time() + LINGER)

    async def _begins(self, seconds: float) -> bool:
        """Whether the first byte of a request comes in time."""
        if self._http.trailing_data[0]:
            return True
        with contextlib.suppress(OSError):  # TimeoutError, too
            async with asyncio.timeout(seconds):
                self._http.receive_data(await self._reader.read(_READ))
        return bool(self._http.trailing_data[0])

    async def _event(self) -> Any:
        """What the client says next; ConnectionClosed if it is no HTTP, or comes too late."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                async with asyncio.timeout_at(self._until):
                    self._http.receive_data(await self._reader.read(_READ))
            return event
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint, "The request is no HTTP, or not whole")
        except TimeoutError:
            await self._refuse(408, "The request took too long to come")
        except OSError:
            self._writer.transport.abort()
        return h11.ConnectionClosed()

    async def _refuse(self, status: int, text: str) -> None:
        """Answer with an error, unless an answer has begun, and close."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))]
            self._put(h11.Response(status_code=status, headers=[*headers, ("Connection", "close")]))
            self._put(h11.Data(data=text.encode()))
            await self._flush()
        self._close()

    def _close(self) -> None:
        # A second close() makes asyncio's TLS forget the connection, which nothing ends then.
        if not self._writer.is_closing():
            self._writer.close()

    def _scope(self, request: h11.Request) -> dict[str, Any]:
        path, _, query = request.target.partition(b"?")
        return self._of_all | {
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "path": unquote(path.decode()),
            "raw_path": path,
            "query_string": query,
            "headers": list(request.headers),
        }

    async def _receive(self) -> dict[str, Any]:
        if self._http.they_are_waiting_for_100_continue:
            self._put(h11.InformationalResponse(status_code=100, headers=[]))
            await self._flush()
        if self._http.their_state is h11.SEND_BODY:
            event = await self._event()
            # Closing: over TLS, who closes its side cannot be answered, so nothing is done.
            if not isinstance(event, h11.ConnectionClosed) and not self._writer.is_closing():
                more = isinstance(event, h11.Data)
                body = bytes(event.data) if more else b""
                return {"type": "http.request", "body": body, "more_body": more}
        else:  # the application waits for the client to go
            with contextlib.suppress(OSError):
                while await self._reader.read(_READ):
                    pass
        self._close()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if self._writer.is_closing():
            return  # nobody reads it
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message["headers"])
            ahead = len(self._http.trailing_data[0])
            if self._last or ahead > PIPELINED or self._in_a_row >= IN_A_ROW:
                headers.append((b"Connection", b"close"))
            reason = HTTPStatus(status).phrase.encode()
            self._put(h11.Response(status_code=status, headers=headers, reason=reason))
            return
        if message.get("body") and not self._head:
            self._put(h11.Data(data=message["body"]))
        if not message.get("more_body"):
            self._put(h11.EndOfMessage())
        await self._flush()

    def _put(self, event: h11.Event) -> None:
        self._unsent += self._http.send(event) or b""

    async def _flush(self) -> None:
        """Write what was put; a client that does not read it is dropped at once."""
        unsent, self._unsent = self._unsent, b""
        try:
            self._writer.write(unsent)
            if self._tls or self._writer.transport.get_write_buffer_size():
                async with asyncio.timeout(self._patience) as self._writing:
                    await self._writer.drain()
        except TimeoutError:
            reset(self._writer.transport)
        except OSError:
            self._writer.transport.abort()
        finally:
            self._writing = None


def reset(transport: Any) -> None:
    """End a connection at once: lingering for no time makes the kernel send RST, not FIN."""
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    transport.abort()
