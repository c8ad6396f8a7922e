"""The page: the history as a list and one by one, and in the sandbox its switches."""

import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dialplan_sms.web.http.session import Sessions
from dialplan_sms.web.page.answering import Answering
from dialplan_sms.web.page.board import Board
from dialplan_sms.web.page.playground import Playground
from dialplan_sms.web.page.query import LONGEST_ID, Query, fields

ROWS = 50
"""SMS on one page of the list."""
_BUBBLES, _PHONES = 100, 50
_ANSWERS = 20
"""Answers to tests that are kept to be shown."""
_NUMBER = re.compile(r"[0-9+*#]{1,40}")

_DONE = {"retry": "SMS {} will be tried again.", "cancel": "SMS {} is cancelled."}


def page(
    board: Board,
    playground: Playground | None = None,
    home: str = "",
    sessions: Sessions | None = None,
) -> list[BaseRoute]:
    """The routes of the page over *board*; *home* is put before every path in its links.

    With *sessions* it is shown to who has logged in.
    """
    it = _Page(board, playground, home, sessions)
    routes: list[BaseRoute] = [
        Route("/", it.looking(it.messages)),
        Route("/message/{id}", it.looking(it.message)),
        Route("/message/{id}/retry", it.acting(it.retry), methods=["POST"]),
        Route("/message/{id}/cancel", it.acting(it.cancel), methods=["POST"]),
        Route("/static/{name}", it.static),
    ]
    if sessions is not None:
        routes += [
            Route("/login", it.login, methods=["POST"]),
            Route("/logout", it.logout, methods=["POST"]),
        ]
    if playground is not None:
        routes += [
            Route("/phone", it.looking(it.phones)),
            Route("/phone/{number}", it.looking(it.phone)),
            Route("/faults", it.acting(it.set_fault), methods=["POST"]),
            Route("/gateways", it.acting(it.set_gateway), methods=["POST"]),
            Route("/test", it.acting(it.test), methods=["POST"]),
        ]
    return routes


class _Page(Answering):
    def __init__(
        self, board: Board, playground: Playground | None, home: str, sessions: Sessions | None
    ) -> None:
        super().__init__(board, playground, home, sessions)
        self._answers: OrderedDict[str, str] = OrderedDict()

    # What is read.

    def messages(self, request: Request) -> Response:
        """The list."""
        query = Query.read(request.scope["query_string"])
        asked = fields(request.scope["query_string"])
        portion = None if query.wrong else self.board.search(query.filters, ROWS, query.place)
        return self.render(
            request,
            "messages.html",
            400 if query.wrong else 200,
            query=query,
            portion=portion,
            figures=self.board.figures(),
            said=self._said(asked),
        )

    def message(self, request: Request) -> Response:
        """The story of one SMS."""
        said = self._said(fields(request.scope["query_string"]))
        return self._story(request, _id(request), said=said)

    def phones(self, request: Request) -> Response:
        """The numbers that got something."""
        typed = re.sub(r"[-\s().]", "", fields(request.scope["query_string"]).get("number", ""))
        if typed:
            return self.go(f"/phone/{quote(typed[:60], safe='')}")
        numbers = self.board.recent_numbers(_PHONES)
        return self.render(request, "phones.html", numbers=numbers)

    def phone(self, request: Request) -> Response:
        """What one number got."""
        number = request.path_params["number"]
        if not _NUMBER.fullmatch(number):
            return self.problem(request, 400, "That is no phone number.")
        got = self.board.received(number, _BUBBLES)
        return self.render(request, "phone.html", number=number, received=got)

    # What is done.

    def retry(self, request: Request, given: Mapping[str, str]) -> Response:
        """Have an SMS tried again."""
        return self._done(request, given, "retry", self.board.retry)

    def cancel(self, request: Request, given: Mapping[str, str]) -> Response:
        """Take an SMS back."""
        return self._done(request, given, "cancel", self.board.cancel)

    def set_fault(self, request: Request, given: Mapping[str, str]) -> Response:
        """Switch a fault on, or all off."""
        return self._switch(request, lambda on: on.set_fault(given.get("fault") or None), "#faults")

    def set_gateway(self, request: Request, given: Mapping[str, str]) -> Response:
        """Plug a gateway in or out."""
        mac, online = given.get("mac", ""), given.get("online") == "yes"
        return self._switch(request, lambda on: on.set_online(mac, online), "#gateways")

    def test(self, request: Request, given: Mapping[str, str]) -> Response:
        """Send a test."""
        assert self.playground is not None  # noqa: S101 - there is no such route then
        number, text, gsm = (given.get(name, "") for name in ("number", "text", "gsm"))
        answer = self.playground.send_test(number, text.replace("\r\n", "\n"), gsm)
        name = secrets.token_hex(8)
        self._answers[name] = answer[:500]
        while len(self._answers) > _ANSWERS:
            self._answers.popitem(last=False)
        return self.go(f"/?answer={name}#test")

    # How it is answered.

    def _story(self, request: Request, id_: int, refused: str = "", said: str = "") -> Response:
        sms = self.board.show(id_) if id_ else None
        if sms is None:
            return self.problem(
                request,
                404,
                "There is no such SMS: retention in sms.conf says how long they are kept.",
            )
        return self.render(
            request, "message.html", 409 if refused else 200, sms=sms, refused=refused, said=said
        )

    def _done(
        self, request: Request, given: Mapping[str, str], what: str, do: Callable[[int], str]
    ) -> Response:
        id_ = _id(request)
        refused = do(id_) if id_ else "there is no such SMS"
        if refused:
            return self._story(request, id_, refused=f"Not done: it {refused}.")
        if "back" in given:
            query = Query.read(given["back"].encode("utf-8", "replace"))
            rest = f"{query.here}&" if query.here else ""
            return self.go(f"/?{rest}done={what}&id={id_}")
        return self.go(f"/message/{id_}?done={what}&id={id_}")

    def _switch(
        self, request: Request, switch: Callable[[Playground], None], where: str
    ) -> Response:
        assert self.playground is not None  # noqa: S101 - there is no such route then
        try:
            switch(self.playground)
        except (ValueError, KeyError):
            return self.problem(request, 400, "There is no such switch.")
        return self.go(f"/{where}")

    def _said(self, asked: Mapping[str, str]) -> str:
        """What the form before this page has done."""
        if asked.get("done") in _DONE and asked.get("id", "").isdecimal():
            return _DONE[asked["done"]].format(asked["id"][:LONGEST_ID])
        return self._answers.get(asked.get("answer", ""), "")


def _id(request: Request) -> int:
    """The id in the path; 0 where it is none."""
    given = request.path_params["id"]
    return int(given) if given.isascii() and given.isdigit() and len(given) <= LONGEST_ID else 0
