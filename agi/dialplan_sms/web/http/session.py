"""Who has logged in on the page: a cookie names the session.

HTTP's own login would not do: a browser sends it with every request that any other page has it make
here, those to the SMS API included.
"""

import secrets
import time
from collections.abc import Callable, Mapping

from dialplan_sms.web.http.login import Login

COOKIE = "sms_session"
LASTS = 12 * 3600
"""Seconds."""
_MOST = 1000
"""Sessions at once; with one more, the oldest ends."""


class Sessions:
    """The sessions of one process; *users* gives names and hashes as they are now."""

    def __init__(
        self,
        login: Login,
        users: Callable[[], Mapping[str, str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._login = login
        self._users = users
        self._clock = clock
        self._open: dict[str, tuple[str, str, float]] = {}

    async def begin(self, name: str, password: str, address: str) -> str:
        """The token of a new session. Raises Unknown and TooMany."""
        await self._login.check(name, password, address)
        while len(self._open) >= _MOST:
            del self._open[next(iter(self._open))]
        token = secrets.token_urlsafe(32)
        self._open[token] = (name, self._users().get(name, ""), self._clock() + LASTS)
        return token

    def user(self, token: str | None) -> str:
        """Whose session it is; empty if there is none, or the user has another password now."""
        name, hashed, ends = self._open.get(token or "", ("", "", 0.0))
        return name if self._clock() < ends and self._users().get(name) == hashed else ""

    def end(self, token: str | None) -> None:
        """Log out."""
        self._open.pop(token or "", None)
