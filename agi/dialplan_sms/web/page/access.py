"""Who may see the page, and forms that only the page itself can have sent."""

import hmac
import re
from collections.abc import Callable, Mapping

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.web.http.app import Endpoint, read_body
from dialplan_sms.web.http.browser import is_same_site
from dialplan_sms.web.http.login import TooMany, Unknown
from dialplan_sms.web.http.request import form_pairs
from dialplan_sms.web.http.session import COOKIE, LASTS, Sessions
from dialplan_sms.web.page.view import HEADERS, View

MOST = 1 << 16
"""Bytes of a form."""
_FORGED = (
    "This form is out of date or came from another site, so nothing was done:"
    " go back, reload the page and try again."
)
_HERE = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path of this site, with a query or without."""

Read = Callable[[Request], Response]
Write = Callable[[Request, Mapping[str, str]], Response]


class Access:
    """The endpoints of a page: who has logged in may use them, or everybody without *sessions*.

    They may raise HTTPException and OutboxError, which become a page with one plain line.
    """

    def __init__(self, view: View, sessions: Sessions | None) -> None:
        self._view = view
        self._sessions = sessions

    def reads(self, read: Read) -> Endpoint:
        """The endpoint of a page that is read; what did not change is answered with 304."""

        def answer(request: Request) -> Response:
            tag = self._view.tag(request)
            if request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers=HEADERS | {"ETag": tag})
            response = read(request)
            if response.status_code == 200:
                response.headers["ETag"] = tag
            return response

        async def endpoint(request: Request) -> Response:
            if not self._admits(request):
                query = request.url.query
                return self._ask(request, f"{request.url.path}{f'?{query}' if query else ''}")
            return await run_in_threadpool(answer, request)

        return self._guarded(endpoint)

    def writes(self, write: Write) -> Endpoint:
        """The endpoint of a form: nothing is done unless a page of ours has sent it."""

        async def endpoint(request: Request) -> Response:
            if not self._admits(request):
                return self._ask(request, "/", "You are signed out, so nothing was done.")
            return await run_in_threadpool(write, request, await self._form(request))

        return self._guarded(endpoint)

    def login(self, sessions: Sessions) -> Endpoint:
        """Takes name and password, and begins a session."""

        async def endpoint(request: Request) -> Response:
            given = await self._form(request)
            back = given.get("back", "/")
            name, password = given.get("name", ""), given.get("password", "")
            assert request.client is not None  # noqa: S101 - the door has set it
            try:
                token = await sessions.begin(name, password, request.client.host)
            except Unknown:
                return self._ask(request, back, "Wrong name or password.")
            except TooMany:
                line = "Too many wrong passwords: wait a minute."
                raise HTTPException(429, line, {"Retry-After": "60"}) from None
            response = self._view.go(back if _HERE.fullmatch(back) else "/")
            secure = request.url.scheme == "https"
            response.set_cookie(
                COOKIE, token, LASTS, path=self._view.home or "/", secure=secure, httponly=True,
                samesite="strict",
            )  # fmt: skip
            return response

        return self._guarded(endpoint)

    def logout(self, sessions: Sessions) -> Endpoint:
        """Ends the session."""

        async def endpoint(request: Request) -> Response:
            self._admits(request)
            await self._form(request)
            sessions.end(request.cookies.get(COOKIE))
            response = self._view.go("/")
            response.delete_cookie(COOKIE, path=self._view.home or "/")
            return response

        return self._guarded(endpoint)

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except HTTPException as problem:
                return self._view.problem(request, problem)
            except OutboxError as error:
                line = str(error)
                line = f"{line[:1].upper()}{line[1:]}."
                return self._view.problem(request, HTTPException(503, line))

        return answer

    def _admits(self, request: Request) -> bool:
        """Whether who asks may see the page; who it is stands in the scope then."""
        if self._sessions is None:
            return True
        request.scope["user"] = self._sessions.user(request.cookies.get(COOKIE))
        return bool(request.scope["user"])

    def _ask(self, request: Request, back: str, line: str = "") -> Response:
        """The form to log in; without the header that has browsers ask for a login of HTTP."""
        return self._view.render(request, "login.html", 401, back=back, line=line)

    async def _form(self, request: Request) -> Mapping[str, str]:
        """The fields of a form if it is one of ours; the last of a name counts."""
        body = await read_body(request, MOST)
        if body is None:
            raise HTTPException(413, "That is too long.", {"Connection": "close"})
        given = dict(form_pairs(body))  # of a stranger: starlette would read any number of fields
        mine, theirs = self._view.token(request), given.get("token", "")
        right = hmac.compare_digest(mine.encode(), theirs.encode())
        if not right or not is_same_site(request.headers):
            raise HTTPException(403, _FORGED)
        return given
