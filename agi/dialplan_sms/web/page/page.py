"""The page: the history as a list and one by one. What its address asks for is not trusted."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dialplan_sms.outbox.history import stored
from dialplan_sms.outbox.history.search import Place
from dialplan_sms.outbox.history.stored import Filters
from dialplan_sms.outbox.schema import State
from dialplan_sms.web.page.access import Access
from dialplan_sms.web.page.board import Board
from dialplan_sms.web.page.view import View, go

ROWS = 50  # SMS on one page of the list
_ID = re.compile("[0-9]{1,18}")  # what both databases can hold
_PLACE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,17})?|1e\+300)_([0-9]{1,18})")
# How each value has to look, and what is said of one that does not.
_RIGHT = {
    "state": (re.compile("|".join(State)), f"State is one of {', '.join(State)}."),
    "number": (
        re.compile(r"(?=.*[0-9*#])[0-9*#()./ +\-]{1,60}"),
        "Number is a phone number or some of its digits.",
    ),
    "sender": (re.compile(r"[^\0]{1,200}"), "Sender is the name of a section of sms.conf."),
    "before": (_PLACE, "That is no place in the list: begin at the newest."),
}
# What can be done with an SMS, and what is said once it is done.
_CHANGES = {
    "retry": (Board.retry, "SMS {} will be tried again."),
    "cancel": (Board.cancel, "SMS {} is cancelled."),
}
_GONE = "There is no such SMS: retention in sms.conf says how long they are kept."


@dataclass(frozen=True, slots=True)
class Query:
    """The filters of the list as typed, where to go on, and what is wrong with them."""

    state: str = ""
    number: str = ""
    sender: str = ""
    before: str = ""
    wrong: tuple[str, ...] = ()

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "Query":
        """That of the fields of a query string; a value that is wrong is left out."""
        values = {name: given.get(name, "").strip() for name in _RIGHT}
        wrong = [
            name for name, (right, _) in _RIGHT.items()
            if values[name] and not right.fullmatch(values[name])
        ]  # fmt: skip
        values |= dict.fromkeys(wrong, "")
        return cls(**values, wrong=tuple(_RIGHT[name][1] for name in wrong))

    @property
    def filtered(self) -> bool:
        """Whether anything narrows the list."""
        return bool(self.state or self.number or self.sender)

    @property
    def place(self) -> Place | None:
        """Where to go on."""
        found = _PLACE.fullmatch(self.before)
        return (float(found[1]), int(found[2])) if found else None

    def at(self, place: Place | None) -> str:
        """The query string of the list below *place*, or from the newest."""
        before = f"{place[0]!r}_{place[1]}" if place else ""
        values = {
            "state": self.state, "number": self.number, "sender": self.sender, "before": before
        }  # fmt: skip
        return urlencode({name: value for name, value in values.items() if value})

    @property
    def here(self) -> str:
        """The query string of this very list."""
        return self.at(self.place)


def page(board: Board, view: View, access: Access, answers: Mapping[str, str]) -> list[Route]:
    """The routes of the page over *board*; *answers* are the sandbox's to tests, by name."""
    messages = _Messages(board, view, answers)
    return [
        Route("/static/{name}", view.static),
        access.reads("/", messages.list),
        access.reads("/message/{id}", messages.story),
        *(
            access.writes(f"/message/{{id}}/{what}", partial(messages.change, what))
            for what in _CHANGES
        ),
    ]


class _Messages:
    def __init__(self, board: Board, view: View, answers: Mapping[str, str]) -> None:
        self._board = board
        self._view = view
        self._answers = answers

    def list(self, request: Request) -> Response:
        query = Query.read(request.query_params)
        filters = Filters((query.state,) if query.state else (), query.number, query.sender)
        portion = None if query.wrong else self._board.search(filters, ROWS, query.place)
        return self._view.render(
            request,
            "messages.html",
            400 if query.wrong else 200,
            query=query,
            portion=portion,
            figures=self._board.figures(),
            said=self._said(request),
        )

    def story(self, request: Request, refused: str = "") -> Response:
        """All of one SMS; *refused* is why a form before this page has done nothing."""
        id_ = request.path_params["id"]
        known = _ID.fullmatch(id_)
        sms = self._board.read(lambda c: stored.show(c, int(id_))) if known else None
        if sms is None:
            raise HTTPException(404, _GONE)
        said = "" if refused else self._said(request)
        return self._view.render(
            request, "message.html", 409 if refused else 200, sms=sms, refused=refused, said=said
        )

    def change(self, what: str, request: Request, given: Mapping[str, str]) -> Response:
        id_, (change, _) = request.path_params["id"], _CHANGES[what]
        refused = change(self._board, int(id_)) if _ID.fullmatch(id_) else "there is no such SMS"
        if refused:
            return self.story(request, f"Not done: it {refused}.")
        if "back" not in given:
            return go(f"/message/{id_}?done={what}&id={id_}")
        here = Query.read(QueryParams(given["back"])).here
        return go(f"/?{here}{'&' if here else ''}done={what}&id={id_}")

    def _said(self, request: Request) -> str:
        """What the form before this page has done."""
        asked = request.query_params
        if asked.get("done") in _CHANGES and _ID.fullmatch(asked.get("id", "")):
            return _CHANGES[asked["done"]][1].format(asked["id"])
        return self._answers.get(asked.get("answer", ""), "")
