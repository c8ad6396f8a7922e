"""How a request travels: an adapter of requests that keeps its connections to one PBX open."""

import contextlib
import re
import time
import weakref
from collections import deque
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from dialplan_sms.transport import tls
from dialplan_sms.transport.connection import Connection, make
from dialplan_sms.transport.deadline import Resolver
from dialplan_sms.transport.exchange import current
from dialplan_sms.transport.http_head import Answer

_IDLE = 55.0
"""Seconds after which an idle connection is closed, where the PBX does not say when it does."""
_MARGIN = 1.0
"""Seconds before the PBX closes an idle connection that it is not used any more."""
_HEADERS = ("Location", "Keep-Alive")
"""Those of an answer that anybody looks at."""
_KEEP_ALIVE = re.compile(r"timeout=([0-9]{1,5})")


class Adapter(BaseAdapter):
    """Sends each request once, over a connection that is open already where there is one.

    requests' own adapter would load the CA bundle for every new connection (33-41 ms), and spend
    half of a request's time on pools, proxies, redirects and cookies, of which an API needs
    nothing. TLS is settled when the adapter is made: *verify* is as `tls.settings` takes it.
    *connections* is how many stay open to the PBX.
    """

    def __init__(self, verify: str | None, resolver: Resolver, connections: int = 1) -> None:
        super().__init__()
        self._tls = tls.settings(verify)
        self._resolver = resolver
        self._most = connections
        self._idle: deque[Connection] = deque()
        self._idle_for = _IDLE
        self._closed = False
        weakref.finalize(self, _close_all, self._idle)

    def send(  # type: ignore[override]
        self, request: PreparedRequest, largest: int, **_: Any
    ) -> Response:
        """The answer to *request*, with at most *largest* bytes of its body, not decoded.

        Raises OSError and http.client.HTTPException; how far the request came, the Exchange knows.
        """
        connection = self._take() or self._make(request)
        try:
            headers: Any = request.headers
            answer = connection.post(request.path_url, headers, request.body)  # type: ignore[arg-type]
            response = _read(answer, largest)
        except BaseException:
            connection.close()
            raise
        # Only once no deadline can shut it down any more is it another request's to use.
        current().close()
        # After a status below 200 another answer follows, which would be taken for the next one's.
        whole = answer.isclosed() and not answer.length and answer.status >= 200
        if whole and connection.sock is not None:
            self._keep(connection, response)
        else:
            connection.close()
        return response

    @property
    def idle(self) -> int:
        """Connections that are open and not in use."""
        return len(self._idle)

    def close(self) -> None:
        """Close what is idle; what is in use is closed after its request."""
        self._closed = True
        _close_all(self._idle)

    def _take(self) -> Connection | None:
        """An open connection, the one that was used last; those that are too old are closed."""
        with contextlib.suppress(IndexError):
            while True:
                connection = self._idle.pop()
                idle = time.monotonic() - connection.idle_since
                if idle < self._idle_for:
                    connection.reused = True  # whether it is open still is seen at the last moment
                    return connection
                connection.close()
        return None

    def _make(self, request: PreparedRequest) -> Connection:
        parts = urlsplit(str(request.url))
        return make(parts.scheme, parts.hostname or "", parts.port, self._resolver, **self._tls)

    def _keep(self, connection: Connection, response: Response) -> None:
        told = _KEEP_ALIVE.search(response.headers.get("Keep-Alive", ""))
        # A request that goes out just as the PBX closes the connection may be lost.
        self._idle_for = min(int(told[1]) - _MARGIN, _IDLE) if told else _IDLE
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if len(self._idle) > self._most or self._closed:
            with contextlib.suppress(IndexError):
                self._idle.popleft().close()


def _close_all(connections: deque[Connection]) -> None:
    with contextlib.suppress(IndexError):
        while True:
            connections.pop().close()


def _read(answer: Answer, largest: int) -> Response:
    body = answer.read(largest)
    response = Response()
    response.status_code = answer.status
    for name in _HEADERS:
        if value := answer.getheader(name):
            response.headers[name] = value
    response._content = body
    return response
