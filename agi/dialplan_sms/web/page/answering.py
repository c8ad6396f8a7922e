"""How the page answers: what is read and what is done, with headers, tags and problems."""

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.web.http.login import TooMany, Unknown
from dialplan_sms.web.http.session import COOKIE, LASTS, Sessions
from dialplan_sms.web.page.board import Board
from dialplan_sms.web.page.forms import Forged, Forms, TooLong, body
from dialplan_sms.web.page.playground import Playground
from dialplan_sms.web.page.query import fields
from dialplan_sms.web.page.view import View

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every response of the page."""
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FORGED = (
    "This form is out of date or came from another site, so nothing was done:"
    " go back, reload the page and try again."
)

_LOGIN = "login.html"
_HERE = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path of this site, with a query or without."""

Look = Callable[[Request], Response]
Act = Callable[[Request, Mapping[str, str]], Response]


class Answering:
    """What every endpoint of the page has."""

    def __init__(
        self,
        board: Board,
        playground: Playground | None,
        home: str,
        sessions: Sessions | None = None,
    ) -> None:
        self.board = board
        self.playground = playground
        self._sessions = sessions
        self._home = home
        self._path = home or "/"
        self._view = View(home)
        self._forms = Forms()
        self._name = secrets.token_hex(4)  # of this process, for ETags

    def looking(self, look: Look) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of a page that is read; what did not change is answered with 304."""

        def answer(request: Request) -> Response:
            try:
                tag = self._tag(request)
                if request.headers.get("if-none-match") == tag:
                    return Response(status_code=304, headers=HEADERS | {"ETag": tag})
                response = look(request)
            except OutboxError as error:
                return self._unreadable(request, error)
            if response.status_code == 200:
                response.headers["ETag"] = tag
            return response

        async def endpoint(request: Request) -> Response:
            if not self._enters(request):
                query = request.url.query
                return self._ask(request, f"{request.url.path}{f'?{query}' if query else ''}")
            return await run_in_threadpool(answer, request)

        return endpoint

    def acting(self, act: Act) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of a form: nothing is done unless a page of ours has sent it."""

        async def do(request: Request, given: Mapping[str, str]) -> Response:
            try:
                return await run_in_threadpool(act, request, given)
            except OutboxError as error:
                return self._unreadable(request, error)

        async def answer(request: Request) -> Response:
            if not self._enters(request):
                return self._ask(request, "/", "You are signed out, so nothing was done.")
            return await self._take(request, do)

        return answer

    async def login(self, request: Request) -> Response:
        """Take name and password, and begin a session."""

        async def enter(request: Request, given: Mapping[str, str]) -> Response:
            assert self._sessions is not None  # noqa: S101 - there is no such route then
            assert request.client is not None  # noqa: S101 - the door has set it
            back = given.get("back", "/")
            name, password = given.get("name", ""), given.get("password", "")
            try:
                token = await self._sessions.begin(name, password, request.client.host)
            except Unknown:
                return self._ask(request, back, "Wrong name or password.")
            except TooMany:
                line = "Too many wrong passwords: wait a minute."
                return self.problem(request, 429, line, headers={"Retry-After": "60"})
            response = self.go(back if _HERE.fullmatch(back) else "/")
            secure = request.url.scheme == "https"
            response.set_cookie(
                COOKIE,
                token,
                LASTS,
                path=self._path,
                secure=secure,
                httponly=True,
                samesite="strict",
            )
            return response

        return await self._take(request, enter)

    async def logout(self, request: Request) -> Response:
        """End the session."""

        async def leave(request: Request, _: Mapping[str, str]) -> Response:
            assert self._sessions is not None  # noqa: S101 - there is no such route then
            self._sessions.end(request.cookies.get(COOKIE))
            response = self.go("/")
            response.delete_cookie(COOKIE, path=self._path)
            return response

        self._enters(request)
        return await self._take(request, leave)

    async def _take(
        self, request: Request, do: Callable[[Request, Mapping[str, str]], Awaitable[Response]]
    ) -> Response:
        """Do what a form asks for if it is one of ours."""
        try:
            given = fields(await body(request))
            self._forms.check(request, _user(request), given)
        except TooLong:
            close = {"Connection": "close"}
            return self.problem(request, 413, "That is too long.", headers=close)
        except Forged:
            return self.problem(request, 403, _FORGED)
        return await do(request, given)

    def _enters(self, request: Request) -> bool:
        """Whether who asks may see the page; who it is stands in the scope then."""
        if self._sessions is None:
            return True
        request.scope["user"] = self._sessions.user(request.cookies.get(COOKIE))
        return bool(request.scope["user"])

    def _ask(self, request: Request, back: str, line: str = "") -> Response:
        """The form to log in; without the header that has browsers ask for a login of HTTP."""
        return self.render(request, _LOGIN, 401, back=back, line=line)

    async def static(self, request: Request) -> Response:
        """Style sheet, script and icon; named with their hash they are kept for ever."""
        name = request.path_params["name"]
        content = self._view.files.get(name)
        if content is None:
            return self.problem(request, 404, "There is no such file.")
        same = request.scope["query_string"].decode("latin-1") == self._view.tags[name]
        kept = "public, max-age=31536000, immutable" if same else "no-cache"
        kind = _TYPES.get(name.rpartition(".")[2], "application/octet-stream")
        return Response(content, headers=HEADERS | {"Cache-Control": kept}, media_type=kind)

    def go(self, path: str) -> Response:
        """On to another page, after a form."""
        return RedirectResponse(f"{self._home}{path}", 303, headers=HEADERS)

    def _tag(self, request: Request) -> str:
        """Another one whenever the page may look different; cheap."""
        states: list[Any] = [self._name, request.url.path, request.url.query, _user(request)]
        states.append(self.board.changes())
        if self.playground is not None:
            states += [self.playground.faults(), self.playground.gateways()]
        return f'"{hashlib.blake2b(repr(states).encode(), digest_size=12).hexdigest()}"'

    def _unreadable(self, request: Request, error: OutboxError) -> Response:
        line = str(error)
        return self.problem(request, 503, f"{line[:1].upper()}{line[1:]}.")

    def problem(
        self, request: Request, status: int, line: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """A page with one plain line."""
        # Without the switches: what they show may be what cannot be read.
        values = {"line": line, "status": status, "faults": (), "gateways": ()}
        response = self.render(request, "problem.html", status, **values)
        response.headers.update(headers or {})
        return response

    def render(
        self, request: Request, template: str, status_code: int = 200, **values: Any
    ) -> Response:
        """A page from *template* with *values*, and with what all of them show."""
        user = _user(request)
        values |= {"user": user, "token": self._forms.token(user)}
        values["sandbox"] = self.playground is not None
        if self.playground is not None and "faults" not in values:
            values["faults"] = self.playground.faults()
            values["gateways"] = self.playground.gateways()
        content = self._view.render(template, **values)
        return Response(content, status_code, HEADERS, "text/html")


def _user(request: Request) -> str:
    return str(request.scope.get("user") or "")
