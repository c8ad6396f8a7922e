"""The routes of the page: messages, login, and in the sandbox its phones, switches and a test."""

import re
import secrets
from collections.abc import Callable, Mapping
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dialplan_sms.web.page.access import Access, Sessions
from dialplan_sms.web.page.board import Board
from dialplan_sms.web.page.messages import Messages
from dialplan_sms.web.page.playground import Playground
from dialplan_sms.web.page.view import View

_BUBBLES, _PHONES = 100, 50
_ANSWERS = 20  # to tests, that are kept to be shown
_NUMBER = re.compile(r"[0-9+*#]{1,40}")


def page(
    board: Board,
    playground: Playground | None = None,
    home: str = "",
    sessions: Sessions | None = None,
) -> list[Route]:
    """The routes of the page over *board*; *home* is put before every path in its links.

    With *sessions* it is shown to who has logged in.
    """
    view = View(board, playground, home)
    access = Access(view, sessions)
    said: dict[str, str] = {}
    routes: list[Route] = [Route("/static/{name}", view.static)]
    routes += Messages(board, view, said).routes(access)
    if sessions is not None:
        routes += access.login(sessions)
    if playground is not None:
        sandbox = _Sandbox(board, view, playground, said)
        routes += [
            access.reads("/phone", sandbox.phones),
            access.reads("/phone/{number}", sandbox.phone),
            access.writes("/faults", sandbox.set_fault),
            access.writes("/gateways", sandbox.set_gateway),
            access.writes("/test", sandbox.test),
        ]
    return routes


class _Sandbox:
    """What the sandbox has beside; *said* is what it answered to the last tests, by name."""

    def __init__(
        self, board: Board, view: View, playground: Playground, said: dict[str, str]
    ) -> None:
        self._board = board
        self._view = view
        self._playground = playground
        self._said = said

    def phones(self, request: Request) -> Response:
        """The numbers that got something."""
        typed = re.sub(r"[-\s().]", "", request.query_params.get("number", ""))
        if typed:
            return self._view.go(f"/phone/{quote(typed[:60], safe='')}")
        numbers = self._board.recent_numbers(_PHONES)
        return self._view.render(request, "phones.html", numbers=numbers)

    def phone(self, request: Request) -> Response:
        """What one number got."""
        number = request.path_params["number"]
        if not _NUMBER.fullmatch(number):
            raise HTTPException(400, "That is no phone number.")
        got = self._board.received(number, _BUBBLES)
        return self._view.render(request, "phone.html", number=number, received=got)

    def set_fault(self, _: Request, given: Mapping[str, str]) -> Response:
        """Switch a fault on, or all off."""
        return self._switch("#faults", self._playground.set_fault, given.get("fault") or None)

    def set_gateway(self, _: Request, given: Mapping[str, str]) -> Response:
        """Plug a gateway in or out."""
        online = given.get("online") == "yes"
        return self._switch("#gateways", self._playground.set_online, given.get("mac", ""), online)

    def test(self, _: Request, given: Mapping[str, str]) -> Response:
        """Send a test."""
        number, text, gsm = (given.get(name, "") for name in ("number", "text", "gsm"))
        answer = self._playground.send_test(number, text.replace("\r\n", "\n"), gsm)
        if len(self._said) >= _ANSWERS:
            del self._said[next(iter(self._said))]
        name = secrets.token_hex(8)
        self._said[name] = answer[:500]
        return self._view.go(f"/?answer={name}#test")

    def _switch(self, where: str, switch: Callable[..., None], *to: object) -> Response:
        try:
            switch(*to)
        except (ValueError, KeyError):
            raise HTTPException(400, "There is no such switch.") from None
        return self._view.go(f"/{where}")
