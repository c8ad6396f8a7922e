"""How a request travels: over connections to one PBX that are kept open."""

import contextlib
import re
import time
import weakref
from collections import deque
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest

from dialplan_sms.transport import tls
from dialplan_sms.transport.connection import Connection, make
from dialplan_sms.transport.exchange import Exchange
from dialplan_sms.transport.http_head import Answer
from dialplan_sms.transport.resolver import Resolver

_IDLE = 55.0
"""Seconds after which an idle connection is closed, if the PBX does not say when it does."""
_MARGIN = 1.0  # seconds before the PBX closes an idle connection that it is not used any more
_KEEP_ALIVE = re.compile(r"timeout=([0-9]{1,5})")


class Pool:
    """Sends each request to the PBX at *url* once, over a connection that is open if there is one.

    A session of requests would load the CA bundle for every new connection (33-41 ms), and spend
    half of a request's time on pools, proxies, redirects and cookies, of which an API needs
    nothing. With https *verify* is as `tls.settings` takes it; a file is read now.
    *connections* is how many stay open to the PBX.
    """

    def __init__(self, url: str, verify: str, resolver: Resolver, connections: int = 1) -> None:
        self._tls = tls.settings(verify) if urlsplit(url).scheme == "https" else {}
        self._resolver = resolver
        self._most = connections
        self._idle: deque[Connection] = deque()
        self._idle_for = _IDLE
        weakref.finalize(self, _close_all, self._idle)

    def send(
        self, request: PreparedRequest, exchange: Exchange, largest: int
    ) -> tuple[int, str, bytes]:
        """The answer to *request*: its status, its Location, and at most *largest* bytes of it.

        Raises OSError and http.client.HTTPException; *exchange* says how far the request came.
        """
        connection = self._connection(request)
        connection.exchange = exchange
        try:
            headers: Any = request.headers
            answer = connection.post(request.path_url, headers, request.body)  # type: ignore[arg-type]
            body = answer.read(largest)
        except BaseException:
            connection.close()
            raise
        # Only once no deadline can shut it down any more is it another request's to use.
        exchange.close()
        # After a status below 200 another answer follows, which would be taken for the next one's.
        whole = answer.isclosed() and not answer.length and answer.status >= 200
        if whole and connection.sock is not None:
            self._keep(connection, answer)
        else:
            connection.close()
        return answer.status, answer.getheader("Location") or "", body

    @property
    def idle(self) -> int:
        """Connections that are open and not in use."""
        return len(self._idle)

    def close(self) -> None:
        """Close what is idle; what is in use is closed after its request."""
        self._most = 0
        _close_all(self._idle)

    def _connection(self, request: PreparedRequest) -> Connection:
        """One that is open, that which was used last, or a new one; those too old are closed."""
        with contextlib.suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if time.monotonic() - connection.idle_since < self._idle_for:
                    connection.reused = True  # whether it is open still is seen at the last moment
                    return connection
                connection.close()
        parts = urlsplit(str(request.url))  # the name of the host encoded by requests
        return make(parts.scheme, parts.hostname or "", parts.port, self._resolver, **self._tls)

    def _keep(self, connection: Connection, answer: Answer) -> None:
        told = _KEEP_ALIVE.search(answer.getheader("Keep-Alive") or "")
        # A request that goes out just as the PBX closes the connection may be lost.
        self._idle_for = min(int(told[1]) - _MARGIN, _IDLE) if told else _IDLE
        connection.idle_since = time.monotonic()
        del connection.exchange  # which would keep the call that it was of
        self._idle.append(connection)
        if len(self._idle) > self._most:
            with contextlib.suppress(IndexError):
                self._idle.popleft().close()


def _close_all(connections: deque[Connection]) -> None:
    with contextlib.suppress(IndexError):
        while True:
            connections.pop().close()
