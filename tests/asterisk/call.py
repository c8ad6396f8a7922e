"""One call into the dialplan: what it starts with, what happens in it, what it leaves behind."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.asterisk.ami import AmiError, Message

OUTPUTS = (
    "SMS_STATUS", "SMS_CAUSE", "SMS_REASON", "SMS_FAILED", "SMS_ID", "SMS_VIA", "AGISTATUS",
    "GOSUB_RETVAL",
)  # fmt: skip
_LONGEST = 8000


class CallTimeout(AssertionError):
    """The call, or what was waited for in it, did not come to pass in time."""


@dataclass(frozen=True)
class Result:
    """A call that is over."""

    variables: dict[str, str]  # as the channel left them: after `h`, byte for byte
    probes: dict[str, dict[str, str]]  # the same at each AGI(${PROBE},label) on the way
    events: list[Message]  # of both ends and of every channel that they made
    duration: float  # seconds from the start to the hang-up

    def applications(self) -> list[str]:
        """What the dialplan ran, in order, as `Set(A=b)`."""
        return _applications(self.events)


def seed(
    folder: Path, target: str, variables: Mapping[str, str | bytes], ask: Iterable[str]
) -> None:
    """Write the files that a call begins with (read by context `bed`) and its probes read."""
    folder.mkdir()
    names = dict.fromkeys([*OUTPUTS, *ask])
    (folder / "ask").write_text("\n".join(names))
    (folder / "target").write_text(target)
    (folder / "count").write_text(str(len(variables)))
    for number, (name, text) in enumerate(variables.items(), start=1):
        value = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
        if len(value) > _LONGEST or b"\0" in value:
            raise ValueError(
                f"{name}: a channel variable takes no NUL and {_LONGEST} bytes at most"
            )
        (folder / f"{number}.name").write_text(name)
        (folder / f"{number}.value").write_bytes(value[:4000])
        (folder / f"{number}.rest").write_bytes(value[4000:])


class Call:
    """A call under way. `wait()` gives its Result; `hangup()` is the caller putting the phone down.

    The dialplan runs on `channel`; the caller is `peer`, the other half of a Local channel.
    """

    def __init__(self, folder: Path, hang_up: Callable[[str], object], timeout: float) -> None:
        self.name = folder.name
        self.folder = folder
        self.timeout = timeout
        self.channel = ""
        self.peer = ""
        self.started = time.monotonic()
        self._hang_up = hang_up
        self._events: list[Message] = []
        self._news = threading.Condition()

    @property
    def ids(self) -> tuple[str, str]:
        """The unique ids of peer and channel."""
        return f"{self.name}-1", f"{self.name}-2"

    @property
    def over(self) -> bool:
        """Whether both ends have hung up."""
        with self._news:
            gone = {event["Uniqueid"] for event in self._events if event.event == "Hangup"}
        return gone.issuperset(self.ids)

    def take(self, event: Message) -> None:
        """Keep an event where it belongs to this call."""
        if event["Linkedid"] not in self.ids and event["Uniqueid"] not in self.ids:
            return
        with self._news:
            if event["Uniqueid"] == self.ids[0]:
                self.peer = event["Channel"]
            elif event["Uniqueid"] == self.ids[1]:
                self.channel = event["Channel"]
            self._events.append(event)
            self._news.notify_all()

    def wait_for(self, event: str, *, timeout: float | None = None, **headers: str) -> Message:
        """The first event of this kind and with these headers, already seen or to come.

        `wait_for("Newexten", Application="AGI")`; raises CallTimeout.
        """

        def found() -> Message | None:
            return next(
                (e for e in self._events if e.event == event and e.matches(**headers)), None
            )

        with self._news:
            message = self._news.wait_for(found, self.timeout if timeout is None else timeout)
        if message is None:
            raise CallTimeout(f"{self.name}: no {event} {headers}")
        return message

    def hangup(self) -> None:
        """Hang up from the caller's end, as a phone does."""
        self.wait_for("Newchannel", Uniqueid=self.ids[0])
        self._hang_up(self.peer)

    def end(self) -> Result:
        self.hangup()
        return self.wait()

    def wait(self) -> Result:
        """Wait until the call is over; hangs it up and raises CallTimeout after `timeout`."""
        limit = self.started + self.timeout
        try:
            for unique in self.ids:
                left = max(0.0, limit - time.monotonic())
                self.wait_for("Hangup", timeout=left, Uniqueid=unique)
        except CallTimeout:
            with self._news:
                ran = _applications(self._events)[-1:]
            for channel in filter(None, (self.peer, self.channel)):
                with suppress(AmiError):  # gone by now
                    self._hang_up(channel)
            told = f"{self.name} is not over after {self.timeout} s; last: {ran}"
            raise CallTimeout(told) from None
        over = self.wait_for("Hangup", Uniqueid=self.ids[1])
        probes = {
            path.stem: json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))
        }
        variables = probes.pop("end", None)
        if variables is None:
            raise CallTimeout(f"{self.name}: the last probe of the call wrote nothing")
        with self._news:
            return Result(variables, probes, list(self._events), over.at - self.started)


def _applications(events: Iterable[Message]) -> list[str]:
    return [
        f"{event['Application']}({event['AppData']})"
        for event in events
        if event.event == "Newexten" and event["Context"] not in ("bed", "bed-end")
    ]
