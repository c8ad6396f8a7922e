"""The page: the history as a list and one by one, who may see it, and what it changes.

Not by HTTP's own login: a browser sends that with every request that any other page has it make
here. So a cookie names the session, and only forms that the page itself can have sent do anything.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.history import stored
from dialplan_sms.web.board import Board, Query
from dialplan_sms.web.form import form_pairs, read_body
from dialplan_sms.web.login import Login, TooMany, Unknown
from dialplan_sms.web.view import ENVIRONMENT, HEADERS, go, static, user_of

COOKIE = "sms_session"
LASTS = 12 * 3600  # seconds
MOST = 1 << 16  # bytes of a form
_MOST_SESSIONS = 1000  # with one more, the oldest ends
_FORGED = (
    "This form is out of date or came from another site, so nothing was done:"
    " go back, reload the page and try again."
)
_GONE = "There is no such SMS: retention in sms.conf says how long they are kept."
_ID = re.compile("[0-9]{1,18}")  # what both databases can hold
_HERE = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # a path of this site, perhaps with a query
# What can be done with an SMS, and what is said once it is done.
_CHANGES = {"retry": "SMS {} will be tried again.", "cancel": "SMS {} is cancelled."}


class Page:
    """The page over *board*: for who has logged in, or for everybody without *login*.

    *switches* are the sandbox's. HTTPException and OutboxError become a page with one plain line.
    """

    def __init__(
        self, board: Board, login: Login | None = None, switches: Callable[[], object] | None = None
    ) -> None:
        self.board = board
        self.answers: dict[str, str] = {}  # of the sandbox to tests, by name
        self._login = login
        self._switches = switches
        self._secret = secrets.token_bytes(32)
        # The sessions of this process: whose, with which hashes, until when.
        self._sessions: dict[str, tuple[str, Collection[str], float]] = {}

    def routes(self) -> list[Route]:
        """What the page answers, and if there is a login, where sessions begin and end."""
        routes = [
            self._route("/static/{name}", static),
            self.reads("/", self._list),
            self.reads("/message/{id}", self._story),
            self.writes("/message/{id}/retry", partial(self._change, "retry")),
            self.writes("/message/{id}/cancel", partial(self._change, "cancel")),
        ]
        if self._login is not None:
            routes.append(self._route("/login", partial(self._begin, self._login), "POST"))
            routes.append(self._route("/logout", self._end, "POST"))
        return routes

    def reads(self, path: str, read: Callable[[Request], Response]) -> Route:
        """A page that is read; what did not change is answered with 304."""

        def answer(request: Request) -> Response:
            if not self._admits(request):
                back = f"{request.url.path}?{request.url.query}".removesuffix("?")
                return self._ask(request, back)
            tag = self._tag(request)
            same = request.headers.get("if-none-match") == tag
            response = Response(status_code=304, headers=HEADERS) if same else read(request)
            if response.status_code in (200, 304):
                response.headers["ETag"] = tag
            return response

        return self._route(path, answer)

    def writes(self, path: str, write: Callable[[Request, Mapping[str, str]], Response]) -> Route:
        """A form: nothing is done unless a page of ours has sent it."""

        async def answer(request: Request) -> Response:
            if self._admits(request):
                return await run_in_threadpool(write, request, await self._form(request))
            return self._ask(request, "/", "You are signed out, so nothing was done.")

        return self._route(path, answer, "POST")

    def render(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """A page from *template* with *values*, and with what all of them show."""
        html = ENVIRONMENT.get_template(template).render(
            user=user_of(request), token=self._token(request), sandbox=self._switches, **values
        )
        return Response(html.encode(errors="replace"), status, HEADERS, "text/html")

    def _route(self, path: str, endpoint: Callable[..., Any], method: str = "GET") -> Route:
        handlers = {HTTPException: self._problem, OutboxError: self._away}
        told = Middleware(ExceptionMiddleware, handlers=handlers)
        return Route(path, endpoint, methods=[method], middleware=[told])

    def _problem(self, request: Request, problem: Any) -> Response:
        status = problem.status_code
        response = self.render(request, "problem.html", status, line=problem.detail, code=status)
        response.headers.update(problem.headers or {})
        return response

    def _away(self, request: Request, error: Exception) -> Response:
        line = str(error)
        return self._problem(request, HTTPException(503, f"{line[:1].upper()}{line[1:]}."))

    def _token(self, request: Request) -> str:
        """What a form has to carry that is sent by who asks."""
        user = user_of(request).encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, user, "sha256").hex()

    def _tag(self, request: Request) -> str:
        """Another one whenever the page may look different; cheap."""
        url, switches = request.url, self._switches and self._switches()
        state = repr((url.path, url.query, user_of(request), self.board.changes(), switches))
        return f'"{hashlib.blake2b(state.encode(), digest_size=12, key=self._secret).hexdigest()}"'

    def _list(self, request: Request) -> Response:
        query = Query.read(request.query_params)
        status, portion = (400, None) if query.wrong else (200, self.board.search(query))
        told = {"figures": self.board.figures(), "said": self._said(request)}
        return self.render(request, "messages.html", status, query=query, portion=portion, **told)

    def _story(self, request: Request, refused: str = "") -> Response:
        """All of one SMS; *refused* is why a form before this page has done nothing."""
        id_ = request.path_params["id"]
        known = _ID.fullmatch(id_)
        sms = self.board.read(lambda c: stored.show(c, int(id_))) if known else None
        if sms is None:
            raise HTTPException(404, _GONE)
        status, said = (409, "") if refused else (200, self._said(request))
        return self.render(request, "message.html", status, sms=sms, refused=refused, said=said)

    def _change(self, what: str, request: Request, given: Mapping[str, str]) -> Response:
        id_, refused = request.path_params["id"], ""
        if not _ID.fullmatch(id_) or (refused := self.board.change(what, int(id_))):
            return self._story(request, f"Not done: it {refused}.")
        if "back" not in given:
            return go(f"/message/{id_}?done={what}&id={id_}")
        query = Query.read(QueryParams(given["back"]))
        here = query.at(query.place)
        return go(f"/?{here}{'&' if here else ''}done={what}&id={id_}")

    def _said(self, request: Request) -> str:
        """What the form before this page has done."""
        asked = request.query_params
        if asked.get("done") in _CHANGES and _ID.fullmatch(asked.get("id", "")):
            return _CHANGES[asked["done"]].format(asked["id"])
        return self.answers.get(asked.get("answer", ""), "")

    async def _begin(self, login: Login, request: Request) -> Response:
        given = await self._form(request)
        back, name, password = (given.get(it, "") for it in ("back", "name", "password"))
        try:
            await login.check(name, password, request.scope["client"][0])
        except Unknown:
            return self._ask(request, back, "Wrong name or password.")
        except TooMany:
            line = "Too many wrong passwords: wait a minute."
            raise HTTPException(429, line, {"Retry-After": "60"}) from None
        if len(self._sessions) >= _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        token = secrets.token_urlsafe(32)
        self._sessions[token] = (name, login.users().get(name, ()), login.clock() + LASTS)
        response = go(back if _HERE.fullmatch(back) else "/")
        response.set_cookie(
            COOKIE, token, LASTS,
            secure=request.url.scheme == "https", httponly=True, samesite="strict",
        )  # fmt: skip
        return response

    async def _end(self, request: Request) -> Response:
        self._admits(request)
        await self._form(request)
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        response = go("/")
        response.delete_cookie(COOKIE)
        return response

    def _admits(self, request: Request) -> bool:
        """Whether who asks may see the page; who it is stands in the scope then."""
        if self._login is None:
            return True
        token = request.cookies.get(COOKIE, "")
        name, hashed, ends = self._sessions.get(token, ("", "", 0.0))
        # A user with another password or token now has none.
        valid = self._login.clock() < ends and self._login.users().get(name) == hashed
        request.scope["user"] = name if valid else ""
        return valid

    def _ask(self, request: Request, back: str, line: str = "") -> Response:
        """The form to log in; without the header that has browsers ask for a login of HTTP."""
        return self.render(request, "login.html", 401, back=back, line=line)

    async def _form(self, request: Request) -> Mapping[str, str]:
        """The fields of a form if it is one of ours; the last of a name counts."""
        body = await read_body(request, MOST, "That is too long.")
        given = dict(form_pairs(body))  # of a stranger: starlette would read any number of fields
        mine, theirs = self._token(request), given.get("token", "").encode()
        if hmac.compare_digest(mine.encode(), theirs) and _is_same_site(request.headers):
            return given
        raise HTTPException(403, _FORGED)


def _is_same_site(headers: Headers) -> bool:
    """Whether nothing says that a page of another site asks; only a form's token can prove it."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin", "null")
    if site is not None:
        return site == "same-origin"
    # No-referrer makes a browser say null. A proxy in front may speak TLS for us: no scheme.
    asks = origin.partition("://")[2].lower()
    return origin == "null" or asks == headers.get("host", "").lower()
