"""The responses of the page: templates, headers, and the text of strangers made harmless."""

import hashlib
import hmac
import itertools
import secrets
import unicodedata
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dialplan_sms.outbox.schema import State
from dialplan_sms.outbox.transitions import RETRIED
from dialplan_sms.web.board import Board

_HERE = Path(__file__).parent
# Of every response of the page.
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
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# What each state means, in the order in which an SMS goes through them.
STATES = {
    State.PENDING: "waits until it is due, or for its next try",
    State.LEASED: "a worker has it; nothing has gone out yet",
    State.SENDING: "the request to the PBX is going out now",
    State.SENT: "the PBX took it",
    State.FAILED: "not sent, or not to all of its numbers",
    State.EXPIRED: "it could not be sent within max_age",
    State.CANCELLED: "taken back before it was sent",
    State.UNKNOWN: "the PBX did not say: it may have been sent",
}

_JOINERS = "\u200c\u200d"  # letters and emoji need them
_NAMED = {code: chr(0x2400 + code) for code in range(0x20)} | {
    0x007F: "␡",
    0x200E: "LRM", 0x200F: "RLM", 0x061C: "ALM", 0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF",
    0x202D: "LRO", 0x202E: "RLO", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI",
    0x00AD: "SHY", 0x200B: "ZWSP", 0x2028: "LSEP", 0x2029: "PSEP", 0xFEFF: "BOM",
}  # fmt: skip


def visible(text: object) -> Markup:
    """*text* escaped, with a mark for each character that is not seen; newlines stay."""
    parts: list[Markup] = []
    for seen, chars in itertools.groupby(str(text), _is_seen):
        run = "".join(chars)
        parts += [escape(run)] if seen else map(_mark, run)
    return Markup("").join(parts)


def _is_seen(char: str) -> bool:
    if char == "\n" or char.isprintable() or char in _JOINERS:
        return True
    # An emoji that Python does not know yet.
    return 0x1F000 <= ord(char) < 0x20000 and unicodedata.category(char) == "Cn"


def _mark(char: str) -> Markup:
    code = ord(char)
    if unicodedata.category(char) == "Zs":
        return Markup(" ")
    name = _NAMED.get(code, f"U+{code:04X}")
    return Markup('<span class="mark" title="U+{:04X}">{}</span>').format(code, name)


def foreign(text: object) -> Markup:
    """What a stranger wrote: visible, and unable to turn round what stands beside it."""
    return Markup('<bdi dir="auto">{}</bdi>').format(visible(text))


def when(at: float | None, short: bool = False) -> Markup:
    """A time, local; its zone is in the attributes. *short* leaves this year out."""
    try:
        local = datetime.fromtimestamp(cast(float, at)).astimezone()
    except (OverflowError, ValueError, OSError, TypeError):  # None, too
        return Markup("–")
    form = "%d %b %H:%M:%S" if short and local.year == datetime.now().year else "%Y-%m-%d %H:%M:%S"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        local.isoformat(timespec="seconds"), f"{local:%A %d %B %Y, %H:%M:%S %Z (UTC%z)}",
        f"{local:{form}}",
    )  # fmt: skip


def go(path: str) -> Response:
    """On to another page, after a form."""
    return RedirectResponse(path, 303, headers=HEADERS)


class View:
    """The responses of the page over *board*; *switches* are the sandbox's, on its own page."""

    def __init__(self, board: Board, switches: Callable[[], object] | None = None) -> None:
        self.board = board
        self._switches = switches
        self._secret = secrets.token_bytes(32)  # of this process
        self._files = {file.name: file.read_bytes() for file in (_HERE / "static").iterdir()}
        self._tags = {
            name: hashlib.blake2b(content, digest_size=8).hexdigest()
            for name, content in self._files.items()
        }
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {"visible": visible, "foreign": foreign, "when": when}
        self._environment.globals |= {
            "states": STATES, "retried": RETRIED, "tags": self._tags, "live": False,
            "sandbox": switches, "zone": lambda: f"{datetime.now().astimezone():%Z}",
        }  # fmt: skip
        for name in self._environment.list_templates():  # an update may replace them
            self._environment.get_template(name)

    def token(self, request: Request) -> str:
        """What a form has to carry that is sent by who asks."""
        user = user_of(request).encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, user, hashlib.sha256).hexdigest()

    def render(
        self, request: Request, template: str, status_code: int = 200, **values: Any
    ) -> Response:
        """A page from *template* with *values*, and with what all of them show."""
        html = self._environment.get_template(template).render(
            user=user_of(request), token=self.token(request), **values
        )
        return Response(html.encode(errors="replace"), status_code, HEADERS, "text/html")

    def problem(self, request: Request, problem: HTTPException) -> Response:
        """A page with one plain line."""
        status = problem.status_code
        response = self.render(request, "problem.html", status, line=problem.detail, status=status)
        response.headers.update(problem.headers or {})
        return response

    async def static(self, request: Request) -> Response:
        """Style sheet, script and icon; named with their hash they are kept for ever."""
        name = request.path_params["name"]
        if name not in self._files:
            return self.problem(request, HTTPException(404, "There is no such file."))
        same = request.url.query == self._tags[name]
        kept = "public, max-age=31536000, immutable" if same else "no-cache"
        headers = HEADERS | {"Cache-Control": kept}
        return Response(self._files[name], 200, headers, _TYPES[Path(name).suffix])

    def tag(self, request: Request) -> str:
        """Another one whenever the page may look different; cheap."""
        url, switches = request.url, self._switches() if self._switches else None
        state = repr((url.path, url.query, user_of(request), self.board.changes(), switches))
        return f'"{hashlib.blake2b(state.encode(), digest_size=12, key=self._secret).hexdigest()}"'


def user_of(request: Request) -> str:
    """Who has logged in; empty for nobody."""
    return str(request.scope.get("user") or "")
