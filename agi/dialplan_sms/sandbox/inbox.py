"""What arrived and what was taken, apart: one is not the other if things go wrong."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Condition
from typing import Any

from dialplan_sms.sandbox.faults import Trouble


@dataclass(frozen=True, slots=True)
class Request:
    """One request that arrived completely.

    *pairs* are the names and values as received, those of the query string first; *user* is whose
    the credentials are, None if they were missing or wrong.
    """

    method: str
    path: str
    pairs: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    user: str | None = None
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def form(self) -> Mapping[str, str]:
        """The parameters by name: spaces around a name are dropped, the last of a name wins.

        The old dialplan recipe sends `` message=…``, and PBXs take it.
        """
        return {name.strip(): value for name, value in self.pairs}


@dataclass(frozen=True, slots=True)
class Message:
    """One message that the PBX took: *text* as it goes out, *original* as it was received.

    *gsm* is the gateway that sends it, asked for or chosen at random, 12 hex digits; *postpone* is
    the PBX's local time, None for at once.
    """

    numbers: tuple[str, ...]
    text: str
    original: str
    gsm: str
    postpone: datetime | None
    user: str
    received_at: datetime
    path: str
    method: str


@dataclass(frozen=True, slots=True)
class Served:
    """What came of a request: its reply, what was taken, and the trouble it shall have."""

    request: Request
    reply: Mapping[str, Any]
    status: int = 200
    message: Message | None = None
    trouble: Trouble | None = None


class Inbox:
    """Every request that arrived and every message that was taken. Threads may share it.

    Only the last *most* of each if that is given: a server that runs for weeks needs a bound.
    """

    def __init__(self, most: int | None = None) -> None:
        self._changed = Condition()
        self._requests: deque[Request] = deque(maxlen=most)
        self._messages: deque[Message] = deque(maxlen=most)

    def add(self, request: Request, message: Message | None = None) -> None:
        """Keep a request that arrived completely, and the message that was taken from it."""
        with self._changed:
            self._requests.append(request)
            if message is not None:
                self._messages.append(message)
            self._changed.notify_all()

    @property
    def requests(self) -> list[Request]:
        """The requests so far, oldest first; a copy."""
        with self._changed:
            return list(self._requests)

    @property
    def messages(self) -> list[Message]:
        """The messages so far, oldest first; a copy."""
        with self._changed:
            return list(self._messages)

    def clear(self) -> None:
        """Forget them all."""
        with self._changed:
            self._requests.clear()
            self._messages.clear()

    def wait(self, *, requests: int = 0, messages: int = 0, timeout: float = 20.0) -> None:
        """Wait until so many have come; raises TimeoutError after *timeout* seconds."""

        def have_come() -> bool:
            return len(self._requests) >= requests and len(self._messages) >= messages

        with self._changed:
            if not self._changed.wait_for(have_come, timeout):
                raise TimeoutError(
                    f"{len(self._requests)} of {requests} requests and {len(self._messages)} of "
                    f"{messages} messages came within {timeout} s"
                )
