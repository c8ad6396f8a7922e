"""The PBX's spool: what its API took waits here until a simulated GSM gateway has sent it.

It is the product's own outbox and worker. Each gateway is a sender there, named after its MAC, so
that one that is offline keeps only its own SMS waiting. The PBX user stands as the caller.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.outbox.schema import State, message, now, number
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.outbox.worker import Worker
from dialplan_sms.sandbox.pbx import Message
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.sms import Handled, Sms
from dialplan_sms.web.board import Board

_KEPT = 7 * 86400.0  # seconds that the history and its texts are kept
_EVER = 1000 * 365 * 86400.0  # seconds: a PBX's spool gives nothing up
_LAST = datetime(9000, 1, 1)  # the latest date that is some seconds, wherever the PBX is


@dataclass
class Gateway:
    """A simulated GSM gateway, as the way to the phones: it sends at once, if it is online."""

    mac: str
    online: bool = True

    def send(self, sms: Sms, going_out: Callable[[], None], until: float) -> Outcome:
        """Send to the air, which takes all."""
        if not self.online:
            return error(Cause.UNREACHABLE, f"the gateway {self.mac} is offline")
        going_out()
        return Outcome(Status.SUCCESS)


class Spool:
    """Sends through *gateways* (MACs), each one SMS in *pace* seconds; 0 for no pace at all.

    *closing* stops it and removes its folder. Raises OSError and OutboxError without a place.
    """

    def __init__(
        self, gateways: Sequence[str], pace: float, note: Callable[[str], None], closing: ExitStack
    ) -> None:
        self.note = note
        self.gateways: Mapping[str, Gateway] = {mac: Gateway(mac) for mac in gateways}
        folder = closing.enter_context(TemporaryDirectory(prefix="dialplan-sms-spool-"))
        url = f"sqlite:///{folder}/outbox.sqlite"
        # One number a try if each costs its pace, for all to be paced.
        senders = {
            mac: Sender(
                name=mac, url="", gsm=mac, mode="queue", pace=pace, batch=1 if pace else 500,
                max_age=_EVER, keep_text=_KEPT,
            )
            for mac in gateways
        }  # fmt: skip
        self._config = Config(Path("the sandbox"), senders, None, outbox=url, retention=_KEPT)
        self.outbox = Outbox(url, lambda: self._worker.wake())
        closing.callback(self.outbox.close)
        self.board = Board(self.outbox, lambda: self.gateways)
        closing.callback(self.board.close)
        self.outbox.writer.do(lambda _: None, 10.0)  # makes the database
        self._worker = Worker(self.outbox, self, threads=4)
        self._worker.start()
        closing.callback(self._worker.stop, 1.0)  # seconds for what is being sent

    def take(self, taken: Message) -> bool:
        """Put a message on the disk, to be sent now or at its date; whether it is there."""
        later = taken.postpone is not None and taken.postpone > datetime.now()
        sms = Sms(
            numbers=tuple(dict.fromkeys(taken.numbers)),
            text=taken.text,
            gsm=taken.gsm,
            postpone=min(taken.postpone, _LAST) if taken.postpone and later else None,
            mode="queue",
            caller=taken.user,
        )
        return self.outbox.accept(sms, self._config.senders[taken.gsm]).status is Status.QUEUED

    def set_online(self, mac: str, online: bool) -> None:
        """Plug a gateway in or out."""
        self.gateways[mac].online = online
        self._retry_now(mac)

    def waiting(self) -> Mapping[str, int]:
        """How many SMS could go out now, if their gateway would send them: by MAC."""
        states = (State.PENDING, State.LEASED, State.SENDING)
        query = (
            sa.select(message.c.gsm, sa.func.count())
            .join_from(message, number)
            .where(message.c.state.in_(states), message.c.due <= now(), number.c.state.in_(states))
            .group_by(message.c.gsm)
        )
        found = self.board.read(lambda c: c.execute(query).all())
        return dict.fromkeys(self.gateways, 0) | {mac: int(count) for mac, count in found}

    def load(self) -> Config:
        """For the worker: the gateways as senders."""
        return self._config

    def route(self, sender: Sender) -> Gateway:
        """For the worker: the way to the phones."""
        return self.gateways[sender.name]

    def worked(self, state: str, count: int = 1, handled: Handled | None = None) -> None:
        """A try that found its gateway offline may end when that is online again already."""
        if handled is not None and handled.outcome.cause is Cause.UNREACHABLE:
            self._retry_now(handled.sender)

    def _retry_now(self, mac: str) -> None:
        """As when an admin has mended sms.conf: with another one the worker tries at once."""
        if self.gateways[mac].online:
            self._config = replace(self._config)
            self._worker.wake()
