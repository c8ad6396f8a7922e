"""uvicorn as a stand-in needs it: its connections within reach, and no patience when it stops."""

import asyncio
import socket
import threading
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dialplan_sms.sandbox.listener import Listener
from dialplan_sms.sandbox.misbehaviour import TRANSPORT


class ReachableProtocol(H11Protocol):
    """uvicorn's HTTP, with the connection's transport in the scope of each request."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        app = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})[TRANSPORT] = self.transport
            await app(scope, receive, send)

        self.app = with_transport


class ImpatientServer(uvicorn.Server):
    """uvicorn's server without its patience: it stops when told, whoever still waits."""

    def __init__(self, config: uvicorn.Config, listener: Listener, ready: threading.Event) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()
        self._listener = listener
        self._ready = ready

    async def main_loop(self) -> None:
        self._ready.set()
        await self.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self._listener.drop()
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
        self._listener.close()
