"""Who may call the page by which name: it has no login, and what reaches it can send."""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Match

from dialplan_sms.host.hostname import bare, is_loopback
from dialplan_sms.web.http.listener import Address

_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - not bound to here


def is_ours(host: str, address: Address) -> bool:
    """Whether the header ``Host: host`` names what listens on *address*.

    As ``localhost``, by a loopback address, or by the name that it was told to listen on; by any
    numeric address where that is all of them, since only a name can be made to lead elsewhere.
    """
    name = bare(host)
    if is_loopback(host) or name == address.host.lower():
        return True
    return address.host in _ANYWHERE and _is_numeric(name)


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def guarded(routes: Iterable[BaseRoute], address: Address) -> list[BaseRoute]:
    """*routes* that answer under the names of *address* alone."""
    return [_Guarded(route, address) for route in routes]


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
