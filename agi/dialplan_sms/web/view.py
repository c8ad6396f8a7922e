"""The responses of the page: templates, headers, and the text of strangers made harmless."""

import hashlib
import unicodedata
from datetime import datetime
from pathlib import Path
from typing import cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dialplan_sms.outbox.schema import State
from dialplan_sms.outbox.transitions import RETRIED

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

_KEPT = "\n\u200c\u200d"  # letters and emoji need the joiners
_NAMED = {code: chr(0x2400 + code) for code in range(0x20)} | {
    0x007F: "␡",
    0x200E: "LRM", 0x200F: "RLM", 0x061C: "ALM", 0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF",
    0x202D: "LRO", 0x202E: "RLO", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI",
    0x00AD: "SHY", 0x200B: "ZWSP", 0x2028: "LSEP", 0x2029: "PSEP", 0xFEFF: "BOM",
}  # fmt: skip


def visible(text: object) -> Markup:
    """*text* escaped, with a mark for each character that is not seen; newlines stay."""
    return Markup("".join(map(_seen, escape(str(text)))))


def _seen(char: str) -> str:
    if char.isprintable() or char in _KEPT:
        return char
    code, category = ord(char), unicodedata.category(char)
    if category == "Cn" and 0x1F000 <= code < 0x20000:  # an emoji that Python does not know yet
        return char
    name = f"U+{code:04X}"
    mark = f'<span class="mark" title="{name}">{_NAMED.get(code, name)}</span>'
    return " " if category == "Zs" else mark


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


async def static(request: Request) -> Response:
    """Style sheet, script and icon; named with their hash they are kept for ever."""
    name = request.path_params["name"]
    if name not in _FILES:
        raise HTTPException(404, "There is no such file.")
    same = request.url.query == _TAGS[name]
    kept = "public, max-age=31536000, immutable" if same else "no-cache"
    headers = {"Cache-Control": kept, "Content-Type": _TYPES[Path(name).suffix]}
    return Response(_FILES[name], headers=HEADERS | headers)


def user_of(request: Request) -> str:
    """Who has logged in; empty for nobody."""
    return str(request.scope.get("user") or "")


# All of it is read now: an update may replace the files.
_FILES = {file.name: file.read_bytes() for file in (_HERE / "static").iterdir()}
_TAGS = {
    name: hashlib.blake2b(content, digest_size=8).hexdigest() for name, content in _FILES.items()
}
ENVIRONMENT = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
ENVIRONMENT.filters |= {"visible": visible, "foreign": foreign, "when": when}
ENVIRONMENT.globals |= {
    "states": STATES, "retried": RETRIED, "tags": _TAGS, "live": False,
    "zone": lambda: f"{datetime.now().astimezone():%Z}",
}  # fmt: skip
for _name in ENVIRONMENT.list_templates():
    ENVIRONMENT.get_template(_name)
