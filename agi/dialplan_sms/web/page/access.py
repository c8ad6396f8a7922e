"""Who may see the page, and forms that only the page itself can have sent.

A cookie names the session of who has logged in. HTTP's own login would not do: a browser sends it
with every request that any other page has it make here, those to the SMS API included.
"""

import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.web.http.form import form_pairs, read_body
from dialplan_sms.web.http.login import Login, TooMany, Unknown
from dialplan_sms.web.page.view import HEADERS, View, go

COOKIE = "sms_session"
LASTS = 12 * 3600  # seconds
_MOST_SESSIONS = 1000  # with one more, the oldest ends
MOST = 1 << 16  # bytes of a form
_FORGED = (
    "This form is out of date or came from another site, so nothing was done:"
    " go back, reload the page and try again."
)
_HERE = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # a path of this site, perhaps with a query

Endpoint = Callable[[Request], Awaitable[Response]]
Read = Callable[[Request], Response]
Write = Callable[[Request, Mapping[str, str]], Response]


class Access:
    """The endpoints of a page: who has logged in may use them, or everybody without *login*.

    They may raise HTTPException and OutboxError, which become a page with one plain line.
    """

    def __init__(
        self, view: View, login: Login | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._view = view
        self._login = login
        self._clock = clock
        # The sessions of this process: whose, with which hash, until when.
        self._sessions: dict[str, tuple[str, str, float]] = {}

    def reads(self, path: str, read: Read) -> Route:
        """A page that is read; what did not change is answered with 304."""

        def answer(request: Request) -> Response:
            tag = self._view.tag(request)
            if request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers=HEADERS | {"ETag": tag})
            response = read(request)
            if response.status_code == 200:
                response.headers["ETag"] = tag
            return response

        async def endpoint(request: Request) -> Response:
            if self._admits(request):
                return await run_in_threadpool(answer, request)
            query = request.url.query
            return self._ask(request, f"{request.url.path}{f'?{query}' if query else ''}")

        return Route(path, self._guarded(endpoint))

    def writes(self, path: str, write: Write) -> Route:
        """A form: nothing is done unless a page of ours has sent it."""

        async def endpoint(request: Request) -> Response:
            if self._admits(request):
                return await run_in_threadpool(write, request, await self._form(request))
            return self._ask(request, "/", "You are signed out, so nothing was done.")

        return Route(path, self._guarded(endpoint), methods=["POST"])

    def sessions(self, login: Login) -> list[Route]:
        """Where sessions begin and end."""

        async def begin(request: Request) -> Response:
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
            self._sessions[token] = (name, login.users().get(name, ""), self._clock() + LASTS)
            response = go(back if _HERE.fullmatch(back) else "/")
            secure = request.url.scheme == "https"
            response.set_cookie(
                COOKIE, token, LASTS, secure=secure, httponly=True, samesite="strict"
            )
            return response

        async def end(request: Request) -> Response:
            self._admits(request)
            await self._form(request)
            self._sessions.pop(request.cookies.get(COOKIE, ""), None)
            response = go("/")
            response.delete_cookie(COOKIE)
            return response

        return [
            Route("/login", self._guarded(begin), methods=["POST"]),
            Route("/logout", self._guarded(end), methods=["POST"]),
        ]

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except HTTPException as problem:
                return self._view.problem(request, problem)
            except OutboxError as error:
                line = str(error)
                away = HTTPException(503, f"{line[:1].upper()}{line[1:]}.")
                return self._view.problem(request, away)

        return answer

    def _admits(self, request: Request) -> bool:
        """Whether who asks may see the page; who it is stands in the scope then."""
        if self._login is None:
            return True
        token = request.cookies.get(COOKIE, "")
        name, hashed, ends = self._sessions.get(token, ("", "", 0.0))
        # A user with another password now has none.
        valid = self._clock() < ends and self._login.users().get(name) == hashed
        request.scope["user"] = name if valid else ""
        return valid

    def _ask(self, request: Request, back: str, line: str = "") -> Response:
        """The form to log in; without the header that has browsers ask for a login of HTTP."""
        return self._view.render(request, "login.html", 401, back=back, line=line)

    async def _form(self, request: Request) -> Mapping[str, str]:
        """The fields of a form if it is one of ours; the last of a name counts."""
        body = await read_body(request, MOST, "That is too long.")
        given = dict(form_pairs(body))  # of a stranger: starlette would read any number of fields
        mine, theirs = self._view.token(request), given.get("token", "")
        right = hmac.compare_digest(mine.encode(), theirs.encode())
        if not right or not _is_same_site(request.headers):
            raise HTTPException(403, _FORGED)
        return given


def _is_same_site(headers: Headers) -> bool:
    """Whether nothing says that a page of another site asks; only a form's token can prove it."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site == "same-origin"
    if origin is None or origin == "null":  # no-referrer makes a browser say null
        return True
    try:
        # The scheme is left out: a proxy in front may speak TLS for us.
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:  # "http://["
        return False
