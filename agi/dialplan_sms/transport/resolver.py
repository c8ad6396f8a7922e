"""Name resolution with a time limit."""

import socket
import threading
from collections.abc import Callable
from typing import Any

Address = tuple[Any, ...]
"""One entry of socket.getaddrinfo: family, type, protocol, canonical name, socket address."""


class Resolver:
    """Name resolution with a time limit, which getaddrinfo has not.

    A lookup that takes too long goes on in its thread, and callers who ask for the same name
    meanwhile wait for that one: a dead name server costs one thread a name.
    """

    def __init__(self, lookup: Callable[..., list[Address]] = socket.getaddrinfo) -> None:
        self._lookup = lookup
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], _Lookup] = {}

    def resolve(self, host: str, port: int, timeout: float) -> list[Address]:
        """The addresses of *host*. Raises OSError; TimeoutError after *timeout* seconds."""
        try:
            return self._lookup(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            pass  # a name
        key = (host, port)
        with self._lock:
            lookup = self._running.get(key)
            if lookup is None:
                lookup = _Lookup(target=self._run, args=(key,), name="resolver", daemon=True)
                lookup.start()  # raises RuntimeError if the host has no thread left
                self._running[key] = lookup
        lookup.join(timeout)
        if lookup.is_alive():
            raise TimeoutError
        if lookup.error is not None:
            raise OSError(str(lookup.error)) from lookup.error
        return lookup.addresses

    def _run(self, key: tuple[str, int]) -> None:
        with self._lock:
            lookup = self._running[key]
        try:
            lookup.addresses = self._lookup(*key, 0, socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - the caller's to handle, in its own thread
            lookup.error = error
        with self._lock:
            del self._running[key]


class _Lookup(threading.Thread):
    addresses: list[Address]
    error: Exception | None = None
