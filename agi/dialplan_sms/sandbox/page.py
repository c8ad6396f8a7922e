"""The sandbox's page: its spool, its faults and gateways as switches, a test; and its names."""

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import BaseRoute, Match, Route

from dialplan_sms.host.address import bare, is_loopback_name
from dialplan_sms.sandbox.faults import Fault, Trouble
from dialplan_sms.sandbox.inbox import Served
from dialplan_sms.sandbox.pbx import TOKEN_USER, Pbx
from dialplan_sms.sandbox.spool import Spool
from dialplan_sms.sms import api
from dialplan_sms.web.http.listener import Address
from dialplan_sms.web.http.request import Request
from dialplan_sms.web.page.board import Board
from dialplan_sms.web.page.page import page
from dialplan_sms.web.page.playground import FaultSwitch, GatewaySwitch
from dialplan_sms.web.relay.openapi import describe

_ANSWERED = (Fault.UNAUTHORIZED, Fault.PARTIAL, Fault.REJECT)
"""Faults whose answer says it all."""
_TAKEN = [Trouble(fault, taken=True) for fault in Fault]
_TROUBLES = {
    str(trouble): trouble
    for trouble in (
        *map(Trouble, Fault),
        *(trouble for trouble in _TAKEN if trouble.takes != Trouble(trouble.fault).takes),
    )
}
"""Every trouble there is to switch on: each fault, then those that can take the message."""


class SandboxPage:
    """The Playground over *pbx*, which spools what it takes from here on.

    *routes* are those of its page, for callers of *address*. Raises OSError and OutboxError if
    there is no place for the spool.
    """

    def __init__(
        self, pbx: Pbx, pace: float, address: Address, note: Callable[[str], None]
    ) -> None:
        self._pbx = pbx
        self.spool = Spool(pbx.gateways, pace, note)
        self._board = Board(self.spool.outbox, lambda: self.spool.gateways)
        routes = [
            Route("/openapi.json", lambda _: JSONResponse(describe(page=False))),
            *page(self._board, self),
        ]
        self.routes = [_Guarded(route, address) for route in routes]
        pbx.spool = self.spool.take

    def close(self) -> None:
        """Send no more, and remove what was spooled."""
        self._board.close()
        self.spool.close()

    def faults(self) -> Sequence[FaultSwitch]:
        """All there are, always in the same order."""
        on = self._pbx.faults.current
        return [
            FaultSwitch(name, _meaning(trouble), trouble == on)
            for name, trouble in _TROUBLES.items()
        ]

    def set_fault(self, name: str | None) -> None:
        """Give every request the fault *name*; None: all goes well. Raises ValueError."""
        if name is not None and name not in _TROUBLES:
            raise ValueError(f"no fault is called {name[:40]!r}")
        self._pbx.faults.set(_TROUBLES[name] if name else None)

    def gateways(self) -> Sequence[GatewaySwitch]:
        """All there are, always in the same order. Raises OutboxError."""
        waiting = self.spool.waiting()
        return [
            GatewaySwitch(mac, gateway.online, waiting[mac])
            for mac, gateway in self.spool.gateways.items()
        ]

    def set_online(self, mac: str, online: bool) -> None:
        """Plug a gateway in or out. Raises ValueError for one that is not there."""
        self.spool.set_online(mac, online)

    def send_test(self, number: str, text: str, gsm: str) -> str:
        """Send *text* as the first of the PBX's users would; what the API answered."""
        pairs = (("number", number), ("message", text), ("gsm", gsm))
        user = next(iter(self._pbx.users), TOKEN_USER)
        return _in_words(self._pbx.handle(Request("POST", api.PATH, pairs, user)))


def _meaning(trouble: Trouble) -> str:
    if not isinstance(trouble.fault, Fault):
        return "an answer of your own"
    if trouble.taken:
        return f"as {trouble.fault}, but the message is taken"
    return trouble.fault.meaning


def _in_words(served: Served) -> str:
    """The answer as a line for people; there is no connection here that could break."""
    trouble = served.trouble
    if trouble is None or trouble.fault in _ANSWERED:
        return _answer(served)
    taken = "the message was taken" if served.message else "nothing was taken"
    told = f"Fault {trouble}: {_meaning(Trouble(trouble.fault))} - {taken}"
    return f"{told}. {_answer(served)}" if trouble.fault is Fault.SLOW else told


def _answer(served: Served) -> str:
    reply, message = served.reply, served.message
    if reply["type"] != api.RESULT:
        names = f": {', '.join(reply['result'])}" if reply["result"] else ""
        return f"{reply['type'].capitalize()}: {reply['reason']}{names}"
    return f"{reply['result']}: in the spool of {message.gsm}" if message else str(reply["result"])


# Who may call the page by which name: it has no login, and what reaches it can send.


def is_ours(host: str, address: Address) -> bool:
    """Whether the header ``Host: host`` names what listens on *address*.

    As ``localhost``, by a loopback address, or by the name that it was told to listen on; by any
    numeric address if that is all of them, since only a name can be made to lead elsewhere.
    """
    name = bare(host)
    if is_loopback_name(host) or name == address.host.lower():
        return True
    return address.reachable != address and _is_numeric(name)


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class _Guarded(BaseRoute):
    def __init__(self, route: BaseRoute, address: Address) -> None:
        self._route = route
        self._address = address

    def matches(self, scope: Any) -> tuple[Match, Any]:
        return self._route.matches(scope)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        if is_ours(Headers(scope=scope).get("host", ""), self._address):
            await self._route.handle(scope, receive, send)
            return
        where = self._address.reachable
        answer = PlainTextResponse(f"This page is not of that name: call it {where.host}\n", 421)
        await answer(scope, receive, send)
