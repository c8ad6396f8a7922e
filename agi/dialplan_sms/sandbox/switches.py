"""What the page of the sandbox can do: its faults, its gateways, and a test."""

from collections.abc import Sequence

from dialplan_sms.sandbox.credentials import TOKEN_USER
from dialplan_sms.sandbox.faults import MEANING, Fault, Trouble
from dialplan_sms.sandbox.pbx import Handled, Pbx
from dialplan_sms.sandbox.spool import Spool
from dialplan_sms.sms import api
from dialplan_sms.web.http.request import Request
from dialplan_sms.web.page.playground import FaultSwitch, GatewaySwitch

_ANSWERED = (Fault.UNAUTHORIZED, Fault.PARTIAL, Fault.REJECT)
"""Faults whose answer says it all."""


def _meanings() -> dict[Trouble, str]:
    """Every trouble there is to switch on: each fault, then those that can take the message."""
    alone = {Trouble(fault): MEANING[fault] for fault in Fault}
    taken = (Trouble(fault, taken=True) for fault in Fault)
    return alone | {
        trouble: f"as {trouble.fault}, but the message is taken"
        for trouble in taken
        if trouble.takes != Trouble(trouble.fault).takes
    }


_TROUBLES = _meanings()


class Switches:
    """The Playground over *pbx* and its *spool*."""

    def __init__(self, pbx: Pbx, spool: Spool) -> None:
        self._pbx = pbx
        self._spool = spool

    def faults(self) -> Sequence[FaultSwitch]:
        """All there are, always in the same order."""
        on = self._pbx.faults.current
        return [
            FaultSwitch(str(trouble), meaning, trouble == on)
            for trouble, meaning in _TROUBLES.items()
        ]

    def set_fault(self, name: str | None) -> None:
        """Give every request the fault *name*; None: all goes well. Raises ValueError."""
        found = next((trouble for trouble in _TROUBLES if str(trouble) == name), None)
        if name is not None and found is None:
            raise ValueError(f"no fault is called {name[:40]!r}")
        self._pbx.faults.set(found)

    def gateways(self) -> Sequence[GatewaySwitch]:
        """All there are, always in the same order. Raises OutboxError."""
        waiting = self._spool.waiting()
        return [
            GatewaySwitch(mac, gateway.online, waiting[mac])
            for mac, gateway in self._spool.gateways.items()
        ]

    def set_online(self, mac: str, online: bool) -> None:
        """Plug a gateway in or out. Raises ValueError for one that is not there."""
        self._spool.set_online(mac, online)

    def send_test(self, number: str, text: str, gsm: str) -> str:
        """Send *text* as the first of the PBX's users would; what the API answered."""
        pairs = (("number", number), ("message", text), ("gsm", gsm))
        user = next(iter(self._pbx.users), TOKEN_USER)
        return _told(self._pbx.handle(Request("POST", api.PATH, pairs, user)))


def _told(handled: Handled) -> str:
    """The answer as a line for people; there is no connection here that could break."""
    if handled.trouble is None or handled.trouble.fault in _ANSWERED:
        return _answer(handled)
    taken = "the message was taken" if handled.message else "nothing was taken"
    fault = handled.trouble.fault
    meaning = MEANING[fault] if isinstance(fault, Fault) else "an answer of your own"
    told = f"Fault {handled.trouble}: {meaning} - {taken}"
    return f"{told}. {_answer(handled)}" if fault is Fault.SLOW else told


def _answer(handled: Handled) -> str:
    reply, message = handled.reply, handled.message
    if reply["type"] != api.RESULT:
        names = f": {', '.join(reply['result'])}" if reply["result"] else ""
        return f"{reply['type'].capitalize()}: {reply['reason']}{names}"
    return f"{reply['result']}: in the spool of {message.gsm}" if message else str(reply["result"])
