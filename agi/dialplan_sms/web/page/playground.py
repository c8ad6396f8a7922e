"""What the page of the sandbox can do beyond reading."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FaultSwitch:
    """A way in which the stand-in can fail; at most one is on."""

    name: str
    meaning: str
    on: bool


@dataclass(frozen=True, slots=True)
class GatewaySwitch:
    """A simulated GSM gateway, and how many SMS wait for it."""

    mac: str
    online: bool
    waiting: int


class Playground(Protocol):
    """The sandbox, as its page uses it; called in threads."""

    def faults(self) -> Sequence[FaultSwitch]:
        """All there are, always in the same order."""

    def set_fault(self, name: str | None) -> None:
        """Give every request the fault *name*; None: all goes well. Raises ValueError."""

    def gateways(self) -> Sequence[GatewaySwitch]:
        """All there are, always in the same order."""

    def set_online(self, mac: str, online: bool) -> None:
        """Plug a gateway in or out. Raises ValueError for one that is not there."""

    def send_test(self, number: str, text: str, gsm: str) -> str:
        """Send *text* as a client of the API would; what it answered, a line for people."""
