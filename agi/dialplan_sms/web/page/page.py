"""The page: the history as a list and one by one, and in the sandbox its switches."""

import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from urllib.parse import quote

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dialplan_sms.web.http.session import Sessions
from dialplan_sms.web.page.access import Access
from dialplan_sms.web.page.board import Board
from dialplan_sms.web.page.playground import Playground
from dialplan_sms.web.page.query import LONGEST_ID, Query
from dialplan_sms.web.page.view import View

ROWS = 50
"""SMS on one page of the list."""
_BUBBLES, _PHONES = 100, 50
_ANSWERS = 20
"""Answers to tests that are kept to be shown."""
_NUMBER = re.compile(r"[0-9+*#]{1,40}")
_DONE = {"retry": "SMS {} will be tried again.", "cancel": "SMS {} is cancelled."}
_GONE = "There is no such SMS: retention in sms.conf says how long they are kept."


def page(
    board: Board,
    playground: Playground | None = None,
    home: str = "",
    sessions: Sessions | None = None,
) -> list[BaseRoute]:
    """The routes of the page over *board*; *home* is put before every path in its links.

    With *sessions* it is shown to who has logged in.
    """
    view = View(board, playground, home)
    access = Access(view, sessions)
    sms = _Messages(board, view)
    routes: list[BaseRoute] = [
        Route("/", access.reads(sms.list)),
        Route("/message/{id}", access.reads(sms.story)),
        Route("/message/{id}/retry", access.writes(sms.retry), methods=["POST"]),
        Route("/message/{id}/cancel", access.writes(sms.cancel), methods=["POST"]),
        Route("/static/{name}", view.static),
    ]
    if sessions is not None:
        routes += [
            Route("/login", access.login(sessions), methods=["POST"]),
            Route("/logout", access.logout(sessions), methods=["POST"]),
        ]
    if playground is not None:
        sandbox = _Sandbox(board, view, playground, sms.said)
        routes += [
            Route("/phone", access.reads(sandbox.phones)),
            Route("/phone/{number}", access.reads(sandbox.phone)),
            Route("/faults", access.writes(sandbox.set_fault), methods=["POST"]),
            Route("/gateways", access.writes(sandbox.set_gateway), methods=["POST"]),
            Route("/test", access.writes(sandbox.test), methods=["POST"]),
        ]
    return routes


class _Messages:
    """The list, and the story of each SMS."""

    def __init__(self, board: Board, view: View) -> None:
        self._board = board
        self._view = view
        self.said: OrderedDict[str, str] = OrderedDict()
        """What the sandbox answered to the last tests, by a name in the address."""

    def list(self, request: Request) -> Response:
        """The newest first, filtered."""
        query = Query.read(request.query_params)
        portion = None if query.wrong else self._board.search(query.filters, ROWS, query.place)
        return self._view.render(
            request,
            "messages.html",
            400 if query.wrong else 200,
            query=query,
            portion=portion,
            figures=self._board.figures(),
            said=self._said(request.query_params),
        )

    def story(self, request: Request, refused: str = "") -> Response:
        """All of one SMS; *refused* is why a form before this page has done nothing."""
        id_ = _id(request)
        sms = self._board.show(id_) if id_ else None
        if sms is None:
            raise HTTPException(404, _GONE)
        said = "" if refused else self._said(request.query_params)
        return self._view.render(
            request, "message.html", 409 if refused else 200, sms=sms, refused=refused, said=said
        )

    def retry(self, request: Request, given: Mapping[str, str]) -> Response:
        """Have an SMS tried again."""
        return self._change(request, given, "retry", self._board.retry)

    def cancel(self, request: Request, given: Mapping[str, str]) -> Response:
        """Take an SMS back."""
        return self._change(request, given, "cancel", self._board.cancel)

    def _change(
        self, request: Request, given: Mapping[str, str], what: str, change: Callable[[int], str]
    ) -> Response:
        id_ = _id(request)
        refused = change(id_) if id_ else "there is no such SMS"
        if refused:
            return self.story(request, f"Not done: it {refused}.")
        if "back" in given:
            query = Query.read(QueryParams(given["back"]))
            rest = f"{query.here}&" if query.here else ""
            return self._view.go(f"/?{rest}done={what}&id={id_}")
        return self._view.go(f"/message/{id_}?done={what}&id={id_}")

    def _said(self, asked: Mapping[str, str]) -> str:
        """What the form before this page has done."""
        if asked.get("done") in _DONE and asked.get("id", "").isdecimal():
            return _DONE[asked["done"]].format(asked["id"][:LONGEST_ID])
        return self.said.get(asked.get("answer", ""), "")


class _Sandbox:
    """What the sandbox has beside: its phones, its switches, and a test."""

    def __init__(
        self, board: Board, view: View, playground: Playground, said: OrderedDict[str, str]
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
        name = secrets.token_hex(8)
        answer = self._playground.send_test(number, text.replace("\r\n", "\n"), gsm)
        self._said[name] = answer[:500]
        while len(self._said) > _ANSWERS:
            self._said.popitem(last=False)
        return self._view.go(f"/?answer={name}#test")

    def _switch(self, where: str, switch: Callable[..., None], *to: object) -> Response:
        try:
            switch(*to)
        except (ValueError, KeyError):
            raise HTTPException(400, "There is no such switch.") from None
        return self._view.go(f"/{where}")


def _id(request: Request) -> int:
    """The id in the path; 0 if it is none."""
    given = request.path_params["id"]
    return int(given) if given.isascii() and given.isdigit() and len(given) <= LONGEST_ID else 0
