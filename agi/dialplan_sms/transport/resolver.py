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
                lookup = _Lookup()
                threading.Thread(
                    target=self._run, args=(key, lookup), name="resolver", daemon=True
                ).start()  # raises RuntimeError if the host has no thread left
                self._running[key] = lookup
        if not lookup.done.wait(timeout):
            raise TimeoutError
        if lookup.error is not None:
            raise OSError(str(lookup.error)) from lookup.error
        return lookup.addresses

    def _run(self, key: tuple[str, int], lookup: "_Lookup") -> None:
        try:
            lookup.addresses = self._lookup(*key, 0, socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - the caller's to handle, in its own thread
            lookup.error = error
        finally:
            with self._lock:
                del self._running[key]
            lookup.done.set()


class _Lookup:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.addresses: list[Address] = []
        self.error: Exception | None = None
