"""What can be made to go wrong, and when: for every request, for the next ones, or by number."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from typing import Self


class Fault(StrEnum):
    """A way to fail; *meaning* is for people. Each reads the whole request first."""

    meaning: str

    def __new__(cls, name: str, meaning: str = "") -> Self:
        fault = str.__new__(cls, name)
        fault._value_ = name
        fault.meaning = meaning
        return fault

    HANG = "hang", "never answers"
    RESET = "reset", "resets the connection (TCP RST) without an answer"
    CLOSE = "close", "closes the connection (TCP FIN) without an answer"
    SERVER_ERROR = "500", "status 500 with a web page"
    HTML = "html", "status 200 with a web page"
    GARBAGE = "garbage", "bytes that are not HTTP"
    TRICKLE = "trickle", "a header without end, one byte every 0.2 s"
    TRICKLE_BODY = "trickle-body", "a body without end, one byte every 0.2 s"
    SLOW = "slow", "the proper answer, 1.5 s late"
    UNAUTHORIZED = "unauthorized", "status 401, as for a wrong password"
    REDIRECT = "redirect", "status 302 to another path of this server"
    PARTIAL = (
        "partial", "a warning that names this number (by option: the last); the others are taken",
    )  # fmt: skip
    REJECT = "reject", "an error"
    HUGE = "huge", "a success of more than 64 KiB"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of your own, sent byte for byte; the connection is closed after it.

    ``Content-Length`` is added if *headers* name neither it nor ``Transfer-Encoding``.
    """

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    meaning = "an answer of your own"

    def wire(self) -> bytes:
        """The answer as it goes over the wire."""
        lines = [f"HTTP/1.1 {self.status} Sandbox"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        named = {name.lower() for name, _ in self.headers}
        if not {"content-length", "transfer-encoding"} & named:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", errors="replace") + self.body


# Faults that say by themselves whether a proper message is taken.
_TAKES: dict[Fault | Reply, bool] = {
    Fault.SLOW: True, Fault.PARTIAL: True,
    Fault.REDIRECT: False, Fault.UNAUTHORIZED: False, Fault.REJECT: False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault, and whether the message is *taken* all the same, unless that follows from it."""

    fault: Fault | Reply
    taken: bool = False

    @property
    def takes(self) -> bool:
        """Whether a proper message is taken in spite of it."""
        return _TAKES.get(self.fault, self.taken)

    def __str__(self) -> str:
        name = f"reply {self.fault.status}" if isinstance(self.fault, Reply) else self.fault.value
        return f"taken-{name}" if self.taken else name


def magic_number(fault: Fault, *, taken: bool = False) -> str:
    """The number that brings *fault* about. +999 is reserved (ITU-T E.164): no phone has it."""
    return f"+9990000{'01' if taken else '00'}{list(Fault).index(fault) + 1:02}"


_MAGIC = {
    magic_number(fault, taken=taken): Trouble(fault, taken)
    for taken in (False, True)
    for fault in Fault
}
# By their names: each fault, then those that can take the message.
TROUBLES = {str(it): it for it in _MAGIC.values() if not (it.taken and it.fault in _TAKES)}


def magic_trouble(number: str) -> Trouble | None:
    """What *number* brings about; its ``+`` may be missing, since careless clients lose it."""
    return _MAGIC.get(f"+{number.removeprefix('+')}")


def parse_fault(text: str) -> tuple[Trouble, int | None]:
    """Read ``NAME[:N]`` or ``taken-NAME[:N]``: the trouble, and how often; None is for ever.

    Raises ValueError, its text for people.
    """
    name, colon, times = text.strip().lower().partition(":")
    if colon and (not times.isdecimal() or not 1 <= int(times[:9]) == int(times)):
        raise ValueError(f"{times!r} is not a number of requests: write {name}:2 for the first two")
    for trouble in _MAGIC.values():
        if str(trouble) == name:
            return trouble, int(times) if colon else None
    raise ValueError(f"no fault is called {name!r}; there are {', '.join(Fault)}")


class Faults:
    """The troubles that are switched on, one after the other. Threads may share it."""

    def __init__(self, plan: Iterable[tuple[Trouble, int | None]] = ()) -> None:
        self._lock = Lock()
        self._plan = deque(plan)

    @property
    def current(self) -> Trouble | None:
        """What the next request gets."""
        with self._lock:
            return self._plan[0][0] if self._plan else None

    def set(self, trouble: Trouble | None) -> None:
        """Give every request *trouble* from now on; None: all goes well again."""
        with self._lock:
            self._plan = deque([] if trouble is None else [(trouble, None)])

    def add(self, trouble: Trouble, times: int | None = 1) -> None:
        """Give *times* requests *trouble*, after those that are waiting for others."""
        with self._lock:
            self._plan.append((trouble, times))

    def next(self) -> Trouble | None:
        """Take the trouble of one request off the plan."""
        with self._lock:
            trouble, times = self._plan.popleft() if self._plan else (None, 1)
            if trouble is not None and times != 1:
                self._plan.appendleft((trouble, times and times - 1))
            return trouble
