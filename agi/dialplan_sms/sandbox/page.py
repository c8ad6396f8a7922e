"""The sandbox's page: its phones, its faults and gateways as switches, a test; and its names."""

import re
import secrets
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from dialplan_sms.host.address import bare, is_in, is_loopback
from dialplan_sms.outbox.history import search
from dialplan_sms.sandbox.faults import TROUBLES, Fault
from dialplan_sms.sandbox.pbx import TOKEN_USER, Pbx, Request, Served
from dialplan_sms.sandbox.spool import Spool
from dialplan_sms.sms import api
from dialplan_sms.web.page import Page
from dialplan_sms.web.server import Address
from dialplan_sms.web.smsserver import describe
from dialplan_sms.web.view import go

_ANSWERED = (Fault.UNAUTHORIZED, Fault.PARTIAL, Fault.REJECT)  # their answer says it all
_ANY = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_NUMBER = re.compile(r"[0-9+*#]{1,40}")


class SandboxPage(Page):
    """The page over the *spool* of *pbx*, for callers of *address*."""

    def __init__(self, pbx: Pbx, spool: Spool, address: Address) -> None:
        super().__init__(spool.board, switches=self.switches)
        self.spool = spool
        self._pbx = pbx
        self._address = address

    def routes(self) -> list[Route]:
        """What the page of a service answers, too, and what only a sandbox has."""
        routes = [
            Route("/openapi.json", JSONResponse(describe(page=False)), methods=["GET"]),
            *super().routes(),
            self.reads("/phone", self._phones),
            self.reads("/phone/{number}", self._phone),
            self.writes("/faults", self._set_fault),
            self.writes("/gateways", self._set_gateway),
            self.writes("/test", self._test),
        ]
        for route in routes:
            route.app = _guarded(route.app, self._address)
        return routes

    def switches(self) -> tuple[list[tuple[str, str, bool]], list[tuple[str, bool, int]]]:
        """Faults: name, meaning, whether it is on; gateways: MAC, whether online, SMS waiting."""
        on, waiting = self._pbx.faults.current, self.spool.waiting()
        faults = [
            (name, f"as {it.fault}, but the message is taken" if it.taken else it.fault.meaning,
             it == on)
            for name, it in TROUBLES.items()
        ]  # fmt: skip
        gateways = [(mac, it.online, waiting[mac]) for mac, it in self.spool.gateways.items()]
        return faults, gateways

    def send_test(self, number: str, text: str, gsm: str) -> str:
        """Send *text* as the first of the PBX's users would; what the API answered."""
        form = (("number", number), ("message", text), ("gsm", gsm))
        user = next(iter(self._pbx.users), TOKEN_USER)
        served = self._pbx.handle(Request("POST", api.PATH, form, user))
        trouble = served.trouble
        if trouble is None or trouble.fault in _ANSWERED:
            return _answer(served)
        taken = "the message was taken" if served.message else "nothing was taken"
        told = f"Fault {trouble}: {trouble.fault.meaning} - {taken}"
        return f"{told}. {_answer(served)}" if trouble.fault is Fault.SLOW else told

    def _phones(self, request: HttpRequest) -> Response:
        typed = re.sub(r"[-\s().]", "", request.query_params.get("number", ""))
        if typed:
            return go(f"/phone/{quote(typed[:60], safe='')}")
        numbers = self.board.read(lambda c: search.recent_numbers(c, 50))
        return self.render(request, "phones.html", numbers=numbers)

    def _phone(self, request: HttpRequest) -> Response:
        number = request.path_params["number"]
        if not _NUMBER.fullmatch(number):
            raise HTTPException(400, "That is no phone number.")
        received = self.board.read(lambda c: search.received(c, number, 100))
        return self.render(request, "phone.html", number=number, received=received)

    def _set_fault(self, _: HttpRequest, given: Mapping[str, str]) -> Response:
        name = given.get("fault", "")
        if name and name not in TROUBLES:
            raise HTTPException(400, "There is no such switch.")
        self._pbx.faults.set(TROUBLES.get(name))
        return go("/#faults")

    def _set_gateway(self, _: HttpRequest, given: Mapping[str, str]) -> Response:
        if given.get("mac") not in self.spool.gateways:
            raise HTTPException(400, "There is no such switch.")
        self.spool.set_online(given["mac"], given.get("online") == "yes")
        return go("/#gateways")

    def _test(self, _: HttpRequest, given: Mapping[str, str]) -> Response:
        number, text, gsm = (given.get(name, "") for name in ("number", "text", "gsm"))
        if len(self.answers) >= 20:  # so many are kept to be shown
            del self.answers[next(iter(self.answers))]
        name = secrets.token_hex(8)
        self.answers[name] = self.send_test(number, text.replace("\r\n", "\n"), gsm)[:500]
        return go(f"/?answer={name}#test")


def _answer(served: Served) -> str:
    reply, message = served.reply, served.message
    if reply["type"] != api.RESULT:
        names = f": {', '.join(reply['result'])}" if reply["result"] else ""
        return f"{reply['type'].capitalize()}: {reply['reason']}{names}"
    return f"{reply['result']}: in the spool of {message.gsm}" if message else str(reply["result"])


def is_ours(host: str, address: Address) -> bool:
    """Whether the header ``Host: host`` names what listens on *address*: the page has no login.

    If that is all addresses, by any of them: only a name can be made to lead elsewhere.
    """
    name = bare(host)
    is_number = address.reachable != address and is_in(name, _ANY)
    return is_number or is_loopback(name) or name == address.host.lower()


def _guarded(app: ASGIApp, address: Address) -> ASGIApp:
    """*app* for those who call it by a name of *address*."""
    refusal = PlainTextResponse(
        f"This page is not of that name: call it {address.reachable.host}\n", 421
    )

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        ours = is_ours(Headers(scope=scope).get("host", ""), address)
        await (app if ours else refusal)(scope, receive, send)

    return answer
